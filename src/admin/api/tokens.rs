//! `/tokens`: who may use the API over TCP.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Body;
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::{Caller, Role};
use crate::admin::token_file::{Token, TokenError, TokenFile};

pub(super) fn admin_routes() -> Routes {
    Routes::new().add(__path_list, list).add(__path_create, create).add(__path_revoke, revoke)
}

/// All tokens, without the secrets.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
struct TokensJson {
    tokens: Vec<TokenJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct TokenJson {
    name: String,
    role: Role,
    /// RFC 3339, UTC.
    created: String,
}

/// The body of a POST.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// From 1 to 64 letters, digits, dots, hyphens and underscores.
    name: String,
    role: Role,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CreatedToken)]
struct CreatedJson {
    name: String,
    role: Role,
    /// The secret: it is shown here and never again.
    token: String,
}

impl From<Token> for TokenJson {
    fn from(Token { name, role, created, .. }: Token) -> Self {
        Self { name, role, created }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let text = error.to_string();
        match error {
            TokenError::Name => Self::bad_request(text),
            TokenError::Unknown(_) => Self::not_found(text),
            TokenError::Exists(_) | TokenError::Full | TokenError::Damaged { .. } => Self::conflict(text),
            TokenError::Busy | TokenError::NoDirectory(_) | TokenError::Io { .. } => Self::unavailable(text),
        }
    }
}

/// The names and roles of all tokens.
#[utoipa::path(get, path = "/tokens", responses((status = 200, description = "The tokens", body = TokensJson)))]
async fn list(State(state): State<ApiState>) -> Result<Json<TokensJson>, Failure> {
    let tokens = with_file(&state, |file| file.list()).await?;
    Ok(Json(TokensJson { tokens: tokens.into_iter().map(TokenJson::from).collect() }))
}

/// Creates a token. It is honoured from now on.
#[utoipa::path(
    post, path = "/tokens", request_body = NewToken,
    responses(
        (status = 201, description = "The token, with its secret", body = CreatedJson),
        (status = 409, description = "There is one with this name, or there are too many", body = ErrorJson),
    )
)]
async fn create(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Body(NewToken { name, role }): Body<NewToken>,
) -> Result<(StatusCode, Json<CreatedJson>), Failure> {
    let named = name.clone();
    let outcome = with_file(&state, move |file| file.create(&named, role)).await;
    state.audit.record(&caller, &format!("create token for {role}"), &name, &outcome);
    outcome.map(|token| (StatusCode::CREATED, Json(CreatedJson { name, role, token })))
}

/// Revokes a token. It is refused from now on.
#[utoipa::path(
    delete, path = "/tokens/{name}",
    params(("name" = String, Path, description = "The name of the token")),
    responses((status = 204, description = "Revoked"), (status = 404, description = "There is no such token", body = ErrorJson))
)]
async fn revoke(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let named = name.clone();
    let outcome = with_file(&state, move |file| file.revoke(&named)).await;
    state.audit.record(&caller, "revoke token", &name, &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

/// Works on the file on a thread that may wait for the disk.
async fn with_file<T: Send + 'static>(
    state: &ApiState,
    work: impl FnOnce(&TokenFile) -> Result<T, TokenError> + Send + 'static,
) -> Result<T, Failure> {
    let file = state.tokens.clone();
    let done = spawn_blocking(move || work(&file)).await;
    done.map_err(|_| Failure::internal("the work on the tokens was cut off"))?.map_err(Failure::from)
}
