//! The fourth golden signal: how full it is.

use crate::admin::metric::{Metric, Source};
use crate::admin::snapshot::Snapshot;

pub(in crate::admin) const METRICS: &[Metric] = &[
    Metric::gauge(
        "oncemq_queued_messages",
        "QoS 1 and 2 messages queued in Sessions, including those in flight.",
        |all| all.counters.queued_messages as f64,
    ),
    Metric::gauge("oncemq_queued_bytes", "Bytes of the messages queued in Sessions.", |all| {
        all.counters.queued_bytes as f64
    }),
    Metric::gauge(
        "oncemq_in_flight_messages",
        "QoS 1 and 2 messages sent to connected clients and not acknowledged.",
        |all| all.counters.in_flight_messages as f64,
    ),
    Metric {
        name: "oncemq_shard_busy_seconds_total",
        labels: &["shard"],
        help: "Time during which the thread of a shard was not idle, in seconds; a rate of 1 means that it has no time left.",
        source: Source::Seconds(|all| all.each_shard(|shard| shard.busy.as_secs_f64())),
    },
    Metric {
        name: "oncemq_shard_mail_waiting",
        labels: &["shard"],
        help: "Messages from other threads that wait for a shard.",
        source: Source::Gauges(|all| all.each_shard(|shard| shard.mail_waiting as f64)),
    },
    Metric::gauge(
        "oncemq_store_lag_seconds",
        "How long the oldest record that an acknowledgement waits for has not been stable; 0 if there is none.",
        |all| all.timing.lag.as_secs_f64(),
    ),
    Metric::gauge("oncemq_store_pending_bytes", "Bytes of the records that wait to be stable.", |all| {
        all.timing.pending_bytes as f64
    }),
    Metric::gauge(
        "oncemq_store_unreadable",
        "1 if a segment of the store can't be read, so that no space is reclaimed until the next start; otherwise 0.",
        |all| f64::from(u8::from(all.store.unreadable_segment.is_some())),
    ),
    Metric::gauge(
        "oncemq_disk_size_bytes",
        "Used and free bytes of the file system of the data directory, without what it reserves; 0 if it is not known.",
        |all| all.disk.size as f64,
    ),
    Metric::gauge(
        "oncemq_disk_free_bytes",
        "Bytes of that file system that the broker may use; 0 if that is not known, measured every five seconds.",
        |all| all.disk.free as f64,
    ),
    Metric::gauge("oncemq_memory_level", "How short the memory is: 0 normal, 1 elevated, 2 high, 3 critical.", |all| {
        f64::from(all.memory.level as u8)
    }),
    Metric::gauge("oncemq_memory_max_bytes", "The limit of resident memory: memory_max.", |all| all.memory.max as f64),
    Metric::gauge("oncemq_memory_input_bytes", "Memory for incomplete packets of all connections, in bytes.", |all| {
        all.memory.inputs as f64
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
    Metric {
        name: "process_cpu_seconds_total",
        labels: &[],
        help: "Processor time used by all threads of the process, in seconds.",
        source: Source::Seconds(|all| vec![(String::new(), all.process.cpu_time.as_secs_f64())]),
    },
    Metric::gauge(
        "oncemq_shard_silence_seconds",
        "Longest time since a shard published its figures; a healthy shard does so every second.",
        |all| all.longest_silence.as_secs_f64(),
    ),
    Metric::gauge("oncemq_password_checks_waiting", "CONNECT packets whose password waits to be hashed.", |all| {
        all.admission.passwords.waiting as f64
    }),
    Metric::gauge("oncemq_store_full", "1 if the disk has no room for new messages, otherwise 0.", |all| {
        f64::from(u8::from(all.store.is_full))
    }),
    Metric::gauge("oncemq_store_segments", "Segment files of the store.", |all| all.store.segments as f64),
    Metric::gauge("oncemq_store_bytes", "Size of the store in bytes.", |all| all.store.bytes as f64),
    Metric::gauge("oncemq_store_live_bytes", "Bytes of live entries in the store.", |all| all.store.live_bytes as f64),
    Metric::gauge(
        "process_open_fds",
        "Open file descriptors of the process; 0 if the operating system does not report it.",
        |all| all.process.open_files.unwrap_or_default() as f64,
    ),
    Metric::gauge("process_max_fds", "Limit of open file descriptors; 0 if there is none.", |all| {
        all.process.open_files_max.unwrap_or_default() as f64
    }),
    Metric {
        name: "oncemq_certificate_expires_seconds",
        labels: &["listener"],
        help: "Seconds until the certificate of the listener, or one of its chain, expires; negative afterwards.",
        source: Source::Gauges(Snapshot::certificates_expire),
    },
];
