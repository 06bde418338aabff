//! `/users` and `/acl`: the password file and the ACL file.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::{Body, Parameters};
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::Caller;
use crate::server::EditFailure;

pub(super) fn admin_routes() -> Routes {
    Routes::new()
        .add(__path_list, list)
        .add(__path_set, set)
        .add(__path_remove, remove)
        .add(__path_acl, acl)
        .add(__path_set_acl, set_acl.layer(DefaultBodyLimit::max(ACL_BYTES_MAX)))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Users)]
struct UsersJson {
    users: Vec<UserJson>,
    /// Where the next page begins; `null`: this is the last one.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = User)]
struct UserJson {
    name: String,
}

/// The body of a PUT.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Password {
    password: String,
}

impl From<EditFailure> for Failure {
    fn from(failure: EditFailure) -> Self {
        let text = failure.to_string();
        match failure {
            EditFailure::Invalid(_) => Self::bad_request(text),
            EditFailure::UnknownUser(_) => Self::not_found(text),
            EditFailure::NoFile(_) | EditFailure::NotInForce(_) => Self::conflict(text),
            EditFailure::Failed(_) => Self::internal(text),
            EditFailure::Pending(_) => Self::unavailable(text),
        }
    }
}

/// The users of the password file, sorted by name.
#[utoipa::path(
    get, path = "/users",
    params(
        ("limit" = Option<u16>, Query, description = "Users of a page, from 1 to 1,000, by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the page before")
    ),
    responses(
        (status = 200, description = "The users", body = UsersJson),
        (status = 409, description = "No password file is set", body = ErrorJson)
    )
)]
async fn list(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<UsersJson>, Failure> {
    let (limit, after) = (parameters.limit()?, parameters.cursor::<String>()?);
    let mut names = state.reloader.users().await?;
    names.retain(|name| *name > after);
    let is_last = names.len() <= limit;
    names.truncate(limit);
    let cursor = names.last().filter(|_| !is_last).cloned();
    Ok(Json(UsersJson { users: names.into_iter().map(|name| UserJson { name }).collect(), cursor }))
}

/// Sets the password of a user, who may be new. It counts at once: connections of the user end if `security.on_password_change` is `close`.
#[utoipa::path(
    put, path = "/users/{name}",
    params(("name" = String, Path, description = "The user")), request_body = Password,
    responses(
        (status = 204, description = "Set, and in force"),
        (status = 409, description = "No password file is set, or it is written and can't be used", body = ErrorJson)
    )
)]
async fn set(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(Password { password }): Body<Password>,
) -> Result<StatusCode, Failure> {
    let outcome = match name.len() <= NAME_BYTES_MAX && password.len() <= PASSWORD_BYTES_MAX {
        true => state.reloader.set_user(name.clone(), password.into_bytes()).await,
        false => Err(EditFailure::Invalid("a name and a password must have at most 65535 bytes".to_owned())),
    };
    state.audit.record(&caller, "set password", &format!("user {name:?}"), &outcome);
    outcome?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a user from the password file, and ends its connections.
#[utoipa::path(
    delete, path = "/users/{name}",
    params(("name" = String, Path, description = "The user")),
    responses(
        (status = 204, description = "Removed, and in force"),
        (status = 404, description = "There is no such user", body = ErrorJson)
    )
)]
async fn remove(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let outcome = state.reloader.remove_user(name.clone()).await;
    state.audit.record(&caller, "remove user", &format!("user {name:?}"), &outcome);
    outcome?;
    Ok(StatusCode::NO_CONTENT)
}

/// The text of the ACL file.
#[utoipa::path(
    get, path = "/acl",
    responses(
        (status = 200, description = "The text", body = String, content_type = "text/plain"),
        (status = 409, description = "No ACL file is set", body = ErrorJson)
    )
)]
async fn acl(State(state): State<ApiState>) -> Result<Response, Failure> {
    let text = state.reloader.acl().await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Replaces the text of the ACL file, if all its rules are valid. It counts at once, for connected clients too.
#[utoipa::path(
    put, path = "/acl",
    request_body(content = String, content_type = "text/plain", description = "At most 1 MiB"),
    responses(
        (status = 204, description = "Replaced, and in force"),
        (status = 400, description = "A rule is invalid: the error names its line, and nothing has changed", body = ErrorJson)
    )
)]
async fn set_acl(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Failure> {
    let text = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::too_large("the ACL file may have at most 1 MiB"),
        _ => Failure::bad_request("the body ended early"),
    });
    let text = text.and_then(|bytes| {
        String::from_utf8(bytes.into()).map_err(|_| Failure::bad_request("the ACL file must be UTF-8 text"))
    });
    let outcome = match text {
        Ok(text) => state.reloader.set_acl(text).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    state.audit.record(&caller, "replace rules", "the ACL file", &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

/// The longest User Name of MQTT.
const NAME_BYTES_MAX: usize = 65_535;
/// The longest Password of MQTT.
const PASSWORD_BYTES_MAX: usize = 65_535;
/// Some ten thousand rules.
const ACL_BYTES_MAX: usize = 1_024 * 1_024;
