//! Limits that the properties of CONNECT set for the broker.

use std::time::Duration;

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check};
use crate::wire::packet::Packet;
use crate::wire::{Ack, Filter, Publish, Subscribe, Unsubscribe, property};

const PACKET_SIZE: u32 = 120;

/// A message whose PUBLISH to a subscriber has exactly this size. The broker adds only the Packet Identifier, above QoS
/// 0.
fn message_of_size(topic: &str, qos: u8, size: u32) -> Publish {
    let overhead = 2 + 2 + topic.len() + if qos > 0 { 2 } else { 0 } + 1;
    let payload = usize::try_from(size).unwrap_or_default().saturating_sub(overhead);
    Publish::new(topic, "x".repeat(payload)).qos(qos)
}

fn highest_qos(cx: &Context) -> u8 {
    let maximum = cx.announced().properties.number(property::MAXIMUM_QOS).unwrap_or(2);
    u8::try_from(maximum).unwrap_or(2)
}

pub(super) fn large_messages(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let limited = cx.connecting("limited").with(property::MAXIMUM_PACKET_SIZE, PACKET_SIZE);
    let mut subscriber = cx.connect(limited)?;
    let mut other = cx.client("other")?;
    subscriber.subscribe(&topic, 2)?;
    other.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    for qos in 0..=highest_qos(cx) {
        for size in [PACKET_SIZE, PACKET_SIZE + 1, 1_000] {
            let message = message_of_size(&topic, qos, size);
            publisher.publish(message.clone())?;
            // The limit of one client doesn't apply to another.
            other.expect_message(&topic, message.payload.as_bytes())?;
            if size <= PACKET_SIZE {
                subscriber.expect_message(&topic, message.payload.as_bytes())?;
            }
        }
        publisher.publish(Publish::new(&topic, "small").qos(qos))?;
        subscriber.expect_message(&topic, "small")?;
        other.expect_message(&topic, "small")?;
    }
    // Properties count too.
    publisher.publish(Publish::new(&topic, "").with(property::CONTENT_TYPE, "x".repeat(200)))?;
    publisher.publish(Publish::new(&topic, "last"))?;
    subscriber.expect_message(&topic, "last")?;
    Ok(())
}

pub(super) fn large_messages_and_receive_maximum(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let limited = cx.connecting("limited").with(property::MAXIMUM_PACKET_SIZE, PACKET_SIZE);
    let mut subscriber = cx.connect(limited.with(property::RECEIVE_MAXIMUM, 1))?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    for qos in 1..=highest_qos(cx) {
        for number in 0..5 {
            publisher.publish(message_of_size(&topic, qos, 500))?;
            publisher.publish(Publish::new(&topic, format!("{number}")).qos(qos))?;
        }
        for number in 0..5 {
            subscriber.expect_message(&topic, format!("{number}"))?;
        }
    }
    subscriber.expect_silence_after(&mut publisher)
}

pub(super) fn large_retained_and_queued(cx: &mut Context) -> Outcome {
    let (topic, retained) = (cx.topic("a"), cx.topic("retained"));
    let lasting = cx.connecting("limited").persistent(60);
    let mut subscriber = cx.connect(lasting.clone())?;
    subscriber.subscribe(&topic, 1)?;
    subscriber.disconnect()?;
    let mut publisher = cx.client("publisher")?;
    publisher.publish(message_of_size(&topic, 1, 500))?;
    publisher.publish(Publish::new(&topic, "queued").qos(1))?;
    publisher.publish(message_of_size(&format!("{retained}/1"), 1, 500).retain())?;
    publisher.publish(Publish::new(format!("{retained}/2"), "kept").qos(1).retain())?;
    // The limit is that of this connection, not of the one that subscribed.
    let mut subscriber = cx.connect(lasting.with(property::MAXIMUM_PACKET_SIZE, PACKET_SIZE))?;
    subscriber.expect_message(&topic, "queued")?;
    subscriber.subscribe(&format!("{retained}/1"), 1)?;
    subscriber.subscribe(&format!("{retained}/2"), 1)?;
    subscriber.expect_message(&format!("{retained}/2"), "kept")?;
    subscriber.expect_silence_after(&mut publisher)
}

/// A SUBACK has a Reason Code for each Topic Filter and can't be shortened. The standard doesn't say what the broker
/// does instead; the case checks the size of its packets.
pub(super) fn large_acknowledgements(cx: &mut Context) -> Outcome {
    // The CONNACK must fit.
    let limit = cx.smallest_maximum_packet_size().max(20);
    let filters = 40 + limit;
    let limited = cx.connecting("limited").with(property::MAXIMUM_PACKET_SIZE, limit);
    let mut client = cx.connect(limited.clone())?;
    let mut subscribe = Subscribe::new(cx.topic("0"), 0).packet_id(1);
    for number in 1..filters {
        subscribe = subscribe.and(cx.topic(&format!("{number}")), 0);
    }
    client.send(subscribe)?;
    expect_end_or_ping(&mut client)?;
    let mut client = cx.connect(limited)?;
    let mut unsubscribe = Unsubscribe::new(cx.topic("0")).packet_id(1);
    for number in 1..filters {
        unsubscribe = unsubscribe.and(cx.topic(&format!("{number}")));
    }
    client.send(unsubscribe)?;
    expect_end_or_ping(&mut client)
}

fn expect_end_or_ping(client: &mut Client) -> Outcome {
    client.send(crate::wire::Pingreq)?;
    match client.receive_or_close()? {
        None | Some(Packet::Pingresp) => Ok(()),
        Some(Packet::Disconnect(disconnect)) if disconnect.reason_code() >= 0x80 => Ok(()),
        Some(packet) => Err(Failure::new("PINGRESP, DISCONNECT or the end", packet.describe())),
    }
}

/// A broker that can't send its CONNACK may close the connection, or discard the CONNACK as section 3.1.2.11.4 says. The size
/// of what it sends is checked on arrival.
pub(super) fn large_connack(cx: &mut Context) -> Outcome {
    const METHOD: &str = "conformance has no such method";
    let smallest = cx.smallest_maximum_packet_size();
    let mut waiting = Vec::new();
    for size in [1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 30, 50, 100] {
        let limited = |label| cx.connecting(&format!("{label}{size}")).with(property::MAXIMUM_PACKET_SIZE, size);
        // For an invalid CONNECT, a broker may not have parsed the limit.
        for connect in [limited("a"), limited("b").with(property::AUTHENTICATION_METHOD, METHOD)] {
            let fits = size >= smallest && !connect.properties.has(property::AUTHENTICATION_METHOD);
            let mut client = cx.open()?;
            client.send_connect(&connect)?;
            if fits {
                client.expect_connack_or_close()?;
            } else {
                waiting.push(client);
            }
        }
    }
    cx.sleep(Duration::from_secs(1));
    waiting.iter_mut().try_for_each(Client::expect_connack_close_or_nothing)
}

pub(super) fn topic_aliases(cx: &mut Context) -> Outcome {
    for maximum in [1, 3, 65_535] {
        let limited = cx.connecting("limited").with(property::TOPIC_ALIAS_MAXIMUM, maximum);
        deliver_to_many_topics(cx, limited)?;
    }
    Ok(())
}

pub(super) fn no_topic_aliases(cx: &mut Context) -> Outcome {
    deliver_to_many_topics(cx, cx.connecting("limited"))?;
    deliver_to_many_topics(cx, cx.connecting("limited").with(property::TOPIC_ALIAS_MAXIMUM, 0))
}

/// If the broker uses Topic Aliases, they are checked on arrival.
fn deliver_to_many_topics(cx: &mut Context, connect: crate::wire::Connect) -> Outcome {
    let mut subscriber = cx.connect(connect)?;
    let mut publisher = cx.connect(cx.connecting("publisher"))?;
    let aliases = publisher.connack().properties.number(property::TOPIC_ALIAS_MAXIMUM).unwrap_or_default();
    let qos_max = highest_qos(cx);
    let topics: Vec<String> = (0..8).map(|number| cx.topic(&format!("alias/{number}"))).collect();
    for topic in &topics {
        subscriber.subscribe(topic, 1)?;
    }
    for round in 0..3 {
        for topic in &topics {
            let mut message = Publish::new(topic, format!("{round}")).qos(u8::from(round == 2).min(qos_max));
            if aliases > 0 {
                // The publisher's alias doesn't apply to the subscriber.
                message = message.with(property::TOPIC_ALIAS, 1);
            }
            publisher.publish(message)?;
        }
        for topic in &topics {
            subscriber.expect_message(topic, format!("{round}"))?;
        }
    }
    Ok(())
}

pub(super) fn response_information(cx: &mut Context) -> Outcome {
    let plain = cx.connecting("a");
    for connect in [plain.clone(), plain.clone().with(property::REQUEST_RESPONSE_INFORMATION, 0)] {
        let client = cx.connect(connect)?;
        let told = client.connack().properties.has(property::RESPONSE_INFORMATION);
        check(!told, "no Response Information", format!("{:?}", client.connack()))?;
    }
    // The broker may send it or not.
    cx.connect(plain.with(property::REQUEST_RESPONSE_INFORMATION, 1))?.ping()
}

pub(super) fn no_problem_information(cx: &mut Context) -> Outcome {
    cause_problems(cx, 0)
}

pub(super) fn problem_information(cx: &mut Context) -> Outcome {
    cause_problems(cx, 1)
}

/// Causes every response that could carry reasons. On arrival, it is checked that there are none where they are
/// forbidden.
fn cause_problems(cx: &mut Context, wanted: u8) -> Outcome {
    let connect = cx.connecting("a").with(property::REQUEST_PROBLEM_INFORMATION, wanted);
    let mut client = cx.connect(connect)?;
    client.send(Publish::new(cx.topic("nobody"), "").qos(1).packet_id(1))?;
    client.expect_puback(1)?;
    client.send(Publish::new(cx.topic("nobody"), "").qos(2).packet_id(2))?;
    client.expect_pubrec(2)?;
    client.send(Ack::pubrel(2))?;
    client.expect_pubcomp(2)?;
    client.unsubscribe(&cx.topic("nothing"))?;
    client.subscribe_with(Subscribe::new("$SYS/#", 0).and(cx.topic("a"), 2 | Filter::RETAIN_NEVER))?;
    // The responses to these are not checked by this case.
    client.send(Ack::pubrel(99))?;
    client.send(Ack::pubrec(98))?;
    client.send(Publish::new("$SYS/conformance", "").qos(1).packet_id(5))?;
    expect_answers_until_ping(&mut client)
}

fn expect_answers_until_ping(client: &mut Client) -> Outcome {
    client.send(crate::wire::Pingreq)?;
    loop {
        match client.receive_or_close()? {
            None | Some(Packet::Pingresp | Packet::Disconnect(_)) => return Ok(()),
            Some(Packet::Publish(_) | Packet::Ack(_)) => {}
            Some(packet) => return Err(Failure::new("PUBACK and PINGRESP", packet.describe())),
        }
    }
}
