use std::borrow::Cow;

use super::snapshot::Snapshot;
use crate::broker::DropReason;
use crate::codec::PacketType;
use crate::config::Durability;
use crate::server::{LatencyHistogram, dropped_lines};

/// One metric and the source of its values. No label has a value that a client chooses.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name of the metric.
    pub name: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Help text.
    pub help: &'static str,
    pub(super) source: Source,
}

/// The Prometheus type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that only increases.
    Counter,
    /// A value that can increase and decrease.
    Gauge,
    /// Counts of samples in buckets.
    Histogram,
}

/// Values of a label, each with its count.
pub(super) type Series = Vec<(Cow<'static, str>, u64)>;

/// Where the values of a metric come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Counter(fn(&Snapshot) -> u64),
    /// One counter for each value of the label.
    Counters(fn(&Snapshot) -> Series),
    /// A counter with a fraction.
    Seconds(fn(&Snapshot) -> f64),
    Gauge(fn(&Snapshot) -> f64),
    /// One gauge for each value of the label; there may be none.
    Gauges(fn(&Snapshot) -> Vec<(String, f64)>),
    Histogram(fn(&Snapshot) -> LatencyHistogram),
    /// One counter for each pair of values of the labels; there may be none.
    Outcomes(fn(&Snapshot) -> Vec<([String; 2], u64)>),
    /// One histogram for each value of the label; there may be none.
    Histograms(fn(&Snapshot) -> Vec<(String, LatencyHistogram)>),
    /// Constant 1; the information is in the values of the labels.
    Info(fn(&Snapshot) -> [&'static str; 2]),
}

impl Metric {
    /// The type of the metric.
    pub const fn kind(&self) -> Kind {
        match self.source {
            Source::Counter(_) | Source::Counters(_) | Source::Outcomes(_) | Source::Seconds(_) => Kind::Counter,
            Source::Gauge(_) | Source::Gauges(_) | Source::Info(_) => Kind::Gauge,
            Source::Histogram(_) | Source::Histograms(_) => Kind::Histogram,
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
    /// The name of the type in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// All metrics, in the order of the documentation.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_info",
        labels: &["version", "durability"],
        help: "Always 1; the labels have the version of the broker and the durability of topics without a rule.",
        source: Source::Info(|all| [env!("CARGO_PKG_VERSION"), durability_name(all.durability)]),
    },
    Metric::gauge("process_start_time_seconds", "Start time of the broker, in seconds since 1970.", |all| {
        all.started_at_seconds()
    }),
    Metric::gauge(
        "process_resident_memory_bytes",
        "Resident memory of the process; 0 if the operating system does not report it.",
        |all| all.process.memory.resident.unwrap_or_default() as f64,
    ),
    Metric::gauge(
        "process_virtual_memory_bytes",
        "Address space of the process; 0 if the operating system does not report it.",
        |all| all.process.memory.address_space.unwrap_or_default() as f64,
    ),
    Metric::gauge("oncemq_memory_max_bytes", "The limit of resident memory: memory_max.", |all| all.memory.max as f64),
    Metric::gauge("oncemq_memory_level", "How short the memory is: 0 normal, 1 elevated, 2 high, 3 critical.", |all| {
        f64::from(all.memory.level as u8)
    }),
    Metric::gauge("oncemq_memory_input_bytes", "Memory for incomplete packets of all connections, in bytes.", |all| {
        all.memory.inputs as f64
    }),
    Metric::counter(
        "oncemq_memory_connections_ended_total",
        "Network Connections ended because they used too much memory while it was short.",
        |all| all.counters.ended_for_memory,
    ),
    Metric {
        name: "process_cpu_seconds_total",
        labels: &[],
        help: "Processor time used by all threads of the process, in seconds.",
        source: Source::Seconds(|all| all.process.cpu_time.as_secs_f64()),
    },
    Metric::gauge(
        "process_open_fds",
        "Open file descriptors of the process; 0 if the operating system does not report it.",
        |all| all.process.open_files.unwrap_or_default() as f64,
    ),
    Metric::gauge("process_max_fds", "Limit of open file descriptors; 0 if there is none.", |all| {
        all.process.open_files_max.unwrap_or_default() as f64
    }),
    Metric::gauge(
        "oncemq_shard_silence_seconds",
        "Longest time since a shard published its figures; a healthy shard does so every second.",
        |all| all.longest_silence.as_secs_f64(),
    ),
    Metric::gauge("oncemq_connections", "Open Network Connections, including those in a handshake.", |all| {
        all.admission.connections as f64
    }),
    Metric::counter("oncemq_connections_accepted_total", "Network Connections accepted by a listener.", |all| {
        all.admission.accepted
    }),
    Metric {
        name: "oncemq_connections_refused_total",
        labels: &["limit"],
        help: "Network Connections closed at once because of a limit: in total, of the listener, of the client address, or of memory; or because the address is banned.",
        source: Source::Counters(|all| {
            let admission = &all.admission;
            vec![
                ("total".into(), admission.refused_total),
                ("listener".into(), admission.refused_listener),
                ("address".into(), admission.refused_address),
                ("banned".into(), admission.refused_banned),
                ("memory".into(), admission.refused_memory),
            ]
        }),
    },
    Metric {
        name: "oncemq_certificate_expires_seconds",
        labels: &["listener"],
        help: "Seconds until the certificate of the listener, or one of its chain, expires; negative afterwards.",
        source: Source::Gauges(Snapshot::certificates_expire),
    },
    Metric::counter(
        "oncemq_accept_errors_total",
        "Failed accept calls, most often because the process has no file descriptors left.",
        |all| all.admission.accept_errors,
    ),
    Metric::counter(
        "oncemq_handshakes_failed_total",
        "Network Connections closed during the TLS, WebSocket or PROXY protocol handshake.",
        |all| all.traffic(|traffic| traffic.handshakes_failed),
    ),
    Metric::counter(
        "oncemq_probes_total",
        "Network Connections without MQTT, such as health checks: closed before any data, reset in the TLS handshake, or a plain HTTP request to a WebSocket listener.",
        |all| all.traffic(|traffic| traffic.probes),
    ),
    Metric::counter(
        "oncemq_log_lines_dropped_total",
        "Log lines lost because standard error was not read fast enough.",
        |_| dropped_lines(),
    ),
    Metric::counter(
        "oncemq_write_timeouts_total",
        "Network Connections closed because the client read nothing within the write timeout.",
        |all| all.traffic(|traffic| traffic.write_timeouts),
    ),
    Metric::counter("oncemq_connects_accepted_total", "Accepted CONNECT packets.", |all| {
        all.counters.connects_accepted
    }),
    Metric::gauge("oncemq_password_checks_waiting", "CONNECT packets whose password waits to be hashed.", |all| {
        all.admission.passwords.waiting as f64
    }),
    Metric {
        name: "oncemq_password_checks_total",
        labels: &["result"],
        help: "Passwords that had to wait for a hash: judged, abandoned because the client had gone, or refused because the queue was full. Known credentials are not counted.",
        source: Source::Counters(|all| {
            let passwords = &all.admission.passwords;
            vec![
                ("judged".into(), passwords.judged),
                ("abandoned".into(), passwords.abandoned),
                ("displaced".into(), passwords.displaced),
            ]
        }),
    },
    Metric::gauge("oncemq_bans", "Banned addresses and users.", |all| all.admission.bans as f64),
    Metric::counter("oncemq_logins_delayed_total", "CONNECT packets and refusals that were delayed.", |all| {
        all.admission.logins_delayed
    }),
    Metric::counter("oncemq_rate_pauses_total", "Pauses of clients beyond their rate limits.", |all| {
        all.counters.rate_pauses
    }),
    Metric::counter("oncemq_connects_refused_total", "Refused CONNECT packets.", |all| all.counters.connects_refused),
    Metric::counter(
        "oncemq_connects_of_other_owners_total",
        "CONNECT packets refused because the session belongs to another user.",
        |all| all.counters.connects_of_others,
    ),
    Metric::counter(
        "oncemq_protocol_errors_total",
        "Network Connections closed because of a protocol error by the client.",
        |all| all.counters.protocol_errors,
    ),
    Metric::counter(
        "oncemq_denied_total",
        "PUBLISH and SUBSCRIBE packets denied by access rules, beyond a limit of topics, or below `$SYS`.",
        |all| all.counters.denied,
    ),
    Metric::counter("oncemq_received_bytes_total", "Bytes of packets from clients.", |all| {
        all.traffic(|traffic| traffic.bytes_received)
    }),
    Metric::counter("oncemq_sent_bytes_total", "Bytes of packets to clients.", |all| {
        all.traffic(|traffic| traffic.bytes_sent)
    }),
    Metric::counter("oncemq_reads_total", "Read calls on connections that returned data.", |all| {
        all.traffic(|traffic| traffic.reads)
    }),
    Metric::counter("oncemq_writes_total", "Write calls on connections that wrote data.", |all| {
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
    Metric::counter("oncemq_payload_received_bytes_total", "Payload bytes in PUBLISH packets from clients.", |all| {
        all.counters.payload_bytes_received
    }),
    Metric::counter("oncemq_payload_sent_bytes_total", "Payload bytes in PUBLISH packets to clients.", |all| {
        all.counters.payload_bytes_sent
    }),
    Metric {
        name: "oncemq_messages_dropped_total",
        labels: &["reason"],
        help: "Messages dropped for a receiver, by reason.",
        source: Source::Counters(|all| {
            let names = DropReason::ALL.iter().map(|reason| reason.name().into());
            names.zip(all.counters.dropped).collect()
        }),
    },
    Metric::counter("oncemq_dead_letters_total", "Dropped messages published to the dead letter topic.", |all| {
        all.counters.dead_letters
    }),
    Metric::counter(
        "oncemq_dead_letters_lost_total",
        "Dropped messages not published to the dead letter topic, because it had no room or they could not be read.",
        |all| all.counters.dead_letters_lost,
    ),
    Metric::counter(
        "oncemq_duplicates_total",
        "Messages not routed because their dedup-id was accepted before.",
        |all| all.counters.duplicates,
    ),
    Metric::counter(
        "oncemq_deduplication_expired_total",
        "dedup-id values removed because they are older than the deduplication window.",
        |all| all.counters.deduplication_expired,
    ),
    Metric::counter(
        "oncemq_deduplication_evicted_total",
        "dedup-id values removed before the end of the deduplication window, because of deduplication_ids_max.",
        |all| all.counters.deduplication_left,
    ),
    Metric {
        name: "oncemq_publish_to_deliver_seconds",
        labels: &[],
        help: "Time from reading a PUBLISH to writing it to a receiver with an empty output buffer; sampled.",
        source: Source::Histogram(Snapshot::publish_to_deliver),
    },
    Metric {
        name: "oncemq_probe_messages_total",
        labels: &["qos", "result"],
        help: "Messages of the probe: ok, lost (not back in time), failed (not published or not acknowledged in time), and further copies (doubled). Only while the probe is enabled.",
        source: Source::Outcomes(Snapshot::probe_messages),
    },
    Metric {
        name: "oncemq_probe_latency_seconds",
        labels: &["qos"],
        help: "Time from sending a message of the probe to its arrival. Only while the probe is enabled.",
        source: Source::Histograms(Snapshot::probe_latency),
    },
    Metric {
        name: "oncemq_probe_up",
        labels: &[],
        help: "1 while the probe is well, 0 while it fails. Only while the probe is enabled, after its first rounds.",
        source: Source::Gauges(Snapshot::probe_up),
    },
    Metric::gauge("oncemq_sessions", "Sessions, connected or not.", |all| all.counters.sessions as f64),
    Metric::gauge("oncemq_sessions_connected", "Connected Sessions.", |all| all.counters.sessions_connected as f64),
    Metric::counter(
        "oncemq_sessions_expired_total",
        "Sessions ended because their Session Expiry Interval passed.",
        |all| all.counters.sessions_expired,
    ),
    Metric::counter("oncemq_sessions_taken_over_total", "Sessions taken over by a new connection.", |all| {
        all.counters.sessions_taken_over
    }),
    Metric::gauge("oncemq_subscriptions", "Subscriptions, including shared ones.", |all| all.subscriptions.0 as f64),
    Metric::gauge("oncemq_subscriptions_shared", "Shared Subscriptions.", |all| all.subscriptions.1 as f64),
    Metric::gauge("oncemq_retained_messages", "Retained messages.", |all| all.retained.0 as f64),
    Metric::gauge("oncemq_retained_bytes", "Bytes of all retained messages.", |all| all.retained.1 as f64),
    Metric::gauge(
        "oncemq_queued_messages",
        "QoS 1 and 2 messages queued in Sessions, including those in flight.",
        |all| all.counters.queued_messages as f64,
    ),
    Metric::gauge("oncemq_queued_bytes", "Bytes of the messages queued in Sessions.", |all| {
        all.counters.queued_bytes as f64
    }),
    Metric::gauge("oncemq_store_segments", "Segment files of the store.", |all| all.store.segments as f64),
    Metric::gauge("oncemq_store_bytes", "Size of the store in bytes.", |all| all.store.bytes as f64),
    Metric::gauge("oncemq_store_live_bytes", "Bytes of live entries in the store.", |all| all.store.live_bytes as f64),
    Metric::counter("oncemq_store_commits_total", "Group commits of the store.", |all| all.store.commits),
    Metric::counter("oncemq_store_syncs_total", "Sync calls on the store's files.", |all| all.store.syncs),
    Metric::counter(
        "oncemq_store_entries_total",
        "Entries written to the store, including those copied to reclaim space.",
        |all| all.store.entries,
    ),
    Metric::gauge("oncemq_store_full", "1 if the disk has no room for new messages, otherwise 0.", |all| {
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

/// The level as the configuration spells it.
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
    fn names_follow_the_conventions_of_prometheus() {
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
