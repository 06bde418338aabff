//! Scenarios in which the broker keeps messages and hands them out later.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::steady::LAST_WORDS;
use super::{Measures, Target};
use crate::clock;
use crate::flow::Role;
use crate::packet::SessionKind;
use crate::process::{self, Meter};
use crate::report::{Promise, Report};
use crate::traffic::{Client, Settled, Traffic, Until};

/// Stores messages under one root and has them replayed to one new subscriber after the other.
pub(super) fn run_retained(measures: &Measures, target: Target) -> Result<Report> {
    let mut traffic = Traffic::new(target.address, measures.plan())?;
    traffic.connect_publishers()?;
    let stored = store(&mut traffic, measures.count, target)?;

    let started = clock::now();
    let meter = Meter::start(target.pid)?;
    let mut report;
    loop {
        traffic.flow.expect_again(&traffic.plan);
        let connections = traffic.connect(&[Client::clean(Role::Receiver(0))])?;
        for connection in connections {
            traffic.subscribe(0, connection)?;
            traffic.settle(|counts| counts.owed == 0 && counts.unreleased == 0)?;
            traffic.disconnect(connection)?;
        }
        report = Report::new(Promise::NoLoss, traffic.flow.tally());
        if report.is_broken() || (clock::now() - started).as_secs_f64() >= measures.seconds {
            break;
        }
    }
    let flowed = traffic.last_packet - started;
    thread::sleep(LAST_WORDS);
    let usage = meter.read()?;

    let counts = traffic.flow.counts;
    report.add_flow(counts.published, counts.delivered, flowed);
    report.add_usage(counts.delivered, usage);
    report.add_memory(process::memory(target.pid)?);
    report.add("store_cpu_us_per_message", stored);
    traffic.clear_retained()?;
    Ok(report)
}

/// Queues messages for sessions whose clients are away, and drains them when they return.
pub(super) fn run_offline(measures: &Measures, target: Target) -> Result<Report> {
    let mut traffic = Traffic::new(target.address, measures.plan())?;
    let durable: Vec<_> = (0..traffic.plan.receivers.len())
        .map(|receiver| Client {
            role: Role::Receiver(receiver),
            session: SessionKind::Durable,
            client_id: Some(format!("away-{:08x}-{receiver}", measures.run)),
        })
        .collect();
    for (receiver, connection) in traffic.connect(&durable)?.into_iter().enumerate() {
        traffic.subscribe(receiver, connection)?;
        traffic.disconnect(connection)?;
    }
    thread::sleep(TO_BE_AWAY);
    traffic.connect_publishers()?;
    let queued = store(&mut traffic, measures.count, target)?;

    let started = clock::now();
    let meter = Meter::start(target.pid)?;
    let connections = traffic.connect(&durable)?;
    traffic.settle(|counts| counts.owed == 0 && counts.unreleased == 0)?;
    let flowed = traffic.last_packet - started;
    thread::sleep(LAST_WORDS);
    let usage = meter.read()?;

    let counts = traffic.flow.counts;
    let mut report = Report::new(Promise::NoLoss, traffic.flow.tally());
    report.add_flow(counts.published, counts.delivered, flowed);
    report.add_usage(counts.delivered, usage);
    report.add_memory(process::memory(target.pid)?);
    report.add("store_cpu_us_per_message", queued);
    if counts.sessions_present != connections.len() {
        report.complain(format!("{} of {} sessions were kept", counts.sessions_present, connections.len()));
    }
    forget(&mut traffic, connections, durable)?;
    Ok(report)
}

/// Publishes, waits until all is acknowledged, and returns the broker's CPU microseconds per message.
fn store(traffic: &mut Traffic, count: usize, target: Target) -> Result<f64> {
    process::reset_peak(target.pid);
    let meter = Meter::start(target.pid)?;
    traffic.flow.remaining = count as u64;
    traffic.publish(Until::Sent)?;
    if traffic.settle(|counts| counts.unacknowledged == 0)? != Settled::Done {
        bail!("{} messages were not acknowledged", traffic.flow.counts.unacknowledged);
    }
    let usage = meter.read()?;
    Ok(usage.broker_cpu.as_secs_f64() * 1e6 / count as f64)
}

/// Ends the durable sessions.
fn forget(traffic: &mut Traffic, connections: Vec<usize>, durable: Vec<Client>) -> Result<()> {
    for connection in connections {
        traffic.disconnect(connection)?;
    }
    let clean: Vec<_> = durable.into_iter().map(|client| Client { session: SessionKind::Clean, ..client }).collect();
    for connection in traffic.connect(&clean)? {
        traffic.disconnect(connection)?;
    }
    Ok(())
}

/// In which the broker takes note that a client is gone.
const TO_BE_AWAY: Duration = Duration::from_millis(100);
