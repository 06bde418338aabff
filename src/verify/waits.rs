//! Whether acknowledgements wait for the disk: none may come sooner than this disk can sync.
//!
//! A kill does not lose what the operating system has, so the crash matrix can't tell whether a broker syncs. This can, on a disk whose syncs
//! take longer than an exchange of two packets: one exchange at a time, and nothing else to sync.

use std::net::SocketAddr;
use std::time::Duration;

use oncemq::codec::{Ack, ClientPacket, ProtocolVersion, Qos, ReasonCode, ServerPacket};
use tokio::time::Instant;

use super::client::{Client, Outcome, Session, connect};
use super::stop::Stop;
use crate::disk::Latencies;

/// What waits for a sync, and how long.
#[derive(Debug)]
pub(super) struct Wait {
    /// What the broker sends.
    pub(super) packet: &'static str,
    pub(super) latencies: Latencies,
}

/// The verdict on one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Waits,
    /// It came sooner than a sync can take.
    TooEarly,
    /// The disk is too fast to tell.
    Unknown,
}

impl Verdict {
    /// `sync` is what a sync of this disk takes at least, most of the time.
    pub(super) fn of(wait: &Wait, sync: Duration) -> Self {
        if sync < SYNC_MIN {
            Self::Unknown
        } else if wait.latencies.percentile(QUICK_PERCENT) < sync / 2 {
            Self::TooEarly
        } else {
            Self::Waits
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Waits => "passed",
            Self::TooEarly => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Measures each of them in a broker with `power-loss` and nothing else to do.
pub(super) fn measure(address: SocketAddr, stop: &Stop, until: Instant) -> Outcome<Vec<Wait>> {
    let mut samples: [(&'static str, Vec<Duration>); 7] = PACKETS.map(|packet| (packet, Vec::new()));
    let mut receiver = Client::accepted(address, &connect(ProtocolVersion::V5, "receiver", Session::New))?;
    receiver.subscribe(&[("waits/#", Qos::ExactlyOnce)])?;
    let mut sender = Client::accepted(address, &connect(ProtocolVersion::V5, "sender", Session::New))?;
    for number in 0..SAMPLES {
        if number > 0 && (stop.is_set() || Instant::now() > until) {
            break;
        }
        let taken = sample(number, address, &mut sender, &mut receiver)?;
        for ((_, samples), taken) in samples.iter_mut().zip(taken) {
            samples.push(taken);
        }
    }
    Ok(samples.map(|(packet, samples)| Wait { packet, latencies: Latencies::new(samples) }).into())
}

/// The durations, in the order of [`PACKETS`].
fn sample(number: usize, address: SocketAddr, sender: &mut Client, receiver: &mut Client) -> Outcome<[Duration; 7]> {
    let started = Instant::now();
    let durable = connect(ProtocolVersion::V5, &format!("durable-{number}"), Session::New);
    let mut durable = Client::accepted(address, &durable)?;
    let connack = started.elapsed();
    rest();
    let started = Instant::now();
    durable.subscribe(&[("elsewhere", Qos::AtLeastOnce)])?;
    let suback = started.elapsed();
    rest();
    let started = Instant::now();
    sender.put("waits/1", "1", Qos::AtLeastOnce)?;
    let puback = started.elapsed();
    receiver.message("1")?;
    rest();
    let publish = sender.compose("waits/2", "2", Qos::ExactlyOnce)?;
    let id = publish.packet_id.ok_or("no identifier")?;
    let started = Instant::now();
    sender.send(&ClientPacket::Publish(publish))?;
    sender.expect("PUBREC", |packet| matches!(packet, ServerPacket::Pubrec(_)))?;
    let pubrec = started.elapsed();
    let delivered = receiver.publish()?.packet_id.ok_or("QoS 2 without an identifier")?;
    // At QoS 2 the receiver gets it when the record is stable, before the PUBREC.
    let delivery = started.elapsed();
    rest();
    let started = Instant::now();
    sender.send(&ClientPacket::Pubrel(Ack::new(id, ReasonCode::Success)))?;
    sender.expect("PUBCOMP", |packet| matches!(packet, ServerPacket::Pubcomp(_)))?;
    let pubcomp = started.elapsed();
    rest();
    let started = Instant::now();
    receiver.send(&ClientPacket::Pubrec(Ack::new(delivered, ReasonCode::Success)))?;
    receiver.expect("PUBREL", |packet| matches!(packet, ServerPacket::Pubrel(_)))?;
    let pubrel = started.elapsed();
    receiver.send(&ClientPacket::Pubcomp(Ack::new(delivered, ReasonCode::Success)))?;
    rest();
    Ok([connack, suback, puback, pubrec, delivery, pubcomp, pubrel])
}

/// Lets a sync end that nobody waits for, so that it does not lengthen the next exchange.
fn rest() {
    std::thread::sleep(REST);
}

const PACKETS: [&str; 7] = ["CONNACK", "SUBACK", "PUBACK", "PUBREC", "PUBLISH at QoS 2", "PUBCOMP", "PUBREL"];
const SAMPLES: usize = 15;
/// A busy machine delays most of them, whether they wait for a sync or not.
const QUICK_PERCENT: usize = 25;
const REST: Duration = Duration::from_millis(2);
/// An exchange without a sync takes about this long on a slow or busy machine.
pub(super) const SYNC_MIN: Duration = Duration::from_micros(1_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_before_a_sync_is_too_early() {
        let wait = |micros| Wait { packet: "PUBACK", latencies: Latencies::new(vec![Duration::from_micros(micros)]) };
        let sync = Duration::from_millis(3);
        let verdicts = [100, 1_499, 1_500, 9_000].map(|micros| Verdict::of(&wait(micros), sync));
        assert_eq!(verdicts, [Verdict::TooEarly, Verdict::TooEarly, Verdict::Waits, Verdict::Waits]);
        assert_eq!(Verdict::of(&wait(1), Duration::from_micros(900)), Verdict::Unknown);
    }
}
