//! What durability costs on this disk: the same load at each level.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use oncemq::codec::{ClientPacket, ProtocolVersion, Qos, ServerPacket};
use tokio::time::Instant;

use super::broker::Program;
use super::client::{Client, Outcome, Session, connect, words};
use super::stop::Stop;
use super::trouble::Trouble;
use crate::disk::Latencies;

/// The figures of one level.
#[derive(Debug)]
pub(super) struct Cost {
    pub(super) durability: &'static str,
    /// Messages that were acknowledged, with many in flight.
    pub(super) messages_per_second: f64,
    /// From PUBLISH to PUBACK, with one in flight.
    pub(super) latency: Latencies,
}

/// Measures all levels, each for two times `each`.
pub(super) fn measure(program: &Program<'_>, each: Duration) -> Result<Outcome<Vec<Cost>>, Trouble> {
    let mut costs = Vec::new();
    for durability in DURABILITIES {
        program.stop.check()?;
        let data = format!("cost-{durability}");
        let broker = program.start(&data, durability)?;
        let found = of_level(broker.address, durability, each, program.stop);
        broker.kill()?;
        program.stop.check()?;
        match found {
            Ok(cost) => costs.push(cost),
            Err(error) => return Ok(Err(format!("with {durability}: {error}"))),
        }
        // It may have stored nothing.
        let _removed = std::fs::remove_dir_all(program.directory.join(data));
    }
    Ok(Ok(costs))
}

fn of_level(address: SocketAddr, durability: &'static str, each: Duration, stop: &Stop) -> Outcome<Cost> {
    // It is away, so the messages are stored.
    let mut receiver = Client::accepted(address, &connect(ProtocolVersion::V5, "away", Session::New))?;
    receiver.subscribe(&[("cost/#", Qos::AtLeastOnce)])?;
    drop(receiver);
    let mut latencies = Vec::new();
    let mut sender = Client::accepted(address, &connect(ProtocolVersion::V5, "sender", Session::New))?;
    let until = Instant::now() + each;
    while latencies.is_empty() || (Instant::now() < until && latencies.len() < SAMPLES_MAX && !stop.is_set()) {
        let started = Instant::now();
        sender.put("cost/one", PAYLOAD, Qos::AtLeastOnce)?;
        latencies.push(started.elapsed());
    }
    let started = Instant::now();
    let counts: Vec<Outcome<u64>> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..PUBLISHERS).map(|number| scope.spawn(move || flood(address, number, started + each, stop))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let elapsed = started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let messages = counts.into_iter().sum::<Outcome<u64>>()?;
    let messages = f64::from(u32::try_from(messages).unwrap_or(u32::MAX));
    Ok(Cost { durability, messages_per_second: messages / elapsed, latency: Latencies::new(latencies) })
}

/// Publishes with many messages in flight and returns how many were acknowledged.
fn flood(address: SocketAddr, number: usize, until: Instant, stop: &Stop) -> Outcome<u64> {
    let mut client =
        Client::accepted(address, &connect(ProtocolVersion::V5, &format!("flood-{number}"), Session::New))?;
    let (mut sent, mut acknowledged) = (0_u64, 0_u64);
    loop {
        let is_over = Instant::now() >= until || stop.is_set() || sent >= MESSAGES_MAX;
        if is_over && sent == acknowledged {
            return Ok(acknowledged);
        }
        while !is_over && sent - acknowledged < WINDOW {
            let publish = client.compose("cost/many", PAYLOAD, Qos::AtLeastOnce)?;
            client.link.send(&ClientPacket::Publish(publish));
            sent += 1;
        }
        client.link.flush().map_err(words)?;
        client.expect("PUBACK", |packet| matches!(packet, ServerPacket::Puback(ack) if !ack.reason_code.is_error()))?;
        acknowledged += 1;
    }
}

const DURABILITIES: [&str; 3] = ["power-loss", "crash", "none"];
const PUBLISHERS: usize = 4;
const WINDOW: u64 = 64;
const SAMPLES_MAX: usize = 10_000;
/// All messages of a level are stored: at most 24 MiB with their overhead.
const MESSAGES_MAX: u64 = 20_000;
/// 100 bytes.
const PAYLOAD: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
