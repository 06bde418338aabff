use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use serde_json::{Map, Value};
use tokio::select;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::super::error::AuthError;
use super::super::fingerprint::Fingerprint;
use super::super::remote::client;
use super::fault::Fault;
use super::jwk::KeySet;
use crate::config::{self, ServiceUrl, TokenAlgorithm};
use crate::http_client::HttpClient;

/// The keys of an issuer, fetched from a URL.
///
/// They are fetched at the start, then again after an interval, when a token has a `kid` that is not known, and at a reload. While the URL does not
/// answer, the keys of the last time are in force, for [`AGE_MAX`]. Without keys no token can be judged. [`keep`] fetches them.
#[derive(Debug)]
pub(in crate::auth) struct Jwks {
    url: Uri,
    client: HttpClient,
    algorithms: Vec<TokenAlgorithm>,
    refresh: Duration,
    /// Of all settings, and of the contents of files.
    identity: Fingerprint,
    state: Mutex<State>,
    is_started: AtomicBool,
    wanted: Arc<Notify>,
    /// The number of requests that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<(Arc<KeySet>, Instant)>,
    /// Whether a request is under way, or about to begin.
    is_fetching: bool,
    /// When the last one has ended.
    ended: Option<Instant>,
    /// Why it failed.
    fault: Option<String>,
}

impl Jwks {
    /// `key`: that of all fingerprints. `before`: the keys of the provider with the same name before a reload, which stay if all settings are
    /// the same.
    pub(in crate::auth) fn new(
        settings: &config::Provider,
        (key, before): (&RandomState, Option<&Arc<Self>>),
    ) -> Result<Arc<Self>, AuthError> {
        let fail = |cause: String| AuthError::Service { provider: settings.label().to_owned(), cause };
        // The validation of the configuration has found one.
        let url = ServiceUrl::of(settings.jwks_url.as_deref().unwrap_or_default());
        let url = url.map_err(|cause| fail(format!("the URL {cause}")))?;
        let (client, material) = client(settings, url.is_encrypted, (FETCH_TIME_MAX, 1))?;
        let identity = Fingerprint::of(key, &(settings, material));
        if let Some(before) = before.filter(|before| before.identity == identity) {
            return Ok(Arc::clone(before));
        }
        let algorithms = settings.algorithms.clone().unwrap_or_else(|| ALGORITHMS.to_vec());
        Ok(Arc::new(Self {
            url: url.uri,
            client,
            algorithms,
            refresh: settings.jwks_refresh.unwrap_or(REFRESH),
            identity,
            state: Mutex::default(),
            is_started: AtomicBool::new(false),
            wanted: Arc::new(Notify::new()),
            ended: watch::Sender::new(0),
        }))
    }

    /// Whether nothing fetches these keys yet. The caller has to run [`keep`] then.
    pub(in crate::auth) fn start(&self) -> bool {
        let is_first = !self.is_started.swap(true, Ordering::Relaxed);
        self.state().is_fetching |= is_first;
        is_first
    }

    /// Fetches the keys soon.
    pub(in crate::auth) fn demand(&self) {
        self.state().is_fetching = true;
        self.wanted.notify_one();
    }

    /// Why the keys could not be fetched the last time.
    pub(super) fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// The claims of a token that one of the keys has signed.
    pub(super) fn verify(&self, token: &[u8]) -> Result<Map<String, Value>, Fault> {
        let (keys, is_current) = {
            let state = self.state();
            (state.current(), state.fault.is_none())
        };
        match keys.ok_or(Fault::NoKeys)?.verify(token) {
            Err(Fault::UnknownKey) if !is_current => Err(Fault::NoNewKeys),
            verified => verified,
        }
    }

    /// Whether a token can be judged only after the keys are fetched once more. Keys are fetched for a token at most once in [`PAUSE`]:
    /// otherwise clients with unknown keys could make the broker fetch without a pause.
    pub(super) fn is_to_be_fetched_for(&self, token: &[u8]) -> bool {
        let state = self.state();
        let may_fetch = state.is_fetching || state.ended.is_none_or(|ended| ended.elapsed() >= PAUSE);
        may_fetch && state.current().is_none_or(|keys| !keys.knows(token))
    }

    /// Fetches the keys, if that is needed to judge a token.
    pub(super) async fn fetch_for(&self, token: &[u8]) {
        let mut ended = self.ended.subscribe();
        if self.is_to_be_fetched_for(token) {
            if !self.state().is_fetching {
                self.demand();
            }
            // An error: the keys are not in force any more. A request ends within `FETCH_TIME_MAX`.
            let _ = ended.changed().await;
        }
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let answer = timeout(FETCH_TIME_MAX, self.client.get(&self.url, ANSWER_BYTES_MAX)).await;
        let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("it answers {}", answer.status));
        }
        KeySet::parse(&answer.body, &self.algorithms).map_err(str::to_owned)
    }

    /// Takes the result of a request. Returns why it failed.
    fn conclude(&self, fetched: Result<KeySet, String>) -> Option<String> {
        let mut state = self.state();
        let now = Instant::now();
        state.is_fetching = false;
        state.ended = Some(now);
        state.fault = match fetched {
            Ok(keys) => {
                state.keys = Some((Arc::new(keys), now));
                None
            }
            Err(cause) => Some(format!("the keys could not be fetched: {cause}")),
        };
        let fault = state.fault.clone();
        drop(state);
        self.ended.send_modify(|number| *number += 1);
        fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The keys, unless they are too old.
    fn current(&self) -> Option<Arc<KeySet>> {
        let (keys, fetched) = self.keys.as_ref()?;
        (fetched.elapsed() <= AGE_MAX).then(|| Arc::clone(keys))
    }
}

impl Drop for Jwks {
    fn drop(&mut self) {
        self.wanted.notify_one();
    }
}

/// Fetches keys, again and again until they are dropped. Calls `note` with why they could not be fetched, or with `None`.
pub(in crate::auth) async fn keep(keys: Weak<Jwks>, note: impl Fn(Option<&str>)) {
    let mut failures = 0;
    loop {
        let Some(jwks) = keys.upgrade() else { return };
        jwks.state().is_fetching = true;
        let fault = jwks.conclude(jwks.fetch().await);
        note(fault.as_deref());
        failures = if fault.is_some() { failures + 1 } else { 0 };
        let pause = pause(failures, jwks.refresh);
        let wanted = Arc::clone(&jwks.wanted);
        drop(jwks);
        select! {
            () = wanted.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

/// The time to the next request: after one that failed less, but longer each time.
fn pause(failures: u32, refresh: Duration) -> Duration {
    match failures {
        0 => refresh,
        _ => AGAIN.saturating_mul(1 << failures.min(8).saturating_sub(1)).min(refresh),
    }
}

/// Those of public keys.
const ALGORITHMS: [TokenAlgorithm; 3] = [TokenAlgorithm::RS256, TokenAlgorithm::ES256, TokenAlgorithm::EdDSA];
/// Issuers publish a new key longer before they use it.
const REFRESH: Duration = Duration::from_secs(600);
/// How long keys that can't be fetched again are in force: a day without the issuer, and no key that was taken back longer.
const AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The time between two requests for tokens with a `kid` that is not known.
const PAUSE: Duration = Duration::from_secs(10);
/// The pause after a request that failed.
const AGAIN: Duration = Duration::from_secs(2);
/// The time for one request.
pub(super) const FETCH_TIME_MAX: Duration = Duration::from_secs(5);
/// A hundred keys with certificates.
const ANSWER_BYTES_MAX: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_does_not_answer_is_asked_again_soon_but_not_all_the_time() {
        let seconds = |failures| pause(failures, Duration::from_secs(60)).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 100, u32::MAX].map(seconds), [60, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
