//! Handles to the parts of a running broker.

use std::mem;
use std::sync::Arc;

use super::Server;
use super::bans::Bans;
use super::handover::passed::AdminSockets;
use super::listener::SecondSocket;
use super::queries::Queries;
use super::reload::Reloader;
use super::status::Status;
use super::traces::Traces;
use super::tunnel::{NodeStreams, Tunnels};
use crate::broker::Shared;
use crate::store::Store;

impl Server {
    /// The state and counters of the broker, for monitoring.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// The state that all shards share: the subscription index and the retained messages.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The store; `None` if no message is durable.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.clone()
    }

    /// The banned addresses and users.
    pub fn bans(&self) -> Arc<Bans> {
        Arc::clone(&self.bans)
    }

    /// Queries to the shards.
    pub fn queries(&self) -> Queries {
        Queries::new(Arc::clone(&self.mailboxes))
    }

    /// Live views of packets and decisions. All clones of one value share their limit.
    pub fn traces(&self) -> Traces {
        Traces::new(Arc::clone(&self.mailboxes))
    }

    /// Reloads the configuration and changes its files while the broker runs.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// What other nodes are asked over, if clients are spread over cells.
    pub fn node_streams(&self) -> Option<NodeStreams> {
        self.tunnels.as_ref().and_then(Tunnels::nodes)
    }

    /// The sockets for the admin listener that another process has passed.
    pub fn take_admin_sockets(&mut self) -> AdminSockets {
        mem::take(&mut self.passed_admin)
    }

    /// Passes the sockets of the admin listener to a process that takes over.
    pub(crate) fn pass_admin_sockets(&mut self, sockets: Vec<SecondSocket>) {
        self.admin_sockets = sockets;
    }
}
