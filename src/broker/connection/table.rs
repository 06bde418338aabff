//! The Network Connections of one shard, indexed by the slot number that the caller assigns.

use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::Connection;
use crate::broker::ids::ConnectionId;
use crate::timestamp::Timestamp;

/// The connections of a shard.
///
/// Invariant: for each connection, [`pause`](Self::pause) and [`resume`](Self::resume) return `true` alternately, and the connection
/// is paused exactly while it has a [`PauseReason`].
#[derive(Debug, Default)]
pub(in crate::broker) struct Connections {
    slots: Vec<Option<Connection>>,
    open: usize,
}

impl Connections {
    /// Inserts a new connection. Panics if its slot is in use.
    pub(in crate::broker) fn open(&mut self, connection: Connection) {
        let slot = connection.id.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            let before = place.replace(connection);
            assert!(before.is_none(), "a connection opened in a slot that is in use");
            self.open += 1;
        }
    }

    #[inline]
    pub(in crate::broker) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        // Its slot is the index.
        self.slots.get(id.slot as usize)?.as_ref().filter(|connection| connection.id.generation == id.generation)
    }

    #[inline]
    pub(in crate::broker) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots.get_mut(id.slot as usize)?.as_mut().filter(|connection| connection.id.generation == id.generation)
    }

    /// The connection in this slot, of any generation.
    pub(in crate::broker) fn in_slot(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Removes and returns a connection.
    pub(in crate::broker) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let removed = self.slots.get_mut(id.slot as usize)?.take_if(|connection| connection.id == id)?;
        self.open -= 1;
        Some(removed)
    }

    /// The number of open connections.
    pub(in crate::broker) const fn len(&self) -> usize {
        self.open
    }

    pub(in crate::broker) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().flatten()
    }

    /// Restarts the Keep Alive interval of every connection, and the pauses of those that are not read.
    #[cold]
    pub(in crate::broker) fn forgive_silence(&mut self, now: Timestamp) {
        self.slots.iter_mut().flatten().for_each(|connection| connection.forgive_silence(now));
    }

    /// Adds a pause reason to a connection. Returns `true` if it was not paused before.
    pub(in crate::broker) fn pause(&mut self, id: ConnectionId, reason: PauseReason, now: Timestamp) -> bool {
        self.get_mut(id).is_some_and(|connection| connection.pause(reason, now))
    }

    /// Removes a pause reason from a connection. Returns `true` if it was the last: the connection is read again.
    pub(in crate::broker) fn resume(&mut self, id: ConnectionId, reason: PauseReason, now: Timestamp) -> bool {
        self.get_mut(id).is_some_and(|connection| connection.resume(reason, now))
    }
}
