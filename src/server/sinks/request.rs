//! One request: sent, signed, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use bytes::Bytes;
use tokio::time::Instant;
use tokio_rustls::rustls::RootCertStore;

use super::plan::Plan;
use crate::http_client::HttpClient;
use crate::server::clock::wall_time;
use crate::sink::{Delivery, Outcome, RequestId, body, retry_after, signature};

/// Sends the requests of a sink.
#[derive(Debug)]
pub(super) struct Requests {
    client: HttpClient,
    plan: Plan,
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) id: RequestId,
    /// `None`: there was no answer.
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

impl Requests {
    /// `system`: see [`Plan::client`].
    ///
    /// # Errors
    /// A file can't be used: the text says which.
    pub(super) fn new(plan: Plan, system: &mut Option<Arc<RootCertStore>>) -> Result<Self, String> {
        Ok(Self { client: plan.client(system)?, plan })
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Sends a request with these messages, and waits for the answer, at most for the time of the settings.
    pub(super) async fn send(self: Arc<Self>, id: RequestId, attempt: u32, messages: Vec<Arc<Delivery>>) -> Answered {
        let begun = Instant::now();
        let settings = &self.plan.settings;
        let body = body(&messages, settings.batch_max.get() > 1);
        drop(messages);
        let headers = self.headers(attempt, &body);
        let answer = self.client.deliver(&self.plan.url.uri, (headers, body), settings.timeout).await;
        let (status, outcome) = match answer {
            Ok((status, headers)) => {
                let text = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let pause = text.and_then(|text| retry_after(text, wall_time()));
                (Some(status.as_u16()), Outcome::of_status(status.as_u16(), pause))
            }
            Err(error) => (None, Outcome::Again { reason: error.to_string().into(), pause: None }),
        };
        Answered { id, status, outcome, took: begun.elapsed() }
    }

    fn headers(&self, attempt: u32, body: &Bytes) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: &str| {
            // A name of a sink has letters and digits only; the other values are made here.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        add("oncemq-sink", &self.plan.settings.name);
        add("oncemq-attempt", &attempt.to_string());
        if let Some(secret) = &self.plan.secret {
            add("oncemq-signature", &signature(secret, wall_time().0 / 1_000, body));
        }
        headers
    }
}
