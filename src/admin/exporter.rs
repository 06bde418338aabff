use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::metric::{Kind, METRICS, Metric, Source};
use super::snapshot::{BrokerHandles, Process, Snapshot};
use crate::server::LatencyHistogram;

/// Renders the metrics of a broker in the Prometheus text format.
#[derive(Debug)]
pub(super) struct Exporter {
    handles: BrokerHandles,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// The part of the latency histogram that the recorder has received.
    recorded: LatencyHistogram,
}

impl Exporter {
    pub(super) fn new(handles: BrokerHandles) -> Self {
        let recorder = builder().unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        for Metric { name, help, .. } in METRICS.iter().filter(|metric| !is_own(metric)) {
            // The kind given here has no effect: the recorder uses the kind of the registered metric.
            recorder.describe_gauge((*name).into(), None, (*help).into());
        }
        Self { handles, recorder, handle, recorded: LatencyHistogram::default() }
    }

    /// The current values of all metrics, as text.
    pub(super) fn render(&mut self) -> String {
        let snapshot = Snapshot::of(&self.handles, Process::read());
        for metric in METRICS {
            self.publish_metric(metric, &snapshot);
        }
        let mut text = self.handle.render();
        for metric in METRICS.iter().filter(|metric| is_own(metric)) {
            write_own(metric, &snapshot, &mut text);
        }
        text
    }

    /// Merges the recorder's pending samples, which bounds their memory and keeps [`render`](Self::render) fast.
    pub(super) fn run_upkeep(&mut self) {
        let snapshot = Snapshot::of(&self.handles, Process::default());
        // Only histograms have pending samples.
        for metric in METRICS.iter().filter(|metric| metric.kind() == Kind::Histogram) {
            self.publish_metric(metric, &snapshot);
        }
        self.handle.run_upkeep();
    }

    fn publish_metric(&mut self, metric: &Metric, snapshot: &Snapshot) {
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
            // `write_own` writes them.
            Source::Seconds(_) | Source::Gauges(_) | Source::Outcomes(_) | Source::Histograms(_) => {}
            Source::Gauge(read) => self.recorder.register_gauge(&key(&[]), &METADATA).set(read(snapshot)),
            Source::Info(read) => self.recorder.register_gauge(&key(&read(snapshot)), &METADATA).set(1.0),
            Source::Histogram(read) => {
                let histogram = self.recorder.register_histogram(&key(&[]), &METADATA);
                let all = read(snapshot);
                for (seconds, count) in new_samples(&self.recorded, &all) {
                    histogram.record_many(seconds, count);
                }
                self.recorded = all;
            }
        }
    }
}

/// Whether the recorder can't have the metric: its counters have no fractions, and it keeps series that have ended.
const fn is_own(metric: &Metric) -> bool {
    matches!(metric.source, Source::Seconds(_) | Source::Gauges(_) | Source::Outcomes(_) | Source::Histograms(_))
}

/// Appends a metric that the recorder can't have.
fn write_own(metric: &Metric, snapshot: &Snapshot, text: &mut String) {
    let Metric { name, help, labels, source } = metric;
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {}\n", metric.kind().name()));
    if let Source::Seconds(read) = source {
        text.push_str(&format!("{name} {}\n", read(snapshot)));
    }
    if let Source::Gauges(read) = source {
        for (value, figure) in read(snapshot) {
            text.push_str(&format!("{name}{} {figure}\n", series(labels, &[&value], None)));
        }
    }
    if let Source::Outcomes(read) = source {
        for (values, count) in read(snapshot) {
            text.push_str(&format!("{name}{} {count}\n", series(labels, &values.each_ref().map(String::as_str), None)));
        }
    }
    if let Source::Histograms(read) = source {
        for (value, histogram) in read(snapshot) {
            write_histogram(name, labels, &value, &histogram, text);
        }
    }
    text.push('\n');
}

fn write_histogram(name: &str, labels: &[&str], value: &str, histogram: &LatencyHistogram, text: &mut String) {
    let bounds = LatencyHistogram::BOUNDS.iter().map(|bound| bound.as_secs_f64().to_string());
    let mut count = 0;
    for (bound, new) in bounds.chain(["+Inf".to_owned()]).zip(histogram.counts) {
        count += new;
        text.push_str(&format!("{name}_bucket{} {count}\n", series(labels, &[value], Some(&bound))));
    }
    let series = series(labels, &[value], None);
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

/// The buckets are those that the shards count in, so a sample stays in its bucket.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets(&LatencyHistogram::BOUNDS.map(|bound| bound.as_secs_f64()))
}

/// Samples whose bucket counts and sum equal the difference between two readings of a histogram. The shards keep only
/// the bucket of each sample, and the recorder accepts only samples.
///
/// All samples are at the same fraction of the distance from the lower to the upper bound of their bucket.
fn new_samples(before: &LatencyHistogram, now: &LatencyHistogram) -> Vec<(f64, usize)> {
    let sum = now.sum.saturating_sub(before.sum).as_secs_f64();
    let uppers = LatencyHistogram::BOUNDS.iter().map(Duration::as_secs_f64);
    let lowers = [0.0].into_iter().chain(uppers.clone());
    let counts = now.counts.iter().zip(before.counts).map(|(now, before)| now.saturating_sub(before));
    // The last bucket has no upper bound; its samples may have to account for the whole sum.
    let ranges: Vec<_> = lowers.zip(uppers.chain([sum])).zip(counts).filter(|(_, count)| *count > 0).collect();
    let at = |part: f64| move |(lower, upper): (f64, f64)| lower + part * (upper - lower).max(0.0);
    let sum_at = |part: f64| -> f64 { ranges.iter().map(|(range, count)| at(part)(*range) * *count as f64).sum() };
    let (least, most) = (sum_at(0.0), sum_at(1.0));
    let part = if most > least { ((sum - least) / (most - least)).clamp(0.0, 1.0) } else { 1.0 };
    let sample = |((lower, upper), count): ((f64, f64), u64)| {
        // A bucket includes its upper bound, but not its lower one.
        let seconds = at(part)((lower, upper)).min(upper).max(lower.next_up());
        (seconds, usize::try_from(count).unwrap_or(usize::MAX))
    };
    ranges.into_iter().map(sample).collect()
}

const METADATA: Metadata<'static> = Metadata::new("oncemq", Level::INFO, None);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn samples_for_the_recorder_have_the_buckets_and_the_sum_of_the_real_ones(
            before in prop::collection::vec(1_u64..10_000_000_000, 0..50),
            new in prop::collection::vec(1_u64..10_000_000_000, 0..50),
        ) {
            let mut histogram = LatencyHistogram::default();
            before.iter().for_each(|nanoseconds| histogram.record(Duration::from_nanos(*nanoseconds)));
            let earlier = histogram;
            new.iter().for_each(|nanoseconds| histogram.record(Duration::from_nanos(*nanoseconds)));

            let mut given = earlier;
            let mut sum = 0.0;
            for (seconds, count) in new_samples(&earlier, &histogram) {
                sum += seconds * count as f64;
                let bound = |bound: &Duration| bound.as_secs_f64() < seconds;
                given.counts[LatencyHistogram::BOUNDS.partition_point(bound)] += count as u64;
            }
            prop_assert_eq!(given.counts, histogram.counts);
            let real = (histogram.sum - earlier.sum).as_secs_f64();
            prop_assert!((sum - real).abs() < 1e-6, "{} instead of {}", sum, real);
        }
    }

    #[test]
    fn the_recorder_accepts_the_bucket_bounds() {
        assert!(builder().is_ok());
    }
}
