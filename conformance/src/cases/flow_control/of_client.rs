//! The client's Receive Maximum. The number of messages in flight is checked on every received packet.

use std::collections::VecDeque;

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::packet::Packet;
use crate::wire::{Ack, Pingreq, Publish, Subscribe, Unsubscribe, property};

/// Receives this many messages, acknowledges each only when no more arrive, and returns their payloads. PUBREC alone
/// must not cause a further message.
fn drain(client: &mut Client, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
    let mut payloads = Vec::new();
    let mut held = VecDeque::new();
    while payloads.len() < count || !held.is_empty() {
        if held.is_empty() {
            held.push_back(client.expect_publish()?);
        }
        held.extend(until_ping(client)?);
        let Some(message) = held.pop_front() else { continue };
        if message.qos == 2 {
            let id = message.packet_id.unwrap_or_default();
            client.send(Ack::pubrec(id))?;
            client.expect_pubrel(id)?;
            held.extend(until_ping(client)?);
            client.send(Ack::pubcomp(id))?;
        } else {
            client.acknowledge(&message)?;
        }
        payloads.push(message.payload.0);
    }
    check_equal("the number of messages", payloads.len(), count)?;
    Ok(payloads)
}

/// The messages that arrive before the response to a second PINGREQ.
fn until_ping(client: &mut Client) -> Result<Vec<Publish>, Failure> {
    let mut messages = Vec::new();
    for _ in 0..2 {
        client.send(Pingreq)?;
        loop {
            match client.receive()? {
                Packet::Pingresp => break,
                Packet::Publish(publish) => messages.push(publish),
                packet @ (Packet::Connack(_)
                | Packet::Ack(_)
                | Packet::Suback(_)
                | Packet::Unsuback(_)
                | Packet::Disconnect(_)
                | Packet::Auth(_)) => {
                    return Err(Failure::new("PUBLISH or PINGRESP", packet.describe()));
                }
            }
        }
    }
    Ok(messages)
}

fn numbers(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![number]).collect()
}

pub(in crate::cases) fn never_more(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    for maximum in [1u16, 2, 5] {
        for qos in 1..=2 {
            let mut subscriber = cx.connect(cx.connecting("subscriber").with(property::RECEIVE_MAXIMUM, maximum))?;
            subscriber.subscribe(&topic, 2)?;
            for number in 0..8u8 {
                publisher.publish(Publish::new(&topic, &[number]).qos(qos))?;
            }
            check_equal("the messages", drain(&mut subscriber, 8)?, numbers(8))?;
            subscriber.expect_silence_after(&mut publisher)?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn never_more_after_being_away(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    for maximum in [1u16, 3] {
        let connect = cx.connecting("subscriber").persistent(600).with(property::RECEIVE_MAXIMUM, maximum);
        let mut subscriber = cx.connect(connect.clone())?;
        subscriber.subscribe(&topic, 2)?;
        subscriber.disconnect()?;
        for number in 0..8u8 {
            publisher.publish(Publish::new(&topic, &[number]).qos(1 + number % 2))?;
        }
        let mut subscriber = cx.connect(connect)?;
        let mut payloads = drain(&mut subscriber, 8)?;
        // The order of messages of different QoS levels is undefined.
        payloads.sort();
        check_equal("the messages", payloads, numbers(8))?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(in crate::cases) fn refusals_free_a_place(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    for qos in 1..=2 {
        let mut subscriber = cx.connect(cx.connecting("subscriber").with(property::RECEIVE_MAXIMUM, 1u16))?;
        subscriber.subscribe(&topic, 2)?;
        let reasons = [0x80, 0x83, 0x87, 0x97];
        for _ in reasons {
            publisher.publish(Publish::new(&topic, "refused").qos(qos))?;
        }
        publisher.publish(Publish::new(&topic, "last").qos(qos))?;
        for reason in reasons {
            let message = subscriber.expect_publish()?;
            check_equal("the payload", &message.payload, "refused")?;
            let id = message.packet_id.unwrap_or_default();
            subscriber.send(if qos == 1 { Ack::puback(id) } else { Ack::pubrec(id) }.reason(reason))?;
        }
        subscriber.expect_message(&topic, "last")?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(in crate::cases) fn pubcomp_of_an_earlier_connection(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let connect = cx.connecting("subscriber").persistent(600).with(property::RECEIVE_MAXIMUM, 2u16);
    let mut subscriber = cx.connect(connect.clone())?;
    subscriber.subscribe(&topic, 2)?;
    let mut released = Vec::new();
    for _ in 0..2 {
        publisher.publish(Publish::new(&topic, "released").qos(2))?;
        let id = subscriber.expect_publish()?.packet_id.unwrap_or_default();
        subscriber.send(Ack::pubrec(id))?;
        subscriber.expect_pubrel(id)?;
        released.push(id);
    }
    subscriber.abandon();
    let mut subscriber = cx.connect(connect)?;
    for id in released {
        subscriber.expect_pubrel(id)?;
        subscriber.send(Ack::pubcomp(id))?;
    }
    for number in 0..8u8 {
        publisher.publish(Publish::new(&topic, &[number]).qos(2))?;
    }
    check_equal("the messages", drain(&mut subscriber, 8)?, numbers(8))?;
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn each_connection_its_own(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let connect = |maximum: u16| cx.connecting("subscriber").persistent(600).with(property::RECEIVE_MAXIMUM, maximum);
    let (wide, narrow) = (connect(6), connect(2));
    let mut subscriber = cx.connect(wide.clone())?;
    subscriber.subscribe(&topic, 2)?;
    for qos in 1..=2 {
        for number in 0..8u8 {
            publisher.publish(Publish::new(&topic, &[number]).qos(qos))?;
        }
        subscriber.expect_publish()?;
        until_ping(&mut subscriber)?;
        subscriber.abandon();
        // Messages sent again count too.
        subscriber = cx.connect(narrow.clone())?;
        subscriber.expect_publish()?;
        until_ping(&mut subscriber)?;
        subscriber.abandon();
        subscriber = cx.connect(wide.clone())?;
        check_equal("the messages", drain(&mut subscriber, 8)?, numbers(8))?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(in crate::cases) fn everything_else_flows(cx: &mut Context) -> Outcome {
    let (topic, other) = (cx.topic("a"), cx.topic("b"));
    let mut publisher = cx.client("publisher")?;
    for qos in 1..=2 {
        let mut client = cx.connect(cx.connecting("a").with(property::RECEIVE_MAXIMUM, 1u16))?;
        client.subscribe(&topic, 2)?;
        for _ in 0..3 {
            publisher.publish(Publish::new(&topic, "in flight or waiting").qos(qos))?;
        }
        let message = client.expect_publish()?;
        client.ping()?;
        client.subscribe_with(Subscribe::new(&other, 0))?;
        client.unsubscribe_with(Unsubscribe::new(&other))?;
        client.publish(Publish::new(&other, "").qos(1))?;
        client.publish(Publish::new(&other, "").qos(2))?;
        client.send(Ack::pubrel(0x7777))?;
        client.expect_pubcomp(0x7777)?;
        let mut message = message;
        for last in [false, false, true] {
            // PUBREL must not be delayed.
            client.acknowledge(&message)?;
            if !last {
                message = client.expect_publish()?;
                client.ping()?;
            }
        }
        client.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(in crate::cases) fn qos_0_is_not_counted(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let mut subscriber = cx.connect(cx.connecting("subscriber").with(property::RECEIVE_MAXIMUM, 1u16))?;
    subscriber.subscribe(&topic, 1)?;
    for _ in 0..3 {
        publisher.publish(Publish::new(&topic, "counted").qos(1))?;
        publisher.publish(Publish::new(&topic, "not counted"))?;
    }
    // QoS 0 messages may arrive at once, later, or not at all.
    let messages = subscriber.messages_until_marker(&mut publisher)?;
    let (counted, not): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message.qos > 0);
    let right = counted.iter().all(|message| message.payload == "counted");
    check(counted.len() == 3 && right, "three messages at QoS 1", format!("{counted:?}"))?;
    let right = not.iter().all(|message| message.payload == "not counted");
    check(not.len() <= 3 && right, "at most three messages at QoS 0", format!("{not:?}"))
}
