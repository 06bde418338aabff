//! The server's Receive Maximum.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Ack, Encode, Publish, property};

/// The server's Receive Maximum, if a client can exceed it.
fn receive_maximum(client: &Client) -> Option<u16> {
    let announced = client.connack().properties.number(property::RECEIVE_MAXIMUM)?;
    u16::try_from(announced).ok().filter(|maximum| *maximum < u16::MAX)
}

fn publish_all(client: &mut Client, topic: &str, count: u16) -> Outcome {
    let version = client.version();
    let publish = |id| Publish::new(topic, "").qos(2).packet_id(id).encode(version);
    client.send((1..=count).flat_map(publish).collect::<Vec<u8>>())
}

pub(in crate::cases) fn as_many_as_allowed(cx: &mut Context) -> Outcome {
    const ENOUGH: u16 = 2_000;
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    let count = receive_maximum(&client).unwrap_or(ENOUGH).min(ENOUGH);
    for _ in 0..2 {
        publish_all(&mut client, &topic, count)?;
        for id in 1..=count {
            client.expect_pubrec(id)?;
        }
        // Retransmissions and QoS 0 messages don't count.
        client.send(Publish::new(&topic, "").qos(2).packet_id(1).dup())?;
        client.expect_pubrec(1)?;
        client.publish(Publish::new(&topic, ""))?;
        client.ping()?;
        client.subscribe(&cx.topic("b"), 0)?;
        client.unsubscribe(&cx.topic("b"))?;
        // A freed slot can be used at once.
        client.send(Ack::pubrel(1))?;
        client.expect_pubcomp(1)?;
        client.send(Publish::new(&topic, "").qos(2).packet_id(count.saturating_add(1)))?;
        client.expect_pubrec(count.saturating_add(1))?;
        for id in 2..=count.saturating_add(1) {
            client.send(Ack::pubrel(id))?;
            client.expect_pubcomp(id)?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn more_than_allowed(cx: &mut Context) -> Outcome {
    const EXCEEDED: u8 = 0x93;
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    let Some(maximum) = receive_maximum(&client) else {
        return Err(Failure::skipped("there are no more Packet Identifiers than the broker allows messages in flight"));
    };
    publish_all(&mut client, &topic, maximum + 1)?;
    loop {
        let packet = client.receive();
        if client.link().is_closed() {
            return Ok(());
        }
        match packet? {
            Packet::Ack(ack) => {
                check_equal("the answer", Kind::from(ack.kind), Kind::Pubrec)?;
                let allowed = ack.packet_id <= maximum;
                check(allowed, "DISCONNECT with Receive Maximum exceeded, or the end", ack.describe())?;
            }
            Packet::Disconnect(disconnect) => {
                return check_equal("the Reason Code", disconnect.reason_code(), EXCEEDED);
            }
            packet @ (Packet::Connack(_)
            | Packet::Publish(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp
            | Packet::Auth(_)) => return Err(Failure::new("PUBREC or DISCONNECT", packet.describe())),
        }
    }
}
