use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clock::Clock;
use super::traffic::Traffic;
use crate::broker::Counters;
use crate::timestamp::Timestamp;

/// How the broker is, for those who watch it. Every shard publishes its figures once a second; nothing on the way of a message
/// looks here.
#[derive(Debug)]
pub struct Status {
    shards: Box<[Mutex<ShardSnapshot>]>,
    listeners: Mutex<AdmissionCounts>,
    ready: AtomicBool,
    stopping: AtomicBool,
    clock: Clock,
}

/// What one shard has counted up to the last second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardSnapshot {
    /// By the rules.
    pub counters: Counters,
    /// By the connections.
    pub traffic: Traffic,
    /// When.
    pub published: Timestamp,
}

/// What the listeners have counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdmissionCounts {
    /// Connections accepted and given to a shard.
    pub accepted: u64,
    /// Connections at this moment, those in their handshake included.
    pub connections: u64,
    /// Closed at once because there were as many as `connections_max` in all.
    pub refused_total: u64,
    /// Closed at once because the listener had as many as its `connections_max`.
    pub refused_listener: u64,
    /// Closed at once because their address had as many as `connections_per_address_max`.
    pub refused_address: u64,
    /// Calls of accept(2) that failed: most often for want of file descriptors.
    pub accept_errors: u64,
}

impl Status {
    pub(crate) fn new(shards: usize, clock: Clock) -> Self {
        Self {
            shards: (0..shards)
                .map(|_| Mutex::new(ShardSnapshot { published: clock.read().now, ..ShardSnapshot::default() }))
                .collect(),
            listeners: Mutex::default(),
            ready: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            clock,
        }
    }

    /// What each shard has counted, by its number.
    pub fn shards(&self) -> Vec<ShardSnapshot> {
        self.shards.iter().map(|shard| *shard.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// What the listeners have counted.
    pub fn listeners(&self) -> AdmissionCounts {
        *self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients can connect: every listener listens, and the broker isn't stopping.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.stopping.load(Ordering::Acquire)
    }

    /// When the broker started.
    pub fn started_at(&self) -> Timestamp {
        self.clock.started_at()
    }

    /// What the broker's clock says.
    pub fn now(&self) -> Timestamp {
        self.clock.read().now
    }

    /// How long the shard that is furthest behind has published nothing: more than a few seconds, and it hangs.
    pub fn longest_silence(&self) -> Duration {
        let now = self.now();
        self.shards().iter().map(|shard| now.since(shard.published)).max().unwrap_or_default()
    }

    /// Whether the broker is saying goodbye to its clients.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn publish_shard(&self, shard: usize, snapshot: ShardSnapshot) {
        if let Some(place) = self.shards.get(shard) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
        }
    }

    pub(crate) fn publish_listeners(&self, counts: AdmissionCounts) {
        *self.listeners.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}
