//! A histogram of latencies with fixed buckets, as plain data. Each thread counts in its own, and a reader merges copies of them.

use std::ops::AddAssign;
use std::time::Duration;

/// A histogram of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatencyHistogram {
    /// The number of latencies in each range. A range ends at its bound in [`LatencyHistogram::BOUNDS`], inclusive, and starts above the
    /// previous bound; the last range has no upper bound.
    pub counts: [u64; LatencyHistogram::BOUNDS.len() + 1],
    /// The sum of all latencies.
    pub sum: Duration,
}

impl LatencyHistogram {
    /// The upper bounds of the ranges, each about three times the previous one: from a message that passes through memory to a disk that
    /// does not answer.
    pub const BOUNDS: [Duration; 13] = [
        Duration::from_micros(10),
        Duration::from_micros(30),
        Duration::from_micros(100),
        Duration::from_micros(300),
        Duration::from_millis(1),
        Duration::from_millis(3),
        Duration::from_millis(10),
        Duration::from_millis(30),
        Duration::from_millis(100),
        Duration::from_millis(300),
        Duration::from_secs(1),
        Duration::from_secs(3),
        Duration::from_secs(10),
    ];

    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let range = Self::BOUNDS.partition_point(|bound| *bound < latency);
        if let Some(count) = self.counts.get_mut(range) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(latency);
    }

    /// The number of latencies.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl AddAssign for LatencyHistogram {
    fn add_assign(&mut self, other: Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_bound_of_a_range_is_inclusive() {
        let mut histogram = LatencyHistogram::default();
        histogram.record(Duration::from_micros(10));
        histogram.record(Duration::from_micros(11));
        histogram.record(Duration::from_secs(100));
        assert_eq!(histogram.counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.sum, Duration::from_micros(100_000_021));
    }

    #[test]
    fn merged_histograms_have_the_counts_and_the_sum_of_both() {
        let mut histogram = LatencyHistogram::default();
        histogram.record(Duration::from_millis(2));
        let mut other = histogram;
        other.record(Duration::from_secs(2));
        histogram += other;
        assert_eq!((histogram.count(), histogram.sum), (3, Duration::from_millis(2_004)));
    }
}
