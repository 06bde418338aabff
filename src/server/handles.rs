//! Handles to the parts of a running broker.

use std::sync::Arc;

use super::Server;
use super::bans::Bans;
use super::queries::Queries;
use super::status::Status;
use super::traces::Traces;
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
}
