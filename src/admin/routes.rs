use std::net::SocketAddr;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::IncomingStream;

use super::backups::{Backups, PROCESS_HEADER, Progress};
use super::exporter::Exporter;
use super::listener::BoundedListener;
use crate::server::Status;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Peer {
    pub(super) fn is_this_machine(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// What the admin listener answers.
pub(super) fn router(exporter: Arc<Mutex<Exporter>>, status: Arc<Status>, backups: Arc<Backups>) -> Router {
    let metrics = get(metrics).with_state(exporter);
    let live = get(live).with_state(Arc::clone(&status));
    let ready = get(ready).with_state(status);
    let backup = get(backup_progress).post(backup).layer(from_fn(this_machine_alone)).with_state(backups);
    Router::new()
        .route("/metrics", metrics)
        .route("/health/live", live)
        .route("/health/ready", ready)
        .route("/backup", backup)
        .fallback(elsewhere)
        .layer(map_response(once))
}

pub(super) fn lock(exporter: &Mutex<Exporter>) -> MutexGuard<'_, Exporter> {
    exporter.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn metrics(State(exporter): State<Arc<Mutex<Exporter>>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], lock(&exporter).render())
}

/// Every shard works. While the broker drains they end one by one, and who kills it then cuts the goodbye short.
async fn live(State(status): State<Arc<Status>>) -> Response {
    if status.is_stopping() || status.longest_silence() <= SILENCE_MAX {
        health(StatusCode::OK, "live")
    } else {
        health(StatusCode::SERVICE_UNAVAILABLE, "a shard hangs")
    }
}

/// Clients can connect.
async fn ready(State(status): State<Arc<Status>>) -> Response {
    match (status.is_ready(), status.is_stopping()) {
        (true, _) => health(StatusCode::OK, "ready"),
        (false, false) => health(StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (false, true) => health(StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}

/// Begins a backup. Who is sure which broker they mean says its process id.
async fn backup(State(backups): State<Arc<Backups>>, headers: HeaderMap) -> Response {
    let expected = headers.get(PROCESS_HEADER);
    if expected.is_some_and(|expected| expected.as_bytes() != process::id().to_string().as_bytes()) {
        return (StatusCode::CONFLICT, format!("this is process {}\n", process::id())).into_response();
    }
    match backups.begin() {
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

/// Lets in who asks from this machine, but no browser that a website tells to ask.
async fn this_machine_alone(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    if peer.is_this_machine() && !request.headers().contains_key(ORIGIN) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "backups are for this machine alone\n").into_response()
    }
}

async fn elsewhere() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "OnceMQ answers here:\n/metrics\n/health/live\n/health/ready\n/backup\n")
}

fn health(code: StatusCode, status: &str) -> Response {
    (code, [(CONTENT_TYPE, "application/json")], format!("{{\"status\":\"{status}\"}}\n")).into_response()
}

/// One answer for each connection, so that nobody holds one of the few while they wait for the next question.
async fn once(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A shard tells its figures every second. On a machine that is out of breath it may be late, but not by this much.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
