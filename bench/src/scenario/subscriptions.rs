//! Many subscriptions that nobody publishes to: what it costs to have them.

use std::thread;

use anyhow::Result;

use super::idle::SETTLING;
use super::measures::Measures;
use super::target::Target;
use crate::ledger::Tally;
use crate::process::{self, Meter};
use crate::report::{Promise, Report};
use crate::traffic::Traffic;

/// Subscribes, and looks at the broker before and after.
pub(super) fn run(measures: &Measures, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target.endpoint.clone(), measures.plan())?;
    let connections = traffic.connect_receivers()?;
    thread::sleep(SETTLING);
    process::reset_peak(target.pid);
    let before = process::memory(target.pid)?;
    let meter = Meter::start(target.pid)?;
    for (receiver, connection) in connections.into_iter().enumerate() {
        traffic.subscribe(receiver, connection)?;
    }
    thread::sleep(SETTLING);
    let usage = meter.read()?;
    traffic.glance()?;

    let after = process::memory(target.pid)?;
    let filters = traffic.plan.receivers.iter().flat_map(|receiver| &receiver.filters);
    let filter_bytes: usize = filters.map(String::len).sum();
    let count = measures.count as f64;
    let grown = after.resident.saturating_sub(before.resident) as f64;
    let mut report = Report::new(Promise::NoLoss, Tally::default());
    report.add("rss_bytes_per_subscription", grown / count);
    report.add("rss_bytes_beyond_filter", (grown - filter_bytes as f64) / count);
    report.add("cpu_us_per_subscription", usage.broker_cpu.as_secs_f64() * 1e6 / count);
    report.add_memory(after);
    Ok(report)
}
