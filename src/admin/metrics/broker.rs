//! What there is: the broker, its clients and their state.

use crate::admin::metric::{Metric, Source, durability_name};

pub(in crate::admin) const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_info",
        labels: &["version", "durability"],
        help: "Always 1; the labels have the version of the broker and the durability of topics without a rule.",
        source: Source::Info(|all| [env!("CARGO_PKG_VERSION"), durability_name(all.durability)]),
    },
    Metric::gauge("process_start_time_seconds", "Start time of the broker, in seconds since 1970.", |all| {
        all.started_at_seconds()
    }),
    Metric::gauge("oncemq_connections", "Open Network Connections, including those in a handshake.", |all| {
        all.admission.connections as f64
    }),
    Metric::gauge("oncemq_sessions", "Sessions, connected or not.", |all| all.counters.sessions as f64),
    Metric::gauge("oncemq_sessions_connected", "Connected Sessions.", |all| all.counters.sessions_connected as f64),
    Metric::gauge("oncemq_subscriptions", "Subscriptions, including shared ones.", |all| all.subscriptions.0 as f64),
    Metric::gauge("oncemq_subscriptions_shared", "Shared Subscriptions.", |all| all.subscriptions.1 as f64),
    Metric::gauge("oncemq_retained_messages", "Retained messages.", |all| all.retained.0 as f64),
    Metric::gauge("oncemq_retained_bytes", "Bytes of all retained messages.", |all| all.retained.1 as f64),
    Metric::gauge("oncemq_kept_dead_letters", "Dead letters of refused messages that are kept.", |all| {
        all.dead_letters.0 as f64
    }),
    Metric::gauge("oncemq_kept_dead_letter_bytes", "Bytes of all dead letters that are kept.", |all| {
        all.dead_letters.1 as f64
    }),
    Metric::gauge("oncemq_receipts_open", "Receipts that are not published yet.", |all| all.receipts as f64),
    Metric::gauge("oncemq_delayed_messages", "Messages that are published later.", |all| all.delayed.0 as f64),
    Metric::gauge("oncemq_delayed_bytes", "Bytes of all messages that are published later.", |all| {
        all.delayed.1 as f64
    }),
    Metric::gauge("oncemq_bans", "Banned addresses and users.", |all| all.admission.bans as f64),
];
