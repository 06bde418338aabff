//! Measures the cost of connecting, disconnecting and taking over.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::parameters::Parameters;
use super::steady::ACKNOWLEDGEMENT_WAIT;
use super::target::Target;
use crate::clock;
use crate::flow::Role;
use crate::ledger::Tally;
use crate::packet::SessionKind;
use crate::process::{self, Beside, Meter};
use crate::report::{Guarantee, Report};
use crate::traffic::{Client, Traffic};

/// Connects and disconnects clients, several at a time. With `--durable`, the same clients come back again and again.
pub(super) fn run(parameters: &Parameters, target: &Target) -> Result<Report> {
    let fleet = Fleet::new(parameters, if parameters.durable { RETURNING } else { 0 });
    let mut traffic = Traffic::new(target, parameters.plan())?;
    let mut first = 0;
    let report = measure(parameters, target, |count| {
        for clients in fleet.waves(first..first + count, parameters.window) {
            for connection in traffic.connect(&clients)? {
                traffic.disconnect(connection)?;
            }
        }
        first += count;
        Ok(())
    })?;
    fleet.forget(&mut traffic)?;
    Ok(report)
}

/// Connects clients with the identifiers of connected ones, several at a time.
pub(super) fn run_takeovers(parameters: &Parameters, target: &Target) -> Result<Report> {
    let fleet = Fleet::new(parameters, parameters.subscribers);
    let mut traffic = Traffic::new(target, parameters.plan())?;
    let at_once = parameters.window.min(fleet.returning);
    // Its first connection is the one that the next client takes over from.
    let mut connected = VecDeque::new();
    for clients in fleet.waves(0..fleet.returning, at_once) {
        connected.extend(traffic.connect(&clients)?);
    }
    let mut first = 0;
    let report = measure(parameters, target, |count| {
        for clients in fleet.waves(first..first + count, at_once) {
            for old in connected.drain(..clients.len()) {
                traffic.let_end(old);
            }
            connected.extend(traffic.connect(&clients)?);
        }
        first += count;
        Ok(())
    })?;
    for connection in connected {
        traffic.disconnect(connection)?;
    }
    fleet.forget(&mut traffic)?;
    Ok(report)
}

/// The clients of a run.
struct Fleet {
    run: u32,
    session: SessionKind,
    /// The number of Client Identifiers that are used again and again; 0: each connection has its own.
    returning: usize,
}

impl Fleet {
    fn new(parameters: &Parameters, returning: usize) -> Self {
        let session = if parameters.durable { SessionKind::Durable } else { SessionKind::Clean };
        Self { run: parameters.run, session, returning }
    }

    fn client(&self, number: usize, session: SessionKind) -> Client {
        let client_id =
            number.checked_rem(self.returning).map(|number| format!("bench-{:08x}-returning-{number}", self.run));
        Client { role: Role::Bystander, session, client_id }
    }

    /// The clients with these numbers, `at_once` at a time.
    fn waves(&self, numbers: std::ops::Range<usize>, at_once: usize) -> impl Iterator<Item = Vec<Client>> {
        let starts = numbers.clone().step_by(at_once);
        starts.map(move |start| {
            let end = numbers.end.min(start + at_once);
            (start..end).map(|number| self.client(number, self.session)).collect()
        })
    }

    /// Ends the durable sessions.
    fn forget(&self, traffic: &mut Traffic) -> Result<()> {
        if self.session == SessionKind::Durable {
            let clean: Vec<_> = (0..self.returning).map(|number| self.client(number, SessionKind::Clean)).collect();
            for connection in traffic.connect(&clean)? {
                traffic.disconnect(connection)?;
            }
        }
        Ok(())
    }
}

/// Calls `connect` for a warm-up, then for `--count` connections, and measures the second call.
fn measure(parameters: &Parameters, target: &Target, mut connect: impl FnMut(usize) -> Result<()>) -> Result<Report> {
    connect(parameters.count.div_ceil(WARM_UP_PART))?;

    process::reset_peak(target.pid);
    let meter = Meter::start(target.pid)?;
    let beside = Beside::start(&target.beside)?;
    let started = clock::now();
    connect(parameters.count)?;
    let connecting = (clock::now() - started).as_secs_f64();
    thread::sleep(ACKNOWLEDGEMENT_WAIT);
    let usage = meter.read()?;
    let beside = beside.read()?;

    let count = parameters.count as f64;
    let mut report = Report::new(Guarantee::NoLoss, Tally::default());
    report.add("cpu_us_per_connect", usage.broker_cpu.as_secs_f64() * 1e6 / count);
    if !beside.is_empty() {
        let all = usage.broker_cpu + beside.values().sum::<Duration>();
        report.add("all_cpu_us_per_connect", all.as_secs_f64() * 1e6 / count);
    }
    report.add("load_cpu_us_per_connect", usage.load_cpu.as_secs_f64() * 1e6 / count);
    report.add("connects_per_second", count / connecting);
    report.add_memory(process::memory(target.pid)?);
    Ok(report)
}

/// The warm-up is one tenth, enough for the broker to allocate its memory.
const WARM_UP_PART: usize = 10;
/// The clients of `--durable`: few enough that all have connected before the measurement.
const RETURNING: usize = 1_000;
