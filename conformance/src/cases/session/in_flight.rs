//! Exchanges that a disconnect interrupted.

use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal};
use crate::wire::{Ack, AckKind, Packet, Publish};

pub(super) fn unacknowledged(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let mut publisher = cx.client("publisher")?;
    let mut client = cx.connect(lasting.clone())?;
    client.subscribe(&topic, 2)?;
    let mut sent = Vec::new();
    for (payload, qos) in [("1", 1), ("2", 2), ("3", 1), ("4", 2)] {
        publisher.publish(Publish::new(&topic, payload).qos(qos))?;
        let message = client.expect_publish()?;
        check_equal("DUP", message.dup, false)?;
        sent.push(message);
    }
    // Twice: a retransmission that is not acknowledged is retransmitted.
    for _ in 0..2 {
        client.abandon();
        client = cx.connect(lasting.clone())?;
        for first in &sent {
            let again = client.expect_publish()?;
            check_equal("the message", (&again.payload, again.qos), (&first.payload, first.qos))?;
            check_equal("the Packet Identifier", again.packet_id, first.packet_id)?;
            check_equal("DUP", again.dup, true)?;
        }
    }
    for message in &sent {
        client.acknowledge(message)?;
    }
    client.expect_silence_after(&mut publisher)
}

pub(super) fn pubrel(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let mut publisher = cx.client("publisher")?;
    let mut client = cx.connect(lasting.clone())?;
    client.subscribe(&topic, 2)?;
    publisher.publish(Publish::new(&topic, "once").qos(2))?;
    let message = client.expect_publish()?;
    let packet_id = message.packet_id.unwrap_or_default();
    client.send(Ack::pubrec(packet_id))?;
    client.expect_pubrel(packet_id)?;
    for _ in 0..2 {
        client.abandon();
        client = cx.connect(lasting.clone())?;
        // PUBREL only: the client has the message.
        let packet = client.receive()?;
        let Packet::Ack(ack) = &packet else { return Err(Failure::new("PUBREL", packet.describe())) };
        check_equal("the packet", (ack.kind, ack.packet_id), (AckKind::Pubrel, packet_id))?;
    }
    client.send(Ack::pubcomp(packet_id))?;
    client.ping()?;
    client.abandon();
    let mut client = cx.connect(lasting)?;
    client.expect_silence_after(&mut publisher)
}

pub(super) fn received(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut client = cx.connect(lasting.clone())?;
    let message = Publish::new(&topic, "once").qos(2).packet_id(9);
    client.send(&message)?;
    client.expect_pubrec(9)?;
    client.abandon();
    let mut client = cx.connect(lasting.clone())?;
    check_equal("Session Present", client.connack().session_present, true)?;
    client.send(message.dup())?;
    client.expect_pubrec(9)?;
    client.abandon();
    let mut client = cx.connect(lasting)?;
    client.send(Ack::pubrel(9))?;
    client.expect_pubcomp(9)?;
    subscriber.expect_message(&topic, "once")?;
    subscriber.expect_silence_after(&mut client)?;
    // After PUBCOMP the Packet Identifier is free.
    client.publish(Publish::new(&topic, "another").qos(2).packet_id(9))?;
    subscriber.expect_message(&topic, "another")?;
    Ok(())
}
