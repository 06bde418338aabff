//! The third golden signal: what fails.

use crate::admin::metric::{Metric, Source};
use crate::admin::snapshot::Snapshot;
use crate::broker::DropReason;
use crate::server::dropped_lines;

pub(in crate::admin) const METRICS: &[Metric] = &[
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
    Metric::counter(
        "oncemq_accept_errors_total",
        "Failed accept calls, most often because the process has no file descriptors left.",
        |all| all.admission.accept_errors,
    ),
    Metric::counter(
        "oncemq_handshakes_failed_total",
        "Network Connections closed during the TLS, QUIC, WebSocket or PROXY protocol handshake.",
        |all| all.traffic(|traffic| traffic.handshakes_failed),
    ),
    Metric::counter("oncemq_connects_refused_total", "Refused CONNECT packets.", |all| all.counters.connects_refused),
    Metric::counter(
        "oncemq_connects_of_other_owners_total",
        "CONNECT packets refused because the session belongs to another user.",
        |all| all.counters.connects_of_others,
    ),
    Metric {
        name: "oncemq_refusals_total",
        labels: &["packet", "listener", "reason"],
        help: "Refused packets, by packet (connect, publish, subscribe), listener and Reason Code; also those that MQTT 3.1.1 can not answer.",
        source: Source::Outcomes(Snapshot::refusals),
    },
    Metric {
        name: "oncemq_disconnects_total",
        labels: &["how", "listener", "reason"],
        help: "Ended connections of accepted clients, by how they ended, listener and the Reason Code of DISCONNECT; none: without DISCONNECT.",
        source: Source::Outcomes(Snapshot::disconnects),
    },
    Metric::counter(
        "oncemq_denied_total",
        "PUBLISH and SUBSCRIBE packets denied by access rules, beyond a limit of topics, or below `$SYS`.",
        |all| all.counters.denied,
    ),
    Metric::counter(
        "oncemq_protocol_errors_total",
        "Network Connections closed because of a protocol error by the client.",
        |all| all.counters.protocol_errors,
    ),
    Metric::counter(
        "oncemq_write_timeouts_total",
        "Network Connections closed because the client read nothing within the write timeout.",
        |all| all.traffic(|traffic| traffic.write_timeouts),
    ),
    Metric::counter(
        "oncemq_memory_connections_ended_total",
        "Network Connections ended because they used too much memory while it was short.",
        |all| all.counters.ended_for_memory,
    ),
    Metric {
        name: "oncemq_messages_dropped_total",
        labels: &["reason"],
        help: "Messages dropped for a receiver, by reason.",
        source: Source::Counters(|all| {
            let names = DropReason::ALL.iter().map(|reason| reason.name().into());
            names.zip(all.counters.dropped).collect()
        }),
    },
    Metric::counter(
        "oncemq_dead_letters_lost_total",
        "Dropped messages not published to the dead letter topic, because it had no room or they could not be read.",
        |all| all.counters.dead_letters_lost,
    ),
    Metric::counter(
        "oncemq_deduplication_evicted_total",
        "dedup-id values removed before the end of the deduplication window, because of deduplication_ids_max.",
        |all| all.counters.deduplication_left,
    ),
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
    Metric::counter("oncemq_logins_delayed_total", "CONNECT packets and refusals that were delayed.", |all| {
        all.admission.logins_delayed
    }),
    Metric::counter("oncemq_rate_pauses_total", "Pauses of clients beyond their rate limits.", |all| {
        all.counters.rate_pauses
    }),
    Metric::counter(
        "oncemq_log_lines_dropped_total",
        "Log lines lost because standard error was not read fast enough.",
        |_| dropped_lines(),
    ),
];
