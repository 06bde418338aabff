use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::api::{self, Access, ApiState};
use super::backups::{Backups, PROCESS_HEADER, Progress};
use super::exporter::Exporter;
use super::guard::{self, Guard, has_local_host};
use super::peer::Peer;
use crate::server::Status;

/// The routes of the admin listener.
pub(super) fn router(
    exporter: Arc<Mutex<Exporter>>,
    status: Arc<Status>,
    backups: Arc<Backups>,
    (state, access): (ApiState, Access),
    guard: Guard,
) -> Router {
    let metrics = get(metrics).with_state(exporter);
    let live = get(live).with_state(Arc::clone(&status));
    let ready = get(ready).with_state(status);
    let backup = get(backup_progress).post(backup).layer(from_fn(local_only)).with_state(backups);
    Router::new()
        .route("/metrics", metrics)
        .route("/health/live", live)
        .route("/health/ready", ready)
        .route("/backup", backup)
        .merge(api::router(state, access))
        .fallback(not_found)
        .layer(from_fn_with_state(guard, guard::check))
        .layer(map_response(close_after_response))
}

pub(super) fn lock(exporter: &Mutex<Exporter>) -> MutexGuard<'_, Exporter> {
    exporter.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn metrics(State(exporter): State<Arc<Mutex<Exporter>>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], lock(&exporter).render())
}

/// Liveness: every shard makes progress. It holds during a drain too, because a restart would cut the drain short.
async fn live(State(status): State<Arc<Status>>) -> Response {
    if status.is_stopping() || status.longest_silence() <= SILENCE_MAX {
        health(StatusCode::OK, "live")
    } else {
        health(StatusCode::SERVICE_UNAVAILABLE, "a shard is stuck")
    }
}

/// Readiness: clients can connect.
async fn ready(State(status): State<Arc<Status>>) -> Response {
    match (status.is_ready(), status.is_stopping()) {
        (true, _) => health(StatusCode::OK, "ready"),
        (false, false) => health(StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (false, true) => health(StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}

/// Starts a backup, if the process id in the header is ours or there is no header.
async fn backup(State(backups): State<Arc<Backups>>, headers: HeaderMap) -> Response {
    let expected = headers.get(PROCESS_HEADER);
    if expected.is_some_and(|expected| expected.as_bytes() != process::id().to_string().as_bytes()) {
        return (StatusCode::CONFLICT, format!("this is process {}\n", process::id())).into_response();
    }
    match backups.start() {
        Ok(()) => (StatusCode::ACCEPTED, progress_line(&backups)).into_response(),
        Err(error) => (StatusCode::CONFLICT, format!("{error}\n")).into_response(),
    }
}

async fn backup_progress(State(backups): State<Arc<Backups>>) -> String {
    progress_line(&backups)
}

fn progress_line(backups: &Backups) -> String {
    match backups.progress() {
        Progress::None => "none\n".to_owned(),
        Progress::Running => "running\n".to_owned(),
        Progress::Done(directory) => format!("done {}\n", directory.display()),
        Progress::Failed(cause) => format!("failed {cause}\n"),
    }
}

/// Accepts requests from this machine, by an address or `localhost`. The guard has refused those of websites.
async fn local_only(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    if peer.is_local() && has_local_host(request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "backups can be requested from this machine only\n").into_response()
    }
}

async fn not_found() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        "not found; the paths are:\n/metrics\n/health/live\n/health/ready\n/backup\n/api/v1/openapi.json\n",
    )
}

fn health(code: StatusCode, status: &str) -> Response {
    (code, [(CONTENT_TYPE, "application/json")], format!("{{\"status\":\"{status}\"}}\n")).into_response()
}

/// One request per connection, so an idle connection doesn't occupy one of the few slots.
async fn close_after_response(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A shard publishes its figures every second. An overloaded machine delays this, but not by as much.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
