//! What streams keep.

use crate::admin::metric::{Combinations, Metric, Source};
use crate::admin::snapshot::Snapshot;
use crate::admin::streams::StreamFigures;
use crate::broker::GroupView;

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
    Metric {
        name: "oncemq_stream_group_lag",
        labels: &["stream", "group"],
        help: "Messages of the stream that the group of subscribers has not acknowledged; those that it has not read yet count whether they match its filter or not.",
        source: Source::GaugesOf(|snapshot| of_groups(snapshot, |group| group.lag)),
    },
    Metric {
        name: "oncemq_stream_group_members",
        labels: &["stream", "group"],
        help: "Connected members of the group of subscribers.",
        source: Source::GaugesOf(|snapshot| of_groups(snapshot, |group| group.members as u64)),
    },
];

/// The group is named as its subscribers name it: `GROUP`, or `GROUP/FILTER`.
fn of_groups(snapshot: &Snapshot, figure: fn(&GroupView) -> u64) -> Combinations {
    let groups = snapshot.streams.iter().flat_map(|stream| stream.groups.iter().map(move |group| (stream, group)));
    let series = |(stream, group): (&StreamFigures, &GroupView)| {
        let filter = group.filter.as_ref().map_or_else(String::new, |filter| format!("/{}", filter.as_str()));
        (vec![stream.stream.name.to_string(), format!("{}{filter}", group.name)], figure(group))
    };
    groups.map(series).collect()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has floating-point numbers only")]
fn gauges(snapshot: &Snapshot, figure: fn(&StreamFigures) -> u64) -> Vec<(String, f64)> {
    let gauge = |figures: &StreamFigures| (figures.stream.name.to_string(), figure(figures) as f64);
    snapshot.streams.iter().map(gauge).collect()
}
