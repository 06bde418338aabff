//! `/streams`: the streams, and what they keep.

use std::io;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Body;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::Caller;
use crate::admin::streams::{StreamFigures, figures};

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list).add(__path_one, one)
}

pub(super) fn admin_routes() -> Routes {
    Routes::new().add(__path_trim, trim).add(__path_remove, remove)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Streams)]
struct StreamsJson {
    streams: Vec<StreamJson>,
}

/// A stream and its messages.
#[derive(Serialize, ToSchema)]
#[schema(as = Stream)]
struct StreamJson {
    name: String,
    /// The Topic Filter of its messages.
    topic: String,
    /// `false`: it is not in the configuration any more, and takes no new messages.
    open: bool,
    /// The sequence of the oldest message that is kept; that of the next one, if there is none.
    oldest: u64,
    /// The sequence of the next message.
    next: u64,
    messages: u64,
    /// The size of its files.
    bytes: u64,
}

/// The body of a trim.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Trim {
    /// Messages with lower sequences are removed.
    below: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Trimmed)]
struct TrimmedJson {
    /// The sequence of the oldest message that is kept now.
    oldest: u64,
}

/// All streams, those that are not configured any more too, in the order of their names.
#[utoipa::path(get, path = "/streams", responses((status = 200, description = "The streams", body = StreamsJson)))]
async fn list(State(state): State<ApiState>) -> Json<StreamsJson> {
    let streams = figures(&state.shared, state.store.as_deref());
    Json(StreamsJson { streams: streams.iter().map(StreamJson::from).collect() })
}

/// One stream.
#[utoipa::path(
    get, path = "/streams/{name}",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The stream", body = StreamJson),
        (status = 404, description = "There is no such stream", body = ErrorJson),
    )
)]
async fn one(State(state): State<ApiState>, Path(name): Path<String>) -> Result<Json<StreamJson>, Failure> {
    let streams = figures(&state.shared, state.store.as_deref());
    let stream = streams.iter().find(|figures| *figures.stream.name == *name).ok_or_else(unknown)?;
    Ok(Json(StreamJson::from(stream)))
}

/// Removes the messages of a stream below a sequence. Space is freed by whole files, so the last ones stay for a while.
#[utoipa::path(
    post, path = "/streams/{name}/trim", request_body = Trim,
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "Trimmed", body = TrimmedJson),
        (status = 404, description = "There is no such stream", body = ErrorJson),
        (status = 409, description = "A backup is running", body = ErrorJson),
    )
)]
async fn trim(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(Trim { below }): Body<Trim>,
) -> Result<Json<TrimmedJson>, Failure> {
    let target = format!("{name} below {below}");
    let outcome = trim_below(&state, &name, below).await;
    state.audit.record(&caller, "trim stream", &target, &outcome.as_ref().map(|_| ()));
    outcome.map(|oldest| Json(TrimmedJson { oldest }))
}

/// Removes a stream that is not in the configuration any more, with its messages. Its subscribers are disconnected with 0x98. Its number is not
/// used again; a stream of this name that is configured later begins anew.
#[utoipa::path(
    delete, path = "/streams/{name}",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone, and that is durable"),
        (status = 404, description = "There is no such stream", body = ErrorJson),
        (status = 409, description = "It is in the configuration, or a backup is running", body = ErrorJson),
    )
)]
async fn remove(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let outcome = match state.shared.streams().named(&name) {
        None => Err(unknown()),
        Some(_) => match state.reloader.remove_stream(name.clone()).await {
            Ok(removed) => removed.map_err(Failure::conflict),
            Err(error) => Err(error.into()),
        },
    };
    state.audit.record(&caller, "remove stream", &name, &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

async fn trim_below(state: &ApiState, name: &str, below: u64) -> Result<u64, Failure> {
    let number = state.shared.streams().named(name).map(|stream| stream.number.0).ok_or_else(unknown)?;
    let store = state.store.clone().ok_or_else(unknown)?;
    // It waits for the disk.
    let trimmed = tokio::task::spawn_blocking(move || store.trim_stream(number, below)).await;
    match trimmed {
        Ok(Ok(Some(oldest))) => Ok(oldest),
        Ok(Ok(None)) => Err(unknown()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ResourceBusy => {
            Err(Failure::conflict("a backup is running, and nothing is removed meanwhile"))
        }
        Ok(Err(error)) => Err(Failure::internal(error.to_string())),
        Err(error) => Err(Failure::internal(error.to_string())),
    }
}

fn unknown() -> Failure {
    Failure::not_found("there is no stream of this name")
}

impl From<&StreamFigures> for StreamJson {
    fn from(figures: &StreamFigures) -> Self {
        Self {
            name: figures.stream.name.to_string(),
            topic: figures.stream.topic.as_str().to_owned(),
            open: figures.stream.is_open,
            oldest: figures.oldest,
            next: figures.next,
            messages: figures.messages(),
            bytes: figures.bytes,
        }
    }
}
