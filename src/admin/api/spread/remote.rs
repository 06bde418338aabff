//! A request for a cell at another node, or for that node: HTTP over a byte stream between both, with the caller in headers. That node checks the role of the
//! caller, too, and answers the routes of cells and nodes alone.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::join;
use futures_util::stream::{StreamExt as _, unfold};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::select;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bans::BAN_CHANGES;
use super::place::{Away, Target};
use super::{CellsApi, NODE_TIME, REQUEST_TIME};
use crate::admin::api::failure::Failure;
use crate::admin::caller::Caller;
use crate::admin::listener::Lifetime;

impl CellsApi {
    /// Asks another node, or a cell there.
    pub(super) async fn ask_node(&self, node: Arc<str>, target: Target, request: Request) -> Result<Response, Away> {
        // A change may be under way for longer than a list.
        let time = if request.method() == Method::GET { NODE_TIME } else { REQUEST_TIME };
        let request = carried(target, request).map_err(|failure| Away::Fails(failure.to_string()))?;
        let silent = || Away::Silent(Arc::clone(&node));
        let Some(nodes) = &self.nodes else { return Err(silent()) };
        let exchange = async {
            let stream = nodes.open(Arc::clone(&node)).await?;
            exchange(stream, request).await.ok()
        };
        timeout(time, exchange).await.ok().flatten().ok_or_else(silent)
    }

    /// Asks another node for what it sends as long as that is read. Dropping the body ends it.
    pub(super) async fn stream_of(&self, node: Arc<str>, target: Target, request: Request) -> Result<Response, Away> {
        let request = carried(target, request).map_err(|failure| Away::Fails(failure.to_string()))?;
        let silent = || Away::Silent(Arc::clone(&node));
        let Some(nodes) = &self.nodes else { return Err(silent()) };
        let stream = nodes.open(Arc::clone(&node)).await.ok_or_else(silent)?;
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.map_err(|_| silent())?;
        let mut carrying = JoinSet::new();
        carrying.spawn(async move { drop(connection.await) });
        let (parts, body) = sender.send_request(request).await.map_err(|_| silent())?.into_parts();
        let body = unfold((Body::new(body).into_data_stream(), carrying), |(mut body, carrying)| async move {
            Some((body.next().await?, (body, carrying)))
        });
        Ok(Response::from_parts(parts, Body::from_stream(body)))
    }

    /// Answers what other nodes ask, and never ends.
    pub(in crate::admin) async fn serve_nodes(self: Arc<Self>) {
        let Some(nodes) = self.nodes.clone() else { return pending().await };
        let slots = Arc::new(Semaphore::new(SERVED_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return pending().await };
            let stream = nodes.accept().await;
            let api = Arc::clone(&self);
            tokio::spawn(async move {
                let _while_it_lasts = slot;
                let lifetime = Lifetime::default();
                select! {
                    () = api.serve(stream, lifetime.clone()) => {}
                    () = lifetime.over(REQUEST_TIME) => {}
                }
            });
        }
    }

    /// Answers the requests that come over a stream. An error concerns the other node alone.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        lifetime: Lifetime,
    ) {
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(lifetime.clone());
            let api = Arc::clone(&self);
            async move {
                let answered = api.answer_node(request.map(Body::new)).await;
                Ok::<_, std::convert::Infallible>(answered.unwrap_or_else(Failure::into_response))
            }
        });
        drop(server::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    }

    /// Answers the request of another node, for a cell that is here or for this node.
    pub(super) async fn answer_node(&self, request: Request) -> Result<Response, Failure> {
        let (mut parts, body) = request.into_parts();
        let of_a_node = || Failure::bad_request("this is no request of a node");
        let (target, caller) = arrived(&parts.headers).ok_or_else(of_a_node)?;
        parts.headers.clear();
        parts.extensions.insert(caller);
        let cell = match target {
            Target::Cell(cell) => cell,
            Target::Node if parts.uri.path() == BAN_CHANGES => return self.take_bans(body).await,
            Target::Node => return Ok(self.ask_self(Request::from_parts(parts, body)).await),
        };
        let here = self.ask_here(cell, Request::from_parts(parts, body)).await;
        here.ok_or_else(|| Failure::unavailable(format!("cell {} is not at this node any more", cell.0)))
    }
}

/// A request with its body, its caller and whom it is for, for another node.
pub(super) fn carried(target: Target, request: Request) -> Result<Request, Failure> {
    let (Parts { method, uri, headers, extensions, .. }, body) = request.into_parts();
    let Some(caller) = extensions.get::<Caller>() else { return Err(Failure::unauthorized("there is no caller")) };
    let name = utf8_percent_encode(&caller.name, NON_ALPHANUMERIC).to_string();
    let mut carried = Request::builder()
        .method(method)
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(CELL, target.to_string())
        .header(CALLER, name)
        .header(ROLE, caller.role.name())
        .header(header::CONNECTION, HeaderValue::from_static("close"));
    if let Some(address) = caller.address {
        carried = carried.header(ADDRESS, address.to_string());
    }
    if let Some(content_type) = headers.get(header::CONTENT_TYPE) {
        carried = carried.header(header::CONTENT_TYPE, content_type);
    }
    carried.body(body).map_err(|error| Failure::internal(error.to_string()))
}

/// Whom a request is for, and its caller, as another node has put them into headers.
pub(super) fn arrived(headers: &HeaderMap) -> Option<(Target, Caller)> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let name = percent_decode_str(text(&CALLER)?).decode_utf8().ok()?;
    let address: Option<IpAddr> = match text(&ADDRESS) {
        Some(address) => Some(address.parse().ok()?),
        None => None,
    };
    let caller = Caller::new((*name).into(), text(&ROLE)?.parse().ok()?, address);
    Some((text(&CELL)?.parse().ok()?, caller))
}

/// Sends a request over a stream, and waits for the whole response.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request,
) -> Result<Response, axum::BoxError> {
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    let talk = async move {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = to_bytes(Body::new(body), super::BODY_BYTES_MAX).await?;
        Ok(Response::from_parts(parts, Body::from(body)))
    };
    // What the connection says is what `talk` sees.
    join(talk, connection).await.0
}

/// Requests of other nodes at a time. Further ones wait.
const SERVED_MAX: usize = 16;
const CELL: HeaderName = HeaderName::from_static("oncemq-cell");
const CALLER: HeaderName = HeaderName::from_static("oncemq-caller");
const ROLE: HeaderName = HeaderName::from_static("oncemq-role");
const ADDRESS: HeaderName = HeaderName::from_static("oncemq-address");
