//! OnceMQ, an MQTT 3.1.1 and 5.0 broker: a pure broker inside a thin tokio shell.

pub mod admin;
pub mod auth;
pub mod batch;
pub mod bridge;
pub mod broker;
pub mod cluster;
pub mod codec;
pub mod config;
mod dense_map;
pub mod histogram;
mod http_client;
pub mod import;
mod private_address;
pub mod rewrite;
pub mod routing;
pub mod server;
pub mod server_trust;
pub mod session;
pub mod sink;
pub mod store;
pub mod timestamp;
pub mod topic;
