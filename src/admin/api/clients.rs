//! `/clients`: the Sessions and connections of all shards.

use std::net::IpAddr;

use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::client_json::{ClientJson, SubscriptionJson};
use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::{Parameters, ShardCursor};
use super::spread::MissingCellJson;
use super::state::ApiState;
use super::table::Routes;
use crate::broker::{Answer, ClientFilter, EventView, Page, PageRequest, Query, SubscriptionView};
use crate::codec::ClientId;
use crate::routing::ShardId;

pub(super) fn viewer_routes() -> Routes {
    Routes::new().add(__path_list, list).add(__path_one, one).add(__path_subscriptions, subscriptions)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Clients)]
struct ClientsJson {
    clients: Vec<ClientJson>,
    cursor: Option<String>,
    /// Cells over which clients are spread, and of which the page has no entries, because they did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_cells: Vec<MissingCellJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClientSubscriptions)]
struct SubscriptionsJson {
    subscriptions: Vec<SubscriptionJson>,
    cursor: Option<String>,
}

/// The Sessions of all shards, connected or not, in no particular order, to which all that is asked for applies. A page may be shorter than
/// `limit`, or empty, although more pages follow.
#[utoipa::path(
    get, path = "/clients",
    params(
        ("limit" = Option<u32>, Query, description = "The greatest number of entries, 1 to 1,000; by default 100"),
        ("cursor" = Option<String>, Query, description = "That of the previous page"),
        ("connected" = Option<bool>, Query, description = "Whether the client is connected"),
        ("client_id" = Option<String>, Query, description = "A pattern of Client Identifiers: * for any characters, ? for one"),
        ("user" = Option<String>, Query, description = "The user name of the client or of the owner"),
        ("address" = Option<String>, Query, description = "The address of the client, without port"),
    ),
    responses((status = 200, description = "A page of clients", body = ClientsJson))
)]
async fn list(State(state): State<ApiState>, parameters: Parameters) -> Result<Json<ClientsJson>, Failure> {
    let ApiState { queries, status, .. } = state;
    let (limit, mut cursor) = (parameters.limit()?, parameters.cursor::<ShardCursor>()?);
    let filter = Box::new(filter(&parameters)?);
    let mut clients = Vec::new();
    for _ in 0..QUERIES_PER_REQUEST_MAX {
        if clients.len() >= limit || usize::from(cursor.shard) >= queries.shards() {
            break;
        }
        let page = PageRequest { from: cursor.from, limit: limit - clients.len() };
        let Answer::Clients(page) = queries.ask(ShardId(cursor.shard), Query::Clients(page, filter.clone())).await?
        else {
            return Err(Failure::unexpected_answer());
        };
        clients.extend(page.entries.into_iter().map(|view| ClientJson::new(view, &status)));
        cursor = match page.next {
            Some(from) => ShardCursor { from, ..cursor },
            None => ShardCursor { shard: cursor.shard + 1, from: 0 },
        };
    }
    let has_more = usize::from(cursor.shard) < queries.shards();
    let cursor = has_more.then(|| cursor.to_string());
    Ok(Json(ClientsJson { clients, cursor, missing_cells: Vec::new() }))
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
    let Answer::Client(view) = ask_owner(&state, &client_id, Query::Client(client_id.clone())).await? else {
        return Err(Failure::unexpected_answer());
    };
    let mut view = *view.ok_or_else(|| missing(&state, &client_id))?;
    if view.last_disconnect.is_none() {
        // Its last connection may have had a Session that ended with it, on any shard.
        let events = events(&state, &client_id, LOOKED_AT_MAX).await?;
        view.last_disconnect = events.iter().rev().find_map(EventView::as_disconnect);
    }
    Ok(Json(ClientJson::new(view, &state.status)))
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
    let Answer::Subscriptions(page) = answer else { return Err(Failure::unexpected_answer()) };
    Ok(Json(subscriptions_page(page.ok_or_else(|| missing(&state, &client_id))?)))
}

fn subscriptions_page(Page { entries, next }: Page<SubscriptionView>) -> SubscriptionsJson {
    let subscriptions = entries.into_iter().map(SubscriptionJson::from).collect();
    let cursor = next.map(|from| ShardCursor { shard: 0, from }.to_string());
    SubscriptionsJson { subscriptions, cursor }
}

/// What the parameters of a list ask for.
fn filter(parameters: &Parameters) -> Result<ClientFilter, Failure> {
    let address =
        |text: &str| text.parse().map_err(|_| Failure::bad_request("address must be an IP address, without port"));
    let address: Option<IpAddr> = parameters.text("address").map(address).transpose()?;
    Ok(ClientFilter {
        connected: parameters.flag("connected")?,
        client_id: parameters.client_pattern()?,
        user: parameters.text("user").map(Into::into),
        address: address.map(|address| address.to_canonical()),
    })
}

/// The last events of a Client Identifier on all shards, the newest last.
pub(super) async fn events(state: &ApiState, client_id: &ClientId, limit: usize) -> Result<Vec<EventView>, Failure> {
    let mut events = Vec::new();
    for shard in 0..state.queries.shards() {
        let shard = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
        let Answer::History(page) = state.queries.ask(shard, Query::History(client_id.clone(), limit)).await? else {
            return Err(Failure::unexpected_answer());
        };
        events.extend(page);
    }
    events.sort_by_key(|event| event.number);
    events.drain(..events.len().saturating_sub(limit));
    Ok(events)
}

/// Queries the shard that owns the Session of a Client Identifier.
pub(super) async fn ask_owner(state: &ApiState, client_id: &ClientId, query: Query) -> Result<Answer, Failure> {
    let shard = state.shared.shard_of(client_id).ok_or_else(no_session)?;
    Ok(state.queries.ask(shard, query).await?)
}

/// Why the queried shard doesn't have the Session: it moved to another shard, or it doesn't exist.
pub(super) fn missing(state: &ApiState, client_id: &ClientId) -> Failure {
    match state.shared.shard_of(client_id) {
        Some(_) => Failure::unavailable("the session is moving to another shard, retry the request"),
        None => no_session(),
    }
}

pub(super) fn no_session() -> Failure {
    Failure::not_found("no session has this client identifier")
}

/// Bounds the time of a request when many shards have few clients, or a filter selects few of them. The response is then a shorter page.
const QUERIES_PER_REQUEST_MAX: usize = 128;
/// The last events of a client among which the end of its last connection is looked for.
const LOOKED_AT_MAX: usize = 16;
