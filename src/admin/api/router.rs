use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};

use super::access::{Access, Guarded, Rule, enforce, identify};
use super::document::{Document, PREFIX, method_name, query_parameters};
use super::failure::Failure;
use super::spread::{CellsApi, Parts, Spread};
use super::state::ApiState;
use super::table::{Route, Routes};
use super::{
    bans, bridges, client_changes, client_history, clients, cluster, cluster_plan, config, dead_letters, drops,
    explain, messages, overview, publish, refusals, reload, retained, routes, sinks, store, stream_groups,
    stream_messages, streams, subscriptions, tokens, trace, users, whoami,
};
use crate::admin::caller::Role;
use crate::server::NodeStreams;

/// All routes, by the role that they need.
fn tables() -> Vec<(Role, Routes)> {
    vec![
        (Role::Viewer, viewer_routes()),
        (Role::Viewer, whoami::viewer_routes()),
        (Role::Viewer, bans::viewer_routes()),
        (Role::Operator, bans::operator_routes()),
        (Role::Viewer, clients::viewer_routes()),
        (Role::Viewer, client_history::viewer_routes()),
        (Role::Operator, client_changes::operator_routes()),
        (Role::Admin, client_changes::admin_routes()),
        (Role::Viewer, config::viewer_routes()),
        (Role::Admin, reload::admin_routes()),
        (Role::Admin, users::admin_routes()),
        (Role::Viewer, subscriptions::viewer_routes()),
        (Role::Viewer, routes::viewer_routes()),
        (Role::Viewer, retained::viewer_routes()),
        (Role::Operator, retained::operator_routes()),
        (Role::Operator, publish::operator_routes()),
        (Role::Viewer, dead_letters::viewer_routes()),
        (Role::Operator, dead_letters::operator_routes()),
        (Role::Viewer, explain::viewer_routes()),
        (Role::Viewer, refusals::viewer_routes()),
        (Role::Viewer, drops::viewer_routes()),
        (Role::Viewer, messages::viewer_routes()),
        (Role::Operator, trace::operator_routes()),
        (Role::Viewer, overview::viewer_routes()),
        (Role::Viewer, bridges::viewer_routes()),
        (Role::Viewer, sinks::viewer_routes()),
        (Role::Viewer, streams::viewer_routes()),
        (Role::Viewer, stream_groups::viewer_routes()),
        (Role::Operator, stream_messages::operator_routes()),
        (Role::Admin, streams::admin_routes()),
        (Role::Admin, stream_groups::admin_routes()),
        (Role::Viewer, store::viewer_routes()),
        (Role::Admin, store::admin_routes()),
        (Role::Viewer, cluster::viewer_routes()),
        (Role::Viewer, cluster_plan::routes()),
        (Role::Admin, cluster::admin_routes()),
        (Role::Admin, tokens::admin_routes()),
    ]
}

/// The routes below `/api/v1`.
pub(in crate::admin) fn router(state: ApiState, access: Access, cells: Option<&Arc<CellsApi>>) -> Router {
    let mut document = Document::new();
    let mut router = Router::new();
    for (role, routes) in tables() {
        for route in routes.0 {
            document.add(role, &route);
            let spread = spread_of(&route).zip(cells.cloned());
            let (status, cluster) = (Some(Arc::clone(&state.status)), state.cluster.clone());
            let audit = Arc::clone(&state.audit);
            let (rule, is_front) = (Arc::new(rule(role, &route)), cells.is_some());
            let guarded = Guarded { rule, audit, status, cluster, is_front, cells: spread };
            router = router.route(&route.path, route.handler.route_layer(from_fn_with_state(guarded, enforce)));
        }
    }
    let text: Arc<str> = serde_json::to_string(&document.build()).unwrap_or_default().into();
    let router = router
        .fallback(not_found)
        .layer(Extension(DocumentText(text)))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(access, identify))
        .with_state(state);
    Router::new().nest(PREFIX, router)
}

/// What asks the cells of a front. `nodes`: the way to those at other nodes.
pub(in crate::admin) fn cells_api(state: &ApiState, nodes: Option<NodeStreams>) -> Option<Arc<CellsApi>> {
    let cells = state.front_of.clone()?;
    let parts = Parts {
        of_cell: part_routes(state, |spread| !spread.is_of_nodes()),
        of_node: part_routes(state, Spread::is_of_nodes),
    };
    Some(Arc::new(CellsApi::new(cells, nodes, (parts, state.clone()))))
}

/// What a route asks of a request.
fn rule(role: Role, route: &Route) -> Rule {
    let methods: Vec<&str> = route.methods.iter().map(method_name).collect();
    Rule {
        role,
        name: format!("{} {}", methods.join(", "), route.path),
        parameters: query_parameters(&route.operation),
        is_change: role > Role::Viewer && methods != ["GET"],
        is_of_node: OF_NODE.iter().any(|path| route.path.starts_with(path)),
    }
}

fn spread_of(route: &Route) -> Option<Spread> {
    let methods: Vec<&str> = route.methods.iter().map(method_name).collect();
    Spread::of(&methods, &route.path)
}

/// The routes for the server of a cell, or for a node. The front or the other node that sends the request has set its
/// [`Caller`](crate::admin::caller::Caller).
fn part_routes(state: &ApiState, is_part: fn(Spread) -> bool) -> Router<ApiState> {
    let mut router = Router::new();
    let routes = tables().into_iter().flat_map(|(role, routes)| routes.0.into_iter().map(move |route| (role, route)));
    for (role, route) in routes.filter(|(_, route)| spread_of(route).is_some_and(is_part)) {
        let (rule, audit) = (Arc::new(rule(role, &route)), Arc::clone(&state.audit));
        let guarded = Guarded { rule, audit, status: None, cluster: None, is_front: false, cells: None };
        router = router.route(&route.path, route.handler.route_layer(from_fn_with_state(guarded, enforce)));
    }
    router.fallback(not_found).layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

fn viewer_routes() -> Routes {
    Routes::new().add(__path_document, document)
}

/// The OpenAPI document, made once.
#[derive(Clone)]
struct DocumentText(Arc<str>);

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "The OpenAPI document", body = serde_json::Value)))]
async fn document(Extension(DocumentText(text)): Extension<DocumentText>) -> Response {
    ([(CONTENT_TYPE, "application/json")], format!("{text}\n")).into_response()
}

async fn not_found() -> Failure {
    Failure::not_found("there is no such path; GET /api/v1/openapi.json lists all")
}

/// Where changes of a standby are made: they concern its process, or its files of users, rules and tokens, which each node has for itself.
const OF_NODE: &[&str] = &["/cluster", "/reload", "/tokens", "/users", "/trace"];
/// A user name has at most 65,535 bytes, and JSON may escape each.
const BODY_BYTES_MAX: usize = 512 * 1_024;
