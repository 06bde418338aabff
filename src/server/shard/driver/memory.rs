//! How a shard's thread watches the memory of the process, and gives back what it does not use.

use super::Driver;
use crate::broker::{ConnectionId, Event, MemoryLevel};

impl Driver {
    /// The bytes that were read or queued since the start: an upper bound for the growth of the memory.
    #[inline]
    const fn moved(&self) -> u64 {
        self.traffic.bytes_received + self.shard.queued_total()
    }

    /// Measures the memory if it may have grown much or another thread has found that it is short. Called once a turn, for each read, and
    /// again while a turn handles many packets.
    #[inline]
    pub(in crate::server) fn watch_memory(&mut self) {
        if self.memory.level() != self.memory_level || self.moved() >= self.measured_at {
            self.measure_memory();
        }
    }

    /// Measures the memory, and tells the shard when the level has changed.
    #[cold]
    fn measure_memory(&mut self) {
        self.measured_at = self.moved() + self.memory.measured_after();
        let level = self.memory.measure();
        if level != std::mem::replace(&mut self.memory_level, level) {
            if level > MemoryLevel::Normal {
                self.read_buffers.large.clear();
            }
            self.handle(Event::Memory(level));
        }
    }

    /// Whether a connection must end because of its incomplete packet of this size.
    pub(in crate::server) fn refuses_input(&self, held: usize) -> bool {
        self.memory.refuses_input(held)
    }

    /// The task of a connection keeps this many bytes of an incomplete packet.
    #[inline]
    pub(in crate::server) fn hold_input(&mut self, connection: ConnectionId, held: usize) {
        if let Some(entry) = self.connections.get_mut(connection)
            && entry.input_held != held
        {
            self.memory.change_input(std::mem::replace(&mut entry.input_held, held), held);
        }
    }

    /// Returns unused memory to the operating system. While memory is short: ends connections that have too much of it, also those whose clients send nothing.
    pub(super) fn sweep_memory(&mut self) {
        if self.memory_level == MemoryLevel::Normal {
            self.read_buffers.large.sweep();
        } else {
            self.read_buffers.large.clear();
        }
        self.sweeps = self.sweeps.wrapping_add(1);
        if self.memory_level > MemoryLevel::Normal || self.sweeps.is_multiple_of(RELEASE_INTERVAL) {
            allocator::release();
        }
        if self.memory_level == MemoryLevel::Critical {
            self.handle(Event::Memory(MemoryLevel::Critical));
        }
        if self.memory.refuses_input(usize::MAX) {
            for id in self.connections.ids() {
                if let Some(entry) = self.connections.get_mut(id)
                    && self.memory.refuses_input(entry.input_held)
                {
                    entry.wake();
                }
            }
        }
    }
}

/// Free memory is returned to the operating system in one of this many sweeps.
const RELEASE_INTERVAL: u32 = 2;
