//! Requests to a node that spreads clients over cells. What they are about is at the servers of the cells, so these answer them, each with the routes that a
//! broker without cells has: the front finds the cell of a client, and makes one list of those of all cells.
//!
//! The role of the caller, and the parameters, are checked before a request comes here (`access.rs`), and again at the cell.

mod cursor;
mod missing;
mod own;
mod pages;
mod place;
mod remote;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use tower_service::Service as _;

pub(super) use missing::MissingCellJson;

use super::failure::Failure;
use super::state::ApiState;
use crate::admin::caller::Caller;
use crate::routing::CellId;
use crate::server::{CellPlace, CellServer, Cells, NodeStreams, OwnClientKind};
use place::Away;

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
}

impl Spread {
    /// How the requests of a route are answered; `None`: by the node, for itself.
    pub(super) fn of(methods: &[&str], path: &str) -> Option<Self> {
        match (methods, path) {
            (["GET"], "/clients") => Some(Self::Pages("clients")),
            (["GET"], "/subscriptions") => Some(Self::Pages("subscriptions")),
            (["GET"], "/routes") => Some(Self::Pages("receivers")),
            (["POST"], "/publish") => Some(Self::Any),
            (_, "/retained" | "/retained/{topic}") => Some(Self::First),
            (["GET"], "/bridges") => Some(Self::AllOwn(OwnClientKind::Bridge)),
            (["GET"], "/sinks") => Some(Self::AllOwn(OwnClientKind::Sink)),
            _ if path.starts_with(OF_CLIENT) => Some(Self::OfClient),
            _ if path.starts_with(OF_BRIDGE) => Some(Self::OfOwn(OwnClientKind::Bridge)),
            _ if path.starts_with(OF_SINK) => Some(Self::OfOwn(OwnClientKind::Sink)),
            _ => None,
        }
    }
}

/// Asks the cells.
#[derive(Debug)]
pub(in crate::admin) struct CellsApi {
    cells: Arc<Cells>,
    /// The way to those at other nodes.
    nodes: Option<NodeStreams>,
    /// The routes of a cell.
    routes: Router<ApiState>,
    /// Of the front.
    state: ApiState,
}

impl CellsApi {
    /// `routes`: those of a cell. `state`: of the front.
    pub(super) fn new(
        cells: Arc<Cells>,
        nodes: Option<NodeStreams>,
        (routes, state): (Router<ApiState>, ApiState),
    ) -> Self {
        Self { cells, nodes, routes, state }
    }

    /// Answers a request, which the caller may make. Its path has no prefix.
    pub(super) async fn answer(&self, spread: Spread, request: Request) -> Response {
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
            Spread::Pages(list) => {
                let (uri, caller) = (request.uri().clone(), request.extensions().get::<Caller>().cloned());
                self.page(list, (&uri, caller.as_ref())).await
            }
        };
        answered.unwrap_or_else(Failure::into_response)
    }

    async fn ask_one(&self, cell: Result<CellId, Failure>, request: Request) -> Result<Response, Failure> {
        let cell = cell?;
        self.ask(cell, request).await.map_err(|away| away.failure(cell))
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
        let mut routes = self.routes.clone().with_state(self.state.of_cell(server));
        let Ok(response) = routes.call(fresh(request)).await;
        response
    }

    /// Asks the server of a cell.
    async fn ask(&self, cell: CellId, request: Request) -> Result<Response, Away> {
        match self.cells.place_of(cell) {
            CellPlace::Here(server) => Ok(self.ask_server(&server, request).await),
            CellPlace::Node(node) => self.ask_node(node, cell, request).await,
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
    let caller = parts.extensions.remove::<Caller>();
    parts.extensions.clear();
    caller.map(|caller| parts.extensions.insert(caller));
    Request::from_parts(parts, body)
}

/// The beginning of the paths about one client.
const OF_CLIENT: &str = "/clients/";
/// The same of those about one bridge, and about one sink.
const OF_BRIDGE: &str = "/bridges/";
const OF_SINK: &str = "/sinks/";
/// The most bytes of the response of a cell: a page has at most 1,000 entries, of which none is as large as 64 KiB on average.
const BODY_BYTES_MAX: usize = 64 << 20;
/// The time for another node to answer what is no change.
const NODE_TIME: Duration = Duration::from_secs(3);
/// The time for one request, and for another node to make a change: less than that of its connection.
const REQUEST_TIME: Duration = Duration::from_secs(7);

#[cfg(test)]
mod tests;
