//! What the probe, a client of the broker's own, sees of all of them.

use crate::admin::metric::{Metric, Source};
use crate::admin::snapshot::Snapshot;

pub(in crate::admin) const METRICS: &[Metric] = &[
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
];
