//! `/bans`: the banned addresses and users.

use std::time::Duration;

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
use crate::server::{Ban, Subject};

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list)
}

pub(super) fn operator_routes() -> Routes {
    Routes::new().add(__path_add, add).add(__path_remove, remove)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Bans)]
struct BansJson {
    bans: Vec<BanJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Ban)]
struct BanJson {
    /// The address, or the /64 of an IPv6 address; `null` for a user.
    address: Option<String>,
    /// The verified user; `null` for an address.
    user: Option<String>,
    seconds_left: u64,
    reason: String,
}

/// The body of a POST.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBan {
    address: Option<String>,
    user: Option<String>,
    seconds: u64,
    #[serde(default)]
    reason: String,
}

/// The addresses and users that are banned now.
#[utoipa::path(get, path = "/bans", responses((status = 200, description = "The bans", body = BansJson)))]
async fn list(State(ApiState { bans, status, .. }): State<ApiState>) -> Json<BansJson> {
    let now = status.now();
    let bans = bans.list(now).into_iter().map(|(subject, Ban { until, reason })| {
        let (address, user) = match subject {
            Subject::Address(source) => (Some(source.to_string()), None),
            Subject::User(user) => (None, Some(user.to_string())),
        };
        BanJson { address, user, seconds_left: until.since(now).as_secs(), reason }
    });
    Json(BansJson { bans: bans.collect() })
}

/// Bans an address or a verified user for a time. A ban that is there already is replaced. If clients are spread over cells, the ban is one of all nodes.
#[utoipa::path(
    post, path = "/bans", request_body = NewBan,
    responses(
        (status = 204, description = "Banned"),
        (status = 409, description = "The list of bans is full", body = ErrorJson),
        (status = 503, description = "Banned, but not all nodes of the cluster know it yet; they are told again until they do", body = ErrorJson),
    )
)]
async fn add(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewBan>,
) -> Result<StatusCode, Failure> {
    let subject = match (&new.address, &new.user) {
        (Some(address), None) => subject_of("address", address)?,
        (None, Some(user)) => subject_of("user", user)?,
        _ => return Err(Failure::bad_request("exactly one of address and user is needed")),
    };
    if !(1..=SECONDS_MAX).contains(&new.seconds) {
        return Err(Failure::bad_request("seconds must be from 1 to 31536000"));
    }
    if new.reason.len() > REASON_MAX {
        return Err(Failure::bad_request("reason must be at most 256 bytes"));
    }
    let now = state.status.now();
    let reason = if new.reason.is_empty() { "set by an operator".to_owned() } else { new.reason };
    let target = format!("{subject} for {} s", new.seconds);
    let outcome = state.bans.add(subject, Ban { until: now + Duration::from_secs(new.seconds), reason }, now);
    state.audit.record(&caller, "ban", &target, &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT).map_err(|full| Failure::conflict(full.to_string()))
}

/// Ends a ban.
#[utoipa::path(
    delete, path = "/bans/{kind}/{name}",
    params(("kind" = String, Path, description = "address or user"), ("name" = String, Path, description = "The address or the user")),
    responses(
        (status = 204, description = "Not banned any more"),
        (status = 404, description = "Was not banned", body = ErrorJson),
        (status = 503, description = "Done, but not all nodes of the cluster know it yet; they are told again until they do", body = ErrorJson),
    )
)]
async fn remove(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    let subject = subject_of(&kind, &name)?;
    let outcome = if state.bans.remove(&subject) { Ok(()) } else { Err(Failure::not_found("not banned")) };
    state.audit.record(&caller, "end ban", &subject.to_string(), &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

fn subject_of(kind: &str, name: &str) -> Result<Subject, Failure> {
    match kind {
        "address" => {
            let source = name.parse().map_err(|error| Failure::bad_request(format!("address {name:?} is {error}")))?;
            Ok(Subject::Address(source))
        }
        "user" if !name.is_empty() && name.len() <= USER_MAX => Ok(Subject::User(name.into())),
        "user" => Err(Failure::bad_request("user must have from 1 to 1024 bytes")),
        _ => Err(Failure::bad_request("a ban is of an address or of a user")),
    }
}

/// A year.
pub(super) const SECONDS_MAX: u64 = 365 * 24 * 3_600;
/// Bytes of a reason.
const REASON_MAX: usize = 256;
/// The longest user name in a ban, so that a full list is bounded.
const USER_MAX: usize = 1_024;
