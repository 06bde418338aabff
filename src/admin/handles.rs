use std::path::PathBuf;
use std::sync::Arc;

use crate::broker::Shared;
use crate::cluster::ClusterHandle;
use crate::config::Durability;
use crate::server::{Bans, Cells, NodeStreams, Queries, Reloader, Status, Traces};
use crate::store::Store;

/// The parts of the broker that the admin listener reads.
#[derive(Debug, Clone)]
pub struct BrokerHandles {
    /// Counters of the shards and the listeners.
    pub status: Arc<Status>,
    /// Subscriptions and retained messages.
    pub shared: Arc<Shared>,
    /// What an acknowledged message survives, if no durability rule matches its topic.
    pub durability: Durability,
    /// The store, if there is one.
    pub store: Option<Arc<Store>>,
    /// Asks the shards what they have.
    pub queries: Queries,
    /// Shows packets and decisions live.
    pub traces: Traces,
    /// The banned addresses and users.
    pub bans: Arc<Bans>,
    /// Reloads the broker and changes its files.
    pub reloader: Reloader,
    /// The node, if this broker is part of a cluster.
    pub cluster: Option<ClusterHandle>,
    /// Instead: the nodes of all cells, if there are several.
    pub cells: Vec<ClusterHandle>,
    /// The cells of which some are served in this process, if there are several.
    pub front_of: Option<Arc<Cells>>,
    /// What the other nodes are asked over about theirs.
    pub nodes: Option<NodeStreams>,
    /// The data directory.
    pub data: PathBuf,
}
