//! Parameters the cost of connecting and disconnecting.

use std::thread;

use anyhow::Result;

use super::parameters::Parameters;
use super::steady::ACKNOWLEDGEMENT_WAIT;
use super::target::Target;
use crate::clock;
use crate::flow::Role;
use crate::ledger::Tally;
use crate::process::{self, Meter};
use crate::report::{Guarantee, Report};
use crate::traffic::{Client, Traffic};

/// Connects and disconnects clients, several at a time.
pub(super) fn run(parameters: &Parameters, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target.endpoint.clone(), parameters.plan())?;
    storm(&mut traffic, parameters.count.div_ceil(WARM_UP_PART), parameters.window)?;

    process::reset_peak(target.pid);
    let meter = Meter::start(target.pid)?;
    let started = clock::now();
    storm(&mut traffic, parameters.count, parameters.window)?;
    let connecting = (clock::now() - started).as_secs_f64();
    thread::sleep(ACKNOWLEDGEMENT_WAIT);
    let usage = meter.read()?;

    let count = parameters.count as f64;
    let mut report = Report::new(Guarantee::NoLoss, Tally::default());
    report.add("cpu_us_per_connect", usage.broker_cpu.as_secs_f64() * 1e6 / count);
    report.add("load_cpu_us_per_connect", usage.load_cpu.as_secs_f64() * 1e6 / count);
    report.add("connects_per_second", count / connecting);
    report.add_memory(process::memory(target.pid)?);
    Ok(report)
}

fn storm(traffic: &mut Traffic, count: usize, at_once: usize) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let clients = vec![Client::clean(Role::Bystander); at_once.min(left)];
        for connection in traffic.connect(&clients)? {
            traffic.disconnect(connection)?;
        }
        left -= clients.len();
    }
    Ok(())
}

/// The warm-up is one tenth, enough for the broker to allocate its memory.
const WARM_UP_PART: usize = 10;
