//! `/api/v1/bans`: the banned addresses and users, as JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde::{Deserialize, Serialize};

use super::clients::{ErrorJson, json, local_only};
use crate::server::{Ban, Bans, BansFull, Status, Subject};

/// The state of the routes.
#[derive(Debug, Clone)]
pub(super) struct BansState {
    pub(super) bans: Arc<Bans>,
    pub(super) status: Arc<Status>,
}

/// The routes. Only requests from this machine are accepted.
pub(super) fn router(state: BansState) -> Router {
    Router::new()
        .route("/api/v1/bans", get(list).post(add))
        .route("/api/v1/bans/{kind}/{name}", delete(remove))
        .layer(from_fn(local_only))
        .with_state(state)
}

#[derive(Serialize)]
struct BansJson {
    bans: Vec<BanJson>,
}

#[derive(Serialize)]
struct BanJson {
    /// The address, or the /64 of an IPv6 address; `null` for a user.
    address: Option<String>,
    /// The verified user; `null` for an address.
    user: Option<String>,
    seconds_left: u64,
    reason: String,
}

/// The body of a POST.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBan {
    address: Option<String>,
    user: Option<String>,
    seconds: u64,
    #[serde(default)]
    reason: String,
}

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    BadRequest(String),
    #[error("not banned")]
    NotFound,
    #[error(transparent)]
    Full(#[from] BansFull),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Full(_) => StatusCode::CONFLICT,
        };
        json(code, &ErrorJson { error: self.to_string() })
    }
}

async fn list(State(BansState { bans, status }): State<BansState>) -> Response {
    let now = status.now();
    let bans = bans.list(now).into_iter().map(|(subject, Ban { until, reason })| {
        let (address, user) = match subject {
            Subject::Address(source) => (Some(source.to_string()), None),
            Subject::User(user) => (None, Some(user.to_string())),
        };
        BanJson { address, user, seconds_left: until.since(now).as_secs(), reason }
    });
    json(StatusCode::OK, &BansJson { bans: bans.collect() })
}

async fn add(State(BansState { bans, status }): State<BansState>, body: Bytes) -> Result<Response, Failure> {
    let new: NewBan = serde_json::from_slice(&body).map_err(|error| Failure::BadRequest(error.to_string()))?;
    let subject = match (&new.address, &new.user) {
        (Some(address), None) => subject_of("address", address)?,
        (None, Some(user)) => subject_of("user", user)?,
        _ => return Err(Failure::BadRequest("exactly one of address and user is needed".to_owned())),
    };
    if !(1..=SECONDS_MAX).contains(&new.seconds) {
        return Err(Failure::BadRequest("seconds must be from 1 to 31536000".to_owned()));
    }
    if new.reason.len() > REASON_MAX {
        return Err(Failure::BadRequest("reason must be at most 256 bytes".to_owned()));
    }
    let now = status.now();
    let reason = if new.reason.is_empty() { "set by an operator".to_owned() } else { new.reason };
    bans.add(subject, Ban { until: now + Duration::from_secs(new.seconds), reason }, now)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn remove(
    State(BansState { bans, .. }): State<BansState>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    if bans.remove(&subject_of(&kind, &name)?) {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Failure::NotFound)
    }
}

fn subject_of(kind: &str, name: &str) -> Result<Subject, Failure> {
    match kind {
        "address" => {
            let source = name.parse().map_err(|error| Failure::BadRequest(format!("address {name:?} is {error}")))?;
            Ok(Subject::Address(source))
        }
        "user" if !name.is_empty() && name.len() <= USER_MAX => Ok(Subject::User(name.into())),
        "user" => Err(Failure::BadRequest("user must have from 1 to 1024 bytes".to_owned())),
        _ => Err(Failure::BadRequest("a ban is of an address or of a user".to_owned())),
    }
}

/// A year.
const SECONDS_MAX: u64 = 365 * 24 * 3_600;
/// Bytes of a reason.
const REASON_MAX: usize = 256;
/// The longest user name in a ban, so that a full list is bounded.
const USER_MAX: usize = 1_024;
