use std::process;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::api::{self, Access, ApiState, CellsApi};
use super::audit::Audit;
use super::backups::{Backups, PROCESS_HEADER, Progress};
use super::caller::Caller;
use super::exporter::Exporter;
use super::guard::{self, Guard, has_local_host};
use super::node::Node;
use super::page;
use super::peer::Peer;
use crate::cluster::{ClusterHandle, Role};
use crate::server::Status;

/// Who may read the metrics.
#[derive(Debug, Clone)]
struct Readers {
    access: Access,
    metrics_open: bool,
}

/// What makes backups, and where they are recorded.
type Recorded = (Arc<Backups>, Arc<Audit>);

/// What the readiness of a node depends on.
type Nodes = (Arc<Status>, Option<ClusterHandle>, Vec<ClusterHandle>);

/// The routes of the admin listener.
pub(super) fn router(
    exporter: Arc<Exporter>,
    (state, access, cells): (ApiState, Access, Option<&Arc<CellsApi>>),
    metrics_open: bool,
    guard: Guard,
) -> Router {
    let (status, backups) = (Arc::clone(&state.status), Arc::clone(&state.backups));
    let readers = Readers { access: access.clone(), metrics_open };
    let metrics = get(metrics).layer(from_fn_with_state(readers, check_reader)).with_state(exporter);
    let live = get(live).with_state((Arc::clone(&status), state.node.clone()));
    let ready = get(ready).with_state((status, state.cluster.clone(), state.cells.clone()));
    let recorded = (backups, Arc::clone(&state.audit));
    let backup = get(backup_progress)
        .post(backup)
        .layer(from_fn_with_state(Arc::clone(&state.audit), local_only))
        .with_state(recorded);
    Router::new()
        .route("/metrics", metrics)
        .route("/health/live", live)
        .route("/health/ready", ready)
        .route("/backup", backup)
        .merge(page::routes())
        .merge(api::router(state, access, cells))
        .fallback(not_found)
        .layer(from_fn_with_state(guard, guard::check))
        .layer(map_response(close_after_response))
}

async fn metrics(State(exporter): State<Arc<Exporter>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], exporter.render())
}

/// Liveness: every shard makes progress. It holds during a drain too, because a restart would cut the drain short.
async fn live(State((status, node)): State<(Arc<Status>, Node)>) -> Response {
    if status.is_stopping() || node.longest_silence() <= SILENCE_MAX {
        health(StatusCode::OK, "live")
    } else {
        health(StatusCode::SERVICE_UNAVAILABLE, "a shard is stuck")
    }
}

/// Readiness: clients can connect. A node of a cluster that does not serve them says what it does.
/// One that spreads clients over cells passes each to another node or serves it, if the owner of any cell is known.
async fn ready(State((status, cluster, cells)): State<Nodes>) -> Response {
    if is_ready_with(&cells, &status) {
        return health(StatusCode::OK, "ready");
    }
    if status.is_standby() && !status.is_stopping() {
        let role = cluster.map_or(Role::Standby, |cluster| cluster.role());
        return health(StatusCode::SERVICE_UNAVAILABLE, role.name());
    }
    let probe = status.probe();
    match (status.is_ready(), status.is_stopping()) {
        (true, _) => match probe.as_ref().and_then(|probe| probe.unready_because()) {
            None => health(StatusCode::OK, "ready"),
            Some(reason) => health(StatusCode::SERVICE_UNAVAILABLE, &format!("the probe fails: {reason}")),
        },
        (false, false) => health(StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (false, true) => health(StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}

/// Whether clients can connect to a node that spreads them over cells.
pub(super) fn is_ready_with(cells: &[ClusterHandle], status: &Status) -> bool {
    cells.iter().any(ClusterHandle::has_owner) && !status.is_stopping()
}

/// Starts a backup, if the process id in the header is ours or there is no header. The older way, beside the one of the API.
async fn backup(
    State((backups, audit)): State<Recorded>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    let expected = headers.get(PROCESS_HEADER);
    let outcome = match expected.is_none_or(|expected| expected.as_bytes() == process::id().to_string().as_bytes()) {
        true => backups.start().map_err(|error| error.to_string()),
        false => Err(format!("this is process {}", process::id())),
    };
    let (what, target) = ("back up", "the store");
    match (&peer, &outcome) {
        (Peer::Local, _) => audit.record(&Caller::local(), what, target, &outcome),
        // Every process of this machine can connect to loopback.
        (Peer::Remote { .. }, Ok(())) => audit.record_stranger(peer.address(), what, target, &"done"),
        (Peer::Remote { .. }, Err(reason)) => audit.record_stranger(peer.address(), what, target, reason),
    }
    match outcome {
        Ok(()) => (StatusCode::ACCEPTED, progress_line(&backups)).into_response(),
        Err(reason) => (StatusCode::CONFLICT, format!("{reason}\n")).into_response(),
    }
}

async fn backup_progress(State((backups, _)): State<Recorded>) -> String {
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
async fn local_only(
    State(audit): State<Arc<Audit>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.is_local() && has_local_host(request.headers()) {
        return next.run(request).await;
    }
    let refused = "backups can be requested from this machine only";
    if request.method() == Method::POST {
        audit.record_stranger(peer.address(), "back up", "the store", &refused);
    }
    (StatusCode::FORBIDDEN, format!("{refused}\n")).into_response()
}

/// Lets this machine read the metrics, and everybody who has a token, or everybody.
async fn check_reader(
    State(Readers { access, metrics_open }): State<Readers>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if metrics_open || peer.is_local() {
        return next.run(request).await;
    }
    match access.caller(&peer, request.uri(), request.headers()) {
        Ok(_) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

async fn not_found() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        "not found; the paths are:\n/\n/metrics\n/health/live\n/health/ready\n/backup\n/api/v1/openapi.json\n",
    )
}

fn health(code: StatusCode, status: &str) -> Response {
    let body = format!("{}\n", serde_json::json!({ "status": status }));
    (code, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// One request per connection, so an idle connection doesn't occupy one of the few slots.
async fn close_after_response(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A shard publishes its figures every second. An overloaded machine delays this, but not by as much.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
