use std::collections::HashMap;
use std::sync::Arc;

use super::pipe::Pipe;
use crate::cluster::tunnel::{Destination, Link, TunnelId};
use crate::cluster::{Bus, Way};

/// A link to another node, with what its tunnels are for.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) node: String,
    pub(super) link: Link,
    /// How its frames go.
    pub(super) way: Way,
    /// How those of the life that is up go, or of the last one.
    pub(super) up_way: Way,
    /// Since when it is up.
    pub(super) up_since: u64,
    /// Since when there is a direct way, while it goes another one.
    pub(super) direct_since: Option<u64>,
    /// Whether it is one of a front that is in use.
    pub(super) is_target: bool,
    /// Since when a target was not up; `None`: that was logged.
    pub(super) down_since: Option<u64>,
    pub(super) tunnels: HashMap<TunnelId, Tunnel>,
}

#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) pipe: Arc<Pipe>,
    pub(super) to: Destination,
}

impl Tunnel {
    pub(super) const fn is_client(&self) -> bool {
        Self::is_for_client(self.to)
    }

    pub(super) const fn is_for_client(to: Destination) -> bool {
        matches!(to, Destination::Broker | Destination::Cell(_))
    }
}

impl Entry {
    pub(super) fn new(node: &str, link: Link) -> Self {
        Self {
            node: node.to_owned(),
            link,
            way: Way::Service,
            up_way: Way::Service,
            up_since: 0,
            direct_since: None,
            is_target: false,
            down_since: None,
            tunnels: HashMap::new(),
        }
    }

    /// The number of clients.
    pub(super) fn clients(&self) -> usize {
        self.tunnels.values().filter(|tunnel| tunnel.is_client()).count()
    }

    /// Whether it should begin anew, because there is a direct way: at once while few clients have found it, and else when that has been there for long.
    pub(super) fn is_to_go_directly(&mut self, now: u64, bus: &dyn Bus) -> bool {
        if !self.is_target || !self.link.is_up() || self.way != Way::Service {
            return false;
        }
        if !matches!(bus.way_to(&self.node), Some(Way::Direct(_))) {
            self.direct_since = None;
            return false;
        }
        let since = *self.direct_since.get_or_insert(now);
        now - self.up_since < YOUNG_MAX || now - since >= DIRECT_MIN
    }
}

/// A link that has been up for less has few clients yet.
const YOUNG_MAX: u64 = 10_000;
/// How long there is a direct way before a link of which clients would notice that is closed.
const DIRECT_MIN: u64 = 30_000;
