//! The order of messages.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal, check_qos};
use crate::wire::{AckKind, Encode, Publish, property};

/// Publishes all messages in one write, so that they are in flight together, and then waits for the responses. Those may come in any order:
/// MQTT-4.6.0-2 and MQTT-4.6.0-3 are about clients, and MQTT-4.6.0-6 of 3.1.1 about the way from a server to its subscribers.
fn publish_all(client: &mut Client, publishes: Vec<Publish>) -> Outcome {
    let version = client.version();
    let publishes: Vec<Publish> = publishes.into_iter().map(|publish| client.with_packet_id(publish)).collect();
    client.send(publishes.iter().flat_map(|publish| publish.encode(version)).collect::<Vec<u8>>())?;
    for (qos, kind) in [(1, AckKind::Puback), (2, AckKind::Pubrec)] {
        let of_qos = publishes.iter().filter(|publish| publish.qos == qos);
        client.expect_acks(kind, of_qos.filter_map(|publish| publish.packet_id).collect())?;
    }
    for publish in publishes.iter().filter(|publish| publish.qos == 2) {
        let id = publish.packet_id.unwrap_or_default();
        client.send(crate::wire::Ack::pubrel(id))?;
        client.expect_pubcomp(id)?;
    }
    Ok(())
}

/// The server's Receive Maximum, for clients of both versions, but not more than `most`.
fn batch(cx: &Context, most: u8) -> u8 {
    let maximum = cx.announced().properties.number(property::RECEIVE_MAXIMUM);
    maximum.and_then(|maximum| u8::try_from(maximum).ok()).map_or(most, |maximum| maximum.min(most))
}

/// Receives this many messages with numbers as their payload, and acknowledges each.
fn receive(client: &mut Client, count: usize) -> Result<Vec<(u8, u8)>, Failure> {
    let mut received = Vec::new();
    for _ in 0..count {
        let message = client.expect_publish()?;
        client.acknowledge(&message)?;
        received.push((message.qos, message.payload.as_bytes().first().copied().unwrap_or_default()));
    }
    Ok(received)
}

pub(in crate::cases) fn one_qos(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let count = batch(cx, 100);
    for granted in 0..=2 {
        let mut subscribers = [cx.client("one")?, cx.client("two")?];
        for subscriber in &mut subscribers {
            subscriber.subscribe(&topic, granted)?;
        }
        for qos in 0..=2 {
            let publish = |number| Publish::new(&topic, &[number]).qos(qos);
            publish_all(&mut publisher, (0..count).map(publish).collect())?;
            for subscriber in &mut subscribers {
                let came = receive(subscriber, count.into())?;
                let expected: Vec<(u8, u8)> = (0..count).map(|number| (qos.min(granted), number)).collect();
                came.iter().try_for_each(|(at, _)| check_qos(cx.version(), *at, qos.min(granted)))?;
                check_equal("the QoS and number of each message", came, expected)?;
            }
        }
    }
    Ok(())
}

pub(in crate::cases) fn mixed_qos(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let count = batch(cx, 90);
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let publish = |number| Publish::new(&topic, &[number]).qos(number % 3);
    publish_all(&mut publisher, (0..count).map(publish).collect())?;
    let came = receive(&mut subscriber, count.into())?;
    came.iter().try_for_each(|(at, number)| check_qos(cx.version(), *at, number % 3))?;
    for qos in 0..3 {
        let came: Vec<u8> = came.iter().filter(|(at, _)| *at == qos).map(|(_, number)| *number).collect();
        let expected: Vec<u8> = (0..count).filter(|number| number % 3 == qos).collect();
        check_equal(&format!("the order at QoS {qos}"), came, expected)?;
    }
    Ok(())
}

pub(in crate::cases) fn different_sizes(cx: &mut Context) -> Outcome {
    const SIZES: [usize; 6] = [60_000, 1, 200, 20_000, 1, 2];
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    let count = batch(cx, 18);
    for qos in 0..=1 {
        let publish = |(number, size): (u8, usize)| Publish::new(&topic, vec![number; size]).qos(qos);
        publish_all(&mut publisher, (0..count).zip(SIZES.into_iter().cycle()).map(publish).collect())?;
        let came = receive(&mut subscriber, count.into())?;
        came.iter().try_for_each(|(at, _)| check_qos(cx.version(), *at, qos))?;
        check_equal("the messages", came, (0..count).map(|number| (qos, number)).collect::<Vec<_>>())?;
    }
    Ok(())
}

pub(in crate::cases) fn two_publishers(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publishers = [cx.client("one")?, cx.client("two")?];
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    for round in 0..10 {
        for (publisher, first) in publishers.iter_mut().zip([0, 100]) {
            let publish = |number: u8| Publish::new(&topic, &[first + round * 5 + number]).qos(1);
            publish_all(publisher, (0..5).map(publish).collect())?;
        }
    }
    let came = receive(&mut subscriber, 100)?;
    for first in [0, 100] {
        let came: Vec<u8> =
            came.iter().map(|(_, number)| *number).filter(|number| number / 100 == first / 100).collect();
        check_equal("the messages of one publisher", came, (first..first + 50).collect::<Vec<u8>>())?;
    }
    Ok(())
}

pub(in crate::cases) fn while_away(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let count = batch(cx, 50);
    let connect = cx.connecting("away").persistent(600);
    let mut away = cx.connect(connect.clone())?;
    away.subscribe(&topic, 2)?;
    for qos in 1..=2 {
        away.disconnect()?;
        let publish = |number| Publish::new(&topic, &[number]).qos(qos);
        publish_all(&mut publisher, (0..count).map(publish).collect())?;
        away = cx.connect(connect.clone())?;
        let came = receive(&mut away, count.into())?;
        came.iter().try_for_each(|(at, _)| check_qos(cx.version(), *at, qos))?;
        check_equal("the messages", came, (0..count).map(|number| (qos, number)).collect::<Vec<_>>())?;
        away.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}
