//! `/clients`: the Sessions and connections of all shards.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::client_json::{ClientJson, SubscriptionJson};
use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::{Body, Parameters, ShardCursor};
use super::state::ApiState;
use super::table::Routes;
use crate::admin::caller::Caller;
use crate::broker::{
    ANONYMOUS, Answer, Gift, GiftOutcome, Owner, Page, PageRequest, Query, SubscriptionView, VerifiedUser,
};
use crate::codec::ClientId;
use crate::routing::ShardId;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list).add(__path_one, one).add(__path_subscriptions, subscriptions)
}

pub(super) fn admin_routes() -> Routes {
    Routes::new().add(__path_give, give)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Clients)]
struct ClientsJson {
    clients: Vec<ClientJson>,
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClientSubscriptions)]
struct SubscriptionsJson {
    subscriptions: Vec<SubscriptionJson>,
    cursor: Option<String>,
}

/// The Sessions of all shards, connected or not, in no particular order. A page may be shorter than `limit`.
#[utoipa::path(
    get, path = "/clients",
    params(
        ("limit" = Option<u32>, Query, description = "The greatest number of entries, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page"),
    ),
    responses((status = 200, description = "A page of clients", body = ClientsJson))
)]
async fn list(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<ClientsJson>, Failure> {
    let ApiState { queries, status, .. } = state;
    let (limit, mut cursor) = (parameters.limit()?, parameters.cursor::<ShardCursor>()?);
    let mut clients = Vec::new();
    for _ in 0..QUERIES_PER_REQUEST_MAX {
        if clients.len() >= limit || usize::from(cursor.shard) >= queries.shards() {
            break;
        }
        let page = PageRequest { from: cursor.from, limit: limit - clients.len() };
        let Answer::Clients(page) = queries.ask(ShardId(cursor.shard), Query::Clients(page)).await? else {
            return Err(Failure::unexpected_answer());
        };
        clients.extend(page.entries.into_iter().map(|view| ClientJson::new(view, &status)));
        cursor = match page.next {
            Some(from) => ShardCursor { from, ..cursor },
            None => ShardCursor { shard: cursor.shard + 1, from: 0 },
        };
    }
    let has_more = usize::from(cursor.shard) < queries.shards();
    Ok(Json(ClientsJson { clients, cursor: has_more.then(|| cursor.to_string()) }))
}

/// One Session, connected or not.
#[utoipa::path(
    get, path = "/clients/{client_id}",
    params(("client_id" = String, Path, description = "The Client Identifier, percent-encoded")),
    responses(
        (status = 200, description = "The Session", body = ClientJson),
        (status = 404, description = "There is no such Session", body = ErrorJson),
    )
)]
async fn one(State(state): State<ApiState>, Path(client_id): Path<String>) -> Result<Json<ClientJson>, Failure> {
    let client_id = ClientId(client_id.into());
    let answer = ask_owner(&state, &client_id, Query::Client(client_id.clone())).await?;
    match answer {
        Answer::Client(Some(client)) => Ok(Json(ClientJson::new(*client, &state.status))),
        Answer::Client(None) => Err(missing(&state, &client_id)),
        Answer::Clients(_) | Answer::Subscriptions(_) | Answer::Gift(_) | Answer::Topics(_) => {
            Err(Failure::unexpected_answer())
        }
    }
}

/// The subscriptions of one Session.
#[utoipa::path(
    get, path = "/clients/{client_id}/subscriptions",
    params(
        ("client_id" = String, Path, description = "The Client Identifier, percent-encoded"),
        ("limit" = Option<u32>, Query, description = "The greatest number of entries, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page"),
    ),
    responses(
        (status = 200, description = "A page of subscriptions", body = SubscriptionsJson),
        (status = 404, description = "There is no such Session", body = ErrorJson),
    )
)]
async fn subscriptions(
    State(state): State<ApiState>,
    Path(client_id): Path<String>,
    parameters: Parameters,
) -> Result<Json<SubscriptionsJson>, Failure> {
    let (limit, cursor) = (parameters.limit()?, parameters.cursor::<ShardCursor>()?);
    let client_id = ClientId(client_id.into());
    let page = PageRequest { from: cursor.from, limit };
    let answer = ask_owner(&state, &client_id, Query::Subscriptions(client_id.clone(), page)).await?;
    match answer {
        Answer::Subscriptions(Some(page)) => Ok(Json(subscriptions_page(page))),
        Answer::Subscriptions(None) => Err(missing(&state, &client_id)),
        Answer::Clients(_) | Answer::Client(_) | Answer::Gift(_) | Answer::Topics(_) => {
            Err(Failure::unexpected_answer())
        }
    }
}

/// The body of a request that gives a Session away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOwner)]
struct OwnerRequest {
    /// `null`: to anonymous clients. The field is required.
    #[serde(deserialize_with = "Option::deserialize")]
    user: Option<String>,
    /// The provider that must verify the user; `null`: whichever verifies the name first.
    #[serde(default)]
    provider: Option<String>,
}

impl OwnerRequest {
    fn owner(self) -> Result<Owner, Failure> {
        match (self.user, self.provider) {
            (Some(user), _) if user.is_empty() => Err(Failure::bad_request("the user must not be empty")),
            (Some(user), None) => Ok(Owner::named(user.into())),
            (Some(user), Some(provider)) if PROVIDERS.contains(&&*provider) => {
                Ok(Owner::of(Some(VerifiedUser { provider: provider.into(), name: user.into() })))
            }
            (Some(_), Some(_)) => Err(Failure::bad_request("the provider must be \"password\" or \"certificate\"")),
            (None, None) => Ok(Owner::Anonymous),
            (None, Some(provider)) if provider == ANONYMOUS => Ok(Owner::Anonymous),
            (None, Some(_)) => Err(Failure::bad_request("a provider needs a user")),
        }
    }
}

/// Gives a Session to another owner. The response follows when that is durable.
#[utoipa::path(
    post, path = "/clients/{client_id}/owner",
    params(("client_id" = String, Path, description = "The Client Identifier, percent-encoded")),
    request_body = OwnerRequest,
    responses(
        (status = 204, description = "It belongs to the new owner, and that is durable"),
        (status = 404, description = "There is no such Session", body = ErrorJson),
        (status = 409, description = "The Session ends with its connection", body = ErrorJson),
    )
)]
async fn give(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(client_id): Path<String>,
    Body(request): Body<OwnerRequest>,
) -> Result<StatusCode, Failure> {
    let (client_id, owner) = (ClientId(client_id.into()), request.owner()?);
    let what = format!("give the session to {}", owner.user().map_or("anonymous clients", |user| &**user));
    let outcome = give_to(&state, &client_id, owner).await;
    state.audit.record(&caller, &what, client_id.as_str(), &outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}

async fn give_to(state: &ApiState, client_id: &ClientId, owner: Owner) -> Result<(), Failure> {
    let gift = Box::new(Gift { client_id: client_id.clone(), owner, access: None });
    match ask_owner(state, client_id, Query::Give(gift)).await? {
        Answer::Gift(GiftOutcome::Given) => Ok(()),
        Answer::Gift(GiftOutcome::NotDurable) => {
            Err(Failure::conflict("the session ends with its connection: there is nothing to give"))
        }
        Answer::Gift(GiftOutcome::NotHere) => Err(missing(state, client_id)),
        Answer::Clients(_) | Answer::Client(_) | Answer::Subscriptions(_) | Answer::Topics(_) => {
            Err(Failure::unexpected_answer())
        }
    }
}

fn subscriptions_page(Page { entries, next }: Page<SubscriptionView>) -> SubscriptionsJson {
    let subscriptions = entries.into_iter().map(SubscriptionJson::from).collect();
    let cursor = next.map(|from| ShardCursor { shard: 0, from }.to_string());
    SubscriptionsJson { subscriptions, cursor }
}

/// Queries the shard that owns the Session of a Client Identifier.
async fn ask_owner(state: &ApiState, client_id: &ClientId, query: Query) -> Result<Answer, Failure> {
    let shard = state.shared.shard_of(client_id).ok_or_else(no_session)?;
    Ok(state.queries.ask(shard, query).await?)
}

/// Why the queried shard doesn't have the Session: it moved to another shard, or it doesn't exist.
fn missing(state: &ApiState, client_id: &ClientId) -> Failure {
    match state.shared.shard_of(client_id) {
        Some(_) => Failure::unavailable("the session is moving to another shard, retry the request"),
        None => no_session(),
    }
}

fn no_session() -> Failure {
    Failure::not_found("no session has this client identifier")
}

/// The providers that verify users.
const PROVIDERS: [&str; 2] = ["password", "certificate"];
/// Bounds the time of a request when many shards have few clients. The response is then a shorter page.
const QUERIES_PER_REQUEST_MAX: usize = 512;
