//! `/overview`: what an operator looks at first.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::ErrorJson;
use super::json::Json;
use super::spread::MissingNodeJson;
use super::state::ApiState;
use super::store::durability_name;
use super::table::Routes;
use crate::admin::rates::PerSecond;
use crate::admin::routes::is_ready_with;
use crate::admin::time::rfc_3339;
use crate::broker::{MemoryLevel, Shared};
use crate::server::{BridgeState, Status, process};
use crate::timestamp::Timestamp;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_overview, overview)
}

/// The broker as a whole. Figures of the shards are up to a second old.
#[derive(Serialize, ToSchema)]
#[schema(as = Overview)]
struct OverviewJson {
    version: &'static str,
    /// RFC 3339, UTC.
    started_at: String,
    uptime_seconds: u64,
    /// What an acknowledged message survives by default: power-loss, crash or none.
    durability: &'static str,
    /// Whether clients can connect.
    ready: bool,
    /// Whether another node of the cluster serves them; see `/cluster`.
    standby: bool,
    connections: u64,
    /// Connected or not.
    sessions: u64,
    subscriptions: usize,
    retained_messages: usize,
    /// In the queues of Sessions, those in flight included.
    queued_messages: u64,
    queued_bytes: u64,
    rates: RatesJson,
    memory: MemoryJson,
    /// What needs attention, for people; empty if nothing does.
    warnings: Vec<String>,
    /// If clients are spread over cells, and no node is named: the same of each node, with its name in `node`. The figures above are their sums then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    nodes: Vec<serde_json::Value>,
    /// Nodes whose figures are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_nodes: Vec<MissingNodeJson>,
}

/// The mean of the last five to ten seconds; `null` before there is one.
#[derive(Serialize, ToSchema)]
#[schema(as = Rates)]
struct RatesJson {
    messages_received_per_second: Option<f64>,
    messages_sent_per_second: Option<f64>,
    bytes_received_per_second: Option<f64>,
    bytes_sent_per_second: Option<f64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Memory)]
struct MemoryJson {
    /// Resident memory of the process; `null` where the system does not say.
    used_bytes: Option<u64>,
    /// limits.memory_max.
    max_bytes: u64,
}

/// Version, state, figures and warnings. If clients are spread over cells, the figures are sums over all nodes; version, start and durability are those of
/// the node that is asked.
#[utoipa::path(
    get, path = "/overview",
    params(("node" = Option<String>, Query, description = "Of this node alone, if clients are spread over cells")),
    responses(
        (status = 200, description = "The broker as a whole", body = OverviewJson),
        (status = 404, description = "There is no such node", body = ErrorJson),
    )
)]
async fn overview(State(state): State<ApiState>) -> Json<OverviewJson> {
    let ApiState { status, node, .. } = &state;
    let counters = node.counters();
    let (started_at, retained_messages) = (status.started_at(), node.retained());
    let (rates, has_cells) = (state.rates.now(), !state.cells.is_empty());
    let of = |figure: fn(&PerSecond) -> f64| rates.as_ref().map(figure);
    Json(OverviewJson {
        version: env!("CARGO_PKG_VERSION"),
        started_at: rfc_3339(started_at),
        uptime_seconds: status.wall_now().since(started_at).as_secs(),
        durability: durability_name(state.durability),
        ready: if has_cells { is_ready_with(&state.cells, status) } else { status.is_ready() },
        standby: status.is_standby() && !has_cells,
        connections: node.admission().connections,
        sessions: counters.sessions,
        subscriptions: node.sum(Shared::subscriptions_len).0,
        retained_messages,
        queued_messages: counters.queued_messages,
        queued_bytes: counters.queued_bytes,
        rates: RatesJson {
            messages_received_per_second: of(|rates| rates.messages_received),
            messages_sent_per_second: of(|rates| rates.messages_sent),
            bytes_received_per_second: of(|rates| rates.bytes_received),
            bytes_sent_per_second: of(|rates| rates.bytes_sent),
        },
        memory: MemoryJson { used_bytes: process::memory().resident, max_bytes: status.memory().max },
        warnings: warnings(&state),
        nodes: Vec::new(),
        missing_nodes: Vec::new(),
    })
}

fn warnings(state: &ApiState) -> Vec<String> {
    let ApiState { status, node, .. } = state;
    let mut warnings = Vec::new();
    if status.is_stopping() {
        warnings.push("the broker is stopping".to_owned());
    }
    let silence = node.longest_silence();
    if silence > SILENCE_MAX {
        warnings.push(format!("a shard has been silent for {} s", silence.as_secs()));
    }
    if status.memory().level != MemoryLevel::Normal {
        warnings.push("memory is short: some clients are not read, or are refused (limits.memory_max)".to_owned());
    }
    let stats = node.store();
    if stats.is_full {
        warnings.push("the disk is full: messages for durable sessions are refused".to_owned());
    }
    if let Some(segment) = stats.unreadable_segment {
        warnings.push(format!("segment {segment} of the store can't be read, so no space is reclaimed"));
    }
    let lost = state.audit.lost();
    if lost > 0 {
        warnings.push(format!("the audit log lacks {lost} lines that could not be written"));
    }
    warnings.extend(of_bridges_and_sinks(&node.statuses()));
    let cluster = state.cluster.as_ref().map(|cluster| cluster.status());
    warnings.extend(cluster.iter().flat_map(|cluster| cluster.troubles().map(str::to_owned)));
    for (cell, status) in state.cells.iter().map(|cell| cell.status()).enumerate() {
        warnings.extend(status.troubles().map(|trouble| format!("cell {cell}: {trouble}")));
    }
    for cell in node.cells().into_iter().filter(|cell| !cell.accepts_clients) {
        warnings.push(format!("cell {} accepts no clients yet", cell.cell.0));
    }
    let now = i64::try_from(status.wall_now().0 / 1_000).unwrap_or(i64::MAX);
    for certificate in status.certificates() {
        match certificate.expires.saturating_sub(now) {
            left @ ..=0 => {
                warnings.push(format!("the certificate of listener {} expired {} s ago", certificate.listener, -left))
            }
            left @ ..=EXPIRY_NEAR => {
                warnings.push(format!(
                    "the certificate of listener {} expires in {} days",
                    certificate.listener,
                    left / DAY
                ));
            }
            _ => {}
        }
    }
    warnings
}

/// What bridges and sinks can't do, and have not been able to for some time.
fn of_bridges_and_sinks(statuses: &[Arc<Status>]) -> Vec<String> {
    let mut troubles: Vec<_> = statuses.iter().flat_map(|status| troubles_of(status)).collect();
    if let Some(more) = troubles.len().checked_sub(TROUBLES_MAX).filter(|more| *more > 0) {
        troubles.truncate(TROUBLES_MAX);
        troubles.push(format!("{more} more warnings about bridges and sinks: see GET /bridges and /sinks"));
    }
    troubles
}

fn troubles_of(status: &Status) -> Vec<String> {
    let now = status.now();
    let lasting =
        |since: Timestamp| Some(now.since(since)).filter(|time| *time > TROUBLE_MIN).map(|time| time.as_secs());
    let mut troubles = Vec::new();
    for bridge in status.bridges() {
        let (name, reason) = (&bridge.name, bridge.last_error.as_deref().unwrap_or("no attempt has ended yet"));
        if let Some(seconds) = lasting(bridge.since).filter(|_| bridge.state == BridgeState::Connecting) {
            troubles.push(format!("bridge {name} has not been connected for {seconds} s: {reason}"));
        }
        if bridge.subscriptions_refused > 0 {
            troubles.push(format!("{} subscriptions of bridge {name} are refused", bridge.subscriptions_refused));
        }
    }
    for sink in status.sinks() {
        let (name, reason) = (&sink.name, sink.reason.as_deref().unwrap_or_default());
        if let Some(reason) = &sink.unavailable {
            troubles.push(format!("sink {name} can't run with its settings: {reason}"));
        } else if let Some(seconds) = sink.failing_since.and_then(lasting) {
            troubles.push(format!("sink {name} has delivered nothing for {seconds} s: {reason}"));
        }
        if let Some(reason) = &sink.refused {
            troubles.push(format!("sink {name} does not get all messages: {reason}"));
        }
    }
    troubles
}

/// A bridge or sink that is well again within this time was hardly missed.
const TROUBLE_MIN: Duration = Duration::from_secs(60);
/// Warnings about bridges and sinks that are listed.
const TROUBLES_MAX: usize = 10;
/// Shards publish their figures once a second.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const DAY: i64 = 24 * 3_600;
/// Time to renew a certificate.
const EXPIRY_NEAR: i64 = 14 * DAY;
