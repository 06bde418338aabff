use std::collections::BTreeMap;
use std::time::Duration;

use bytestring::ByteString;

use super::disk::DiskFigures;
use super::handles::BrokerHandles;
use super::node::{CellFigures, Node};
use super::queues::{Own, Queues};
use super::streams::{StreamFigures, figures};
use crate::broker::{Counters, OutcomeKind, RefusedAction, Shared};
use crate::cluster::{self, ClusterHandle};
use crate::codec::ReasonCode;
use crate::config::Durability;
use crate::histogram::LatencyHistogram;
use crate::server::process::{self, Memory};
use crate::server::{
    AdmissionCounts, BridgeFigures, CertificateExpiry, Latencies, MemoryFigures, ProbeFigures, ProbeResult,
    RemoteCounts, ShardSnapshot, SinkFigures, SpanResult, TelemetryFigures, Traffic, TunnelFigures,
};
use crate::store::{Stats, Timing};
use crate::timestamp::{Timestamp, WallTime};

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
    /// The same of kept dead letters.
    pub(super) dead_letters: (usize, usize),
    /// The number of open receipts.
    pub(super) receipts: usize,
    /// Number of messages and bytes of delayed messages.
    pub(super) delayed: (usize, usize),
    pub(super) durability: Durability,
    /// All zero without a store.
    pub(super) store: Stats,
    /// The same.
    pub(super) timing: Timing,
    pub(super) disk: DiskFigures,
    pub(super) started_at: WallTime,
    pub(super) longest_silence: Duration,
    pub(super) process: Process,
    /// Each with its name, if it has one.
    shards: Vec<(Option<String>, ShardSnapshot)>,
    certificates: Vec<CertificateExpiry>,
    probe: Option<ProbeFigures>,
    pub(super) tunnels: Option<TunnelFigures>,
    telemetry: Option<TelemetryFigures>,
    services: Vec<(ByteString, RemoteCounts)>,
    pub(super) bridges: Vec<Own<BridgeFigures>>,
    pub(super) sinks: Vec<Own<SinkFigures>>,
    pub(super) streams: Vec<StreamFigures>,
    /// The node; with several cells, for all of them together.
    pub(super) cluster: Option<cluster::Status>,
    /// The node for each cell, if there are several.
    pub(super) cells: Vec<cluster::Status>,
    /// Those that are served here.
    pub(super) served: Vec<CellFigures>,
    now: WallTime,
    clock: Timestamp,
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
    pub(super) fn of(handles: &BrokerHandles, process: Process, disk: DiskFigures, queues: &Queues) -> Self {
        let node = Node::of(handles);
        let shards = node.shards();
        let cells: Vec<cluster::Status> = handles.cells.iter().map(ClusterHandle::status).collect();
        Self {
            counters: shards.iter().fold(Counters::default(), |sum, (_, shard)| sum + shard.counters),
            admission: node.admission(),
            memory: handles.status.memory(),
            subscriptions: node.sum(Shared::subscriptions_len),
            retained: node.sum(Shared::retained_len),
            dead_letters: node.sum(Shared::dead_letters_len),
            receipts: node.sum(|shared| (shared.receipts_len(), 0)).0,
            delayed: node.sum(Shared::delayed_len),
            durability: handles.durability,
            store: node.store(),
            timing: node.timing(),
            disk,
            started_at: handles.status.started_at(),
            longest_silence: node.longest_silence(),
            process,
            shards,
            certificates: handles.status.certificates(),
            probe: handles.status.probe(),
            tunnels: handles.status.tunnels(),
            telemetry: node.telemetry(),
            services: node.services(),
            bridges: queues.bridges(),
            sinks: queues.sinks(),
            streams: figures(&handles.shared, handles.store.as_deref()),
            cluster: handles.cluster.as_ref().map(ClusterHandle::status).or_else(|| cluster::merged(&cells)),
            cells,
            served: node.cells(),
            clock: handles.status.now(),
            now: handles.status.wall_now(),
        }
    }

    /// The seconds since a time of the broker's clock.
    pub(super) fn seconds_since(&self, since: Timestamp) -> f64 {
        self.clock.since(since).as_secs_f64()
    }

    /// The sum of `count` over all shards.
    pub(super) fn traffic(&self, count: fn(&Traffic) -> u64) -> u64 {
        self.shards.iter().map(|(_, shard)| count(&shard.traffic)).sum()
    }

    /// A latency histogram of all shards, merged.
    pub(super) fn latency(&self, of: impl Fn(&Latencies) -> Option<LatencyHistogram>) -> LatencyHistogram {
        let mut all = LatencyHistogram::default();
        for (_, shard) in &self.shards {
            all += of(&shard.traffic.latencies).unwrap_or_default();
        }
        all
    }

    /// A figure of each shard, by its name.
    pub(super) fn each_shard<T>(&self, of: impl Fn(&ShardSnapshot) -> T) -> Vec<(String, T)> {
        self.shards.iter().filter_map(|(name, shard)| Some((name.clone()?, of(shard)))).collect()
    }

    /// The refused packets, by packet, listener and Reason Code.
    pub(super) fn refusals(&self) -> Vec<(Vec<String>, u64)> {
        self.outcomes(|what| match what {
            OutcomeKind::Refused(RefusedAction::Connect) => Some("connect"),
            OutcomeKind::Refused(RefusedAction::Publish) => Some("publish"),
            OutcomeKind::Refused(RefusedAction::Subscribe) => Some("subscribe"),
            OutcomeKind::Ended(_) => None,
        })
    }

    /// The ended connections of accepted clients, by how they ended, listener and Reason Code.
    pub(super) fn disconnects(&self) -> Vec<(Vec<String>, u64)> {
        self.outcomes(|what| match what {
            OutcomeKind::Ended(kind) => Some(kind.name().unwrap_or("unknown")),
            OutcomeKind::Refused(_) => None,
        })
    }

    /// The sums over all shards of the outcomes that have a name.
    fn outcomes(&self, name: impl Fn(OutcomeKind) -> Option<&'static str>) -> Vec<(Vec<String>, u64)> {
        let mut sums = BTreeMap::new();
        for (outcome, count) in self.shards.iter().flat_map(|(_, shard)| shard.outcomes.iter()) {
            let Some(name) = name(outcome.what) else { continue };
            let listener = outcome.listener.as_deref().unwrap_or("other").to_owned();
            let reason = outcome.reason_code.map_or("none".to_owned(), label);
            *sums.entry(vec![name.to_owned(), listener, reason]).or_default() += count;
        }
        sums.into_iter().collect()
    }

    /// The messages of the probe by QoS and result; none if it is off.
    pub(super) fn probe_messages(&self) -> Vec<(Vec<String>, u64)> {
        let of_qos = |(qos, counts): (usize, &[u64; 4])| {
            let named = ProbeResult::ALL.iter().zip(*counts);
            named.map(move |(result, count)| (vec![qos.to_string(), result.name().to_owned()], count))
        };
        let probe = self.probe.iter();
        probe.flat_map(|probe| probe.messages.iter().enumerate()).flat_map(of_qos).collect()
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

    /// The spans of traces by result; none if there were never any.
    pub(super) fn telemetry_spans(&self) -> Vec<(Vec<String>, u64)> {
        let figures = self.telemetry.iter();
        let named = figures.flat_map(|figures| SpanResult::ALL.iter().zip(figures.spans));
        named.map(|(result, count)| (vec![result.name().to_owned()], count)).collect()
    }

    /// The requests to the services of providers, by provider and result; none without such a provider.
    pub(super) fn service_requests(&self) -> Vec<(Vec<String>, u64)> {
        let of_service = |(provider, counts): &(ByteString, RemoteCounts)| {
            let named = [
                ("allowed", counts.allowed),
                ("denied", counts.denied),
                ("ignored", counts.ignored),
                ("unreachable", counts.unreachable),
                ("late", counts.late),
                ("invalid", counts.invalid),
                ("cached", counts.known),
                ("busy", counts.busy),
                ("abandoned", counts.abandoned),
            ];
            named.map(|(result, count)| (vec![provider.to_string(), result.to_owned()], count))
        };
        self.services.iter().flat_map(of_service).collect()
    }

    /// The requests to the services of providers that are under way.
    pub(super) fn service_requests_under_way(&self) -> Vec<(String, f64)> {
        self.services.iter().map(|(provider, counts)| (provider.to_string(), counts.under_way as f64)).collect()
    }

    /// The requests to the services of providers that wait.
    pub(super) fn service_requests_waiting(&self) -> Vec<(String, f64)> {
        self.services.iter().map(|(provider, counts)| (provider.to_string(), counts.waiting as f64)).collect()
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

/// The name of a Reason Code as a label: `not_authorized`.
fn label(reason_code: ReasonCode) -> String {
    reason_code.name().to_ascii_lowercase().replace([' ', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_code_has_its_own_label_in_lower_case() {
        let codes: Vec<ReasonCode> = (0..=u8::MAX).filter_map(ReasonCode::new).collect();
        let labels: std::collections::BTreeSet<String> = codes.iter().copied().map(label).collect();
        assert_eq!(labels.len(), codes.len());
        for label in labels {
            assert!(
                label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{label}"
            );
        }
    }
}
