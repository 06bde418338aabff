//! Clients whose sockets are not with the server that has their Sessions: that is another node of the cluster, to which their connections go through tunnels,
//! or the server of a cell in this process.
//!
//! | where | what | file |
//! | --- | --- | --- |
//! | a standby, which is the *front* | passes each client to the owner, or to its cell; PROXY header, TLS and WebSocket end here | `front.rs` |
//! | the front of a node with cells | finds the Client Identifier, and with it the cell: `finding.rs`. If the cell is here, gives the socket to it, or one end of a pipe | `to_cell.rs` |
//! | a front | copies bytes between the socket of a client and a tunnel or a pipe | `pump.rs` |
//! | all | the thread of the tunnels: the links to other nodes, and the bus that carries their frames | `thread.rs`, `hub.rs`, `entry.rs` |
//! | the owner, a node with cells | finds the listener, counts the connection, and gives it to a shard as one of its own | `arrivals.rs` |
//! | a node with cells | keeps a byte stream open between the servers of each two cells | `links.rs` |
//! | a node with cells | opens byte streams to the processes of others, and accepts theirs, for the admin interface | `nodes.rs` |
//!
//! A tunnel is a transport as others are (`stream.rs`, `pipe.rs`), and so is a pipe within the process (`local.rs`). Who the client is, what it may do and its limits are
//! decided by the owner, for the true address of the client. A client that is slow is one for the owner, because a tunnel takes only what its reader has room
//! for.

mod arrivals;
mod bus;
mod closed;
mod entry;
mod figures;
mod finding;
mod front;
mod hub;
mod links;
mod local;
mod nodes;
mod pipe;
mod pump;
mod roles;
mod stream;
mod thread;
mod to_cell;

use std::sync::Arc;

pub(in crate::server) use arrivals::Endpoints;
pub use bus::{Connecting, TunnelBus};
pub use figures::TunnelFigures;
pub(in crate::server) use front::{Front, Passed};
pub use nodes::NodeStreams;
pub(in crate::server) use stream::{TunnelStream, Tunneled};
pub(in crate::server) use thread::Tunnels;

use links::links_max;
use nodes::NODE_STREAMS_MAX;

use super::Server;
use super::listener::OpenListener;

impl Server {
    /// Starts the thread of the tunnels, if there are any.
    pub(super) fn start_tunnels(&mut self) -> std::io::Result<()> {
        self.publish_endpoints();
        let Some(tunnels) = &mut self.tunnels else { return Ok(()) };
        let seed = getrandom::u64().map_err(std::io::Error::other)?;
        // Clients do not keep the streams between cells and nodes out.
        let of_cells = self.front_of.as_deref().map_or(0, |cells| links_max(cells) + NODE_STREAMS_MAX);
        let terms = (self.config.limits.connections_max.saturating_add(of_cells), seed);
        let receivers = (Arc::clone(&self.endpoints), Arc::clone(&self.mailboxes));
        tunnels.start((self.clock, Arc::clone(&self.admission)), receivers, terms, Arc::clone(&self.status))
    }

    /// Ends the thread of the tunnels, after the connections.
    pub(super) async fn end_tunnels(&mut self) {
        if let Some(tunnels) = &mut self.tunnels {
            tunnels.end().await;
        }
    }

    /// Publishes the listeners, for clients of other nodes.
    pub(super) fn publish_endpoints(&self) {
        let endpoints = self.listeners.iter().map(OpenListener::endpoint).cloned().collect();
        self.endpoints.store(Arc::new(endpoints));
    }
}
