//! The methods of [`Driver`] for a reload of settings and listeners: ends the connections of removed listeners, some at a time.

use std::sync::Arc;

use super::Driver;
use crate::broker::Event;
use crate::server::shard::mailbox::ShardSettings;

impl Driver {
    /// Applies reloaded settings.
    pub(super) fn set_settings(&mut self, settings: ShardSettings) {
        self.write_timeout = settings.write_timeout;
        self.handle(Event::SettingsChanged(settings.settings));
    }

    /// Marks the connections of removed listeners for [`end_some_connections`](Self::end_some_connections).
    pub(super) fn end_listeners(&mut self, names: &[Arc<str>]) {
        let ids = self.connections.ids();
        let of_listener =
            |id| self.shard.peer(id).is_some_and(|peer| names.iter().any(|name| Arc::ptr_eq(name, &peer.listener)));
        self.endings.0.extend(ids.into_iter().filter(|id| of_listener(*id)));
    }

    /// Whether the caller is to start a task that ends connections, because there are some and no task does.
    pub(in crate::server) fn begins_endings(&mut self) -> bool {
        !self.endings.0.is_empty() && !std::mem::replace(&mut self.endings.1, true)
    }

    /// Ends the next [`ENDINGS_PER_TURN`] connections of removed listeners. Returns whether there are more.
    pub(in crate::server) fn end_some_connections(&mut self) -> bool {
        self.begin_turn();
        for _ in 0..ENDINGS_PER_TURN {
            let Some(connection) = self.endings.0.pop() else { break };
            self.handle(Event::ListenerRemoved { connection });
        }
        self.end_turn();
        self.endings.1 = !self.endings.0.is_empty();
        self.endings.1
    }
}

/// With a pause of 20 ms, 3,200 clients of each shard in a second.
const ENDINGS_PER_TURN: usize = 64;
