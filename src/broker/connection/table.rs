//! The Network Connections of one shard, by the slots that the caller numbers.

use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::Connection;
use crate::broker::ids::ConnectionId;
use crate::timestamp::Timestamp;

/// The connections of a shard.
///
/// Invariant: [`pause`](Self::pause) and [`resume`](Self::resume) say `true` in turns for each connection, and a connection is paused
/// exactly while it has a [`PauseReason`].
#[derive(Debug, Default)]
pub(in crate::broker) struct Connections {
    slots: Vec<Option<Connection>>,
    open: usize,
}

impl Connections {
    /// Puts a new connection into its slot, which must be free.
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
        self.slots.get(id.slot as usize)?.as_ref().filter(|connection| connection.id == id)
    }

    #[inline]
    pub(in crate::broker) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots.get_mut(id.slot as usize)?.as_mut().filter(|connection| connection.id == id)
    }

    /// Whichever connection is in this slot.
    pub(in crate::broker) fn in_slot(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Takes a connection out: it has ended.
    pub(in crate::broker) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let removed = self.slots.get_mut(id.slot as usize)?.take_if(|connection| connection.id == id)?;
        self.open -= 1;
        Some(removed)
    }

    /// How many there are.
    pub(in crate::broker) const fn len(&self) -> usize {
        self.open
    }

    pub(in crate::broker) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().flatten()
    }

    /// Adds a reason not to read from a connection. `true` if it was read until now.
    pub(in crate::broker) fn pause(&mut self, id: ConnectionId, reason: PauseReason, now: Timestamp) -> bool {
        self.get_mut(id).is_some_and(|connection| connection.pause(reason, now))
    }

    /// Takes a reason away. `true` if it was the last, and the connection is read again.
    pub(in crate::broker) fn resume(&mut self, id: ConnectionId, reason: PauseReason, now: Timestamp) -> bool {
        self.get_mut(id).is_some_and(|connection| connection.resume(reason, now))
    }
}
