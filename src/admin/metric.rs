use std::borrow::Cow;

use super::snapshot::Snapshot;
use crate::broker::DropReason;
use crate::codec::PacketType;
use crate::config::Durability;
use crate::server::LatencyHistogram;

/// One metric: what it is called and where its figures come from. No label takes a value that a client chooses.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, for people.
    pub help: &'static str,
    pub(super) source: Source,
}

/// What Prometheus calls the type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is at the moment.
    Gauge,
    /// How often something fell into each of some ranges.
    Histogram,
}

/// Values of a label, each with its count.
pub(super) type Series = Vec<(Cow<'static, str>, u64)>;

/// Where the figures of a metric are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Counter(fn(&Snapshot) -> u64),
    /// One for each value of the label.
    Counters(fn(&Snapshot) -> Series),
    Gauge(fn(&Snapshot) -> f64),
    Histogram(fn(&Snapshot) -> LatencyHistogram),
    /// Always 1: the values of the labels are what it says.
    Info(fn(&Snapshot) -> [&'static str; 2]),
}

impl Metric {
    /// Its type.
    pub const fn kind(&self) -> Kind {
        match self.source {
            Source::Counter(_) | Source::Counters(_) => Kind::Counter,
            Source::Gauge(_) | Source::Info(_) => Kind::Gauge,
            Source::Histogram(_) => Kind::Histogram,
        }
    }

    const fn counter(name: &'static str, help: &'static str, read: fn(&Snapshot) -> u64) -> Self {
        Self { name, labels: &[], help, source: Source::Counter(read) }
    }

    const fn gauge(name: &'static str, help: &'static str, read: fn(&Snapshot) -> f64) -> Self {
        Self { name, labels: &[], help, source: Source::Gauge(read) }
    }
}

impl Kind {
    /// Its name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Every metric there is, in the order of the documentation.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_info",
        labels: &["version", "durability"],
        help: "Always 1; its labels say which broker this is and what an acknowledged message survives, where no rule speaks of its topic.",
        source: Source::Info(|all| [env!("CARGO_PKG_VERSION"), durability_name(all.durability)]),
    },
    Metric::gauge("process_start_time_seconds", "When the broker started, in seconds since 1970.", |all| {
        all.started_at_seconds()
    }),
    Metric::gauge(
        "process_resident_memory_bytes",
        "Memory of the process that is in RAM; 0 where the operating system does not tell.",
        |all| all.resident_bytes as f64,
    ),
    Metric::gauge(
        "oncemq_shard_silence_seconds",
        "How long ago the shard that is furthest behind told its figures: it does so every second, or it hangs.",
        |all| all.longest_silence.as_secs_f64(),
    ),
    Metric::gauge("oncemq_connections", "Network Connections, those in their handshake included.", |all| {
        all.admission.connections as f64
    }),
    Metric::counter("oncemq_connections_accepted_total", "Network Connections let in by a listener.", |all| {
        all.admission.accepted
    }),
    Metric {
        name: "oncemq_connections_refused_total",
        labels: &["limit"],
        help: "Network Connections closed at once because there were too many: in all, at the listener, or from the address.",
        source: Source::Counters(|all| {
            let admission = &all.admission;
            vec![
                ("total".into(), admission.refused_total),
                ("listener".into(), admission.refused_listener),
                ("address".into(), admission.refused_address),
            ]
        }),
    },
    Metric::counter(
        "oncemq_accept_errors_total",
        "Network Connections the operating system could not give, most often for want of file descriptors.",
        |all| all.admission.accept_errors,
    ),
    Metric::counter(
        "oncemq_handshakes_failed_total",
        "Network Connections that ended in their TLS, WebSocket or PROXY handshake.",
        |all| all.traffic(|traffic| traffic.handshakes_failed),
    ),
    Metric::counter(
        "oncemq_write_timeouts_total",
        "Network Connections closed because their client took nothing for the write timeout.",
        |all| all.traffic(|traffic| traffic.write_timeouts),
    ),
    Metric::counter("oncemq_connects_accepted_total", "CONNECT packets that were accepted.", |all| {
        all.counters.connects_accepted
    }),
    Metric::counter("oncemq_connects_refused_total", "CONNECT packets that were refused.", |all| {
        all.counters.connects_refused
    }),
    Metric::counter("oncemq_protocol_errors_total", "Connections ended by a protocol error of their client.", |all| {
        all.counters.protocol_errors
    }),
    Metric::counter("oncemq_denied_total", "PUBLISH and SUBSCRIBE packets denied by access rules.", |all| {
        all.counters.denied
    }),
    Metric::counter("oncemq_received_bytes_total", "Bytes of packets from clients.", |all| {
        all.traffic(|traffic| traffic.bytes_received)
    }),
    Metric::counter("oncemq_sent_bytes_total", "Bytes of packets to clients.", |all| {
        all.traffic(|traffic| traffic.bytes_sent)
    }),
    Metric::counter("oncemq_reads_total", "Reads from connections that brought something.", |all| {
        all.traffic(|traffic| traffic.reads)
    }),
    Metric::counter("oncemq_writes_total", "Writes to connections of which something was taken.", |all| {
        all.traffic(|traffic| traffic.writes)
    }),
    Metric {
        name: "oncemq_packets_received_total",
        labels: &["type"],
        help: "Packets from clients.",
        source: Source::Counters(|all| by_packet_type(&all.counters.packets_received)),
    },
    Metric {
        name: "oncemq_packets_sent_total",
        labels: &["type"],
        help: "Packets to clients.",
        source: Source::Counters(|all| by_packet_type(&all.counters.packets_sent)),
    },
    Metric {
        name: "oncemq_messages_received_total",
        labels: &["qos"],
        help: "PUBLISH packets from clients.",
        source: Source::Counters(|all| by_qos(&all.counters.messages_received)),
    },
    Metric {
        name: "oncemq_messages_sent_total",
        labels: &["qos"],
        help: "PUBLISH packets to clients.",
        source: Source::Counters(|all| by_qos(&all.counters.messages_sent)),
    },
    Metric::counter(
        "oncemq_payload_received_bytes_total",
        "Bytes of the payloads in PUBLISH packets from clients.",
        |all| all.counters.payload_bytes_received,
    ),
    Metric::counter("oncemq_payload_sent_bytes_total", "Bytes of the payloads in PUBLISH packets to clients.", |all| {
        all.counters.payload_bytes_sent
    }),
    Metric {
        name: "oncemq_messages_dropped_total",
        labels: &["reason"],
        help: "Messages not delivered to one receiver, and why.",
        source: Source::Counters(|all| {
            let names = DropReason::ALL.iter().map(|reason| reason.name().into());
            names.zip(all.counters.dropped).collect()
        }),
    },
    Metric::counter(
        "oncemq_dead_letters_total",
        "Dropped messages that were published to the dead letter topic.",
        |all| all.counters.dead_letters,
    ),
    Metric::counter(
        "oncemq_dead_letters_lost_total",
        "Dropped messages that could not be published there, for want of room.",
        |all| all.counters.dead_letters_lost,
    ),
    Metric::counter(
        "oncemq_duplicates_total",
        "Messages that were not routed, because they were accepted before with the same dedup-id.",
        |all| all.counters.duplicates,
    ),
    Metric::counter(
        "oncemq_deduplication_expired_total",
        "Identifiers that grew older than the deduplication window.",
        |all| all.counters.deduplication_expired,
    ),
    Metric::counter(
        "oncemq_deduplication_evicted_total",
        "Identifiers that left the deduplication window early, for newer ones.",
        |all| all.counters.deduplication_left,
    ),
    Metric {
        name: "oncemq_publish_to_deliver_seconds",
        labels: &[],
        help: "Time from reading a PUBLISH to the transport's taking it for a receiver that had nothing to wait for: a sample.",
        source: Source::Histogram(Snapshot::publish_to_deliver),
    },
    Metric::gauge("oncemq_sessions", "Sessions, connected or not.", |all| all.counters.sessions as f64),
    Metric::gauge("oncemq_sessions_connected", "Sessions that are connected.", |all| {
        all.counters.sessions_connected as f64
    }),
    Metric::counter("oncemq_sessions_expired_total", "Sessions whose Session Expiry Interval ran out.", |all| {
        all.counters.sessions_expired
    }),
    Metric::counter("oncemq_sessions_taken_over_total", "Sessions taken over by another connection.", |all| {
        all.counters.sessions_taken_over
    }),
    Metric::gauge("oncemq_subscriptions", "Subscriptions, shared ones included.", |all| all.subscriptions.0 as f64),
    Metric::gauge("oncemq_subscriptions_shared", "Shared Subscriptions.", |all| all.subscriptions.1 as f64),
    Metric::gauge("oncemq_retained_messages", "Retained messages.", |all| all.retained.0 as f64),
    Metric::gauge("oncemq_retained_bytes", "Bytes of the retained messages.", |all| all.retained.1 as f64),
    Metric::gauge(
        "oncemq_queued_messages",
        "QoS 1 and 2 messages that wait in Sessions, those in flight included.",
        |all| all.counters.queued_messages as f64,
    ),
    Metric::gauge("oncemq_queued_bytes", "Bytes of the messages that wait in Sessions.", |all| {
        all.counters.queued_bytes as f64
    }),
    Metric::gauge("oncemq_store_segments", "Files of the store's log.", |all| all.store.segments as f64),
    Metric::gauge("oncemq_store_bytes", "Bytes of the store's log.", |all| all.store.bytes as f64),
    Metric::gauge("oncemq_store_live_bytes", "Bytes of the store's log that are still needed.", |all| {
        all.store.live_bytes as f64
    }),
    Metric::counter("oncemq_store_commits_total", "Groups of entries that became stable together.", |all| {
        all.store.commits
    }),
    Metric::counter("oncemq_store_syncs_total", "Syncs of the store's files.", |all| all.store.syncs),
    Metric::counter("oncemq_store_entries_total", "Entries written to the store, those it moved included.", |all| {
        all.store.entries
    }),
    Metric::gauge("oncemq_store_full", "1 while the disk has no room for new messages, otherwise 0.", |all| {
        f64::from(u8::from(all.store.is_full))
    }),
];

fn by_packet_type(counts: &[u64; 16]) -> Series {
    let named = (0..).map(PacketType::new).zip(counts).filter_map(|(packet_type, count)| Some((packet_type?, *count)));
    named.map(|(packet_type, count)| (packet_type.name().to_ascii_lowercase().into(), count)).collect()
}

fn by_qos(counts: &[u64; 3]) -> Series {
    ["0", "1", "2"].into_iter().map(Cow::Borrowed).zip(counts.iter().copied()).collect()
}

/// As the configuration spells it.
const fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::PowerLoss => "power-loss",
        Durability::Crash => "crash",
        Durability::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_made_as_prometheus_wants_them() {
        for metric in METRICS {
            let name = metric.name;
            assert!(name.starts_with("oncemq_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind() == Kind::Counter, "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{name}: {}", metric.help);
        }
        let names: HashSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
    }

    #[test]
    fn every_packet_type_has_its_own_count() {
        let counts = std::array::from_fn(|number| number as u64);
        let named = by_packet_type(&counts);
        assert_eq!(named.len(), 15);
        assert!(named.contains(&("connect".into(), 1)) && named.contains(&("auth".into(), 15)), "{named:?}");
    }
}
