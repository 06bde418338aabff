//! `/sinks`: what the sinks do.

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
use crate::config;
use crate::server::{OwnClientKind, SinkFigures};
use crate::timestamp::Timestamp;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list).add(__path_one, one)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Sinks)]
struct SinksJson {
    sinks: Vec<SinkJson>,
    /// Cells over which clients are spread, and whose sinks the list lacks, because they did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_cells: Vec<MissingCellJson>,
}

/// What a sink does, and has done since the broker started.
#[derive(Serialize, ToSchema)]
#[schema(as = Sink)]
struct SinkJson {
    name: String,
    /// `well`, `failing`, `starting`, or `stopped`: it does not run.
    state: &'static str,
    /// Scheme, host and port of its requests; `null`: it has never run.
    endpoint: Option<String>,
    /// Whose Session has its queue.
    client_id: String,
    /// RFC 3339: since when it has its Session.
    connected_since: Option<String>,
    /// RFC 3339: since when no request was answered with success, or it has no Session; `null`: all is well.
    failing_since: Option<String>,
    /// What went wrong last; `null`: all is well.
    last_error: Option<String>,
    /// Why it can't run with its present settings; one that runs goes on with those before. `null`: it can.
    unavailable: Option<String>,
    /// Which subscription was refused, and why; `null`: it has all of them.
    subscription_refused: Option<String>,
    /// The status of the last answer; `null`: there was none to the last request.
    last_status: Option<u16>,
    /// RFC 3339: when the last request was answered with success.
    last_success: Option<String>,
    /// Messages that the receiver has taken.
    delivered_messages: u64,
    requests: SinkRequestsJson,
    /// Messages that became dead letters.
    dead_letters: u64,
    /// Messages that it gave up without a dead letter. Those that were dropped from the queue are there.
    dropped_messages: u64,
    /// Messages that it has taken from its Session and not delivered.
    held_messages: usize,
    /// `null`: not known at present.
    queue: Option<OwnQueueJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SinkRequests)]
struct SinkRequestsJson {
    /// Answered with success.
    delivered: u64,
    /// Answered otherwise.
    refused: u64,
    unanswered: u64,
    /// Those that were sent again.
    retries: u64,
    under_way: usize,
}

/// A sink with its settings.
#[derive(Serialize, ToSchema)]
#[schema(as = SinkDetails)]
struct SinkDetailsJson {
    #[serde(flatten)]
    sink: SinkJson,
    /// The settings in force, as in the configuration file. Secrets are in files, and the values are their names.
    configuration: serde_json::Value,
}

/// All sinks of the configuration, in its order.
#[utoipa::path(get, path = "/sinks", responses((status = 200, description = "The sinks", body = SinksJson)))]
async fn list(State(state): State<ApiState>) -> Json<SinksJson> {
    let figures = state.status.sinks();
    let in_force = state.reloader.in_force();
    let of = |settings: &config::Sink| {
        SinkJson::new(&settings.name, figures.iter().find(|figures| *figures.name == *settings.name), &state)
    };
    Json(SinksJson { sinks: in_force.config.sinks.iter().map(of).collect(), missing_cells: Vec::new() })
}

/// One sink, with its settings.
#[utoipa::path(
    get, path = "/sinks/{name}",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The sink", body = SinkDetailsJson),
        (status = 404, description = "There is no such sink", body = ErrorJson),
    )
)]
async fn one(State(state): State<ApiState>, Path(name): Path<String>) -> Result<Json<SinkDetailsJson>, Failure> {
    let in_force = state.reloader.in_force();
    let settings = in_force.config.sinks.iter().find(|settings| settings.name == name);
    let settings = settings.ok_or_else(|| Failure::not_found("the configuration has no sink of this name"))?;
    let figures = state.status.sinks();
    let sink = SinkJson::new(&name, figures.iter().find(|figures| *figures.name == *name), &state);
    let configuration = serde_json::to_value(settings).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(Json(SinkDetailsJson { sink, configuration }))
}

impl SinkJson {
    fn new(name: &str, figures: Option<&SinkFigures>, state: &ApiState) -> Self {
        let stopped = SinkFigures::default();
        let is_running = figures.is_some();
        let figures = figures.unwrap_or(&stopped);
        let time = |at: Option<Timestamp>| at.map(|at| rfc_3339(state.status.wall_of(at)));
        Self {
            name: name.to_owned(),
            state: if is_running { state_of(figures) } else { "stopped" },
            endpoint: Some(figures.endpoint.to_string()).filter(|endpoint| !endpoint.is_empty()),
            client_id: OwnClientKind::Sink.client_id(name).as_str().to_owned(),
            connected_since: time(figures.connected_since),
            failing_since: time(figures.failing_since),
            last_error: figures.reason.as_deref().map(str::to_owned),
            unavailable: figures.unavailable.as_deref().map(str::to_owned),
            subscription_refused: figures.refused.as_deref().map(str::to_owned),
            last_status: figures.last_status,
            last_success: time(figures.last_success),
            delivered_messages: figures.counts.delivered,
            requests: SinkRequestsJson {
                delivered: figures.counts.batches,
                refused: figures.answered.saturating_sub(figures.counts.batches),
                unanswered: figures.unanswered,
                retries: figures.counts.retries,
                under_way: figures.under_way,
            },
            dead_letters: figures.counts.dead_letters,
            dropped_messages: figures.counts.dropped,
            held_messages: figures.held,
            queue: state.queues.of(OwnClientKind::Sink, name).map(OwnQueueJson::from),
        }
    }
}

const fn state_of(figures: &SinkFigures) -> &'static str {
    match (figures.failing_since, figures.connected_since) {
        (_, None) if figures.unavailable.is_some() => "stopped",
        (Some(_), _) => "failing",
        (None, Some(_)) => "well",
        (None, None) => "starting",
    }
}
