use std::task::Waker;
use std::time::Duration;

use slab::Slab;

use crate::broker::ConnectionId;
use crate::codec::ProtocolVersion;
use crate::server::connection::outgoing::Outgoing;
use crate::timestamp::Timestamp;

/// The connections of one shard.
#[derive(Debug, Default)]
pub(in crate::server) struct Connections {
    entries: Slab<Entry>,
    /// By slot: how many connections had it before the one that has it.
    generations: Vec<u32>,
}

/// What the shard's thread knows of a connection; its transport belongs to its task.
#[derive(Debug)]
pub(in crate::server) struct Entry {
    generation: u32,
    /// What waits for its transport.
    pub(in crate::server) outgoing: Outgoing,
    /// Of its task: set when that runs first.
    pub(in crate::server) waker: Option<Waker>,
    /// Spoken since CONNECT; before it, the version of the last answer that every client understands.
    pub(in crate::server) version: ProtocolVersion,
    /// Whether its task has been woken since it ran last.
    pub(in crate::server) woken: bool,
    /// Nothing more is read: the rules want it so.
    pub(in crate::server) paused: bool,
    /// Whether it is in the list of those that were paused.
    pub(in crate::server) listed_as_paused: bool,
    /// Its task is to look whether the peer of the paused connection is still there.
    pub(in crate::server) looks_at_peer: bool,
    /// Nothing more is read, ever, and what waits is the last that is sent.
    pub(in crate::server) closing: bool,
    /// Its client said DISCONNECT.
    pub(in crate::server) said_goodbye: bool,
    /// Its transport took nothing for the write timeout.
    pub(in crate::server) timed_out: bool,
    /// Whether it is in the list of those whose transport didn't take all.
    pub(in crate::server) backlogged: bool,
    /// When its transport last took something, or began to have something to take.
    pub(in crate::server) progress: Timestamp,
    /// When what fills its outgoing buffer was read, if this one is in the sample.
    pub(in crate::server) filled: Option<Duration>,
}

impl Connections {
    /// A slot for a new connection.
    pub(in crate::server) fn open(&mut self, now: Timestamp) -> Option<ConnectionId> {
        let vacant = self.entries.vacant_entry();
        let index = vacant.key();
        let slot = u32::try_from(index).ok()?;
        if self.generations.len() <= index {
            self.generations.resize(index + 1, 0);
        }
        let generation = self.generations.get(index).copied().unwrap_or_default();
        vacant.insert(Entry {
            generation,
            outgoing: Outgoing::default(),
            waker: None,
            version: ProtocolVersion::V3_1_1,
            woken: false,
            paused: false,
            listed_as_paused: false,
            looks_at_peer: false,
            closing: false,
            said_goodbye: false,
            timed_out: false,
            backlogged: false,
            progress: now,
            filled: None,
        });
        Some(ConnectionId { slot, generation })
    }

    /// The connection, unless it has ended.
    pub(in crate::server) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(usize::try_from(id.slot).ok()?)?;
        (entry.generation == id.generation).then_some(entry)
    }

    /// Ends a connection: its slot is free for the next generation.
    pub(in crate::server) fn close(&mut self, id: ConnectionId) -> Option<Entry> {
        self.get_mut(id)?;
        let index = usize::try_from(id.slot).ok()?;
        if let Some(generation) = self.generations.get_mut(index) {
            *generation = generation.wrapping_add(1);
        }
        self.entries.try_remove(index)
    }

    /// All of them.
    pub(in crate::server) fn ids(&self) -> Vec<ConnectionId> {
        let id = |(index, entry): (usize, &Entry)| {
            Some(ConnectionId { slot: u32::try_from(index).ok()?, generation: entry.generation })
        };
        self.entries.iter().filter_map(id).collect()
    }
}

impl Entry {
    /// Whether nothing may be read at this moment.
    pub(in crate::server) fn is_held(&self) -> bool {
        self.paused || self.closing
    }

    /// Lets its task run, once.
    pub(in crate::server) fn wake(&mut self) {
        if !self.woken
            && let Some(waker) = &self.waker
        {
            self.woken = true;
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_with_the_next_generation_and_the_old_one_is_gone() {
        let mut connections = Connections::default();
        let first = connections.open(Timestamp(0)).unwrap();
        assert!(connections.close(first).is_some());
        let second = connections.open(Timestamp(0)).unwrap();
        assert_eq!(second, ConnectionId { slot: first.slot, generation: first.generation + 1 });
        assert!(connections.get_mut(first).is_none());
        assert!(connections.close(first).is_none());
        assert!(connections.get_mut(second).is_some());
        assert_eq!(connections.ids(), [second]);
    }
}
