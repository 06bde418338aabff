//! The first golden signal: how long it takes.

use crate::admin::metric::{Metric, Source};

pub(in crate::admin) const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_publish_to_acknowledge_seconds",
        labels: &["qos"],
        help: "Time from reading a PUBLISH to writing its PUBACK or PUBREC, the commit included; sampled.",
        source: Source::Histograms(|all| {
            let of = |at: usize| all.latency(|shard| shard.publish_to_acknowledge.get(at).copied());
            vec![("1".to_owned(), of(0)), ("2".to_owned(), of(1))]
        }),
    },
    Metric {
        name: "oncemq_publish_to_deliver_seconds",
        labels: &["qos"],
        help: "Time from reading a PUBLISH to writing it to a receiver that was connected by then, the commit included; by the QoS of the delivery; sampled.",
        source: Source::Histograms(|all| {
            let of = |at: usize| all.latency(|shard| shard.publish_to_deliver.get(at).copied());
            (0..3).map(|qos| (qos.to_string(), of(qos))).collect()
        }),
    },
    Metric {
        name: "oncemq_connect_seconds",
        labels: &[],
        help: "Time from accepting a connection to writing the CONNACK that accepts its client: handshakes, the wait for CONNECT, and authentication.",
        source: Source::Histograms(|all| vec![(String::new(), all.latency(|shard| Some(shard.connect)))]),
    },
    Metric {
        name: "oncemq_store_commit_seconds",
        labels: &[],
        help: "For each group commit that an acknowledgement waits for: time from appending its first such entry until it is stable.",
        source: Source::Histograms(|all| vec![(String::new(), all.timing.commit)]),
    },
    Metric {
        name: "oncemq_store_sync_seconds",
        labels: &[],
        help: "Time of each sync (fdatasync) of the store.",
        source: Source::Histograms(|all| vec![(String::new(), all.timing.sync)]),
    },
    Metric {
        name: "oncemq_shard_turn_seconds",
        labels: &["shard"],
        help: "Time for which a shard works for one client or one batch of messages, before the next one's turn; sampled.",
        source: Source::Histograms(|all| all.each_shard(|shard| shard.traffic.latencies.turn)),
    },
];
