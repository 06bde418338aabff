use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::exporter::Exporter;
use crate::server::Status;

/// What the admin listener answers.
pub(super) fn router(exporter: Arc<Mutex<Exporter>>, status: Arc<Status>) -> Router {
    let metrics = get(metrics).with_state(exporter);
    let live = get(live).with_state(Arc::clone(&status));
    let ready = get(ready).with_state(status);
    Router::new()
        .route("/metrics", metrics)
        .route("/health/live", live)
        .route("/health/ready", ready)
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

async fn elsewhere() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "OnceMQ answers here:\n/metrics\n/health/live\n/health/ready\n")
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
