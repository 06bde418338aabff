//! `/streams/{name}/groups`: the groups of subscribers of a stream, and their positions.

use std::time::Duration;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::{Body, Parameters};
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::Caller;
use crate::broker::{Answer, GroupAnswer, GroupQuery, GroupView, Query, StreamStart};
use crate::routing::ShardId;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list)
}

pub(super) fn admin_routes() -> Routes {
    Routes::new().add(__path_reset, reset).add(__path_remove, remove)
}

#[derive(Serialize, ToSchema)]
#[schema(as = StreamGroups)]
struct GroupsJson {
    groups: Vec<GroupJson>,
}

/// A group of subscribers of a stream.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamGroup)]
struct GroupJson {
    name: String,
    /// The topics that it gets, with the mount point of its members; `null`: all of the stream.
    filter: Option<String>,
    /// The first sequence that it has not acknowledged; `null`: nothing was read for it yet.
    position: Option<u64>,
    /// The messages that it has not acknowledged. Those that it has not read yet count, whether they match its filter or not.
    lag: u64,
    /// The number of connected members.
    members: usize,
    /// Messages that were sent to members and are not acknowledged.
    in_flight: usize,
}

/// The body of a reset.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResetGroup {
    /// Where the group goes on: `earliest`, `latest`, `seq:N`, or a time in milliseconds since 1970 or of RFC 3339.
    to: String,
}

/// The groups of subscribers of a stream, those without connected members too.
#[utoipa::path(
    get, path = "/streams/{name}/groups",
    params(("name" = String, Path, description = "The name of the stream")),
    responses(
        (status = 200, description = "The groups", body = GroupsJson),
        (status = 404, description = "There is no such stream", body = ErrorJson),
    )
)]
async fn list(State(state): State<ApiState>, Path(name): Path<String>) -> Result<Json<GroupsJson>, Failure> {
    let groups = groups(&state, &name)?;
    Ok(Json(GroupsJson { groups: groups.iter().map(GroupJson::from).collect() }))
}

/// Sets the position of a group. What its members have not acknowledged is not awaited any more.
#[utoipa::path(
    post, path = "/streams/{name}/groups/{group}/reset", request_body = ResetGroup,
    params(
        ("name" = String, Path, description = "The name of the stream"),
        ("group" = String, Path, description = "The name of the group"),
        ("filter" = Option<String>, Query, description = "Its filter, if there are several groups of this name; empty: the group without a filter"),
    ),
    responses(
        (status = 204, description = "It goes on there"),
        (status = 400, description = "The offset is not valid", body = ErrorJson),
        (status = 404, description = "There is no such stream or group", body = ErrorJson),
        (status = 409, description = "There are several groups of this name, or the sequence is not kept any more", body = ErrorJson),
    )
)]
async fn reset(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path((name, group)): Path<(String, String)>,
    parameters: Parameters,
    Body(ResetGroup { to }): Body<ResetGroup>,
) -> Result<StatusCode, Failure> {
    let outcome = match to.parse::<StreamStart>() {
        Ok(start) => {
            change(&state, (&name, &group, parameters.text("filter")), |number| GroupQuery::Reset(number, start)).await
        }
        Err(error) => Err(Failure::bad_request(error.to_string())),
    };
    state.audit.record(&caller, "reset group", &format!("{group} of {name} to {to}"), &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

/// Removes a group without connected members. Who subscribes to it later makes it again.
#[utoipa::path(
    delete, path = "/streams/{name}/groups/{group}",
    params(
        ("name" = String, Path, description = "The name of the stream"),
        ("group" = String, Path, description = "The name of the group"),
        ("filter" = Option<String>, Query, description = "Its filter, if there are several groups of this name; empty: the group without a filter"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "There is no such stream or group", body = ErrorJson),
        (status = 409, description = "There are several groups of this name, or it has connected members", body = ErrorJson),
    )
)]
async fn remove(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path((name, group)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<StatusCode, Failure> {
    let outcome = change(&state, (&name, &group, parameters.text("filter")), GroupQuery::Remove).await;
    state.audit.record(&caller, "remove group", &format!("{group} of {name}"), &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

fn groups(state: &ApiState, stream: &str) -> Result<Vec<GroupView>, Failure> {
    let number = state.shared.streams().named(stream).map(|stream| stream.number);
    let number = number.ok_or_else(|| Failure::not_found("there is no stream of this name"))?;
    Ok(state.shared.groups_of(number))
}

async fn change(
    state: &ApiState,
    (stream, name, filter): (&str, &str, Option<&str>),
    query: impl Fn(u64) -> GroupQuery,
) -> Result<(), Failure> {
    let mut found = groups(state, stream)?;
    found.retain(|group| &*group.name == name);
    if let Some(filter) = filter {
        found.retain(|group| group.filter.as_ref().map_or("", |own| own.as_str()) == filter);
    }
    let number = match &*found {
        [] => return Err(Failure::not_found("there is no such group")),
        [one] => one.number,
        _ => {
            let text = "there are several groups of this name: name the filter, or an empty one for the group without a filter";
            return Err(Failure::conflict(text));
        }
    };
    for _ in 0..ATTEMPTS {
        let Answer::Group(answer) = state.queries.ask(ShardId(0), Query::Groups(query(number))).await? else {
            return Err(Failure::unexpected_answer());
        };
        match answer {
            GroupAnswer::Done => return Ok(()),
            GroupAnswer::Unknown => return Err(Failure::not_found("there is no such group")),
            GroupAnswer::HasMembers => return Err(Failure::conflict("it has connected members")),
            GroupAnswer::Trimmed(oldest) => {
                return Err(Failure::conflict(format!("the oldest message of the stream {stream} is seq:{oldest}")));
            }
            GroupAnswer::Busy => tokio::time::sleep(BUSY_PAUSE).await,
        }
    }
    Err(Failure::unavailable("the position of the group is being stored, retry the request"))
}

impl From<&GroupView> for GroupJson {
    fn from(group: &GroupView) -> Self {
        let GroupView { name, filter, position, lag, members, in_flight, .. } = group;
        let filter = filter.as_ref().map(|filter| filter.as_str().to_owned());
        Self {
            name: name.to_string(),
            filter,
            position: *position,
            lag: *lag,
            members: *members,
            in_flight: *in_flight,
        }
    }
}

/// A record is stable within milliseconds, unless the disk is in trouble.
const ATTEMPTS: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(20);
