//! Scenarios with a continuous flow of messages.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::arguments::Scenario;
use super::parameters::Parameters;
use super::target::Target;
use crate::clock;
use crate::packet::SessionKind;
use crate::plan::Pace;
use crate::process::{self, Beside, Meter};
use crate::report::{Guarantee, Report};
use crate::traffic::{Settled, Traffic, Until};

/// Connects all clients, warms up, parameters, and waits for messages in flight.
pub(super) fn run(parameters: &Parameters, target: &Target) -> Result<Report> {
    let mut traffic = Traffic::new(target, parameters.plan())?;
    let mut subscribers = traffic.connect_subscribers()?;
    for connection in subscribers.split_off(subscribers.len().saturating_sub(parameters.away)) {
        traffic.disconnect(connection)?;
    }
    traffic.connect_publishers()?;

    traffic.flow.remaining = u64::MAX;
    for _ in 0..WARM_UPS_MAX {
        traffic.publish(Until::Deadline(clock::now() + WARM_UP))?;
        if traffic.flow.counts.delivered > 0 {
            break;
        }
    }
    if traffic.flow.counts.delivered == 0 {
        bail!("no message arrived in the first {} ms", WARM_UPS_MAX * WARM_UP.as_millis());
    }

    process::reset_peak(target.pid);
    let before = traffic.flow.counts;
    traffic.flow.recording = true;
    let meter = Meter::start(target.pid)?;
    let beside = Beside::start(&target.beside)?;
    let started = clock::now();
    let until = match parameters.messages {
        Some(messages) => {
            traffic.flow.remaining = messages;
            Until::Sent
        }
        None => {
            traffic.flow.remaining = u64::MAX;
            Until::Deadline(started + Duration::from_secs_f64(parameters.seconds))
        }
    };
    traffic.publish(until)?;
    let settled = traffic.settle(|counts| counts.owed == 0 && counts.unacknowledged == 0 && counts.unreleased == 0)?;
    let flowed = traffic.last_packet - started;
    thread::sleep(ACKNOWLEDGEMENT_WAIT);
    let usage = meter.read()?;
    let beside = beside.read()?;

    let counts = traffic.flow.counts;
    let guarantee = if parameters.scenario == Scenario::Flood { Guarantee::Nothing } else { Guarantee::NoLoss };
    let mut report = Report::new(guarantee, traffic.flow.tally());
    report.add_flow(counts.published - before.published, counts.delivered - before.delivered, flowed);
    report.add_usage(counts.delivered - before.delivered, usage);
    report.add_beside(counts.delivered - before.delivered, &beside, usage);
    report.add_usage_of_payloads(counts.delivered - before.delivered, traffic.plan.payload_len, usage);
    report.add_memory(process::memory(target.pid)?);
    match traffic.plan.pace {
        Pace::Unbounded => {}
        Pace::Scheduled { .. } => {
            report.add_latency(&traffic.flow.latency_us, &LATENCY);
            report.add_latency(&traffic.flow.acknowledged_us, &ACKNOWLEDGED);
        }
        Pace::EachDelivered | Pace::AllDelivered | Pace::Acknowledged => {
            report.add_latency(&traffic.flow.latency_us, &TURNAROUND);
        }
    }
    if settled == Settled::Unfinished {
        report.complain(
            "messages were still arriving at the time limit after the last was sent: the rest counts as lost"
                .to_owned(),
        );
    }
    if traffic.plan.receivers.iter().any(|receiver| receiver.session == SessionKind::Durable) {
        traffic.forget_sessions(&subscribers)?;
    }
    if counts.unacknowledged > 0 || counts.unreleased > 0 {
        report.complain(format!("{} handshakes did not complete", counts.unacknowledged + counts.unreleased));
    }
    Ok(report)
}

/// Measured from when a message was due to when it was read, so without coordinated omission.
const LATENCY: [(&str, f64); 4] =
    [("latency_p50_us", 0.5), ("latency_p99_us", 0.99), ("latency_p999_us", 0.999), ("latency_max_us", 1.0)];
/// Measured likewise to when its PUBACK or PUBCOMP was read; 0 at QoS 0.
const ACKNOWLEDGED: [(&str, f64); 3] =
    [("acknowledged_p50_us", 0.5), ("acknowledged_p99_us", 0.99), ("acknowledged_max_us", 1.0)];
/// With a full window, most of it is time in queues.
const TURNAROUND: [(&str, f64); 3] =
    [("turnaround_p50_us", 0.5), ("turnaround_p99_us", 0.99), ("turnaround_max_us", 1.0)];
const WARM_UP: Duration = Duration::from_millis(300);
/// On a busy machine the first message may take longer.
const WARM_UPS_MAX: u128 = 10;
/// Time for the broker to receive the last acknowledgements.
pub(super) const ACKNOWLEDGEMENT_WAIT: Duration = Duration::from_millis(20);
