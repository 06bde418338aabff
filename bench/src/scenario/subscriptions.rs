//! Parameters the cost of subscriptions that receive no messages.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::idle::SETTLE_TIME;
use super::parameters::Parameters;
use super::target::Target;
use crate::clock;
use crate::ledger::Tally;
use crate::process::{self, Beside, Meter};
use crate::report::{Guarantee, Report};
use crate::traffic::Traffic;

/// Subscribes, and parameters the broker before and after.
pub(super) fn run(parameters: &Parameters, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target, parameters.plan())?;
    let connections = traffic.connect_receivers()?;
    thread::sleep(SETTLE_TIME);
    process::reset_peak(target.pid);
    let before = process::memory(target.pid)?;
    let beside_before = resident(target)?;
    let meter = Meter::start(target.pid)?;
    let beside = Beside::start(&target.beside)?;
    let mut waits_us = Histogram::new_with_bounds(1, WAIT_MAX_US, 3)?;
    for (receiver, connection) in connections.into_iter().enumerate() {
        let started = clock::now();
        traffic.subscribe(receiver, connection)?;
        waits_us.saturating_record(u64::try_from((clock::now() - started).as_micros())?);
    }
    thread::sleep(SETTLE_TIME);
    let usage = meter.read()?;
    let beside = beside.read()?;
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
    // One receiver at a time: with a filter each, this is how long each SUBACK takes.
    report.add_latency(&waits_us, &WAITS);
    if !target.beside.is_empty() {
        let all = usage.broker_cpu + beside.values().sum::<Duration>();
        report.add("all_cpu_us_per_subscription", all.as_secs_f64() * 1e6 / count);
        let grown = resident(target)?.saturating_sub(beside_before) as f64;
        report.add("beside_rss_bytes_per_subscription", grown / count);
    }
    report.add_memory(after);
    Ok(report)
}

/// The memory of the processes beside the broker.
fn resident(target: &Target) -> Result<u64> {
    target.beside.iter().map(|(_, pid)| Ok(process::memory(*pid)?.resident)).sum()
}

const WAITS: [(&str, f64); 3] = [("subscribed_p50_us", 0.5), ("subscribed_p99_us", 0.99), ("subscribed_max_us", 1.0)];
const WAIT_MAX_US: u64 = 60_000_000;
