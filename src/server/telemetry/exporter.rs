//! Sends spans to the collector: OTLP over HTTP, protobuf.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Inbox;
use super::encode::text;
use crate::config::{self, TraceUrl};
use crate::server::log::log_line;
use crate::server::telemetry_figures::SpanResult;

/// Sends batches, one after the other.
pub(super) struct Exporter {
    endpoint: String,
    url: TraceUrl,
    headers: HeaderMap,
    timeout: Duration,
    service_name: String,
    inbox: Arc<Inbox>,
    /// Why the last batch failed, as the log says.
    logged: Option<String>,
}

/// Why a request failed.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// Whether the same request may succeed later, and after which time at least.
    again: Option<Duration>,
}

impl Exporter {
    /// # Errors
    /// The endpoint or a header can't be used.
    pub(super) fn new(
        settings: &config::Telemetry,
        further: &[(String, String)],
        inbox: Arc<Inbox>,
    ) -> Result<Self, &'static str> {
        let endpoint = settings.endpoint.clone().unwrap_or_default();
        let url = TraceUrl::of(&endpoint)?;
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| "a header has a value that can't be sent");
        let mut headers = HeaderMap::new();
        headers.insert(HOST, value(&url.authority)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("oncemq/", env!("CARGO_PKG_VERSION"))));
        for (name, text) in further {
            let name = HeaderName::try_from(name).map_err(|_| "a header has a name that can't be sent")?;
            let mut value = value(text)?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let (timeout, service_name) = (settings.timeout, settings.service.clone());
        Ok(Self { endpoint, url, headers, timeout, service_name, inbox, logged: None })
    }

    /// Sends batches until their sender is dropped.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Vec<Span>>) {
        while let Some(spans) = batches.recv().await {
            let count = spans.len();
            let result = self.send(self.encode(spans)).await;
            self.conclude(count, result);
        }
    }

    /// The body of a request.
    fn encode(&self, spans: Vec<Span>) -> Bytes {
        let version = env!("CARGO_PKG_VERSION");
        let attributes = vec![text("service.name", &self.service_name), text("service.version", version)];
        let scope =
            InstrumentationScope { name: "oncemq".to_owned(), version: version.to_owned(), ..Default::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }];
        let resource = Some(Resource { attributes, ..Default::default() });
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..Default::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
    }

    /// Sends a request, several times if it fails in a way that may end. Returns the number of spans that the collector has rejected.
    async fn send(&self, body: Bytes) -> Result<usize, String> {
        let mut pause = PAUSE_MIN;
        for attempt in 1.. {
            let answer = timeout(self.timeout, self.post(body.clone())).await;
            let failure = match answer.unwrap_or_else(|_| Err(Failure::temporary("no answer in telemetry.timeout"))) {
                Ok(rejected) => return Ok(rejected),
                Err(failure) => failure,
            };
            match failure.again {
                Some(least) if attempt < ATTEMPTS_MAX => sleep(jittered(pause).max(least)).await,
                Some(_) | None => return Err(failure.reason),
            }
            pause *= 2;
        }
        Err("too many attempts".to_owned())
    }

    /// One request over a connection of its own.
    async fn post(&self, body: Bytes) -> Result<usize, Failure> {
        let stream = TcpStream::connect(&*self.url.authority).await.map_err(Failure::temporary)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::temporary)?;
        let mut request = Request::post(&*self.url.path).body(Body::from(body)).map_err(Failure::final_one)?;
        *request.headers_mut() = self.headers.clone();
        let answer = async {
            let response = sender.send_request(request).await.map_err(Failure::temporary)?;
            let status = response.status();
            if !status.is_success() {
                return Err(Failure::of(status, response.headers()));
            }
            let body = to_bytes(Body::new(response.into_body()), ANSWER_MAX).await.unwrap_or_default();
            let rejected = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
            let rejected = rejected.map_or(0, |partial| partial.rejected_spans);
            Ok(usize::try_from(rejected).unwrap_or_default())
        };
        let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
        let ended = select! {
            biased;
            answer = &mut answer => return answer,
            ended = &mut connection => ended,
        };
        match ended {
            // The answer was read, and its sender has it.
            Ok(()) => answer.await,
            Err(error) => Err(Failure::temporary(error)),
        }
    }

    /// Counts a batch, and writes to the log when the collector fails or is well again.
    fn conclude(&mut self, count: usize, result: Result<usize, String>) {
        let endpoint = &*self.endpoint;
        match result {
            Ok(rejected) => {
                let rejected = rejected.min(count);
                self.inbox.count(SpanResult::Sent, count - rejected);
                self.inbox.count(SpanResult::Failed, rejected);
                if self.logged.take().is_some() {
                    log_line!(TelemetryWell { endpoint }, "spans are sent to {endpoint} again");
                }
            }
            Err(reason) => {
                self.inbox.count(SpanResult::Failed, count);
                if self.logged.as_deref() != Some(&*reason) {
                    log_line!(
                        TelemetryFailed { endpoint, reason = &*reason },
                        "{count} spans could not be sent to {endpoint}: {reason}"
                    );
                    self.logged = Some(reason);
                }
            }
        }
    }
}

impl Failure {
    fn temporary(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), again: Some(Duration::ZERO) }
    }

    fn final_one(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), again: None }
    }

    /// By OTLP, these statuses and no others may be tried again.
    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let is_temporary = [429, 502, 503, 504].contains(&status.as_u16());
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let least = seconds.map_or(Duration::ZERO, Duration::from_secs).min(PAUSE_MAX);
        Self { reason: format!("the collector answers {status}"), again: is_temporary.then_some(least) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::temporary(error)
    }
}

/// From a half of a pause to the whole, so that many brokers do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default();
    pause / 2 + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

/// A batch is given up after so many requests. Later ones wait meanwhile, or are dropped.
const ATTEMPTS_MAX: u32 = 4;
/// The pause after the first request; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause that a collector may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_end_is_tried_again() {
        let mut headers = HeaderMap::new();
        let again =
            |status: u16, headers: &HeaderMap| Failure::of(StatusCode::from_u16(status).unwrap(), headers).again;
        for status in [429, 502, 503, 504] {
            assert_eq!(again(status, &headers), Some(Duration::ZERO), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500] {
            assert_eq!(again(status, &headers), None, "{status}");
        }
        for (value, seconds) in [("2", 2), ("31", 30), ("Fri, 31 Dec 1999 23:59:59 GMT", 0)] {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            assert_eq!(again(503, &headers), Some(Duration::from_secs(seconds)), "{value}");
        }
    }
}
