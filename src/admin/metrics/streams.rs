//! What streams keep.

use crate::admin::metric::{Metric, Source};
use crate::admin::snapshot::Snapshot;
use crate::admin::streams::StreamFigures;

pub(in crate::admin) const METRICS: &[Metric] = &[
    Metric {
        name: "oncemq_stream_messages",
        labels: &["stream"],
        help: "Messages that the stream keeps.",
        source: Source::Gauges(|snapshot| gauges(snapshot, StreamFigures::messages)),
    },
    Metric {
        name: "oncemq_stream_bytes",
        labels: &["stream"],
        help: "Bytes of the files of the stream.",
        source: Source::Gauges(|snapshot| gauges(snapshot, |figures| figures.bytes)),
    },
    Metric {
        name: "oncemq_stream_oldest_sequence",
        labels: &["stream"],
        help: "The sequence of the oldest message that the stream keeps; that of the next one, if it keeps none.",
        source: Source::Gauges(|snapshot| gauges(snapshot, |figures| figures.oldest)),
    },
    Metric {
        name: "oncemq_stream_next_sequence",
        labels: &["stream"],
        help: "The sequence that the next message of the stream gets.",
        source: Source::Gauges(|snapshot| gauges(snapshot, |figures| figures.next)),
    },
];

#[expect(clippy::cast_precision_loss, reason = "Prometheus has floating-point numbers only")]
fn gauges(snapshot: &Snapshot, figure: fn(&StreamFigures) -> u64) -> Vec<(String, f64)> {
    let gauge = |figures: &StreamFigures| (figures.stream.name.to_string(), figure(figures) as f64);
    snapshot.streams.iter().map(gauge).collect()
}
