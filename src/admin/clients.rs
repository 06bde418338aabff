//! `/api/v1/clients`: the Sessions and connections of all shards, as JSON.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CONTENT_TYPE, ORIGIN};
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::client_json::{ClientJson, SubscriptionJson};
use super::guard::has_local_host;
use super::peer::Peer;
use crate::broker::{
    ANONYMOUS, Answer, Gift, GiftOutcome, Owner, PAGE_MAX, Page, PageRequest, Query, Shared, SubscriptionView,
    VerifiedUser,
};
use crate::codec::ClientId;
use crate::routing::ShardId;
use crate::server::{Queries, QueryError, Status};

/// The state of the routes.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) queries: Queries,
    pub(super) shared: Arc<Shared>,
    pub(super) status: Arc<Status>,
}

/// The routes. Only requests from this machine are accepted, because the responses contain Client Identifiers, user names and addresses.
pub(super) fn router(clients: Clients) -> Router {
    Router::new()
        .route("/api/v1/clients", get(list))
        .route("/api/v1/clients/{client_id}", get(one))
        .route("/api/v1/clients/{client_id}/subscriptions", get(subscriptions))
        .route("/api/v1/clients/{client_id}/owner", post(give))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(local_only))
        .with_state(clients)
}

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("the session ends with its connection: there is nothing to give")]
    NotDurable,
    #[error("no session has this client identifier")]
    NotFound,
    #[error("the session is moving to another shard, retry the request")]
    Moving,
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("a shard sent an answer of the wrong type")]
    UnexpectedAnswer,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotDurable => StatusCode::CONFLICT,
            Self::Moving | Self::Query(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::UnexpectedAnswer => StatusCode::INTERNAL_SERVER_ERROR,
        };
        json(code, &ErrorJson { error: self.to_string() })
    }
}

#[derive(Serialize)]
pub(super) struct ErrorJson {
    pub(super) error: String,
}

#[derive(Serialize)]
struct ClientsJson {
    clients: Vec<ClientJson>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct SubscriptionsJson {
    subscriptions: Vec<SubscriptionJson>,
    cursor: Option<String>,
}

/// Where the next page begins. Shards are listed in order, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cursor {
    shard: u16,
    from: u64,
}

impl FromStr for Cursor {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let parse = || {
            let (shard, from) = text.split_once('-')?;
            Some(Self { shard: shard.parse().ok()?, from: from.parse().ok()? })
        };
        parse().ok_or(Failure::BadRequest("the cursor is invalid"))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.shard, self.from)
    }
}

/// `limit` and `cursor` of a request.
#[derive(Debug)]
struct Parameters {
    limit: usize,
    cursor: Cursor,
}

impl Parameters {
    fn of(uri: &Uri) -> Result<Self, Failure> {
        let mut parameters = Self { limit: LIMIT_DEFAULT, cursor: Cursor::default() };
        for parameter in uri.query().unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("limit", limit)) => {
                    let limit = limit.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    parameters.limit = limit.ok_or(Failure::BadRequest("limit must be from 1 to 1000"))?;
                }
                Some(("cursor", cursor)) => parameters.cursor = cursor.parse()?,
                _ => return Err(Failure::BadRequest("unknown parameter, only limit and cursor are supported")),
            }
        }
        Ok(parameters)
    }
}

/// Queries one shard after the other until the page is full.
async fn list(State(Clients { queries, status, .. }): State<Clients>, uri: Uri) -> Result<Response, Failure> {
    let Parameters { limit, mut cursor } = Parameters::of(&uri)?;
    let mut clients = Vec::new();
    for _ in 0..QUERIES_PER_REQUEST_MAX {
        if clients.len() >= limit || usize::from(cursor.shard) >= queries.shards() {
            break;
        }
        let page = PageRequest { from: cursor.from, limit: limit - clients.len() };
        let Answer::Clients(page) = queries.ask(ShardId(cursor.shard), Query::Clients(page)).await? else {
            return Err(Failure::UnexpectedAnswer);
        };
        clients.extend(page.entries.into_iter().map(|view| ClientJson::new(view, &status)));
        cursor = match page.next {
            Some(from) => Cursor { from, ..cursor },
            None => Cursor { shard: cursor.shard + 1, from: 0 },
        };
    }
    let has_more = usize::from(cursor.shard) < queries.shards();
    Ok(json(StatusCode::OK, &ClientsJson { clients, cursor: has_more.then(|| cursor.to_string()) }))
}

async fn one(State(clients): State<Clients>, Path(client_id): Path<String>) -> Result<Response, Failure> {
    let client_id = ClientId(client_id.into());
    let answer = clients.ask_owner(&client_id, Query::Client(client_id.clone())).await?;
    match answer {
        Answer::Client(Some(client)) => Ok(json(StatusCode::OK, &ClientJson::new(*client, &clients.status))),
        Answer::Client(None) => Err(clients.missing(&client_id)),
        Answer::Clients(_) | Answer::Subscriptions(_) | Answer::Gift(_) | Answer::Topics(_) => {
            Err(Failure::UnexpectedAnswer)
        }
    }
}

async fn subscriptions(
    State(clients): State<Clients>,
    Path(client_id): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    let Parameters { limit, cursor } = Parameters::of(&uri)?;
    let client_id = ClientId(client_id.into());
    let page = PageRequest { from: cursor.from, limit };
    let answer = clients.ask_owner(&client_id, Query::Subscriptions(client_id.clone(), page)).await?;
    match answer {
        Answer::Subscriptions(Some(page)) => Ok(subscriptions_page(page)),
        Answer::Subscriptions(None) => Err(clients.missing(&client_id)),
        Answer::Clients(_) | Answer::Client(_) | Answer::Gift(_) | Answer::Topics(_) => Err(Failure::UnexpectedAnswer),
    }
}

/// The body of a request that gives a Session away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
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
            (Some(user), _) if user.is_empty() => Err(Failure::BadRequest("the user must not be empty")),
            (Some(user), None) => Ok(Owner::named(user.into())),
            (Some(user), Some(provider)) if PROVIDERS.contains(&&*provider) => {
                Ok(Owner::of(Some(VerifiedUser { provider: provider.into(), name: user.into() })))
            }
            (Some(_), Some(_)) => Err(Failure::BadRequest("the provider must be \"password\" or \"certificate\"")),
            (None, None) => Ok(Owner::Anonymous),
            (None, Some(provider)) if provider == ANONYMOUS => Ok(Owner::Anonymous),
            (None, Some(_)) => Err(Failure::BadRequest("a provider needs a user")),
        }
    }
}

/// Gives a Session to another owner. The response follows when that is durable.
async fn give(
    State(clients): State<Clients>,
    Path(client_id): Path<String>,
    body: axum::body::Bytes,
) -> Result<Response, Failure> {
    let request: OwnerRequest = serde_json::from_slice(&body).map_err(|_| Failure::BadRequest(OWNER_FORM))?;
    let client_id = ClientId(client_id.into());
    let gift = Box::new(Gift { client_id: client_id.clone(), owner: request.owner()?, access: None });
    match clients.ask_owner(&client_id, Query::Give(gift)).await? {
        Answer::Gift(GiftOutcome::Given) => Ok(StatusCode::NO_CONTENT.into_response()),
        Answer::Gift(GiftOutcome::NotDurable) => Err(Failure::NotDurable),
        Answer::Gift(GiftOutcome::NotHere) => Err(clients.missing(&client_id)),
        Answer::Clients(_) | Answer::Client(_) | Answer::Subscriptions(_) | Answer::Topics(_) => {
            Err(Failure::UnexpectedAnswer)
        }
    }
}

fn subscriptions_page(Page { entries, next }: Page<SubscriptionView>) -> Response {
    let subscriptions = entries.into_iter().map(SubscriptionJson::from).collect();
    let cursor = next.map(|from| Cursor { shard: 0, from }.to_string());
    json(StatusCode::OK, &SubscriptionsJson { subscriptions, cursor })
}

impl Clients {
    /// Queries the shard that owns the Session of a Client Identifier.
    async fn ask_owner(&self, client_id: &ClientId, query: Query) -> Result<Answer, Failure> {
        let shard = self.shared.shard_of(client_id).ok_or(Failure::NotFound)?;
        Ok(self.queries.ask(shard, query).await?)
    }

    /// Why the queried shard doesn't have the Session: it moved to another shard, or it doesn't exist.
    fn missing(&self, client_id: &ClientId) -> Failure {
        match self.shared.shard_of(client_id) {
            Some(_) => Failure::Moving,
            None => Failure::NotFound,
        }
    }
}

/// Accepts requests from this machine only. Refuses requests that a website makes a browser send: they have an Origin header or, after
/// DNS rebinding, the website's name in Host.
pub(super) async fn local_only(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    if peer.is_local() && !request.headers().contains_key(ORIGIN) && has_local_host(request.headers()) {
        next.run(request).await
    } else {
        json(StatusCode::FORBIDDEN, &ErrorJson { error: "only requests from this machine are accepted".to_owned() })
    }
}

/// A response with a JSON body, which ends with a line feed for terminals.
pub(super) fn json(code: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => (code, [(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The providers that verify users.
const PROVIDERS: [&str; 2] = ["password", "certificate"];
const OWNER_FORM: &str = "the body must be {\"user\": \"<name>\"}, with \"provider\" if only one may verify the name";
/// A user name has at most 65,535 bytes, and JSON may escape each.
const BODY_BYTES_MAX: usize = 512 * 1_024;
/// Clients or subscriptions in one response without `limit`.
const LIMIT_DEFAULT: usize = 100;
/// Bounds the time of a request when many shards have few clients. The response is then a shorter page.
const QUERIES_PER_REQUEST_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_parses_back_and_other_texts_are_refused() {
        let cursor = Cursor { shard: 3, from: u64::MAX };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for text in ["", "-", "1", "1-", "-1", "1--1", "70000-1", "a-b", "1-1-1"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn parameters_are_bounded() {
        let of = |text: &str| Parameters::of(&text.parse().unwrap());
        let defaults = of("/x").unwrap();
        assert_eq!((defaults.limit, defaults.cursor), (LIMIT_DEFAULT, Cursor::default()));
        assert_eq!(of("/x?limit=7&cursor=1-2").unwrap().cursor, Cursor { shard: 1, from: 2 });
        for text in ["/x?limit=0", "/x?limit=1001", "/x?limit=-1", "/x?limit", "/x?other=1", "/x?cursor=x"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
