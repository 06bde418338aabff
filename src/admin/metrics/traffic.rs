//! The second golden signal: how much there is to do.

use crate::admin::metric::{Metric, Source, by_packet_type, by_qos};

pub(in crate::admin) const METRICS: &[Metric] = &[
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
    Metric::counter("oncemq_connections_accepted_total", "Network Connections accepted by a listener.", |all| {
        all.admission.accepted
    }),
    Metric::counter("oncemq_connects_accepted_total", "Accepted CONNECT packets.", |all| {
        all.counters.connects_accepted
    }),
    Metric::counter(
        "oncemq_probes_total",
        "Network Connections without MQTT, such as health checks: closed before any data, reset in the TLS handshake, or a plain HTTP request to a WebSocket listener.",
        |all| all.traffic(|traffic| traffic.probes),
    ),
    Metric::counter(
        "oncemq_sessions_expired_total",
        "Sessions ended because their Session Expiry Interval passed.",
        |all| all.counters.sessions_expired,
    ),
    Metric::counter("oncemq_sessions_taken_over_total", "Sessions taken over by a new connection.", |all| {
        all.counters.sessions_taken_over
    }),
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
    Metric::counter("oncemq_dead_letters_total", "Dropped messages published to the dead letter topic.", |all| {
        all.counters.dead_letters
    }),
    Metric::counter("oncemq_redeliveries_scheduled_total", "Refused messages scheduled to be sent again.", |all| {
        all.counters.redeliveries_scheduled
    }),
    Metric::counter("oncemq_redelivered_total", "Refused messages queued again at their time.", |all| {
        all.counters.redelivered
    }),
    Metric::counter(
        "oncemq_dead_letters_kept_total",
        "Messages refused for the last time and kept as dead letters.",
        |all| all.counters.dead_letters_kept,
    ),
    Metric::counter("oncemq_dead_letters_redriven_total", "Kept dead letters put into their queues again.", |all| {
        all.counters.dead_letters_redriven
    }),
    Metric::counter(
        "oncemq_dead_letters_discarded_total",
        "Kept dead letters discarded for newer ones or because of their age.",
        |all| all.counters.dead_letters_discarded,
    ),
    Metric::counter("oncemq_receipts_published_total", "Receipts published.", |all| all.counters.receipts_published),
    Metric::counter(
        "oncemq_receipts_denied_total",
        "Receipts not published, because their originators may not publish to their topics any more.",
        |all| all.counters.receipts_denied,
    ),
    Metric::counter(
        "oncemq_receipts_refused_total",
        "Messages not accepted, because of the receipts that they asked for: denied, or a limit was reached.",
        |all| all.counters.receipts_refused,
    ),
    Metric::counter("oncemq_delayed_accepted_total", "Messages accepted to be published later.", |all| {
        all.counters.delayed_accepted
    }),
    Metric::counter("oncemq_delayed_published_total", "Delayed messages published at their time.", |all| {
        all.counters.delayed_published
    }),
    Metric::counter(
        "oncemq_delayed_refused_total",
        "Messages not accepted to be published later, because a limit was reached.",
        |all| all.counters.delayed_refused,
    ),
    Metric::counter("oncemq_batches_total", "Batches accepted.", |all| all.counters.batches),
    Metric::counter("oncemq_batch_messages_total", "Messages of accepted batches.", |all| all.counters.batch_messages),
    Metric::counter(
        "oncemq_batches_refused_total",
        "Batches of which nothing was published: malformed, denied, or without room.",
        |all| all.counters.batches_refused,
    ),
    Metric::counter("oncemq_store_commits_total", "Group commits of the store.", |all| all.store.commits),
    Metric::counter("oncemq_store_syncs_total", "Sync calls on the store's files.", |all| all.store.syncs),
    Metric::counter(
        "oncemq_store_entries_total",
        "Entries written to the store, including those copied to reclaim space.",
        |all| all.store.entries,
    ),
];
