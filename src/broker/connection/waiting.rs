//! Lists of connections that wait for the store, a shard, the disk or a share, and the queue of those that can continue.

use std::collections::{BTreeSet, VecDeque};

use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::table::Connections;
use crate::broker::ids::ConnectionId;
use crate::routing::{SessionKey, ShardId};

/// Congestion of the store and of other shards, and the connections that wait for its end.
#[derive(Debug, Default)]
pub(in crate::broker) struct FlowControl {
    store_congested: bool,
    full_shards: Vec<ShardId>,
    store_waiters: Vec<ConnectionId>,
    shard_waiters: Vec<(ShardId, ConnectionId)>,
    disk_waiters: Vec<ConnectionId>,
    /// Connections whose message another member of a share may have room for, each once.
    share_waiters: BTreeSet<ConnectionId>,
    /// Connections that can continue; `Shard::after_event` takes a bounded number after each event.
    ready: VecDeque<(ConnectionId, ReadyTask)>,
}

/// What to do with a connection that can continue.
#[derive(Debug)]
pub(in crate::broker) enum ReadyTask {
    /// Remove this pause reason.
    Resume(PauseReason),
    /// Try its blocked message again. `Some`: it was woken because the queue of this Session has room.
    Retry(Option<SessionKey>),
}

impl FlowControl {
    /// Whether there is no work after an event.
    #[inline]
    pub(in crate::broker) fn is_quiet(&self) -> bool {
        self.ready.is_empty() && self.full_shards.is_empty()
    }

    pub(in crate::broker) const fn is_store_congested(&self) -> bool {
        self.store_congested
    }

    pub(in crate::broker) fn is_full(&self, shard: ShardId) -> bool {
        self.full_shards.contains(&shard)
    }

    pub(in crate::broker) const fn has_full_shards(&self) -> bool {
        !self.full_shards.is_empty()
    }

    pub(in crate::broker) fn set_store_congested(&mut self, congested: bool) {
        self.store_congested = congested;
        if !congested {
            let task = |id| (id, ReadyTask::Resume(PauseReason::StoreCongested));
            self.ready.extend(self.store_waiters.drain(..).map(task));
        }
    }

    pub(in crate::broker) fn set_full(&mut self, shard: ShardId, full: bool) {
        self.full_shards.retain(|other| *other != shard);
        if full {
            return self.full_shards.push(shard);
        }
        for (_, id) in self.shard_waiters.extract_if(.., |(other, _)| *other == shard) {
            self.ready.push_back((id, ReadyTask::Resume(PauseReason::ShardFull)));
        }
    }

    /// Retries all messages that wait for the disk.
    pub(in crate::broker) fn on_disk_room(&mut self) {
        self.ready.extend(self.disk_waiters.drain(..).map(|id| (id, ReadyTask::Retry(None))));
    }

    /// Retries all messages that another member of a share may have room for.
    pub(in crate::broker) fn retry_shares(&mut self) {
        let waiting = std::mem::take(&mut self.share_waiters);
        self.ready.extend(waiting.into_iter().map(|id| (id, ReadyTask::Retry(None))));
    }

    /// Adds a paused connection that waits for the end of store congestion.
    pub(in crate::broker) fn wait_for_store(&mut self, id: ConnectionId, connections: &Connections) {
        self.store_waiters.push(id);
        prune_resumed(&mut self.store_waiters, connections, |id| *id);
    }

    /// Adds a paused connection that waits for room in the mailbox of `shard`.
    pub(in crate::broker) fn wait_for_shard(&mut self, shard: ShardId, id: ConnectionId, connections: &Connections) {
        self.shard_waiters.push((shard, id));
        prune_resumed(&mut self.shard_waiters, connections, |(_, id)| *id);
    }

    /// Adds a paused connection whose message waits for room on the disk.
    pub(in crate::broker) fn wait_for_disk(&mut self, id: ConnectionId, connections: &Connections) {
        self.disk_waiters.push(id);
        prune_resumed(&mut self.disk_waiters, connections, |id| *id);
    }

    /// Adds a paused connection whose message another member of a share may have room for.
    pub(in crate::broker) fn wait_for_share(&mut self, id: ConnectionId, connections: &Connections) {
        self.share_waiters.insert(id);
        if is_long(self.share_waiters.len(), connections) {
            self.share_waiters.retain(|id| is_paused(*id, connections));
        }
    }

    /// The number of connections whose message another member of a share may have room for.
    #[cfg(test)]
    pub(in crate::broker) fn waiting_for_shares(&self) -> usize {
        self.share_waiters.len()
    }

    /// Queues a connection that can continue.
    pub(in crate::broker) fn push_ready(&mut self, id: ConnectionId, task: ReadyTask) {
        self.ready.push_back((id, task));
    }

    /// Takes the next connection that can continue.
    pub(in crate::broker) fn next_ready(&mut self) -> Option<(ConnectionId, ReadyTask)> {
        self.ready.pop_front()
    }

    /// Whether more connections can continue.
    pub(in crate::broker) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a connection is in the list that belongs to `reason`, or can continue.
    #[cfg(test)]
    pub(in crate::broker) fn is_listed(&self, id: ConnectionId, reason: PauseReason) -> bool {
        self.ready.iter().any(|(other, _)| *other == id)
            || match reason {
                PauseReason::StoreCongested => self.store_waiters.contains(&id) && self.store_congested,
                PauseReason::ShardFull => {
                    self.shard_waiters.iter().any(|(shard, other)| *other == id && self.full_shards.contains(shard))
                }
                PauseReason::NoRoom => self.disk_waiters.contains(&id),
                PauseReason::Authenticating
                | PauseReason::Claiming
                | PauseReason::ResponsesUnsent
                | PauseReason::ResponsesUnstable
                | PauseReason::DeduplicationPending
                | PauseReason::RateLimited
                | PauseReason::ManyFilters
                | PauseReason::CellsToBeTold
                | PauseReason::CellsUnknown
                | PauseReason::SlowReceiver => false,
            }
    }
}

/// Removes connections that have closed or resumed when the list is longer than `2 * connections + LIST_MIN`, so it is bounded by that
/// length at amortized constant cost. A connection must be paused before it is added.
fn prune_resumed<T>(list: &mut Vec<T>, connections: &Connections, id: impl Fn(&T) -> ConnectionId) {
    if is_long(list.len(), connections) {
        list.retain(|entry| is_paused(id(entry), connections));
    }
}

/// Whether most entries of a list of this length have closed or resumed.
const fn is_long(length: usize, connections: &Connections) -> bool {
    length > 2 * connections.len() + LIST_MIN
}

fn is_paused(id: ConnectionId, connections: &Connections) -> bool {
    connections.get(id).is_some_and(|connection| !connection.pause_reasons().is_empty())
}

/// Shorter lists are not pruned.
const LIST_MIN: usize = 64;
