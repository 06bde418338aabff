use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytestring::ByteString;

use super::bridge_figures::BridgeFigures;
use super::clock::{Clock, wall_time};
use super::memory::MemoryFigures;
use super::probe_figures::ProbeFigures;
use super::sinks::SinkFigures;
use super::telemetry_figures::TelemetryFigures;
use super::traffic::Traffic;
use super::tunnel::TunnelFigures;
use crate::auth::{PoolCounts, RemoteCounts};
use crate::broker::{Counters, Outcomes};
use crate::timestamp::{Timestamp, WallTime};

/// The state and counters of the broker, for monitoring. Every shard publishes its counters once a second. The message path doesn't read
/// them.
#[derive(Debug)]
pub struct Status {
    shards: Box<[Mutex<ShardSnapshot>]>,
    listeners: Mutex<AdmissionCounts>,
    certificates: Mutex<Vec<CertificateExpiry>>,
    services: Mutex<Vec<(ByteString, RemoteCounts)>>,
    memory: Mutex<MemoryFigures>,
    probe: Mutex<Option<ProbeFigures>>,
    sinks: Mutex<Vec<Arc<Mutex<SinkFigures>>>>,
    bridges: Mutex<BTreeMap<Arc<str>, BridgeFigures>>,
    telemetry: Mutex<Option<TelemetryFigures>>,
    ready: AtomicBool,
    tunnels: Mutex<Option<TunnelFigures>>,
    standby: AtomicBool,
    stopping: AtomicBool,
    clock: Clock,
    started_at: Mutex<WallTime>,
}

/// The counters of one shard, at most a second old.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShardSnapshot {
    /// Counters of the broker.
    pub counters: Counters,
    /// Counters of the connections.
    pub traffic: Traffic,
    /// Counts of refused packets and ended connections.
    pub outcomes: Outcomes,
    /// The time during which the thread of the shard was not idle, since its start.
    pub busy: Duration,
    /// The messages from other threads that wait for the shard.
    pub mail_waiting: usize,
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
    /// Connections closed because their address is banned.
    pub refused_banned: u64,
    /// Current bans.
    pub bans: u64,
    /// CONNECTs and refusals that were delayed.
    pub logins_delayed: u64,
    /// Passwords that wait for a thread, and what became of those that waited.
    pub passwords: PoolCounts,
    /// Connections closed at once because `limits.memory_max` was nearly reached.
    pub refused_memory: u64,
    /// Failed calls of accept(2), most often because the process has no file descriptors left.
    pub accept_errors: u64,
}

/// When the certificate of a listener expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// The name of the listener.
    pub listener: Arc<str>,
    /// Seconds since 1970, for the certificate of the server's chain that expires first.
    pub expires: i64,
}

impl ShardSnapshot {
    /// Adds what another one has counted.
    pub fn add_counts(&mut self, other: &Self) {
        self.counters = self.counters + other.counters.counts();
        self.traffic += other.traffic;
        self.outcomes.add(&other.outcomes);
    }
}

impl AdmissionCounts {
    /// Without what is no count of what has happened.
    #[must_use]
    pub(super) fn counts(self) -> Self {
        Self { connections: 0, bans: 0, passwords: PoolCounts { waiting: 0, ..self.passwords }, ..self }
    }
}

impl AddAssign for AdmissionCounts {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.connections += other.connections;
        self.refused_total += other.refused_total;
        self.refused_listener += other.refused_listener;
        self.refused_address += other.refused_address;
        self.refused_banned += other.refused_banned;
        self.bans += other.bans;
        self.logins_delayed += other.logins_delayed;
        self.passwords += other.passwords;
        self.refused_memory += other.refused_memory;
        self.accept_errors += other.accept_errors;
    }
}

impl Status {
    pub(crate) fn new(shards: usize, clock: Clock) -> Self {
        Self {
            shards: (0..shards)
                .map(|_| Mutex::new(ShardSnapshot { published: clock.read().now, ..ShardSnapshot::default() }))
                .collect(),
            listeners: Mutex::default(),
            certificates: Mutex::default(),
            services: Mutex::default(),
            memory: Mutex::default(),
            probe: Mutex::default(),
            sinks: Mutex::default(),
            bridges: Mutex::default(),
            telemetry: Mutex::default(),
            ready: AtomicBool::new(false),
            tunnels: Mutex::default(),
            standby: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            clock,
            started_at: Mutex::new(clock.wall_of_start()),
        }
    }

    /// What the services of providers have answered, by the name of the provider.
    pub fn services(&self) -> Vec<(ByteString, RemoteCounts)> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counters of each shard, by shard number.
    pub fn shards(&self) -> Vec<ShardSnapshot> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// The counters of the listeners.
    pub fn listeners(&self) -> AdmissionCounts {
        *self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the certificates in use expire, for each listener with TLS.
    pub fn certificates(&self) -> Vec<CertificateExpiry> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The budget of memory.
    pub fn memory(&self) -> MemoryFigures {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the probe has seen; `None` if it is not enabled.
    pub fn probe(&self) -> Option<ProbeFigures> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the sinks of the configuration have done, by their names.
    pub fn sinks(&self) -> Vec<SinkFigures> {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |sink: &Arc<Mutex<SinkFigures>>| sink.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut figures: Vec<_> = sinks.iter().map(of).collect();
        figures.sort_by(|one, other| one.name.cmp(&other.name));
        figures
    }

    /// The state of each bridge, in the order of their names.
    pub fn bridges(&self) -> Vec<BridgeFigures> {
        self.bridges.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What became of the spans of traces; `None` if there were none since the start, because they are off.
    pub fn telemetry(&self) -> Option<TelemetryFigures> {
        *self.telemetry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tunnels to and from other nodes; `None`: there can be none.
    pub fn tunnels(&self) -> Option<TunnelFigures> {
        *self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients can connect: every listener accepts connections, and the broker is no standby and isn't stopping.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.is_standby() && !self.stopping.load(Ordering::Acquire)
    }

    /// Whether another server serves the clients in place of this one.
    pub fn is_standby(&self) -> bool {
        self.standby.load(Ordering::Acquire)
    }

    /// When the broker started. It changes with the wall clock, but not for less than a second.
    pub fn started_at(&self) -> WallTime {
        let mut started_at = self.started_at.lock().unwrap_or_else(PoisonError::into_inner);
        let by_now = self.clock.wall_of_start();
        if by_now.0.abs_diff(started_at.0) > WALL_CHANGE_MIN {
            *started_at = by_now;
        }
        *started_at
    }

    /// The current time of the broker's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.read().now
    }

    /// The wall clock.
    pub fn wall_now(&self) -> WallTime {
        wall_time()
    }

    /// A time of the broker's clock as one of the wall clock.
    pub fn wall_of(&self, time: Timestamp) -> WallTime {
        self.clock.wall_of(time)
    }

    /// The longest time since a shard published its counters. More than a few seconds mean that a shard is stuck.
    pub fn longest_silence(&self) -> Duration {
        let now = self.now();
        let published = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).published);
        published.map(|published| now.since(published)).max().unwrap_or_default()
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

    pub(crate) fn publish_services(&self, services: Vec<(ByteString, RemoteCounts)>) {
        *self.services.lock().unwrap_or_else(PoisonError::into_inner) = services;
    }

    pub(crate) fn publish_certificates(&self, certificates: Vec<CertificateExpiry>) {
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    pub(crate) fn publish_memory(&self, figures: MemoryFigures) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    pub(crate) fn publish_probe(&self, figures: Option<ProbeFigures>) {
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    pub(crate) fn publish_sinks(&self, sinks: Vec<Arc<Mutex<SinkFigures>>>) {
        *self.sinks.lock().unwrap_or_else(PoisonError::into_inner) = sinks;
    }

    pub(crate) fn publish_tunnels(&self, figures: TunnelFigures) {
        *self.tunnels.lock().unwrap_or_else(PoisonError::into_inner) = Some(figures);
    }

    pub(crate) fn publish_bridge(&self, figures: BridgeFigures) {
        let mut bridges = self.bridges.lock().unwrap_or_else(PoisonError::into_inner);
        bridges.insert(Arc::clone(&figures.name), figures);
    }

    pub(crate) fn forget_bridge(&self, name: &str) {
        self.bridges.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    #[cfg(any(test, feature = "otlp"))]
    pub(crate) fn publish_telemetry(&self, figures: TelemetryFigures) {
        *self.telemetry.lock().unwrap_or_else(PoisonError::into_inner) = Some(figures);
    }

    pub(crate) fn set_ready(&self, is_standby: bool) {
        self.standby.store(is_standby, Ordering::Release);
        self.ready.store(true, Ordering::Release);
    }

    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// A step of the wall clock below this, in milliseconds, does not change the shown time of the start: slewing would change it all the time.
const WALL_CHANGE_MIN: u64 = 1_000;
