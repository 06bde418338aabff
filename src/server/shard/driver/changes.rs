//! Changes of the state of a connection that its task must see.

use super::Driver;
use crate::broker::ConnectionId;
use crate::server::shard::connections::Entry;

impl Driver {
    /// Stops the reading of a connection, and lists it for the next sweep.
    pub(super) fn pause(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.paused = true;
            if !std::mem::replace(&mut entry.listed_as_paused, true) {
                self.paused.push(connection);
            }
        }
    }

    /// Changes the state of a connection and wakes its task.
    pub(super) fn update_and_wake(&mut self, connection: ConnectionId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.connections.get_mut(connection) {
            change(entry);
            if self.current != Some(connection) {
                entry.wake();
            }
        }
    }
}
