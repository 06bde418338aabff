//! Keep Alive.

use std::time::Duration;

use crate::client::Client;
use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check};
use crate::wire::{Ack, Pingreq, Publish, Subscribe, Unsubscribe, Will, property};

/// The effective Keep Alive, unless it is too long for a case.
fn seconds(client: &Client, asked: u16) -> Result<u64, Failure> {
    const SECONDS_MAX: u32 = 5;
    let holds = client.connack().properties.number(property::SERVER_KEEP_ALIVE).unwrap_or(asked.into());
    if (1..=SECONDS_MAX).contains(&holds) {
        return Ok(holds.into());
    }
    Err(Failure::skipped(format!("the broker replaces the Keep Alive of {asked} s by {holds} s")))
}

pub(super) fn silence(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let mut client = cx.connect(cx.connecting("silent").keep_alive(2).will(Will::new(&topic, "silent")))?;
    let keep_alive = seconds(&client, 2)?;
    let started = clock::now();
    client.expect_nothing(Duration::from_secs(keep_alive))?;
    client.expect_disconnect_or_close(&[0x8D])?;
    let silent = clock::now().duration_since(started);
    // One and a half times the Keep Alive, plus some time for a broker that checks periodically.
    let limit = Duration::from_secs(keep_alive) * 3 / 2 + Duration::from_secs(3);
    check(silent < limit, format!("the end within {limit:?}"), format!("the end after {silent:?}"))?;
    subscriber.expect_message(&topic, "silent")?;
    Ok(())
}

pub(super) fn any_packet(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.connect(cx.connecting("busy").keep_alive(1))?;
    let keep_alive = Duration::from_secs(seconds(&client, 1)?);
    // Each packet is sent one Keep Alive after the previous one.
    client.send(Publish::new(&topic, ""))?;
    cx.sleep(keep_alive);
    client.send(Subscribe::new(&topic, 0).packet_id(1))?;
    cx.sleep(keep_alive);
    client.send(Unsubscribe::new(&topic).packet_id(2))?;
    cx.sleep(keep_alive);
    let qos_max = client.connack().properties.number(property::MAXIMUM_QOS).unwrap_or(2);
    if qos_max > 0 {
        client.send(Publish::new(&topic, "").qos(1).packet_id(3))?;
        cx.sleep(keep_alive);
    }
    if qos_max > 1 {
        client.send(Publish::new(&topic, "").qos(2).packet_id(4))?;
        cx.sleep(keep_alive);
        client.send(Ack::pubrel(4))?;
        cx.sleep(keep_alive);
        client.expect_pubrec(4)?;
        client.expect_pubcomp(4)?;
    }
    client.send(Pingreq)?;
    cx.sleep(keep_alive);
    client.expect_suback(1)?;
    client.expect_unsuback(2)?;
    client.expect_kind(crate::wire::Kind::Pingresp)?;
    client.ping()
}

/// Only complete Control Packets count, not bytes.
pub(super) fn bytes_of_a_packet(cx: &mut Context) -> Outcome {
    let mut client = cx.connect(cx.connecting("slow").keep_alive(1))?;
    let keep_alive = seconds(&client, 1)?;
    client.send([0x30, 100, 0, 50])?;
    for _ in 0..4 * keep_alive + 4 {
        cx.sleep(Duration::from_millis(500));
        client.send(*b"a")?;
    }
    client.expect_disconnect_or_close(&[0x8D])
}

pub(super) fn zero(cx: &mut Context) -> Outcome {
    let mut client = cx.connect(cx.connecting("a").keep_alive(0))?;
    let assigned = client.connack().properties.number(property::SERVER_KEEP_ALIVE);
    if let Some(keep_alive) = assigned.filter(|keep_alive| *keep_alive < 10) {
        return Err(Failure::skipped(format!("the broker replaces the Keep Alive of 0 by {keep_alive} s")));
    }
    client.expect_nothing(Duration::from_secs(5))?;
    client.ping()
}
