use std::sync::Arc;

use tokio::sync::watch;

use super::arrivals::Arrivals;
use super::front::Channels;
use crate::server::cells::Place;

/// What this node is for the tunnels: a standby is a front, the owner lets them arrive, and a node with cells does both.
#[derive(Debug)]
pub(super) struct Roles {
    /// The sockets of clients are here.
    pub(super) front: Option<FrontRole>,
    /// They are served here.
    pub(super) arrivals: Option<Arrivals>,
}

#[derive(Debug)]
pub(super) struct FrontRole {
    pub(super) targets: Targets,
    pub(super) channels: Channels,
}

/// Places of cells, and nodes.
pub(super) type Followed = (Arc<[Place]>, Arc<[Arc<str>]>);

/// The nodes to which a front passes clients.
#[derive(Debug)]
pub(super) enum Targets {
    Owner(watch::Receiver<Option<String>>),
    /// Those that serve cells, and all others that are alive, which are asked and told about the broker as a whole.
    Cells {
        places: watch::Receiver<Arc<[Place]>>,
        nodes: watch::Receiver<Arc<[Arc<str>]>>,
        /// The last ones that were followed.
        followed: Option<Followed>,
    },
}
