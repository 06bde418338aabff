//! The response to a PUBLISH, and the receivers of the message.

use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal, check_qos};
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Ack, Connect, Publish, Subscribe, Unsubscribe, Version, property};

pub(in crate::cases) fn answer_by_qos(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.send(Publish::new(&topic, "0"))?;
    client.expect_silence_by_ping()?;
    client.send(Publish::new(&topic, "1").qos(1).packet_id(1))?;
    client.expect_puback(1)?;
    client.expect_silence_by_ping()?;
    client.send(Publish::new(&topic, "2").qos(2).packet_id(2))?;
    client.expect_pubrec(2)?;
    // PUBCOMP is only the response to PUBREL.
    client.expect_silence_by_ping()?;
    client.send(Ack::pubrel(2))?;
    client.expect_pubcomp(2)?;
    client.expect_silence_by_ping()
}

pub(in crate::cases) fn packet_identifiers_of_answers(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for id in [1, 127, 128, 255, 256, 0x1234, 0x8000, 0xFFFF] {
        client.send(Publish::new(&topic, "1").qos(1).packet_id(id))?;
        client.expect_puback(id)?;
        client.send(Publish::new(&topic, "2").qos(2).packet_id(id))?;
        client.expect_pubrec(id)?;
        client.send(Ack::pubrel(id))?;
        client.expect_pubcomp(id)?;
        client.subscribe_with(Subscribe::new(cx.topic("b"), 1).packet_id(id))?;
        client.unsubscribe_with(Unsubscribe::new(cx.topic("b")).packet_id(id))?;
    }
    Ok(())
}

pub(in crate::cases) fn payloads(cx: &mut Context) -> Outcome {
    // Sizes around those where the Remaining Length grows, and one that doesn't fit a single read.
    const SIZES: [usize; 9] = [0, 1, 60, 127, 128, 16_300, 16_384, 65_536, 200_000];
    const HEADERS: usize = 100;
    let limit = cx.announced().properties.number(property::MAXIMUM_PACKET_SIZE);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    for size in SIZES.into_iter().filter(|size| size + HEADERS < limit) {
        let payload: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
        for qos in 0..=2 {
            publisher.publish(Publish::new(&topic, &payload).qos(qos))?;
            let message = subscriber.expect_message(&topic, &payload)?;
            check_qos(cx.version(), message.qos, qos)?;
        }
    }
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn every_session(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut connected = [cx.client("one")?, cx.client("two")?];
    for client in &mut connected {
        client.subscribe(&topic, 1)?;
    }
    let away = cx.connecting("away").persistent(600);
    let mut client = cx.connect(away.clone())?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    // The publisher has a subscription too.
    let mut publisher = cx.client("publisher")?;
    publisher.subscribe(&topic, 1)?;
    publisher.publish(Publish::new(&topic, "to all").qos(1))?;
    publisher.expect_message(&topic, "to all")?;
    for client in &mut connected {
        client.expect_message(&topic, "to all")?;
        client.expect_silence_after(&mut publisher)?;
    }
    let mut client = cx.connect(away)?;
    client.expect_message(&topic, "to all")?;
    client.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn both_versions(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let other = cx.version().pick(Version::V5, Version::V3);
    let mut here = cx.client("here")?;
    let there = Connect::new(other).client_id(cx.client_id("there"));
    let mut there = cx.open().and_then(|mut client| {
        client.send_connect(&there)?;
        // No broker has to support both. How it refuses is the matter of other cases.
        match client.receive_or_close() {
            Ok(Some(Packet::Connack(connack))) if connack.reason == 0 => Ok(client),
            _ => Err(Failure::skipped("the other version isn't supported")),
        }
    })?;
    here.subscribe(&topic, 2)?;
    there.subscribe(&topic, 2)?;
    for qos in 0..=2 {
        for publisher in [&mut here, &mut there] {
            let mut publish = Publish::new(&topic, "both").qos(qos);
            if publisher.version().is_v5() {
                // None of these properties may precede the payload in 3.1.1.
                publish = publish.with(property::USER_PROPERTY, ("name", "value")).with(property::CONTENT_TYPE, "t");
            }
            publisher.publish(publish)?;
        }
        for subscriber in [&mut here, &mut there] {
            for _ in 0..2 {
                let message = subscriber.expect_message(&topic, "both")?;
                check_qos(cx.version(), message.qos, qos)?;
            }
        }
    }
    Ok(())
}

pub(in crate::cases) fn matching_topics(cx: &mut Context) -> Outcome {
    const TOPICS: [&str; 8] = ["a", "a/b", "a/c", "A/b", "a/b/c", "b/b", "a/", "ab"];
    const FILTERS: [(&str, &[&str]); 6] = [
        ("a", &["a"]),
        ("a/b", &["a/b"]),
        ("a/+", &["a/", "a/b", "a/c"]),
        ("+/b", &["A/b", "a/b", "b/b"]),
        ("a/#", &["a", "a/", "a/b", "a/b/c", "a/c"]),
        ("a/+/c", &["a/b/c"]),
    ];
    let mut publisher = cx.client("publisher")?;
    for (filter, matching) in FILTERS {
        let mut subscriber = cx.client("subscriber")?;
        subscriber.subscribe(&cx.topic(filter), 0)?;
        for topic in TOPICS {
            publisher.publish(Publish::new(cx.topic(topic), ""))?;
        }
        let messages = subscriber.messages_until_marker(&mut publisher)?;
        let mut came: Vec<String> = messages.iter().map(|message| message.topic.to_text()).collect();
        came.sort();
        let expected: Vec<String> = matching.iter().map(|topic| cx.topic(topic)).collect();
        check_equal(&format!("what matches {filter:?}"), came, expected)?;
    }
    Ok(())
}

pub(in crate::cases) fn acknowledged_or_closed(cx: &mut Context) -> Outcome {
    let topics = ["$SYS/conformance".to_owned(), "$SYS/broker/uptime".to_owned(), cx.topic("a")];
    for topic in topics {
        for qos in 1..=2 {
            let mut client = cx.client("a")?;
            client.send(Publish::new(&topic, "").qos(qos).packet_id(7))?;
            let answer = client.receive();
            if client.link().is_closed() {
                continue;
            }
            let Packet::Ack(ack) = answer? else { return Err(Failure::new("PUBACK, PUBREC or the end", "another")) };
            check_equal("the answer", Kind::from(ack.kind), if qos == 1 { Kind::Puback } else { Kind::Pubrec })?;
            check_equal("the Packet Identifier", ack.packet_id, 7)?;
        }
    }
    Ok(())
}
