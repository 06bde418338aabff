//! Connections that do nothing: what it costs to have and to open them.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::measures::Measures;
use super::target::Target;
use crate::clock;
use crate::flow::Role;
use crate::ledger::Tally;
use crate::plan::Plan;
use crate::process::{self, Meter};
use crate::report::{Promise, Report};
use crate::traffic::{Client, Traffic};

/// Opens all connections and looks at the broker before and after.
pub(super) fn run(measures: &Measures, target: &Target) -> Result<Report> {
    let nobody = Plan { streams: Vec::new(), publishers: Vec::new(), receivers: Vec::new(), ..measures.plan() };
    let mut traffic = Traffic::new(target.endpoint.clone(), nobody)?;
    process::reset_peak(target.pid);
    let before = process::memory(target.pid)?;
    let meter = Meter::start(target.pid)?;
    let started = clock::now();
    let clients = vec![Client::clean(Role::Bystander); measures.count];
    traffic.connect(&clients)?;
    let connecting = (clock::now() - started).as_secs_f64();
    thread::sleep(SETTLING);
    let usage = meter.read()?;

    let resting = Meter::start(target.pid)?;
    thread::sleep(RESTING);
    let rest = resting.read()?;
    // A connection that the broker closed meanwhile makes this fail.
    traffic.glance()?;

    let after = process::memory(target.pid)?;
    let count = measures.count as f64;
    let mut report = Report::new(Promise::NoLoss, Tally::default());
    report.add("rss_bytes_per_connection", after.resident.saturating_sub(before.resident) as f64 / count);
    report.add("cpu_us_per_connect", usage.broker_cpu.as_secs_f64() * 1e6 / count);
    report.add("connects_per_second", count / connecting);
    report.add("idle_cpu_us_per_second", rest.broker_cpu.as_secs_f64() * 1e6 / rest.wall.as_secs_f64());
    report.add_memory(after);
    Ok(report)
}

/// In which the broker finishes what connecting gave it to do.
pub(super) const SETTLING: Duration = Duration::from_millis(200);
const RESTING: Duration = Duration::from_secs(1);
