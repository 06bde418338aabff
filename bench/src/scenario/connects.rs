//! Clients that come and go: what a CONNECT costs.

use std::thread;

use anyhow::Result;

use super::measures::Measures;
use super::steady::LAST_WORDS;
use super::target::Target;
use crate::clock;
use crate::flow::Role;
use crate::ledger::Tally;
use crate::process::{self, Meter};
use crate::report::{Promise, Report};
use crate::traffic::{Client, Traffic};

/// Connects and disconnects clients, several at a time.
pub(super) fn run(measures: &Measures, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target.endpoint.clone(), measures.plan())?;
    storm(&mut traffic, measures.count.div_ceil(WARM_UP_PART), measures.window)?;

    process::reset_peak(target.pid);
    let meter = Meter::start(target.pid)?;
    let started = clock::now();
    storm(&mut traffic, measures.count, measures.window)?;
    let connecting = (clock::now() - started).as_secs_f64();
    thread::sleep(LAST_WORDS);
    let usage = meter.read()?;

    let count = measures.count as f64;
    let mut report = Report::new(Promise::NoLoss, Tally::default());
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

/// A tenth is enough for the broker to have its memory.
const WARM_UP_PART: usize = 10;
