//! Scenarios in which the broker stores messages and delivers them later.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::parameters::Parameters;
use super::steady::ACKNOWLEDGEMENT_WAIT;
use super::target::Target;
use crate::clock;
use crate::flow::Role;
use crate::process::{self, Meter};
use crate::report::{Guarantee, Report};
use crate::traffic::{Client, Settled, Traffic, Until};

/// Stores messages below one root, and has them replayed to new subscribers, one after another.
pub(super) fn run_retained(parameters: &Parameters, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target, parameters.plan())?;
    traffic.connect_publishers()?;
    process::reset_peak(target.pid);
    let intake = store(&mut traffic, parameters.count, target)?;

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
        report = Report::new(Guarantee::NoLoss, traffic.flow.tally());
        if report.is_broken() || (clock::now() - started).as_secs_f64() >= parameters.seconds {
            break;
        }
    }
    let flowed = traffic.last_packet - started;
    thread::sleep(ACKNOWLEDGEMENT_WAIT);
    let usage = meter.read()?;

    let counts = traffic.flow.counts;
    report.add_flow(counts.published, counts.delivered, flowed);
    report.add_usage(counts.delivered, usage);
    report.add_memory(process::memory(target.pid)?);
    intake.add_to(&mut report);
    traffic.clear_retained()?;
    Ok(report)
}

/// Queues messages for offline sessions, and drains them when the clients reconnect.
pub(super) fn run_offline(parameters: &Parameters, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target, parameters.plan())?;
    for connection in traffic.connect_subscribers()? {
        traffic.disconnect(connection)?;
    }
    thread::sleep(DISCONNECT_WAIT);
    traffic.connect_publishers()?;
    process::reset_peak(target.pid);
    let intake = store(&mut traffic, parameters.count, target)?;

    let started = clock::now();
    let meter = Meter::start(target.pid)?;
    let connections = traffic.connect_receivers()?;
    traffic.settle(|counts| counts.owed == 0 && counts.unreleased == 0)?;
    let flowed = traffic.last_packet - started;
    thread::sleep(ACKNOWLEDGEMENT_WAIT);
    let usage = meter.read()?;

    let counts = traffic.flow.counts;
    let mut report = Report::new(Guarantee::NoLoss, traffic.flow.tally());
    report.add_flow(counts.published, counts.delivered, flowed);
    report.add_usage(counts.delivered, usage);
    report.add_memory(process::memory(target.pid)?);
    intake.add_to(&mut report);
    if counts.sessions_present != connections.len() {
        report.complain(format!("{} of {} sessions were present", counts.sessions_present, connections.len()));
    }
    traffic.forget_sessions(&connections)?;
    Ok(report)
}

/// Messages that are refused when they come for the first time, and accepted when they come again.
pub(super) fn run_parked(parameters: &Parameters, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target, parameters.plan())?;
    let connections = traffic.connect_subscribers()?;
    traffic.connect_publishers()?;
    process::reset_peak(target.pid);
    let before = process::memory(target.pid)?;
    let count = parameters.count as u64;
    let started = clock::now();
    let meter = Meter::start(target.pid)?;
    let intake = store(&mut traffic, parameters.count, target)?;
    if traffic.settle(|counts| counts.refused == count)? != Settled::Done {
        bail!("{} of {count} messages came", traffic.flow.counts.refused);
    }
    thread::sleep(ACKNOWLEDGEMENT_WAIT);
    let refused_cpu = meter.read()?.broker_cpu;
    let parked = process::memory(target.pid)?;
    traffic.settle(|counts| counts.owed == 0)?;
    let flowed = traffic.last_packet - started;
    thread::sleep(ACKNOWLEDGEMENT_WAIT);
    let usage = meter.read()?;

    let counts = traffic.flow.counts;
    let mut report = Report::new(Guarantee::AnyOrder, traffic.flow.tally());
    report.add_flow(counts.published, counts.delivered, flowed);
    report.add_usage(counts.delivered, usage);
    report.add("refused_cpu_us_per_message", refused_cpu.as_secs_f64() * 1e6 / count as f64);
    report.add("rss_bytes_per_parked", parked.resident.saturating_sub(before.resident) as f64 / count as f64);
    report.add_memory(process::memory(target.pid)?);
    intake.add_to(&mut report);
    traffic.forget_sessions(&connections)?;
    Ok(report)
}

/// The cost of accepting the messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intake {
    cpu_us_per_message: f64,
    load_cpu_us_per_message: f64,
    messages_per_second: f64,
}

impl Intake {
    pub(super) fn add_to(&self, report: &mut Report) {
        report.add("intake_cpu_us_per_message", self.cpu_us_per_message);
        report.add("intake_load_cpu_us_per_message", self.load_cpu_us_per_message);
        report.add("intake_messages_per_second", self.messages_per_second);
    }
}

/// Publishes, and waits until all messages are acknowledged.
pub(super) fn store(traffic: &mut Traffic, count: usize, target: &Target) -> Result<Intake> {
    let started = clock::now();
    let meter = Meter::start(target.pid)?;
    traffic.flow.remaining = count as u64;
    traffic.publish(Until::Sent)?;
    if traffic.settle(|counts| counts.unacknowledged == 0)? != Settled::Done {
        bail!("{} messages were not acknowledged", traffic.flow.counts.unacknowledged);
    }
    let taken = (clock::now() - started).as_secs_f64();
    let usage = meter.read()?;
    let per_message = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count as f64;
    Ok(Intake {
        cpu_us_per_message: per_message(usage.broker_cpu),
        load_cpu_us_per_message: per_message(usage.load_cpu),
        messages_per_second: count as f64 / taken.max(1e-9),
    })
}

/// Time for the broker to notice that a client has disconnected.
const DISCONNECT_WAIT: Duration = Duration::from_millis(100);
