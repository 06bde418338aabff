//! The server as the sender of a message.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal, check_qos};
use crate::wire::{Ack, Encode, Publish, Version, property};

pub(in crate::cases) fn first_time(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    // Packet Identifiers freed in one round may be reused in the next.
    for _ in 0..3 {
        let mut in_flight = Vec::new();
        for number in 0..18u8 {
            let qos = number % 3;
            publisher.publish(Publish::new(&topic, &[number]).qos(qos))?;
            let message = subscriber.expect_publish()?;
            check_equal("the payload", message.payload.as_bytes(), &[number][..])?;
            check_qos(cx.version(), message.qos, qos)?;
            check_equal("the DUP flag", message.dup, false)?;
            in_flight.push(message);
        }
        let ids: Vec<u16> = in_flight.iter().filter_map(|message| message.packet_id).collect();
        let different: BTreeSet<u16> = ids.iter().copied().collect();
        check(different.len() == 12, "twelve different Packet Identifiers", format!("{ids:?}"))?;
        for message in in_flight {
            subscriber.acknowledge(&message)?;
        }
    }
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn identifiers_wrap(cx: &mut Context) -> Outcome {
    // All Packet Identifiers but the one in flight.
    const OTHERS: u16 = 65_534;
    const TIME_MAX: Duration = Duration::from_secs(50);
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    let mut publisher = cx.client("publisher")?;
    let limit = publisher.connack().properties.number(property::RECEIVE_MAXIMUM).unwrap_or_default();
    let at_once = u16::try_from(limit).ok().filter(|limit| *limit > 0).map_or(500, |limit| limit.min(500));
    publisher.publish(Publish::new(&topic, "in flight").qos(1))?;
    let in_flight = subscriber.expect_publish()?;
    let mut open = OTHERS;
    while open > 0 {
        if cx.state().elapsed() > TIME_MAX {
            return Err(Failure::skipped(format!("the broker forwarded too few messages in {TIME_MAX:?}")));
        }
        let ids = 1..=open.min(at_once);
        open -= ids.len().try_into().unwrap_or(open);
        let publish = |id| Publish::new(&topic, "").qos(1).packet_id(id).encode(Version::V5);
        publisher.send(ids.clone().flat_map(publish).collect::<Vec<u8>>())?;
        for id in ids {
            publisher.expect_puback(id)?;
            let message = subscriber.expect_publish()?;
            check(message.packet_id != in_flight.packet_id, "an unused Packet Identifier", format!("{message:?}"))?;
            subscriber.acknowledge(&message)?;
        }
    }
    // The next message may arrive with another identifier than the one in flight, or wait for it.
    publisher.publish(Publish::new(&topic, "last").qos(1))?;
    subscriber.ping()?;
    subscriber.acknowledge(&in_flight)?;
    subscriber.expect_message(&topic, "last")?;
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn pubrel_upon_pubrec(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    for payload in ["first", "second"] {
        publisher.publish(Publish::new(&topic, payload).qos(2))?;
        let message = subscriber.expect_publish()?;
        check_equal("the payload", &message.payload, payload)?;
        let id = message.packet_id.ok_or_else(|| Failure::new("a Packet Identifier", "none"))?;
        subscriber.expect_silence_by_ping()?;
        subscriber.send(Ack::pubrec(id))?;
        subscriber.expect_pubrel(id)?;
        subscriber.expect_silence_by_ping()?;
        subscriber.send(Ack::pubcomp(id))?;
        subscriber.expect_silence_by_ping()?;
    }
    Ok(())
}

pub(in crate::cases) fn expired_in_flight(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let connect = cx.connecting("subscriber").persistent(600);
    let mut subscriber = cx.connect(connect.clone())?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    for qos in 1..=2 {
        let message = Publish::new(&topic, "in flight").qos(qos);
        publisher.publish(message.with(property::MESSAGE_EXPIRY_INTERVAL, 1u8))?;
    }
    let first = [subscriber.expect_publish()?, subscriber.expect_publish()?];
    subscriber.abandon();
    cx.sleep(Duration::from_millis(2_500));
    let mut subscriber = cx.connect(connect)?;
    for _ in 0..2 {
        let again = subscriber.expect_publish()?;
        check_equal("the DUP flag", again.dup, true)?;
        let sent = first.iter().find(|sent| sent.packet_id == again.packet_id);
        check_equal("the QoS under this Packet Identifier", Some(again.qos), sent.map(|sent| sent.qos))?;
        subscriber.acknowledge(&again)?;
    }
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn nothing_again_on_the_connection(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.connect(cx.connecting("subscriber").persistent(600))?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    let mut in_flight = Vec::new();
    for qos in [2, 1, 2] {
        publisher.publish(Publish::new(&topic, "in flight").qos(qos))?;
        in_flight.push(subscriber.expect_publish()?);
    }
    let released = in_flight.first().and_then(|message| message.packet_id).unwrap_or_default();
    subscriber.send(Ack::pubrec(released))?;
    subscriber.expect_pubrel(released)?;
    subscriber.expect_nothing(Duration::from_secs(8))?;
    // An acknowledgement, a PINGREQ or a new message doesn't cause a retransmission either.
    for message in in_flight.iter().skip(1).take(1) {
        subscriber.acknowledge(message)?;
    }
    subscriber.expect_silence_by_ping()?;
    subscriber.expect_silence_after(&mut publisher)
}
