use std::sync::Arc;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::disk::DiskSpace;
use super::handles::BrokerHandles;
use super::metric::{Metric, Source};
use super::metrics::metrics;
use super::queues::Queues;
use super::snapshot::{Process, Snapshot};
use crate::histogram::LatencyHistogram;

/// Renders the metrics of a broker in the Prometheus text format.
#[derive(Debug)]
pub(super) struct Exporter {
    handles: BrokerHandles,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    disk: DiskSpace,
    queues: Arc<Queues>,
}

impl Exporter {
    pub(super) fn new(handles: BrokerHandles, disk: DiskSpace, queues: Arc<Queues>) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        for Metric { name, help, .. } in metrics().filter(|metric| !is_own(metric)) {
            // The kind given here has no effect: the recorder uses the kind of the registered metric.
            recorder.describe_gauge((*name).into(), None, (*help).into());
        }
        Self { handles, recorder, handle, disk, queues }
    }

    /// The current values of all metrics, as text.
    pub(super) fn render(&self) -> String {
        let snapshot = Snapshot::of(&self.handles, Process::read(), self.disk.figures(), &self.queues);
        for metric in metrics() {
            self.publish_metric(metric, &snapshot);
        }
        let mut text = self.handle.render();
        for metric in metrics().filter(|metric| is_own(metric)) {
            write_own(metric, &snapshot, &mut text);
        }
        text
    }

    fn publish_metric(&self, metric: &Metric, snapshot: &Snapshot) {
        let key = |values: &[&str]| {
            let labels = metric.labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).to_owned()));
            Key::from_parts(metric.name, labels.collect::<Vec<_>>())
        };
        match metric.source {
            Source::Counter(read) => {
                self.recorder.register_counter(&key(&[]), &METADATA).absolute(read(snapshot));
            }
            Source::Counters(read) => {
                for (value, count) in read(snapshot) {
                    self.recorder.register_counter(&key(&[&value]), &METADATA).absolute(count);
                }
            }
            Source::Gauge(read) => self.recorder.register_gauge(&key(&[]), &METADATA).set(read(snapshot)),
            Source::Info(read) => self.recorder.register_gauge(&key(&read(snapshot)), &METADATA).set(1.0),
            // `write_own` writes them.
            Source::Seconds(_)
            | Source::Gauges(_)
            | Source::GaugesOf(_)
            | Source::Outcomes(_)
            | Source::Histograms(_) => {}
        }
    }
}

/// Whether the recorder can't have the metric: its counters have no fractions, it keeps series that have ended, and its histograms take samples
/// instead of the counts of the shards.
const fn is_own(metric: &Metric) -> bool {
    matches!(
        metric.source,
        Source::Seconds(_) | Source::Gauges(_) | Source::GaugesOf(_) | Source::Outcomes(_) | Source::Histograms(_)
    )
}

/// Appends a metric that the recorder can't have.
fn write_own(metric: &Metric, snapshot: &Snapshot, text: &mut String) {
    let Metric { name, help, labels, source } = metric;
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {}\n", metric.kind().name()));
    match source {
        Source::Seconds(read) | Source::Gauges(read) => {
            for (value, figure) in read(snapshot) {
                text.push_str(&format!("{name}{} {figure}\n", series(labels, &[&value], None)));
            }
        }
        Source::Outcomes(read) | Source::GaugesOf(read) => {
            for (values, count) in read(snapshot) {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                text.push_str(&format!("{name}{} {count}\n", series(labels, &values, None)));
            }
        }
        Source::Histograms(read) => {
            for (value, histogram) in read(snapshot) {
                write_histogram(name, labels, &[&value], &histogram, text);
            }
        }
        Source::Counter(_) | Source::Counters(_) | Source::Gauge(_) | Source::Info(_) => {}
    }
    text.push('\n');
}

fn write_histogram(name: &str, labels: &[&str], values: &[&str], histogram: &LatencyHistogram, text: &mut String) {
    let bounds = LatencyHistogram::BOUNDS.iter().map(|bound| bound.as_secs_f64().to_string());
    let mut count = 0;
    for (bound, new) in bounds.chain(["+Inf".to_owned()]).zip(histogram.counts) {
        count += new;
        text.push_str(&format!("{name}_bucket{} {count}\n", series(labels, values, Some(&bound))));
    }
    let series = series(labels, values, None);
    text.push_str(&format!("{name}_sum{series} {}\n{name}_count{series} {count}\n", histogram.sum.as_secs_f64()));
}

/// The labels of a series, with the upper bound of a bucket if it is one.
fn series(labels: &[&str], values: &[&str], bound: Option<&str>) -> String {
    let pairs = labels.iter().copied().zip(values.iter().copied()).chain(bound.map(|bound| ("le", bound)));
    let pairs: Vec<String> = pairs.map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

/// The value of a label as the text format quotes it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

const METADATA: Metadata<'static> = Metadata::new("oncemq", Level::INFO, None);

/// Whether a metric has a series from the start: the others have one for each value of their labels, such as the providers that ask a service, sinks and streams, or are those of a cluster.
#[cfg(test)]
pub(super) fn has_series_at_start(metric: &Metric) -> bool {
    let is_one_for_all = !matches!(metric.source, Source::Outcomes(_) | Source::Histograms(_));
    let of_configured = ["provider", "bridge", "sink", "stream"];
    is_one_for_all
        && !metric.name.starts_with("oncemq_cluster_")
        && !of_configured.iter().any(|label| metric.labels.contains(label))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_histogram_is_written_with_cumulative_buckets_its_sum_and_its_count() {
        let mut histogram = LatencyHistogram::default();
        for milliseconds in [2, 2, 700, 20_000] {
            histogram.record(Duration::from_millis(milliseconds));
        }
        let mut text = String::new();
        write_histogram("a_seconds", &["qos"], &["1"], &histogram, &mut text);
        for line in [
            "a_seconds_bucket{qos=\"1\",le=\"0.00001\"} 0",
            "a_seconds_bucket{qos=\"1\",le=\"0.001\"} 0",
            "a_seconds_bucket{qos=\"1\",le=\"0.003\"} 2",
            "a_seconds_bucket{qos=\"1\",le=\"1\"} 3",
            "a_seconds_bucket{qos=\"1\",le=\"10\"} 3",
            "a_seconds_bucket{qos=\"1\",le=\"+Inf\"} 4",
            "a_seconds_sum{qos=\"1\"} 20.704",
            "a_seconds_count{qos=\"1\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        text.clear();
        write_histogram("b", &[], &[""], &histogram, &mut text);
        assert!(text.starts_with("b_bucket{le=\"0.00001\"} 0\n") && text.ends_with("\nb_count 4\n"), "{text}");
    }

    #[test]
    fn values_of_labels_are_quoted() {
        assert_eq!(series(&["a", "b"], &["x\"y\\", "1\n2"], None), "{a=\"x\\\"y\\\\\",b=\"1\\n2\"}");
        assert_eq!(series(&[], &[""], None), "");
    }
}
