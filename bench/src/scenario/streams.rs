//! Scenarios with the streams of the broker.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::parameters::Parameters;
use super::steady::ACKNOWLEDGEMENT_WAIT;
use super::stored::store;
use super::stream_files::StreamFiles;
use super::target::Target;
use crate::clock;
use crate::process::{self, Meter};
use crate::report::{Guarantee, Report};
use crate::traffic::Traffic;

/// Stores messages in a stream, and has them replayed to new subscribers, again and again. The stream must have no other messages.
pub(super) fn run_replay(parameters: &Parameters, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target, parameters.plan())?;
    traffic.connect_publishers()?;
    let intake = store(&mut traffic, parameters.count, target)?;
    // Messages are moved to the files of their streams some time after they are acknowledged.
    thread::sleep(MOVED_WAIT);
    let files = if parameters.cold { Some(StreamFiles::of(target.pid)?) } else { None };
    let disk_mib_per_second = files.as_ref().map(StreamFiles::read_all).transpose()?;
    process::reset_peak(target.pid);

    let started = clock::now();
    let meter = Meter::start(target.pid)?;
    let mut flowed = Duration::ZERO;
    let mut report;
    loop {
        if let Some(files) = &files {
            files.drop_from_cache()?;
        }
        traffic.flow.expect_again(&traffic.plan);
        let connections = traffic.connect_receivers()?;
        let began = clock::now();
        for (receiver, connection) in connections.iter().enumerate() {
            traffic.subscribe(receiver, *connection)?;
        }
        traffic.settle(|counts| counts.owed == 0)?;
        flowed += traffic.last_packet - began;
        for connection in connections {
            traffic.disconnect(connection)?;
        }
        report = Report::new(Guarantee::NoLoss, traffic.flow.tally());
        if report.is_broken() || (clock::now() - started).as_secs_f64() >= parameters.seconds {
            break;
        }
    }

    thread::sleep(ACKNOWLEDGEMENT_WAIT);
    let usage = meter.read()?;

    let counts = traffic.flow.counts;
    report.add_flow(counts.published, counts.delivered, flowed);
    report.add_usage(counts.delivered, usage);
    report.add_usage_of_payloads(counts.delivered, traffic.plan.payload_len, usage);
    let replayed_mib = counts.delivered as f64 * traffic.plan.payload_len as f64 / 1_048_576.0;
    report.add("replay_mib_per_second", replayed_mib / flowed.as_secs_f64().max(1e-9));
    if let Some(rate) = disk_mib_per_second {
        report.add("disk_mib_per_second", rate);
    }
    report.add_memory(process::memory(target.pid)?);
    intake.add_to(&mut report);
    Ok(report)
}

const MOVED_WAIT: Duration = Duration::from_secs(1);
