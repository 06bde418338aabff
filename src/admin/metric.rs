use std::borrow::Cow;

use super::snapshot::Snapshot;
use crate::codec::PacketType;
use crate::config::Durability;
use crate::histogram::LatencyHistogram;

/// One metric and the source of its values. No label has a value that a client chooses, but for the names of groups of subscribers of streams, whose
/// number is bounded.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name of the metric.
    pub name: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Help text.
    pub help: &'static str,
    pub(super) source: Source,
}

/// The Prometheus type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that only increases.
    Counter,
    /// A value that can increase and decrease.
    Gauge,
    /// Counts of samples in buckets.
    Histogram,
}

/// Values of a label, each with its count.
pub(super) type Series = Vec<(Cow<'static, str>, u64)>;

/// Values of several labels, each combination with its count.
pub(super) type Combinations = Vec<(Vec<String>, u64)>;

/// Where the values of a metric come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Counter(fn(&Snapshot) -> u64),
    /// One counter for each value of the label.
    Counters(fn(&Snapshot) -> Series),
    /// A counter with a fraction for each value of the label.
    Seconds(fn(&Snapshot) -> Vec<(String, f64)>),
    /// A counter for each combination of values of the labels that occurred.
    Outcomes(fn(&Snapshot) -> Combinations),
    Gauge(fn(&Snapshot) -> f64),
    /// One gauge for each value of the label; there may be none.
    Gauges(fn(&Snapshot) -> Vec<(String, f64)>),
    /// One gauge for each combination of values of the labels; there may be none.
    GaugesOf(fn(&Snapshot) -> Combinations),
    /// A histogram for each value of the label.
    Histograms(fn(&Snapshot) -> Vec<(String, LatencyHistogram)>),
    /// Constant 1; the information is in the values of the labels.
    Info(fn(&Snapshot) -> [&'static str; 2]),
}

impl Metric {
    /// The type of the metric.
    pub const fn kind(&self) -> Kind {
        match self.source {
            Source::Counter(_) | Source::Counters(_) | Source::Seconds(_) | Source::Outcomes(_) => Kind::Counter,
            Source::Gauge(_) | Source::Gauges(_) | Source::GaugesOf(_) | Source::Info(_) => Kind::Gauge,
            Source::Histograms(_) => Kind::Histogram,
        }
    }

    pub(super) const fn counter(name: &'static str, help: &'static str, read: fn(&Snapshot) -> u64) -> Self {
        Self { name, labels: &[], help, source: Source::Counter(read) }
    }

    pub(super) const fn gauge(name: &'static str, help: &'static str, read: fn(&Snapshot) -> f64) -> Self {
        Self { name, labels: &[], help, source: Source::Gauge(read) }
    }
}

impl Kind {
    /// The name of the type in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

pub(super) fn by_packet_type(counts: &[u64; 16]) -> Series {
    let named = (0..).map(PacketType::new).zip(counts).filter_map(|(packet_type, count)| Some((packet_type?, *count)));
    named.map(|(packet_type, count)| (packet_type.name().to_ascii_lowercase().into(), count)).collect()
}

pub(super) fn by_qos(counts: &[u64; 3]) -> Series {
    ["0", "1", "2"].into_iter().map(Cow::Borrowed).zip(counts.iter().copied()).collect()
}

/// The level as the configuration spells it.
pub(super) const fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::PowerLoss => "power-loss",
        Durability::Crash => "crash",
        Durability::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_type_has_its_own_count() {
        let counts = std::array::from_fn(|number| number as u64);
        let named = by_packet_type(&counts);
        assert_eq!(named.len(), 15);
        assert!(named.contains(&("connect".into(), 1)) && named.contains(&("auth".into(), 15)), "{named:?}");
    }
}
