use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Counters, Shared};
use crate::config::Durability;
use crate::server::process::{self, Memory};
use crate::server::{
    AdmissionCounts, Bans, CertificateExpiry, LatencyHistogram, MemoryFigures, ProbeFigures, ProbeResult, Queries,
    Reloader, Status, Traces, Traffic,
};
use crate::store::{Stats, Store};
use crate::timestamp::WallTime;

/// The parts of the broker that the admin listener reads.
#[derive(Debug, Clone)]
pub struct BrokerHandles {
    /// Counters of the shards and the listeners.
    pub status: Arc<Status>,
    /// Subscriptions and retained messages.
    pub shared: Arc<Shared>,
    /// What an acknowledged message survives, if no durability rule matches its topic.
    pub durability: Durability,
    /// The store, if there is one.
    pub store: Option<Arc<Store>>,
    /// Asks the shards what they have.
    pub queries: Queries,
    /// Shows packets and decisions live.
    pub traces: Traces,
    /// The banned addresses and users.
    pub bans: Arc<Bans>,
    /// Reloads the broker and changes its files.
    pub reloader: Reloader,
    /// The data directory.
    pub data: PathBuf,
}

/// The values of all metrics at one moment. Those of shards and listeners are up to a second old.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Sum over all shards.
    pub(super) counters: Counters,
    /// Sum over all listeners.
    pub(super) admission: AdmissionCounts,
    pub(super) memory: MemoryFigures,
    /// Number of all subscriptions, and of shared ones.
    pub(super) subscriptions: (usize, usize),
    /// Number of messages and bytes.
    pub(super) retained: (usize, usize),
    pub(super) durability: Durability,
    /// All zero without a store.
    pub(super) store: Stats,
    pub(super) started_at: WallTime,
    pub(super) longest_silence: Duration,
    pub(super) process: Process,
    traffic: Vec<Traffic>,
    certificates: Vec<CertificateExpiry>,
    probe: Option<ProbeFigures>,
    now: WallTime,
}

/// What the operating system says about the process.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) memory: Memory,
    pub(super) cpu_time: Duration,
    pub(super) open_files: Option<u64>,
    pub(super) open_files_max: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Self {
        Self {
            memory: process::memory(),
            cpu_time: process::cpu_time(),
            open_files: process::open_files(),
            open_files_max: process::open_files_max(),
        }
    }
}

impl Snapshot {
    pub(super) fn of(handles: &BrokerHandles, process: Process) -> Self {
        let shards = handles.status.shards();
        Self {
            counters: shards.iter().fold(Counters::default(), |sum, shard| sum + shard.counters),
            admission: handles.status.listeners(),
            memory: handles.status.memory(),
            subscriptions: handles.shared.subscriptions_len(),
            retained: handles.shared.retained_len(),
            durability: handles.durability,
            store: handles.store.as_ref().map(|store| store.stats()).unwrap_or_default(),
            started_at: handles.status.started_at(),
            longest_silence: handles.status.longest_silence(),
            process,
            traffic: shards.into_iter().map(|shard| shard.traffic).collect(),
            certificates: handles.status.certificates(),
            probe: handles.status.probe(),
            now: handles.status.wall_now(),
        }
    }

    /// The sum of `count` over all shards.
    pub(super) fn traffic(&self, count: fn(&Traffic) -> u64) -> u64 {
        self.traffic.iter().map(count).sum()
    }

    /// The latency histograms of all shards, merged.
    pub(super) fn publish_to_deliver(&self) -> LatencyHistogram {
        let mut all = LatencyHistogram::default();
        for shard in self.traffic.iter().map(|traffic| &traffic.publish_to_deliver) {
            for (sum, count) in all.counts.iter_mut().zip(shard.counts) {
                *sum += count;
            }
            all.sum += shard.sum;
        }
        all
    }

    /// The messages of the probe by QoS and result; none if it is off.
    pub(super) fn probe_messages(&self) -> Vec<([String; 2], u64)> {
        let Some(probe) = &self.probe else { return Vec::new() };
        let of_qos = |(qos, counts): (usize, &[u64; 4])| {
            let named = ProbeResult::ALL.iter().zip(*counts);
            named.map(move |(result, count)| ([qos.to_string(), result.name().to_owned()], count)).collect::<Vec<_>>()
        };
        probe.messages.iter().enumerate().flat_map(of_qos).collect()
    }

    /// The latency of the messages of the probe, by QoS; none if it is off.
    pub(super) fn probe_latency(&self) -> Vec<(String, LatencyHistogram)> {
        let latency = self.probe.iter().flat_map(|probe| probe.latency.iter().enumerate());
        latency.map(|(qos, latency)| (qos.to_string(), *latency)).collect()
    }

    /// Whether the probe is well; none if it is off or has no verdict.
    pub(super) fn probe_up(&self) -> Vec<(String, f64)> {
        let is_well = self.probe.as_ref().and_then(|probe| probe.is_well);
        is_well.map(|is_well| (String::new(), f64::from(u8::from(is_well)))).into_iter().collect()
    }

    /// The seconds until the certificate of each listener with TLS expires.
    pub(super) fn certificates_expire(&self) -> Vec<(String, f64)> {
        let now = i64::try_from(self.now.0 / 1_000).unwrap_or(i64::MAX);
        let left = |each: &CertificateExpiry| (each.listener.to_string(), each.expires.saturating_sub(now) as f64);
        self.certificates.iter().map(left).collect()
    }

    /// Start time in seconds since the Unix epoch.
    pub(super) fn started_at_seconds(&self) -> f64 {
        Duration::from_millis(self.started_at.0).as_secs_f64()
    }
}
