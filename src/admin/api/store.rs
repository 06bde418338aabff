//! `/store` and `/backup`: what is on disk.

use std::process;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::backups::{Backups, PROCESS_HEADER, Progress};
use crate::admin::caller::Caller;
use crate::config::Durability;
use crate::store::Stats;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_store, store)
}

pub(super) fn admin_routes() -> Routes {
    Routes::new().add(__path_progress, progress).add(__path_backup, backup)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Store)]
struct StoreJson {
    /// What an acknowledged message survives by default: power-loss, crash or none.
    durability: &'static str,
    /// `null`: no message is durable.
    log: Option<LogJson>,
}

/// The log of the store. Counters begin at the start of the broker.
#[derive(Serialize, ToSchema)]
#[schema(as = StoreLog)]
struct LogJson {
    /// Segment files.
    segments: usize,
    /// Bytes of the log.
    bytes: u64,
    /// Bytes of what is still needed.
    live_bytes: u64,
    /// Live keys.
    keys: u64,
    commits: u64,
    syncs: u64,
    /// Entries written, copies included.
    entries: u64,
    /// Whether the disk is full, or another resource ran out.
    full: bool,
    /// A segment that can't be read, by number.
    unreadable_segment: Option<u32>,
}

impl From<Stats> for LogJson {
    fn from(stats: Stats) -> Self {
        let Stats { segments, bytes, live_bytes, keys, commits, syncs, entries, is_full, unreadable_segment } = stats;
        Self { segments, bytes, live_bytes, keys, commits, syncs, entries, full: is_full, unreadable_segment }
    }
}

/// The latest backup since the start of the broker.
#[derive(Serialize, ToSchema)]
#[schema(as = Backup)]
struct BackupJson {
    /// none, running, done or failed.
    state: &'static str,
    /// Where it is, on the machine of the broker.
    directory: Option<String>,
    /// Why it failed.
    error: Option<String>,
}

impl BackupJson {
    fn of(backups: &Backups) -> Self {
        let (state, directory, error) = match backups.progress() {
            Progress::None => ("none", None, None),
            Progress::Running => ("running", None, None),
            Progress::Done(directory) => ("done", Some(directory.display().to_string()), None),
            Progress::Failed(cause) => ("failed", None, Some(cause)),
        };
        Self { state, directory, error }
    }
}

/// The name of a level, as in the configuration.
pub(super) const fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::PowerLoss => "power-loss",
        Durability::Crash => "crash",
        Durability::None => "none",
    }
}

/// Figures of the store.
#[utoipa::path(get, path = "/store", responses((status = 200, description = "The figures", body = StoreJson)))]
async fn store(State(state): State<ApiState>) -> Json<StoreJson> {
    let log = state.store.as_ref().map(|store| LogJson::from(store.stats()));
    Json(StoreJson { durability: durability_name(state.durability), log })
}

/// How far the latest backup is.
#[utoipa::path(get, path = "/backup", responses((status = 200, description = "Its state", body = BackupJson)))]
async fn progress(State(state): State<ApiState>) -> Json<BackupJson> {
    Json(BackupJson::of(&state.backups))
}

/// Starts a backup in the data directory.
#[utoipa::path(
    post, path = "/backup",
    params(("oncemq-process" = Option<u32>, Header, description = "The process id that the broker must have")),
    responses(
        (status = 202, description = "It has started", body = BackupJson),
        (status = 409, description = "There is no store, a backup runs, or this is another process", body = ErrorJson),
    )
)]
async fn backup(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<BackupJson>), Failure> {
    let (own, expected) = (process::id(), headers.get(PROCESS_HEADER));
    let outcome = match expected.is_none_or(|expected| expected.as_bytes() == own.to_string().as_bytes()) {
        true => state.backups.start().map_err(|error| Failure::conflict(error.to_string())),
        false => Err(Failure::conflict(format!("this is process {own}"))),
    };
    state.audit.record(&caller, "back up", "the store", &outcome);
    outcome.map(|()| (StatusCode::ACCEPTED, Json(BackupJson::of(&state.backups))))
}
