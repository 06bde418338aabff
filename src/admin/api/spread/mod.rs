//! Requests to a node that spreads clients over cells. What they are about is at the servers of the cells, so these answer them, each with the routes that a
//! broker without cells has: the front finds the cell of a client, and makes one list of those of all cells.
//!
//! The role of the caller, and the parameters, are checked before a request comes here (`access.rs`), and again at the cell.

mod bans;
mod cursor;
mod each;
mod message;
mod missing;
mod newest;
mod overview;
mod own;
mod pages;
mod peers;
mod place;
mod remote;
mod trace;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tower_service::Service as _;

pub(super) use missing::{MissingCellJson, MissingNodeJson};

use super::dead_letters;
use super::failure::Failure;
use super::state::ApiState;
use crate::admin::caller::Caller;
use crate::admin::listener::Lifetime;
use crate::routing::CellId;
use crate::server::{CellPlace, CellServer, Cells, NodeStreams, OwnClientKind};
use peers::Peers;
use place::{Away, Target};

/// How the cells answer the requests of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// That of the client does.
    OfClient,
    /// That of the bridge or the sink does.
    OfOwn(OwnClientKind),
    /// Those that have some of the bridges or sinks of the configuration are asked, for a list of all.
    AllOwn(OwnClientKind),
    /// Any of them does.
    Any,
    /// All have the same, and always the first of them answers, so that the pages of a list fit each other.
    First,
    /// They are asked one after the other, for a list with this name in its pages.
    Pages(&'static str),
    /// All are asked for their newest entries of a log with this name in its pages, which has no order but that of time.
    Newest(&'static str),
    /// That of the dead letter does.
    OfDeadLetter,
    /// That of the client in the body does.
    OfClientInBody,
    /// All are asked what they know about a message.
    Message,
    /// The node does, and tells all others.
    Bans,
    /// All nodes are asked for theirs.
    Overview,
    /// All nodes show what happens at their cells.
    Trace,
}

impl Spread {
    /// How the requests of a route are answered; `None`: by the node, for itself.
    pub(super) fn of(methods: &[&str], path: &str) -> Option<Self> {
        match (methods, path) {
            (["GET"], "/clients") => Some(Self::Pages("clients")),
            (["GET"], "/subscriptions") => Some(Self::Pages("subscriptions")),
            (["GET"], "/routes") => Some(Self::Pages("receivers")),
            (["GET"], "/dead-letters") => Some(Self::Pages("dead_letters")),
            (["GET"], "/drops") => Some(Self::Newest("drops")),
            (["GET"], "/refusals") => Some(Self::Newest("refusals")),
            (["GET"], "/messages/{message_id}") => Some(Self::Message),
            (["GET"], "/overview") => Some(Self::Overview),
            (["GET"], "/trace") => Some(Self::Trace),
            (["POST"], "/bans") | (_, "/bans/{kind}/{name}") => Some(Self::Bans),
            (["POST"], "/acl/explain") => Some(Self::OfClientInBody),
            (["POST"], "/publish") => Some(Self::Any),
            (_, "/retained" | "/retained/{topic}") => Some(Self::First),
            (["GET"], "/bridges") => Some(Self::AllOwn(OwnClientKind::Bridge)),
            (["GET"], "/sinks") => Some(Self::AllOwn(OwnClientKind::Sink)),
            _ if path.starts_with(OF_CLIENT) => Some(Self::OfClient),
            _ if path.starts_with(OF_BRIDGE) => Some(Self::OfOwn(OwnClientKind::Bridge)),
            _ if path.starts_with(OF_SINK) => Some(Self::OfOwn(OwnClientKind::Sink)),
            _ if path.starts_with(OF_DEAD_LETTER) => Some(Self::OfDeadLetter),
            _ => None,
        }
    }

    /// Whether a node answers its part of a request, and not the server of a cell.
    pub(super) const fn is_of_nodes(self) -> bool {
        matches!(self, Self::Bans | Self::Overview | Self::Trace)
    }
}

/// The routes by which a request is answered where its parts are.
#[derive(Debug)]
pub(super) struct Parts {
    /// At the server of a cell.
    pub(super) of_cell: Router<ApiState>,
    /// At a node.
    pub(super) of_node: Router<ApiState>,
}

/// Asks the cells.
#[derive(Debug)]
pub(in crate::admin) struct CellsApi {
    cells: Arc<Cells>,
    /// The way to those at other nodes.
    nodes: Option<NodeStreams>,
    parts: Parts,
    /// Of the front.
    state: ApiState,
    /// What the other nodes know of the bans.
    peers: Peers,
    /// Tells the runs of this node apart.
    run: u64,
}

impl CellsApi {
    /// `state`: of the front.
    pub(super) fn new(cells: Arc<Cells>, nodes: Option<NodeStreams>, (parts, state): (Parts, ApiState)) -> Self {
        // Without a random number, another node may not notice that this one has begun anew.
        let run = getrandom::u64().unwrap_or_default();
        Self { cells, nodes, parts, state, peers: Peers::default(), run }
    }

    /// Answers a request, which the caller may make. Its path has no prefix.
    pub(super) async fn answer(self: &Arc<Self>, spread: Spread, request: Request) -> Response {
        let answered = match spread {
            Spread::OfClient => {
                let name = name_in(OF_CLIENT, request.uri());
                let cell = name.map(|name| CellId::of_client(&name, self.cells.count()));
                self.ask_one(cell, request).await
            }
            Spread::OfOwn(kind) => {
                let name = name_in(if kind == OwnClientKind::Bridge { OF_BRIDGE } else { OF_SINK }, request.uri());
                self.ask_one(name.map(|name| kind.cell(&name, self.cells.count())), request).await
            }
            Spread::AllOwn(kind) => {
                let (path, caller) = (request.uri().path().to_owned(), request.extensions().get::<Caller>().cloned());
                self.all_own(kind, (&path, caller.as_ref())).await
            }
            Spread::Any => self.ask_one(self.any_cell(), request).await,
            Spread::First => self.ask_one(Ok(CellId(0)), request).await,
            Spread::Pages(list) => self.page(list, asked(&request)).await,
            Spread::Newest(list) => self.newest(list, asked(&request)).await,
            Spread::OfDeadLetter => self.ask_one(cell_of_dead_letter(request.uri()), request).await,
            Spread::OfClientInBody => self.ask_client_in_body(request).await,
            Spread::Message => self.message(asked(&request)).await,
            Spread::Bans => self.change_bans(request).await,
            Spread::Overview => self.overview(asked(&request)).await,
            Spread::Trace => self.trace(request).await,
        };
        answered.unwrap_or_else(Failure::into_response)
    }

    async fn ask_one(&self, cell: Result<CellId, Failure>, request: Request) -> Result<Response, Failure> {
        let cell = cell?;
        self.ask(cell, request).await.map_err(|away| away.failure(cell))
    }

    /// Asks the cell of the client that the body of a request names.
    async fn ask_client_in_body(&self, request: Request) -> Result<Response, Failure> {
        #[derive(Deserialize)]
        struct OfClient {
            client_id: String,
        }
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, QUESTION_BYTES_MAX).await;
        let body = body.map_err(|_| Failure::too_large("the body is too large, or ended early"))?;
        // One that names none is refused by each cell in the same words.
        let client_id =
            serde_json::from_slice(&body).map_or_else(|_| String::new(), |OfClient { client_id }| client_id);
        let cell = CellId::of_client(&client_id, self.cells.count());
        self.ask_one(Ok(cell), Request::from_parts(parts, Body::from(body))).await
    }

    /// A cell that accepts clients here; if there is none, one at another node.
    fn any_cell(&self) -> Result<CellId, Failure> {
        let cells = || (0..=u8::MAX).take(self.cells.count().into()).map(CellId);
        let here = cells().find(|cell| self.cells.accepts_clients(*cell));
        let there = || cells().find(|cell| matches!(self.cells.place_of(*cell), CellPlace::Node(_)));
        here.or_else(there).ok_or_else(|| Failure::unavailable("no cell has an owner that this node knows of"))
    }

    /// Asks the server of a cell that is here; `None`: it is not.
    async fn ask_here(&self, cell: CellId, request: Request) -> Option<Response> {
        let server = self.cells.server(cell)?;
        Some(self.ask_server(&server, request).await)
    }

    async fn ask_server(&self, server: &CellServer, request: Request) -> Response {
        let mut routes = self.parts.of_cell.clone().with_state(self.state.of_cell(server));
        let (bans, is_change) = (self.state.bans.watch(), request.method() != Method::GET);
        let Ok(response) = routes.call(fresh(request)).await;
        // A client was disconnected with a ban.
        if is_change && response.status().is_success() && bans.has_changed().unwrap_or(false) {
            return self.told_all(response).await;
        }
        response
    }

    /// Answers the part of a request that is this node's.
    async fn ask_self(&self, request: Request) -> Response {
        let Ok(response) = self.parts.of_node.clone().with_state(self.state.clone()).call(fresh(request)).await;
        response
    }

    /// Asks the server of a cell.
    async fn ask(&self, cell: CellId, request: Request) -> Result<Response, Away> {
        match self.cells.place_of(cell) {
            CellPlace::Here(server) => Ok(self.ask_server(&server, request).await),
            CellPlace::Node(node) => self.ask_node(node, Target::Cell(cell), request).await,
            CellPlace::Unknown => Err(Away::Nowhere),
        }
    }
}

/// The name of a client, a bridge or a sink in the path of a request, behind `prefix`.
fn name_in<'a>(prefix: &str, uri: &'a Uri) -> Result<Cow<'a, str>, Failure> {
    let name = uri.path().strip_prefix(prefix).and_then(|path| path.split('/').next()).unwrap_or_default();
    let name = percent_decode_str(name).decode_utf8();
    name.map_err(|_| Failure::bad_request("a Client Identifier is UTF-8 text"))
}

/// A request without what the router of the front has found in its path.
fn fresh(request: Request) -> Request {
    let (mut parts, body) = request.into_parts();
    let (caller, lifetime) = (parts.extensions.remove::<Caller>(), parts.extensions.remove::<Lifetime>());
    parts.extensions.clear();
    caller.map(|caller| parts.extensions.insert(caller));
    lifetime.map(|lifetime| parts.extensions.insert(lifetime));
    Request::from_parts(parts, body)
}

/// What a GET asks for, and its caller.
fn asked(request: &Request) -> (Uri, Option<Caller>) {
    (request.uri().clone(), request.extensions().get::<Caller>().cloned())
}

/// The cell of the dead letter that the path of a request names.
fn cell_of_dead_letter(uri: &Uri) -> Result<CellId, Failure> {
    let number = uri.path().strip_prefix(OF_DEAD_LETTER).and_then(|path| path.split('/').next()).unwrap_or_default();
    dead_letters::number_of(number).map(dead_letters::cell_of)
}

/// A GET of a caller.
fn get(uri: &str, caller: Option<&Caller>) -> Result<Request, Failure> {
    let uri: Uri = uri.parse().map_err(|_| Failure::bad_request("the parameters are too long"))?;
    let request = Request::builder().method(Method::GET).uri(uri).body(Body::empty());
    let mut request = request.map_err(|error| Failure::internal(error.to_string()))?;
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller.clone());
    }
    Ok(request)
}

/// The beginning of the paths about one client.
const OF_CLIENT: &str = "/clients/";
/// The same of those about one bridge, and about one sink.
const OF_BRIDGE: &str = "/bridges/";
const OF_SINK: &str = "/sinks/";
/// The same about one dead letter.
const OF_DEAD_LETTER: &str = "/dead-letters/";
/// Two names of 65,535 bytes, of which JSON may escape each byte with six.
const QUESTION_BYTES_MAX: usize = 1 << 20;
/// The most bytes of the response of a cell: a page has at most 1,000 entries, of which none is as large as 64 KiB on average.
const BODY_BYTES_MAX: usize = 64 << 20;
/// The time for another node to answer what is no change.
const NODE_TIME: Duration = Duration::from_secs(3);
/// The time for one request, and for another node to make a change: less than that of its connection.
const REQUEST_TIME: Duration = Duration::from_secs(7);

#[cfg(test)]
mod tests;
