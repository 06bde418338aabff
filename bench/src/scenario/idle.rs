//! Parameters the cost of opening and keeping idle connections.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::parameters::Parameters;
use super::target::Target;
use crate::clock;
use crate::flow::Role;
use crate::ledger::Tally;
use crate::plan::Plan;
use crate::process::{self, Meter};
use crate::report::{Guarantee, Report};
use crate::traffic::{Client, Traffic};

/// Opens all connections, and parameters the broker before and after.
pub(super) fn run(parameters: &Parameters, target: &Target) -> Result<Report> {
    let empty_plan = Plan { streams: Vec::new(), publishers: Vec::new(), receivers: Vec::new(), ..parameters.plan() };
    let mut traffic = Traffic::new(target, empty_plan)?;
    process::reset_peak(target.pid);
    let before = process::memory(target.pid)?;
    let meter = Meter::start(target.pid)?;
    let started = clock::now();
    let clients = vec![Client::clean(Role::Bystander); parameters.count];
    traffic.connect(&clients)?;
    let connecting = (clock::now() - started).as_secs_f64();
    thread::sleep(SETTLE_TIME);
    let usage = meter.read()?;

    let resting = Meter::start(target.pid)?;
    thread::sleep(RESTING);
    let rest = resting.read()?;
    // Fails if the broker closed a connection.
    traffic.poll_once()?;

    let after = process::memory(target.pid)?;
    let count = parameters.count as f64;
    let mut report = Report::new(Guarantee::NoLoss, Tally::default());
    report.add("rss_bytes_per_connection", after.resident.saturating_sub(before.resident) as f64 / count);
    report.add("cpu_us_per_connect", usage.broker_cpu.as_secs_f64() * 1e6 / count);
    report.add("connects_per_second", count / connecting);
    report.add("idle_cpu_us_per_second", rest.broker_cpu.as_secs_f64() * 1e6 / rest.wall.as_secs_f64());
    report.add_memory(after);
    Ok(report)
}

/// Time for the broker to finish work caused by connecting.
pub(super) const SETTLE_TIME: Duration = Duration::from_millis(200);
const RESTING: Duration = Duration::from_secs(1);
