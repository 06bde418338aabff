//! What became of the spans of traces.

use crate::admin::metric::{Metric, Source};
use crate::admin::snapshot::Snapshot;

pub(in crate::admin) const METRICS: &[Metric] = &[Metric {
    name: "oncemq_telemetry_spans_total",
    labels: &["result"],
    help: "Spans of traces: sent, dropped (too many at a time, or the collector is too slow; a message whose trace was not made counts as one), and failed (the collector is gone or has refused them). Only if traces were on since the start.",
    source: Source::Outcomes(Snapshot::telemetry_spans),
}];
