use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::metric::{METRICS, Metric, Source};
use super::snapshot::{Snapshot, Watched};
use crate::server::LatencyHistogram;

/// The figures of a broker as Prometheus reads them.
#[derive(Debug)]
pub(super) struct Exporter {
    watched: Watched,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// What the recorder's histogram has been given.
    recorded: LatencyHistogram,
}

impl Exporter {
    pub(super) fn new(watched: Watched) -> Self {
        let recorder = builder().unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        for Metric { name, help, .. } in METRICS {
            // Which kind it is told to be doesn't matter to the recorder, only what is registered does.
            recorder.describe_gauge((*name).into(), None, (*help).into());
        }
        Self { watched, recorder, handle, recorded: LatencyHistogram::default() }
    }

    /// All metrics as of now, as text.
    pub(super) fn render(&mut self) -> String {
        self.publish();
        self.handle.render()
    }

    /// Makes the recorder forget single samples, and the next [`render`](Self::render) quick.
    pub(super) fn keep_up(&mut self) {
        self.publish();
        self.handle.run_upkeep();
    }

    fn publish(&mut self) {
        let snapshot = Snapshot::of(&self.watched);
        for metric in METRICS {
            self.publish_metric(metric, &snapshot);
        }
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

/// The histogram's bounds are those the shards count by, so that no sample changes its range.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets(&LatencyHistogram::BOUNDS.map(|bound| bound.as_secs_f64()))
}

/// Samples that have fallen into the same ranges, and make the same sum, as those between two readings of a histogram: what the
/// shards keep of a sample is its range alone.
///
/// All lie at the same part of the way from the lower to the upper bound of their range.
fn new_samples(before: &LatencyHistogram, now: &LatencyHistogram) -> Vec<(f64, usize)> {
    let sum = now.sum.saturating_sub(before.sum).as_secs_f64();
    let uppers = LatencyHistogram::BOUNDS.iter().map(Duration::as_secs_f64);
    let lowers = [0.0].into_iter().chain(uppers.clone());
    let counts = now.counts.iter().zip(before.counts).map(|(now, before)| now.saturating_sub(before));
    // The last range has no upper bound: alone, it has to hold everything that the others can't.
    let ranges: Vec<_> = lowers.zip(uppers.chain([sum])).zip(counts).filter(|(_, count)| *count > 0).collect();
    let at = |part: f64| move |(lower, upper): (f64, f64)| lower + part * (upper - lower).max(0.0);
    let sum_at = |part: f64| -> f64 { ranges.iter().map(|(range, count)| at(part)(*range) * *count as f64).sum() };
    let (least, most) = (sum_at(0.0), sum_at(1.0));
    let part = if most > least { ((sum - least) / (most - least)).clamp(0.0, 1.0) } else { 1.0 };
    let sample = |((lower, upper), count): ((f64, f64), u64)| {
        // A bound belongs to the range below it.
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
        fn samples_for_the_recorder_have_the_ranges_and_the_sum_of_the_real_ones(
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
    fn the_recorder_takes_the_bounds() {
        assert!(builder().is_ok());
    }
}
