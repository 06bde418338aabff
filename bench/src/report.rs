//! The report of a run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use crate::ledger::Tally;
use crate::process::{Memory, Usage};

/// The figures of a run, and the broken guarantees.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    #[serde(serialize_with = "as_map")]
    pub(crate) figures: Vec<Figure>,
    /// The guarantees of the scenario that the broker broke.
    pub(crate) broken: Vec<String>,
}

/// One number of a report.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// The name, with the unit.
    pub(crate) name: Cow<'static, str>,
    pub(crate) value: f64,
}

/// The guarantees that a scenario requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarantee {
    /// Every message arrives once and in order.
    NoLoss,
    /// Every message arrives once.
    AnyOrder,
    /// Messages may be lost, but arrive at most once and in order.
    Nothing,
}

impl Report {
    /// A report with the delivery counts only.
    pub(crate) fn new(guarantee: Guarantee, tally: Tally) -> Self {
        let mut report = Self { figures: Vec::new(), broken: Vec::new() };
        let Tally { lost, duplicated, misordered, unexpected } = tally;
        let counts =
            [("lost", lost), ("duplicated", duplicated), ("misordered", misordered), ("unexpected", unexpected)];
        for (name, count) in counts {
            report.add(name, count as f64);
            let forgiven = match guarantee {
                Guarantee::NoLoss => false,
                Guarantee::AnyOrder => name == "misordered",
                Guarantee::Nothing => name == "lost",
            };
            if count > 0 && !forgiven {
                report.complain(format!("{count} {name}"));
            }
        }
        report
    }

    /// Appends a figure.
    pub(crate) fn add(&mut self, name: impl Into<Cow<'static, str>>, value: f64) {
        self.figures.push(Figure { name: name.into(), value });
    }

    /// Adds a broken guarantee.
    pub(crate) fn complain(&mut self, what: String) {
        self.broken.push(what);
    }

    /// Whether a guarantee was broken.
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Adds the number of messages, and their rates.
    pub(crate) fn add_flow(&mut self, published: u64, delivered: u64, flowed: Duration) {
        self.add("published", published as f64);
        self.add("delivered", delivered as f64);
        self.add("seconds", flowed.as_secs_f64());
        self.add("messages_per_second", delivered as f64 / flowed.as_secs_f64().max(1e-9));
    }

    /// Adds the CPU time for each MiB of payload.
    pub(crate) fn add_usage_of_payloads(&mut self, delivered: u64, payload_len: usize, usage: Usage) {
        let mib = delivered.max(1) as f64 * payload_len as f64 / MIB;
        self.add("cpu_us_per_mib", usage.broker_cpu.as_secs_f64() * 1e6 / mib);
    }

    /// Adds the CPU time.
    pub(crate) fn add_usage(&mut self, delivered: u64, usage: Usage) {
        let per_message = |cpu: Duration| cpu.as_secs_f64() * 1e6 / (delivered.max(1) as f64);
        self.add("cpu_us_per_message", per_message(usage.broker_cpu));
        self.add("load_cpu_us_per_message", per_message(usage.load_cpu));
        self.add("cpu_share", usage.broker_cpu.as_secs_f64() / usage.wall.as_secs_f64());
        self.add("load_cpu_share", usage.load_cpu.as_secs_f64() / usage.wall.as_secs_f64());
    }

    /// Adds the CPU time of processes beside the broker, and that of all.
    pub(crate) fn add_beside(&mut self, delivered: u64, beside: &BTreeMap<&'static str, Duration>, usage: Usage) {
        let per_message = |cpu: Duration| cpu.as_secs_f64() * 1e6 / (delivered.max(1) as f64);
        for (group, cpu) in beside {
            self.add(format!("{group}_cpu_us_per_message"), per_message(*cpu));
            self.add(format!("{group}_cpu_share"), cpu.as_secs_f64() / usage.wall.as_secs_f64());
        }
        if !beside.is_empty() {
            let all = usage.broker_cpu + beside.values().sum::<Duration>();
            self.add("all_cpu_us_per_message", per_message(all));
        }
    }

    /// Adds the broker's memory.
    pub(crate) fn add_memory(&mut self, memory: Memory) {
        self.add("rss_mib", memory.resident as f64 / MIB);
        self.add("peak_rss_mib", memory.peak as f64 / MIB);
    }

    /// Adds latencies: a figure for each name and quantile.
    pub(crate) fn add_latency(&mut self, latency_us: &Histogram<u64>, figures: &[(&'static str, f64)]) {
        for (name, quantile) in figures {
            self.add(*name, latency_us.value_at_quantile(*quantile) as f64);
        }
    }

    /// The figure with a name.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }
}

/// A figure with three significant digits.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        magnitude if magnitude < 10.0 => format!("{value:.2}"),
        magnitude if magnitude < 100.0 => format!("{value:.1}"),
        magnitude if magnitude < 10_000.0 => format!("{value:.0}"),
        magnitude if magnitude < 10_000_000.0 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.1}M", value / 1e6),
    }
}

fn as_map<S: Serializer>(figures: &[Figure], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(figures.iter().map(|figure| (&figure.name, figure.value)))
}

const MIB: f64 = 1_048_576.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_breaks_the_guarantee_except_in_a_flood() {
        let tally = Tally { lost: 3, ..Tally::default() };
        assert_eq!(Report::new(Guarantee::NoLoss, tally).broken, ["3 lost"]);
        assert!(!Report::new(Guarantee::Nothing, tally).is_broken());
    }

    #[test]
    fn another_order_breaks_the_guarantee_except_where_it_is_allowed() {
        let tally = Tally { misordered: 1, ..Tally::default() };
        assert_eq!(Report::new(Guarantee::NoLoss, tally).broken, ["1 misordered"]);
        assert!(!Report::new(Guarantee::AnyOrder, tally).is_broken());
    }

    #[test]
    fn a_duplicate_breaks_the_guarantee_in_every_scenario() {
        let tally = Tally { duplicated: 1, ..Tally::default() };
        assert!(Report::new(Guarantee::Nothing, tally).is_broken());
    }

    #[test]
    fn digits_fit_the_size() {
        let shown = [0.0, 0.234, 12.34, 123.4, 45_678.0, 12_345_678.0].map(digits);
        assert_eq!(shown, ["0", "0.23", "12.3", "123", "46k", "12.3M"]);
    }
}
