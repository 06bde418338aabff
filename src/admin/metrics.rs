//! The table of all metrics.

mod bridges;
mod broker;
mod cells;
mod cluster;
mod errors;
mod latency;
mod own;
mod probe;
mod saturation;
mod services;
mod sinks;
mod streams;
mod telemetry;
mod traffic;

use super::metric::Metric;

/// All metrics, in the order of the documentation: what there is, then the golden signals.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    let tables = [
        broker::METRICS,
        latency::METRICS,
        traffic::METRICS,
        errors::METRICS,
        saturation::METRICS,
        probe::METRICS,
        services::METRICS,
        telemetry::METRICS,
        sinks::METRICS,
        streams::METRICS,
        bridges::METRICS,
        cluster::METRICS,
        cells::METRICS,
    ];
    tables.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::admin::metric::Kind;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for metric in metrics() {
            let name = metric.name;
            assert!(name.starts_with("oncemq_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind() == Kind::Counter, "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{name}: {}", metric.help);
        }
        let names: HashSet<&str> = metrics().map(|metric| metric.name).collect();
        assert_eq!(names.len(), metrics().count());
    }
}
