//! `/bridges`: what the bridges do.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::own_queue::OwnQueueJson;
use super::spread::MissingCellJson;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::time::rfc_3339;
use crate::bridge::Dropped;
use crate::server::{BridgeFigures, BridgeState, OwnClientKind};
use crate::timestamp::Timestamp;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list).add(__path_one, one)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Bridges)]
struct BridgesJson {
    bridges: Vec<BridgeJson>,
    /// Cells over which clients are spread, and whose bridges the list lacks, because they did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_cells: Vec<MissingCellJson>,
}

/// What a bridge does, and has done since it was started or replaced.
#[derive(Serialize, ToSchema)]
#[schema(as = Bridge)]
struct BridgeJson {
    name: String,
    /// `connecting`, `connected`, `idle` (lazy: it waits for messages), `ended` (once), or `stopped`: it does not run.
    state: &'static str,
    /// Whether it is connected to the other broker.
    connected: bool,
    /// RFC 3339: since when it is in this state.
    since: Option<String>,
    /// The address that it has or tries; `null`: none yet.
    address: Option<String>,
    /// Whose Session has its queue.
    client_id: String,
    /// Why it is not connected, or was not the last time.
    last_error: Option<String>,
    /// RFC 3339.
    last_error_at: Option<String>,
    connects: u64,
    /// Attempts to connect that failed.
    failures: u64,
    /// To the other broker.
    out: BridgeTrafficJson,
    /// From the other broker.
    #[serde(rename = "in")]
    inward: BridgeTrafficJson,
    /// Messages that it did not pass on, by reason. Those that were dropped from the queue are there.
    dropped: BTreeMap<&'static str, u64>,
    /// Messages that a broker has refused.
    refused: BridgeSidesJson,
    /// How often its Session was gone at one broker, although the other one had its own.
    sessions_lost: BridgeSidesJson,
    /// Topic Filters that a broker has refused at the last connect.
    subscriptions_refused: u64,
    /// `null`: not known at present.
    queue: Option<OwnQueueJson>,
}

/// Messages that have passed, those sent again included.
#[derive(Serialize, ToSchema)]
#[schema(as = BridgeTraffic)]
struct BridgeTrafficJson {
    messages: u64,
    /// Of topics and payloads.
    bytes: u64,
}

/// A count for each of the two brokers.
#[derive(Serialize, ToSchema)]
#[schema(as = BridgeSides)]
struct BridgeSidesJson {
    /// This broker.
    here: u64,
    /// The other one.
    there: u64,
}

/// A bridge with its settings.
#[derive(Serialize, ToSchema)]
#[schema(as = BridgeDetails)]
struct BridgeDetailsJson {
    #[serde(flatten)]
    bridge: BridgeJson,
    /// The settings in force, as in the configuration file. Secrets are in files, and the values are their names.
    configuration: serde_json::Value,
}

/// All bridges of the configuration, in its order.
#[utoipa::path(get, path = "/bridges", responses((status = 200, description = "The bridges", body = BridgesJson)))]
async fn list(State(state): State<ApiState>) -> Json<BridgesJson> {
    let figures = state.status.bridges();
    let in_force = state.reloader.in_force();
    let names = in_force.config.bridges.iter().map(|settings| &*settings.name);
    let of = |name| BridgeJson::new(name, figures.iter().find(|figures| &*figures.name == name), &state);
    Json(BridgesJson { bridges: names.map(of).collect(), missing_cells: Vec::new() })
}

/// One bridge, with its settings.
#[utoipa::path(
    get, path = "/bridges/{name}",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The bridge", body = BridgeDetailsJson),
        (status = 404, description = "There is no such bridge", body = ErrorJson),
    )
)]
async fn one(State(state): State<ApiState>, Path(name): Path<String>) -> Result<Json<BridgeDetailsJson>, Failure> {
    let in_force = state.reloader.in_force();
    let settings = in_force.config.bridges.iter().find(|settings| settings.name == name);
    let settings = settings.ok_or_else(|| Failure::not_found("the configuration has no bridge of this name"))?;
    let figures = state.status.bridges();
    let bridge = BridgeJson::new(&name, figures.iter().find(|figures| *figures.name == *name), &state);
    let configuration = serde_json::to_value(settings).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(Json(BridgeDetailsJson { bridge, configuration }))
}

impl BridgeJson {
    fn new(name: &str, figures: Option<&BridgeFigures>, state: &ApiState) -> Self {
        let time = |at: Timestamp| rfc_3339(state.status.wall_of(at));
        let counts = figures.map(|figures| figures.counts).unwrap_or_default();
        let count = |of: fn(&BridgeFigures) -> u64| figures.map_or(0, of);
        let dropped = Dropped::ALL.into_iter().map(Dropped::name).zip(counts.dropped);
        Self {
            name: name.to_owned(),
            state: figures.map_or("stopped", |figures| figures.state.name()),
            connected: figures.is_some_and(|figures| figures.state == BridgeState::Connected),
            since: figures.map(|figures| time(figures.since)),
            address: figures.and_then(|figures| figures.address.as_deref().map(str::to_owned)),
            client_id: OwnClientKind::Bridge.client_id(name).as_str().to_owned(),
            last_error: figures.and_then(|figures| figures.last_error.as_deref().map(str::to_owned)),
            last_error_at: figures.and_then(|figures| figures.last_error_at).map(time),
            connects: count(|figures| figures.connects),
            failures: count(|figures| figures.failures),
            out: BridgeTrafficJson { messages: counts.messages_out, bytes: counts.bytes_out },
            inward: BridgeTrafficJson { messages: counts.messages_in, bytes: counts.bytes_in },
            dropped: dropped.collect(),
            refused: BridgeSidesJson { here: counts.refused_here, there: counts.refused_there },
            sessions_lost: BridgeSidesJson {
                here: count(|figures| figures.sessions_lost_here),
                there: count(|figures| figures.sessions_lost_there),
            },
            subscriptions_refused: count(|figures| figures.subscriptions_refused),
            queue: state.queues.of(OwnClientKind::Bridge, name).map(OwnQueueJson::from),
        }
    }
}
