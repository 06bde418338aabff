//! `/trace`: packets and decisions, live.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::select;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::parameters::Parameters;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::Caller;
use crate::admin::listener::Lifetime;
use crate::admin::time::rfc_3339;
use crate::server::{CellServer, RunningTrace, Status, TraceEntry, TraceFilter, TraceItem, TracesFull};
use crate::topic::TopicFilter;

pub(super) fn operator_routes() -> Routes {
    Routes::new().add(__path_trace, trace)
}

/// A packet, or a decision about a client.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TraceLine)]
struct LineJson<'a> {
    at: String,
    /// `received` or `sent`: a packet. Otherwise a decision: `connected`, `refused`, `probe`, `disconnected`, `denied`, `published`, `subscribed`,
    /// `unsubscribed`, `dropping` (the first message of a series), `dropped` (every message), `unreadable`, `owner-changed`, `will-published`, `will-discarded`,
    /// `session-created`, `session-resumed`, `session-taken-over`, `session-moved`, `session-expired` or `session-ended`.
    event: &'static str,
    client_id: Option<&'a str>,
    user: Option<&'a str>,
    address: Option<String>,
    listener: Option<&'a str>,
    protocol_version: Option<&'static str>,
    packet: Option<&'static str>,
    /// The length of the packet; of the payload for `published`.
    bytes: Option<usize>,
    packet_id: Option<u16>,
    /// The Topic Name or Topic Filter.
    topic: Option<&'a str>,
    qos: Option<u8>,
    retain: Option<bool>,
    dup: Option<bool>,
    reason_code: Option<u8>,
    reason: Option<&'a str>,
    /// The access rule with its file and line, or the limit.
    rule: Option<&'a str>,
    /// The number of Sessions that a message was sent to or queued for.
    receivers: Option<usize>,
    /// The identity of a message, for `dropped`, at QoS 1 and 2.
    message_id: Option<&'a str>,
    /// Further fields of a packet, for people.
    details: Option<&'a str>,
}

/// Packets in both directions and decisions, as they happen: a JSON object in each line, until the caller goes away or the time is over. Payloads
/// and passwords are not shown.
///
/// The first line is `{"left_out": N}`, and it is repeated at least every five seconds. N is the number of lines that were left out at that place,
/// because a trace has at most 1,000 lines per second, or because the caller read too slowly. At least one of `client_id`, `topic` and `address` is needed; what is shown matches
/// all that are given. With `topic`, packets and decisions without a topic are not shown. At most four traces run at a time.
///
/// If clients are spread over cells, a trace shows what happens in all of them, at most 1,000 lines per second of each, in the order of the clocks of the nodes. A
/// line `{"left_out": N, "missing_nodes": [{"node": …, "reason": …}]}` comes whenever other nodes than before show nothing.
#[utoipa::path(
    get, path = "/trace",
    params(
        ("client_id" = Option<String>, Query, description = "A pattern of Client Identifiers, with * and ?"),
        ("topic" = Option<String>, Query, description = "A Topic Filter"),
        ("address" = Option<String>, Query, description = "The IP address of clients"),
        ("duration" = Option<u32>, Query, description = "Seconds, 1 to 3,600; by default 600"),
    ),
    responses(
        (status = 200, description = "Lines", body = LineJson, content_type = "application/x-ndjson"),
        (status = 503, description = "As many traces run as may", body = ErrorJson)
    )
)]
async fn trace(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Extension(lifetime): Extension<Lifetime>,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let filter = filter_of(&parameters)?;
    let duration = parameters.number("duration", 1..=DURATION_MAX)?.map_or(DURATION_DEFAULT, Duration::from_secs);
    let outcome = Traced::start(&state, &filter).await;
    state.audit.record(&caller, "trace", &described(&parameters), &outcome.as_ref().map(drop));
    let traced = outcome.map_err(|error| Failure::unavailable(error.to_string()))?;
    let end = Instant::now() + duration;
    lifetime.extend_to(end + LAST_WRITE_TIMEOUT);
    let stream = unfold(Lines::new((traced, filter), state, end), |mut lines| async move {
        let text = lines.next().await?;
        Some((Ok::<_, Infallible>(text), lines))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response())
}

fn filter_of(parameters: &Parameters) -> Result<TraceFilter, Failure> {
    if parameters.text("client_id") == Some("") {
        return Err(Failure::bad_request("client_id must not be empty"));
    }
    let client_id = parameters.client_pattern()?;
    let topic = parameters.text("topic").map(|filter| {
        let wrong = |error| Failure::bad_request(format!("the filter is invalid: {error}"));
        TopicFilter::new(filter.to_owned().into()).map_err(wrong)
    });
    let address = parameters.text("address").map(|address| {
        let wrong = |_| Failure::bad_request("address must be an IP address");
        address.parse::<std::net::IpAddr>().map(|address| address.to_canonical()).map_err(wrong)
    });
    let filter = TraceFilter { client_id, topic: topic.transpose()?, address: address.transpose()? };
    if filter == TraceFilter::default() {
        return Err(Failure::bad_request("client_id, topic or address is needed: a trace of everything is too much"));
    }
    Ok(filter)
}

/// The criteria, for the audit log.
fn described(parameters: &Parameters) -> String {
    let given = |name| Some(format!("{name}={}", parameters.text(name)?));
    ["client_id", "topic", "address"].into_iter().filter_map(given).collect::<Vec<_>>().join(" ")
}

/// A trace at a server, and at those of the cells that are here.
struct Traced {
    /// With the clocks of their servers; first that of the server itself.
    traces: Vec<(RunningTrace, Arc<Status>)>,
}

impl Traced {
    async fn start(state: &ApiState, filter: &TraceFilter) -> Result<Self, TracesFull> {
        let own = state.traces.start(filter.clone()).await?;
        let mut traced = Self { traces: vec![(own, Arc::clone(&state.status))] };
        traced.follow(state, filter).await.map(|()| traced)
    }

    /// Begins with the servers of cells that have come, and ends with those that have gone.
    async fn follow(&mut self, state: &ApiState, filter: &TraceFilter) -> Result<(), TracesFull> {
        let Some(cells) = &state.front_of else { return Ok(()) };
        let servers = cells.servers();
        let is_of = |status: &Arc<Status>, server: &CellServer| Arc::ptr_eq(status, &server.status);
        self.traces.retain(|(_, status)| {
            Arc::ptr_eq(status, &state.status) || servers.iter().any(|server| is_of(status, server))
        });
        for server in servers {
            if !self.traces.iter().any(|(_, status)| is_of(status, &server)) {
                self.traces.push((server.traces.start(filter.clone()).await?, server.status));
            }
        }
        Ok(())
    }

    /// Waits for the next lines of any server. Cancel safe.
    async fn lines(&self) -> String {
        poll_fn(|context| {
            let mut text = String::new();
            for (trace, status) in &self.traces {
                let Poll::Ready(items) = trace.poll_items(context) else { continue };
                text.extend(items.iter().map(|item| match item {
                    TraceItem::Entry(entry) => line(entry, status),
                    TraceItem::LeftOut(count) => left_out(*count),
                }));
            }
            if text.is_empty() { Poll::Pending } else { Poll::Ready(text) }
        })
        .await
    }

    fn take_left_out(&self) -> u64 {
        self.traces.iter().map(|(trace, _)| trace.take_left_out()).sum()
    }
}

/// The text of a trace, in parts.
struct Lines {
    traced: Traced,
    filter: TraceFilter,
    state: ApiState,
    ticks: Interval,
    end: Instant,
}

impl Lines {
    fn new((traced, filter): (Traced, TraceFilter), state: ApiState, end: Instant) -> Self {
        let tick = if state.front_of.is_some() { CELLS_TICK } else { TICK };
        let mut ticks = interval_at(Instant::now(), tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { traced, filter, state, ticks, end }
    }

    /// Waits for the next part; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        select! {
            biased;
            () = sleep_until(self.end) => None,
            // A line in every interval shows whether the caller is there: a write fails if not.
            _ = self.ticks.tick() => {
                // A cell where as many traces run as may is tried again.
                let _ = self.traced.follow(&self.state, &self.filter).await;
                Some(left_out(self.traced.take_left_out()))
            }
            text = self.traced.lines() => Some(text),
        }
    }
}

fn left_out(count: u64) -> String {
    format!("{{\"left_out\":{count}}}\n")
}

fn line(entry: &TraceEntry, status: &Status) -> String {
    let client = &entry.client;
    let line = LineJson {
        at: rfc_3339(status.wall_of(entry.at)),
        event: entry.event,
        client_id: client.client_id.as_ref().map(|id| id.as_str()),
        user: client.user.as_deref(),
        address: client.address.map(|address| address.to_string()),
        listener: client.listener.as_deref(),
        protocol_version: client.version,
        packet: entry.packet,
        bytes: entry.bytes,
        packet_id: entry.packet_id,
        topic: entry.topic.as_deref(),
        qos: entry.qos,
        retain: entry.retain,
        dup: entry.dup,
        reason_code: entry.reason_code,
        reason: entry.reason.as_deref(),
        rule: entry.rule.as_deref(),
        receivers: entry.receivers,
        message_id: entry.message_id.as_deref(),
        details: entry.details.as_deref(),
    };
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

pub(super) const DURATION_DEFAULT: Duration = Duration::from_secs(600);
/// Seconds.
pub(super) const DURATION_MAX: u64 = 3_600;
/// For what waits in buffers at the end.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(5);
/// The same at a node with cells, which come and go.
const CELLS_TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::ClientPattern;

    fn parse(query: &str) -> Result<TraceFilter, Failure> {
        filter_of(&Parameters::parse(query).unwrap())
    }

    #[test]
    fn a_trace_needs_a_criterion_and_each_must_be_valid() {
        let all = parse("client_id=a*&topic=a/%23&address=::ffff:192.0.2.1").unwrap();
        assert_eq!(all.client_id, Some(ClientPattern::new("a*")));
        assert_eq!(all.topic, Some(TopicFilter::new("a/#".into()).unwrap()));
        assert_eq!(all.address, Some("192.0.2.1".parse().unwrap()));
        for query in ["", "duration=7", "client_id=", "topic=a/%23/b", "topic=", "address=a", "address=192.0.2.1:7"] {
            assert!(parse(query).is_err(), "{query}");
        }
        assert!(parse(&format!("client_id={}", "a".repeat(257))).is_err());
    }
}
