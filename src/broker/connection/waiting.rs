//! Connections of a shard that wait for what concerns many at once, and those of them that may go on.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::table::Connections;
use crate::broker::ids::ConnectionId;
use crate::routing::{ShardId, Subscriber};

/// What a shard knows of the congestion around it, and who waits for its end.
#[derive(Debug, Default)]
pub(in crate::broker) struct FlowControl {
    store_congested: bool,
    full_shards: Vec<ShardId>,
    for_store: Vec<ConnectionId>,
    for_shards: Vec<(ShardId, ConnectionId)>,
    for_disk: Vec<ConnectionId>,
    /// Those whose message may find room with another member of a share. Each is here once, however often it was woken in vain.
    for_shares: BTreeSet<ConnectionId>,
    /// Those that may go on: some of them after each event.
    ready: VecDeque<(ConnectionId, GoOn)>,
}

/// How a connection goes on.
#[derive(Debug)]
pub(in crate::broker) enum GoOn {
    /// A reason ends.
    Resume(PauseReason),
    /// Its message is tried again. With the Session whose queue has room, if it was woken for that.
    Retry(Option<Arc<Subscriber>>),
}

impl FlowControl {
    /// Whether nothing has to be done after an event.
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
            let go_on = |id| (id, GoOn::Resume(PauseReason::StoreCongested));
            self.ready.extend(self.for_store.drain(..).map(go_on));
        }
    }

    pub(in crate::broker) fn set_full(&mut self, shard: ShardId, full: bool) {
        self.full_shards.retain(|other| *other != shard);
        if full {
            return self.full_shards.push(shard);
        }
        for (_, id) in self.for_shards.extract_if(.., |(other, _)| *other == shard) {
            self.ready.push_back((id, GoOn::Resume(PauseReason::ShardFull)));
        }
    }

    /// The disk has room again.
    pub(in crate::broker) fn disk_has_room(&mut self) {
        self.ready.extend(self.for_disk.drain(..).map(|id| (id, GoOn::Retry(None))));
    }

    /// Those whose message may go to another member of a share try again.
    pub(in crate::broker) fn retry_shares(&mut self) {
        let waiting = std::mem::take(&mut self.for_shares);
        self.ready.extend(waiting.into_iter().map(|id| (id, GoOn::Retry(None))));
    }

    /// A connection, which is paused, waits for the store to be well again.
    pub(in crate::broker) fn wait_for_store(&mut self, id: ConnectionId, connections: &Connections) {
        self.for_store.push(id);
        forget_gone(&mut self.for_store, connections, |id| *id);
    }

    /// A connection, which is paused, waits for another shard.
    pub(in crate::broker) fn wait_for_shard(&mut self, shard: ShardId, id: ConnectionId, connections: &Connections) {
        self.for_shards.push((shard, id));
        forget_gone(&mut self.for_shards, connections, |(_, id)| *id);
    }

    /// A message of a connection, which is paused, waits for room on the disk.
    pub(in crate::broker) fn wait_for_disk(&mut self, id: ConnectionId, connections: &Connections) {
        self.for_disk.push(id);
        forget_gone(&mut self.for_disk, connections, |id| *id);
    }

    /// A message of a connection, which is paused, may find room with another member of a share.
    pub(in crate::broker) fn wait_for_share(&mut self, id: ConnectionId, connections: &Connections) {
        self.for_shares.insert(id);
        if is_long(self.for_shares.len(), connections) {
            self.for_shares.retain(|id| is_paused(*id, connections));
        }
    }

    /// How many connections may find room with another member of a share.
    #[cfg(test)]
    pub(in crate::broker) fn waiting_for_shares(&self) -> usize {
        self.for_shares.len()
    }

    /// A connection was woken.
    pub(in crate::broker) fn is_ready(&mut self, id: ConnectionId, go_on: GoOn) {
        self.ready.push_back((id, go_on));
    }

    /// The next that may go on.
    pub(in crate::broker) fn next_ready(&mut self) -> Option<(ConnectionId, GoOn)> {
        self.ready.pop_front()
    }

    /// Whether there is another.
    pub(in crate::broker) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a connection is in one of the lists.
    #[cfg(test)]
    pub(in crate::broker) fn knows(&self, id: ConnectionId, reason: PauseReason) -> bool {
        self.ready.iter().any(|(other, _)| *other == id)
            || match reason {
                PauseReason::StoreCongested => self.for_store.contains(&id) && self.store_congested,
                PauseReason::ShardFull => {
                    self.for_shards.iter().any(|(shard, other)| *other == id && self.full_shards.contains(shard))
                }
                PauseReason::NoRoom => self.for_disk.contains(&id),
                PauseReason::Authenticating
                | PauseReason::Claiming
                | PauseReason::ResponsesUnsent
                | PauseReason::ResponsesUnstable
                | PauseReason::DeduplicationPending
                | PauseReason::SlowReceiver => false,
            }
    }
}

/// Those that are gone leave a list before they are half of it: so it has at most twice as many as there are connections. Those that wait
/// are paused before they come into the list.
fn forget_gone<T>(list: &mut Vec<T>, connections: &Connections, id: impl Fn(&T) -> ConnectionId) {
    if is_long(list.len(), connections) {
        list.retain(|entry| is_paused(id(entry), connections));
    }
}

/// Whether a list is so long that most of those in it are gone.
const fn is_long(length: usize, connections: &Connections) -> bool {
    length > 2 * connections.len() + LIST_MIN
}

fn is_paused(id: ConnectionId, connections: &Connections) -> bool {
    connections.get(id).is_some_and(|connection| !connection.pause_reasons().is_empty())
}

/// A list that is shorter is not looked through.
const LIST_MIN: usize = 64;
