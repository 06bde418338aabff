use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pbkdf2::hmac::{Hmac, Mac};
use sha2::Sha256;

use super::super::provider::Request;
use super::backend::{BackendFault, Expiry, Grant, Topics};
use crate::timestamp::Timestamp;

/// The clients that a service has accepted, for a while, so that it isn't asked again.
///
/// - A key is an HMAC-SHA-256 of everything that the service was told, under a random secret of this process that is never written anywhere.
///   The cache has no password.
/// - Only what was accepted is remembered: a refusal is asked each time.
/// - It has at most [`ENTRIES_MAX`] entries with [`BYTES_MAX`] bytes of topics. When it is full, the oldest entry gives way.
#[derive(Debug)]
pub(super) struct Cache {
    /// `None`: the system has no random numbers, and nothing is remembered.
    secret: Option<[u8; 32]>,
    lifetime: Duration,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    /// In the order in which they were added. A key that was replaced is in it once more, with its old number.
    order: VecDeque<(u64, Key)>,
    next: u64,
    bytes: usize,
    /// How often all were forgotten.
    clearings: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    known: Arc<Known>,
    until: Timestamp,
    bytes: usize,
}

type Key = [u8; 32];

/// A client that the service has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) user: Arc<str>,
    pub(super) topics: Option<Topics>,
    pub(super) is_superuser: bool,
    pub(super) expires_at: Option<Timestamp>,
}

impl Known {
    /// The client of this request by the answer of the service.
    pub(super) fn of(grant: Grant, request: &Request) -> Result<Self, BackendFault> {
        let invalid = |text: &str| BackendFault::Invalid(text.to_owned());
        let sent = || request.user_name.as_deref().or(request.certificate_identity.as_deref()).map(Arc::from);
        let user = grant.user.or_else(sent);
        let user = user.ok_or_else(|| invalid("it has no user, and the client has sent no user name"))?;
        if user.is_empty() || user.chars().any(char::is_control) {
            return Err(invalid("the user name is empty or has control characters"));
        }
        let expires_at = match grant.expires {
            None => None,
            Some(Expiry::In(time)) => Some(request.at + time),
            Some(Expiry::At(at)) => Some(request.at + Duration::from_millis(at.0.saturating_sub(request.wall.0))),
        };
        if expires_at.is_some_and(|expires_at| expires_at <= request.at) {
            return Err(invalid("it has expired"));
        }
        Ok(Self { user, topics: grant.topics, is_superuser: grant.is_superuser, expires_at })
    }

    /// The bytes of its strings, about.
    fn bytes(&self) -> usize {
        let lists = self.topics.iter().flat_map(Topics::lists).flatten();
        self.user.len() + lists.map(|filter| filter.len() + STRING_BYTES).sum::<usize>()
    }
}

impl Cache {
    pub(super) fn new(lifetime: Duration) -> Self {
        let mut secret = [0; 32];
        let secret = getrandom::fill(&mut secret).is_ok().then_some(secret);
        Self { secret, lifetime, entries: Mutex::default() }
    }

    /// What the service said about this client, unless that is too long ago.
    pub(super) fn find(&self, request: &Request) -> Option<Arc<Known>> {
        let key = self.key(request)?;
        let entries = self.entries();
        let entry = entries.by_key.get(&key).filter(|entry| request.at < entry.until)?;
        Some(Arc::clone(&entry.known))
    }

    /// How often everything was forgotten.
    pub(super) fn clearings(&self) -> u64 {
        self.entries().clearings
    }

    /// Adds an answer to a request that was sent when [`clearings`](Self::clearings) was `asked`. It may be older than what has made the cache
    /// forget everything since then: such an answer is not added.
    pub(super) fn remember(&self, request: &Request, known: Known, asked: u64) {
        let Some(key) = self.key(request) else { return };
        let until = request.at + self.lifetime;
        let until = known.expires_at.map_or(until, |expires_at| expires_at.min(until));
        let bytes = known.bytes();
        let mut entries = self.entries();
        if entries.clearings == asked {
            entries.add(key, known, until, bytes);
        }
    }

    pub(super) fn clear(&self) {
        let mut entries = self.entries();
        *entries = Entries { clearings: entries.clearings + 1, ..Entries::default() };
    }

    fn key(&self, request: &Request) -> Option<Key> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_ref()?).ok()?;
        let mut add = |part: Option<&[u8]>| {
            mac.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            mac.update(part.unwrap_or_default());
        };
        add(Some(request.client_id.as_str().as_bytes()));
        add(request.user_name.as_deref().map(str::as_bytes));
        add(request.password.as_deref());
        add(request.certificate_identity.as_deref().map(str::as_bytes));
        add(Some(request.listener.as_bytes()));
        add(request.address.map(|address| address.to_string()).as_deref().map(str::as_bytes));
        Some(mac.finalize().into_bytes().into())
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn add(&mut self, key: Key, known: Known, until: Timestamp, bytes: usize) {
        if bytes > BYTES_MAX {
            return;
        }
        self.next += 1;
        let number = self.next;
        self.bytes += bytes;
        if let Some(before) = self.by_key.insert(key, Entry { number, known: Arc::new(known), until, bytes }) {
            self.bytes -= before.bytes;
        }
        self.order.push_back((number, key));
        while self.order.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some((number, key)) = self.order.pop_front() else { break };
            if self.by_key.get(&key).is_some_and(|entry| entry.number == number)
                && let Some(entry) = self.by_key.remove(&key)
            {
                self.bytes -= entry.bytes;
            }
        }
    }
}

/// With short topics, about 3 MB.
const ENTRIES_MAX: usize = 10_000;
const BYTES_MAX: usize = 16 << 20;
/// What a string uses beside its bytes.
const STRING_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::alice;

    fn known(topics: usize) -> Known {
        let publish = vec!["t".repeat(100); topics];
        let topics = Some(Topics { publish, ..Topics::default() });
        Known { user: "alice".into(), topics, is_superuser: false, expires_at: None }
    }

    #[test]
    fn only_the_same_request_is_known_and_only_for_a_while() {
        let cache = Cache::new(Duration::from_secs(1));
        let asked = alice(b"sesam");
        cache.remember(&asked, known(1), 0);
        assert_eq!(cache.find(&asked).as_deref(), Some(&known(1)));
        for other in [
            alice(b"Sesam"),
            Request { password: None, ..asked.clone() },
            Request { user_name: None, ..asked.clone() },
            Request { client_id: crate::codec::ClientId("d".into()), ..asked.clone() },
            Request { listener: "other".into(), ..asked.clone() },
            Request { address: None, ..asked.clone() },
            Request { certificate_identity: Some("alice".into()), ..asked.clone() },
            Request { at: asked.at + Duration::from_secs(1), ..asked.clone() },
        ] {
            assert_eq!(cache.find(&other), None, "{other:?}");
        }
        cache.clear();
        assert_eq!(cache.find(&asked), None);
        cache.remember(&asked, known(1), 0);
        assert_eq!(cache.find(&asked), None, "the service has answered before");
        cache.remember(&asked, known(1), cache.clearings());
        assert!(cache.find(&asked).is_some());
    }

    #[test]
    fn it_forgets_what_expires_earlier() {
        let cache = Cache::new(Duration::from_secs(10));
        let asked = alice(b"sesam");
        let expires_at = Some(asked.at + Duration::from_secs(1));
        cache.remember(&asked, Known { expires_at, ..known(0) }, 0);
        assert!(cache.find(&asked).is_some());
        assert!(cache.find(&Request { at: asked.at + Duration::from_secs(1), ..asked }).is_none());
    }

    #[test]
    fn it_is_bounded_in_entries_and_in_bytes() {
        let cache = Cache::new(Duration::from_secs(10));
        let of = |number: usize| Request {
            client_id: crate::codec::ClientId(format!("c{number}").into()),
            ..alice(b"sesam")
        };
        for number in 0..ENTRIES_MAX + 10 {
            cache.remember(&of(number), known(0), 0);
        }
        assert_eq!(cache.entries().by_key.len(), ENTRIES_MAX);
        assert!(cache.find(&of(9)).is_none() && cache.find(&of(10)).is_some());
        for number in 0..2_000 {
            cache.remember(&of(number), known(100), 0);
        }
        assert!(cache.entries().bytes <= BYTES_MAX && cache.find(&of(1_999)).is_some());
        for _ in 0..2 * ENTRIES_MAX {
            cache.remember(&of(0), known(0), 0);
        }
        let entries = cache.entries();
        assert!(entries.by_key.len() == 1 && entries.order.len() <= ENTRIES_MAX && entries.bytes < 100);
    }
}
