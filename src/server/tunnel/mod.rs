//! Clients whose sockets are on another node of the cluster than the owner: their connections go through tunnels.
//!
//! | where | what | file |
//! | --- | --- | --- |
//! | a standby, which is the *front* | copies bytes between the socket of a client and a tunnel; PROXY header, TLS and WebSocket end here | `front.rs` |
//! | both | the thread of the tunnels: the links to other nodes, and the bus that carries their frames | `thread.rs`, `hub.rs` |
//! | the owner | finds the listener, counts the connection, and gives it to a shard as one of its own | `arrivals.rs` |
//!
//! A tunnel is a transport as others are (`pipe.rs`). Who the client is, what it may do and its limits are decided by the owner, for the true address of the
//! client. A client that is slow is one for the owner, because a tunnel takes only what its reader has room for.

mod arrivals;
mod bus;
mod figures;
mod front;
mod hub;
mod pipe;
mod thread;

use std::sync::Arc;

pub(in crate::server) use arrivals::Endpoints;
pub use bus::{Connecting, TunnelBus};
pub use figures::TunnelFigures;
pub(in crate::server) use front::Front;
pub(in crate::server) use pipe::{TunnelStream, Tunneled};
pub(in crate::server) use thread::Tunnels;

use super::Server;
use super::listener::OpenListener;
use arrivals::Arrivals;

impl Server {
    /// Starts the thread of the tunnels, if there are any.
    pub(super) fn start_tunnels(&mut self) -> std::io::Result<()> {
        self.publish_endpoints();
        let Some(tunnels) = &mut self.tunnels else { return Ok(()) };
        let (clock, admission) = (self.clock, Arc::clone(&self.admission));
        let arrivals = Arrivals::new((clock, admission), Arc::clone(&self.endpoints), Arc::clone(&self.mailboxes));
        let seed = getrandom::u64().map_err(std::io::Error::other)?;
        tunnels.start(arrivals, (self.config.limits.connections_max, seed), (clock, Arc::clone(&self.status)))
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
