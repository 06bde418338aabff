use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What the other nodes know of the bans.
#[derive(Debug, Default)]
pub(super) struct Peers {
    nodes: Mutex<BTreeMap<Arc<str>, Peer>>,
    /// One of them has begun anew.
    news: Notify,
}

/// What another node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Peer {
    /// The run of the node; `None`: it has told nothing yet.
    run: Option<u64>,
    /// The number of the last change that it has been told.
    pub(super) told: u64,
}

impl Peers {
    /// Forgets all nodes but these.
    pub(super) fn retain(&self, nodes: &[Arc<str>]) {
        self.lock().retain(|node, _| nodes.contains(node));
    }

    /// Waits until one has begun anew. Cancel safe.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Peer>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a node knows.
    pub(super) fn of(&self, node: &Arc<str>) -> Peer {
        *self.lock().entry(Arc::clone(node)).or_default()
    }

    /// A node was told all up to the change with this number, unless it has begun anew since then.
    pub(super) fn set_told(&self, node: &Arc<str>, before: Peer, number: u64) {
        let mut nodes = self.lock();
        let Some(peer) = nodes.get_mut(node).filter(|peer| peer.run == before.run) else { return };
        peer.told = peer.told.max(number);
    }

    /// A node tells something, and the number of its run.
    pub(super) fn heard(&self, node: &str, run: u64) {
        let mut nodes = self.lock();
        let peer = nodes.entry(node.into()).or_default();
        if peer.run.replace(run) != Some(run) {
            peer.told = 0;
            self.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_begins_anew_is_told_all() {
        let (peers, node): (_, Arc<str>) = (Peers::default(), "b".into());
        let peer = peers.of(&node);
        peers.set_told(&node, peer, 7);
        assert_eq!(peers.of(&node), Peer { run: None, told: 7 });
        peers.heard("b", 1);
        assert_eq!(peers.of(&node), Peer { run: Some(1), told: 0 }, "the run that was told is not known");
        let before = peers.of(&node);
        peers.set_told(&node, before, 8);
        peers.heard("b", 1);
        assert_eq!(peers.of(&node), Peer { run: Some(1), told: 8 });
        peers.heard("b", 2);
        // What the former run has confirmed does not count.
        peers.set_told(&node, before, 9);
        assert_eq!(peers.of(&node), Peer { run: Some(2), told: 0 });
    }
}
