//! Sends spans to the collector: OTLP over HTTP, protobuf.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode, Uri};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::Inbox;
use super::encode::text;
use super::files::Files;
use crate::config::{self, traces_url};
use crate::http_client::{HttpClient, RequestError, Trust};
use crate::server::log::log_line;
use crate::server::telemetry_figures::SpanResult;

/// Sends batches, one after the other.
pub(super) struct Exporter {
    endpoint: String,
    uri: Uri,
    client: HttpClient,
    timeout: Duration,
    service_name: String,
    inbox: Arc<Inbox>,
    /// Why batches fail, as the log says; `None`: they don't, or the log doesn't say so yet.
    logged: Option<String>,
    /// When the log has said so the last time.
    logged_at: Option<Instant>,
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
    /// The endpoint or a file can't be used: the text says why.
    pub(super) fn new(settings: &config::Telemetry, files: &Files, inbox: Arc<Inbox>) -> Result<Self, String> {
        let endpoint = settings.endpoint.clone().unwrap_or_default();
        let url = traces_url(&endpoint).map_err(|cause| format!("telemetry.endpoint {cause}"))?;
        let trust = Trust::of(files.authorities.as_deref(), url.is_encrypted);
        let client = HttpClient::new(trust, &files.headers, (settings.timeout, CONNECTIONS_KEPT));
        let client = client.map_err(|error| error.to_string())?;
        let (timeout, service_name) = (settings.timeout, settings.service.clone());
        Ok(Self { endpoint, uri: url.uri, client, timeout, service_name, inbox, logged: None, logged_at: None })
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

    /// One request. Returns the number of spans that the collector has rejected.
    async fn post(&self, body: Bytes) -> Result<usize, Failure> {
        let answer = self.client.post(&self.uri, ("application/x-protobuf", body), ANSWER_MAX).await?;
        if !answer.status.is_success() {
            return Err(Failure::of(answer.status, &answer.headers));
        }
        let rejected = ExportTraceServiceResponse::decode(answer.body).ok().and_then(|answer| answer.partial_success);
        Ok(rejected.map_or(0, |partial| usize::try_from(partial.rejected_spans).unwrap_or_default()))
    }

    /// Counts a batch, and writes to the log when the collector fails or is well again: at most once in [`LOG_PAUSE`] that it fails.
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
                let is_due = self.logged_at.is_none_or(|at| at.elapsed() >= LOG_PAUSE);
                if is_due && self.logged.as_deref() != Some(&*reason) {
                    log_line!(
                        TelemetryFailed { endpoint, reason = &*reason },
                        "{count} spans could not be sent to {endpoint}: {reason}"
                    );
                    (self.logged, self.logged_at) = (Some(reason), Some(Instant::now()));
                }
            }
        }
    }
}

impl Failure {
    fn temporary(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), again: Some(Duration::ZERO) }
    }

    /// By OTLP, these statuses and no others may be tried again.
    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let is_temporary = [429, 502, 503, 504].contains(&status.as_u16());
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let least = seconds.map_or(Duration::ZERO, Duration::from_secs).min(PAUSE_MAX);
        Self { reason: format!("the collector answers {status}"), again: is_temporary.then_some(least) }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NotSent(_) | RequestError::Late | RequestError::CutShort => Self::temporary(error),
            RequestError::TooLarge(_) => Self { reason: error.to_string(), again: None },
        }
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
/// Batches are sent one after the other.
const CONNECTIONS_KEPT: usize = 1;
/// The shortest time between two lines of the log about a failure, in case that its reasons take turns.
const LOG_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn reasons_that_take_turns_do_not_fill_the_log() {
        let settings =
            config::Telemetry { endpoint: Some("http://127.0.0.1:4318".to_owned()), ..config::Telemetry::default() };
        let files = Files { headers: Vec::new(), authorities: None };
        let mut exporter = Exporter::new(&settings, &files, Arc::default()).unwrap();
        let fail = |exporter: &mut Exporter, reason: &str| {
            exporter.conclude(2, Err(reason.to_owned()));
            exporter.logged.clone()
        };
        assert_eq!(fail(&mut exporter, "a").as_deref(), Some("a"));
        assert_eq!(fail(&mut exporter, "b").as_deref(), Some("a"));
        exporter.conclude(3, Ok(1));
        assert_eq!(fail(&mut exporter, "b"), None);
        exporter.logged_at = exporter.logged_at.and_then(|at| at.checked_sub(LOG_PAUSE));
        assert_eq!(fail(&mut exporter, "b").as_deref(), Some("b"));
        assert_eq!(exporter.inbox.figures().spans, [2, 0, 9]);
    }

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
