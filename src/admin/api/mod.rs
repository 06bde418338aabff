//! The HTTP API: everything below `/api/v1`.
//!
//! A file per subject has up to three functions, `viewer_routes`, `operator_routes` and `admin_routes`: the role that its routes need. Each
//! route is a handler with `#[utoipa::path]`, which says method, path, parameters, bodies and answers once, for the router and for the
//! OpenAPI document. The middleware around each route checks the role, refuses query parameters that the document does not have, and writes
//! the audit line of a change whose handler has not. So a handler can forget none of them.
//!
//! A handler takes no lock that the path of a message takes for longer than a bounded turn: it asks the shards by [`Queries`](crate::server::Queries),
//! a page at a time.

mod access;
mod bans;
mod bridges;
mod client_changes;
mod client_history;
mod client_json;
mod clients;
mod cluster;
mod cluster_cells;
mod cluster_json;
mod cluster_plan;
mod config;
mod dead_letters;
mod document;
mod drops;
mod explain;
mod failure;
mod json;
mod logs;
mod message_journey;
mod messages;
mod overview;
mod own_queue;
mod parameters;
mod publish;
mod refusals;
mod reload;
mod retained;
mod router;
mod routes;
mod sinks;
mod spread;
mod state;
mod store;
mod stream_groups;
mod stream_messages;
mod streams;
mod subscriptions;
mod table;
mod tokens;
mod topics;
mod trace;
mod users;
mod whoami;

pub(super) use access::Access;
pub(super) use json::Json;
pub(super) use router::{cells_api, router};
pub(super) use spread::CellsApi;
pub(super) use state::ApiState;

#[cfg(test)]
pub(super) mod tests;
