//! Parameters the cost of subscriptions that receive no messages.

use std::thread;

use anyhow::Result;

use super::idle::SETTLE_TIME;
use super::parameters::Parameters;
use super::target::Target;
use crate::ledger::Tally;
use crate::process::{self, Meter};
use crate::report::{Guarantee, Report};
use crate::traffic::Traffic;

/// Subscribes, and parameters the broker before and after.
pub(super) fn run(parameters: &Parameters, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target, parameters.plan())?;
    let connections = traffic.connect_receivers()?;
    thread::sleep(SETTLE_TIME);
    process::reset_peak(target.pid);
    let before = process::memory(target.pid)?;
    let meter = Meter::start(target.pid)?;
    for (receiver, connection) in connections.into_iter().enumerate() {
        traffic.subscribe(receiver, connection)?;
    }
    thread::sleep(SETTLE_TIME);
    let usage = meter.read()?;
    traffic.poll_once()?;

    let after = process::memory(target.pid)?;
    let filters = traffic.plan.receivers.iter().flat_map(|receiver| &receiver.filters);
    let filter_bytes: usize = filters.map(String::len).sum();
    let count = parameters.count as f64;
    let grown = after.resident.saturating_sub(before.resident) as f64;
    let mut report = Report::new(Guarantee::NoLoss, Tally::default());
    report.add("rss_bytes_per_subscription", grown / count);
    report.add("rss_bytes_beyond_filter", (grown - filter_bytes as f64) / count);
    report.add("cpu_us_per_subscription", usage.broker_cpu.as_secs_f64() * 1e6 / count);
    report.add_memory(after);
    Ok(report)
}
