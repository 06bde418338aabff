use std::task::Waker;

use slab::Slab;

use crate::auth::Fingerprint;
use crate::broker::ConnectionId;
use crate::codec::ProtocolVersion;
use crate::server::clock::Reading;
use crate::server::connection::outgoing::Outgoing;
use crate::server::listener::ClientCertificates;
use crate::server::shard::samples::{Sample, Samples};
use crate::timestamp::{Stamp, Timestamp};

/// The connections of one shard.
#[derive(Debug, Default)]
pub(in crate::server) struct Connections {
    entries: Slab<Entry>,
    /// By slot: the generation of its current or next connection.
    generations: Vec<u32>,
}

/// The state of a connection that the shard's thread shares with the connection's task, which owns the transport.
#[derive(Debug)]
pub(in crate::server) struct Entry {
    generation: u32,
    /// Encoded packets that the transport has not accepted yet.
    pub(in crate::server) outgoing: Outgoing,
    /// Wakes its task; set by the first poll of the task.
    pub(in crate::server) waker: Option<Waker>,
    /// The version of its CONNECT; before that, 3.1.1, in which a refusal is encoded.
    pub(in crate::server) version: ProtocolVersion,
    /// Whether its task was woken since its last poll.
    pub(in crate::server) woken: bool,
    /// Whether the driver's [`FlushQueue`](super::flush_queue::FlushQueue) contains it.
    pub(in crate::server) in_flush_queue: bool,
    /// Between [`Action::Pause`](crate::broker::Action::Pause) and `Resume`: the task doesn't read.
    pub(in crate::server) paused: bool,
    /// Whether the driver's list of paused connections contains it.
    pub(in crate::server) listed_as_paused: bool,
    /// Requests its task to check whether the peer of the paused connection has closed.
    pub(in crate::server) checks_peer: bool,
    /// Requests its task to verify the certificates that its client has presented.
    pub(in crate::server) verifies: bool,
    /// The broker has closed it: the task reads nothing more, writes `outgoing`, and ends.
    pub(in crate::server) closing: bool,
    /// Its task discards its unread input, but for a DISCONNECT.
    pub(in crate::server) discarding: bool,
    /// DISCONNECT was received.
    pub(in crate::server) disconnect_received: bool,
    /// Its transport accepted no bytes during the write timeout.
    pub(in crate::server) timed_out: bool,
    /// Whether the connection must be reset.
    pub(in crate::server) resetting: bool,
    /// Whether the driver's list of backlogged connections contains it.
    pub(in crate::server) backlogged: bool,
    /// By what its client was accepted, if a reload may void it.
    pub(in crate::server) proof: Option<Box<Proof>>,
    /// The bytes that its task keeps of an incomplete packet, or of packets that it must not decode yet.
    pub(in crate::server) input_held: usize,
    /// When its transport last accepted bytes, or `outgoing` became non-empty after that.
    pub(in crate::server) progress: Timestamp,
    /// The bytes that its task has read from its transport, and written to it.
    pub(in crate::server) bytes_received: u64,
    pub(in crate::server) bytes_sent: u64,
    /// When it was opened.
    pub(in crate::server) opened: Stamp,
    /// The latencies that are being measured.
    pub(in crate::server) samples: Option<Box<Samples>>,
}

/// By what a client was accepted. After a reload, it is compared with the files.
#[derive(Debug, Default)]
pub(in crate::server) struct Proof {
    /// The line of the password file that verified its password, or the key that verified its token.
    pub(in crate::server) credentials: Option<Fingerprint>,
    /// The certificates that it has presented.
    pub(in crate::server) certificates: Option<Box<ClientCertificates>>,
}

impl Connections {
    /// Adds a connection. `None` if all `u32` slots are in use.
    pub(in crate::server) fn open(&mut self, now: Reading) -> Option<ConnectionId> {
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
            in_flush_queue: false,
            paused: false,
            listed_as_paused: false,
            checks_peer: false,
            verifies: false,
            closing: false,
            discarding: false,
            disconnect_received: false,
            timed_out: false,
            resetting: false,
            backlogged: false,
            proof: None,
            input_held: 0,
            progress: now.now,
            bytes_received: 0,
            bytes_sent: 0,
            opened: Stamp::new(now.elapsed),
            samples: None,
        });
        Some(ConnectionId { slot, generation })
    }

    /// The connection, unless it has ended.
    pub(in crate::server) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(usize::try_from(id.slot).ok()?)?;
        (entry.generation == id.generation).then_some(entry)
    }

    /// Removes a connection and frees its slot for the next generation.
    pub(in crate::server) fn close(&mut self, id: ConnectionId) -> Option<Entry> {
        self.get_mut(id)?;
        let index = usize::try_from(id.slot).ok()?;
        if let Some(generation) = self.generations.get_mut(index) {
            *generation = generation.wrapping_add(1);
        }
        self.entries.try_remove(index)
    }

    /// All connections.
    pub(in crate::server) fn ids(&self) -> Vec<ConnectionId> {
        let id = |(index, entry): (usize, &Entry)| {
            Some(ConnectionId { slot: u32::try_from(index).ok()?, generation: entry.generation })
        };
        self.entries.iter().filter_map(id).collect()
    }
}

impl Entry {
    /// Measures the latency that ends when the packet is written that was added to the output last.
    #[cold]
    pub(in crate::server) fn measure(&mut self, sample: Sample) {
        let end = self.bytes_sent + self.outgoing.len() as u64;
        self.samples.get_or_insert_default().queued(sample, end);
    }

    /// Whether the task must not read or decode.
    pub(in crate::server) fn is_reading_stopped(&self) -> bool {
        self.paused || self.closing
    }

    /// Wakes its task, unless it was woken since its last poll. Returns whether it did.
    pub(in crate::server) fn wake(&mut self) -> bool {
        if !self.woken
            && let Some(waker) = &self.waker
        {
            self.woken = true;
            waker.wake_by_ref();
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at_start() -> Reading {
        Reading { now: Timestamp(0), elapsed: Duration::ZERO }
    }

    #[test]
    fn a_reused_slot_has_the_next_generation_and_the_old_id_is_invalid() {
        let mut connections = Connections::default();
        let first = connections.open(at_start()).unwrap();
        assert!(connections.close(first).is_some());
        let second = connections.open(at_start()).unwrap();
        assert_eq!(second, ConnectionId { slot: first.slot, generation: first.generation + 1 });
        assert!(connections.get_mut(first).is_none());
        assert!(connections.close(first).is_none());
        assert!(connections.get_mut(second).is_some());
        assert_eq!(connections.ids(), [second]);
    }
}
