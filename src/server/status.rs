use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clock::Clock;
use super::memory::MemoryFigures;
use super::traffic::Traffic;
use crate::broker::Counters;
use crate::timestamp::Timestamp;

/// The state and counters of the broker, for monitoring. Every shard publishes its counters once a second. The message path doesn't read
/// them.
#[derive(Debug)]
pub struct Status {
    shards: Box<[Mutex<ShardSnapshot>]>,
    listeners: Mutex<AdmissionCounts>,
    memory: Mutex<MemoryFigures>,
    ready: AtomicBool,
    stopping: AtomicBool,
    clock: Clock,
}

/// The counters of one shard, at most a second old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardSnapshot {
    /// Counters of the broker.
    pub counters: Counters,
    /// Counters of the connections.
    pub traffic: Traffic,
    /// When the shard published them.
    pub published: Timestamp,
}

/// The counters of the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdmissionCounts {
    /// Connections accepted and passed to a shard.
    pub accepted: u64,
    /// Open connections, including those in their handshake.
    pub connections: u64,
    /// Connections closed at once because `limits.connections_max` was reached.
    pub refused_total: u64,
    /// Connections closed at once because the listener's `connections_max` was reached.
    pub refused_listener: u64,
    /// Connections closed because `limits.connections_per_address_max` was reached.
    pub refused_address: u64,
    /// Connections closed at once because `limits.memory_max` was nearly reached.
    pub refused_memory: u64,
    /// Failed calls of accept(2), most often because the process has no file descriptors left.
    pub accept_errors: u64,
}

impl Status {
    pub(crate) fn new(shards: usize, clock: Clock) -> Self {
        Self {
            shards: (0..shards)
                .map(|_| Mutex::new(ShardSnapshot { published: clock.read().now, ..ShardSnapshot::default() }))
                .collect(),
            listeners: Mutex::default(),
            memory: Mutex::default(),
            ready: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            clock,
        }
    }

    /// The counters of each shard, by shard number.
    pub fn shards(&self) -> Vec<ShardSnapshot> {
        self.shards.iter().map(|shard| *shard.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// The counters of the listeners.
    pub fn listeners(&self) -> AdmissionCounts {
        *self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The budget of memory.
    pub fn memory(&self) -> MemoryFigures {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients can connect: every listener accepts connections, and the broker isn't stopping.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.stopping.load(Ordering::Acquire)
    }

    /// When the broker started.
    pub fn started_at(&self) -> Timestamp {
        self.clock.started_at()
    }

    /// The current time of the broker's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.read().now
    }

    /// The longest time since a shard published its counters. More than a few seconds mean that a shard is stuck.
    pub fn longest_silence(&self) -> Duration {
        let now = self.now();
        self.shards().iter().map(|shard| now.since(shard.published)).max().unwrap_or_default()
    }

    /// Whether the broker is draining: it disconnects its clients and then ends.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn publish_shard(&self, shard: usize, snapshot: ShardSnapshot) {
        if let Some(slot) = self.shards.get(shard) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
        }
    }

    pub(crate) fn publish_listeners(&self, counts: AdmissionCounts) {
        *self.listeners.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    pub(crate) fn publish_memory(&self, figures: MemoryFigures) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}
