//! The server as the receiver of a message.

use std::time::Duration;

use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal, check_qos};
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Ack, Publish, property};

pub(in crate::cases) fn duplicate_after_reconnect(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let connect = cx.connecting("publisher").persistent(600);
    let mut publisher = cx.connect(connect.clone())?;
    let message = Publish::new(&topic, "once").qos(2).packet_id(7);
    publisher.send(&message)?;
    publisher.expect_pubrec(7)?;
    for _ in 0..2 {
        publisher.abandon();
        publisher = cx.connect(connect.clone())?;
        check_equal("Session Present", publisher.connack().session_present, true)?;
        publisher.send(message.clone().dup())?;
        publisher.expect_pubrec(7)?;
    }
    publisher.send(Ack::pubrel(7))?;
    publisher.expect_pubcomp(7)?;
    subscriber.expect_message(&topic, "once")?;
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn duplicate_without_dup(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    let message = Publish::new(&topic, "once").qos(2).packet_id(7);
    publisher.send(&message)?;
    publisher.expect_pubrec(7)?;
    publisher.send(&message)?;
    let answer = publisher.receive();
    // The client omitted DUP, or used the identifier for two messages: the server may close the connection.
    let ended = publisher.link().is_closed() || matches!(answer, Ok(Packet::Disconnect(_)));
    if !ended {
        let Packet::Ack(ack) = answer? else { return Err(Failure::new("PUBREC or the end", "another")) };
        check_equal("the answer", Kind::from(ack.kind), Kind::Pubrec)?;
        check_equal("the Packet Identifier", ack.packet_id, 7)?;
        publisher.send(Ack::pubrel(7))?;
        publisher.expect_pubcomp(7)?;
    }
    let came = subscriber.messages_until_marker(&mut cx.client("other")?)?;
    let right = came.len() == 1 || ended && came.is_empty();
    check(right, "the message once", format!("{came:?}"))
}

pub(in crate::cases) fn pubrel_after_reconnect(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let connect = cx.connecting("publisher").persistent(600);
    let mut publisher = cx.connect(connect.clone())?;
    publisher.send(Publish::new(&topic, "once").qos(2).packet_id(7))?;
    publisher.expect_pubrec(7)?;
    // The client can't know whether its PUBREL arrived, so it may repeat it.
    for _ in 0..2 {
        publisher.abandon();
        publisher = cx.connect(connect.clone())?;
        publisher.send(Ack::pubrel(7))?;
        publisher.expect_pubcomp(7)?;
    }
    publisher.send(Ack::pubrel(7))?;
    publisher.expect_pubcomp(7)?;
    subscriber.expect_message(&topic, "once")?;
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn new_after_puback(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    let mut publisher = cx.client("publisher")?;
    let message = Publish::new(&topic, "each is new").qos(1).packet_id(7);
    for message in [message.clone(), message.clone().dup(), message] {
        publisher.send(message)?;
        publisher.expect_puback(7)?;
        let received = subscriber.expect_message(&topic, "each is new")?;
        check_equal("the DUP flag", received.dup, false)?;
    }
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn new_after_pubcomp(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    let message = Publish::new(&topic, "each is new").qos(2).packet_id(7);
    for message in [message.clone(), message.clone().dup(), message] {
        publisher.send(message)?;
        publisher.expect_pubrec(7)?;
        publisher.send(Ack::pubrel(7))?;
        publisher.expect_pubcomp(7)?;
        let received = subscriber.expect_message(&topic, "each is new")?;
        check_equal("the DUP flag", received.dup, false)?;
    }
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn new_after_refusal(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    // A message that a server may refuse.
    let wrong_format = Publish::new(&topic, [0xFF].as_slice()).with(property::PAYLOAD_FORMAT_INDICATOR, 1u8);
    for refused in [wrong_format, Publish::new("$SYS/conformance", "")] {
        let mut publisher = cx.client("publisher")?;
        publisher.send(refused.qos(2).packet_id(7))?;
        let answer = publisher.receive();
        if publisher.link().is_closed() {
            continue;
        }
        let Packet::Ack(pubrec) = answer? else { continue };
        if pubrec.reason_code() < 0x80 {
            continue;
        }
        publisher.send(Publish::new(&topic, "new").qos(2).packet_id(7))?;
        let reason = publisher.expect_pubrec(7)?.reason_code();
        check(reason < 0x80, "the message is accepted", format!("0x{reason:02X}"))?;
        publisher.send(Ack::pubrel(7))?;
        publisher.expect_pubcomp(7)?;
        subscriber.expect_message(&topic, "new")?;
        return subscriber.expect_silence_after(&mut publisher);
    }
    Err(Failure::skipped("the broker refuses none of the messages that the suite knows to be refusable"))
}

pub(in crate::cases) fn interleaved(cx: &mut Context) -> Outcome {
    const IDS: [u16; 10] = [10, 1, 9, 2, 8, 3, 0xFFFF, 4, 0x100, 5];
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let mut publisher = cx.client("publisher")?;
    for id in IDS {
        publisher.send(Publish::new(&topic, &id.to_be_bytes()).qos(2).packet_id(id))?;
    }
    for id in IDS {
        publisher.expect_pubrec(id)?;
    }
    for id in IDS {
        publisher.send(Ack::pubrel(id))?;
        publisher.expect_pubcomp(id)?;
    }
    for id in IDS {
        subscriber.expect_message(&topic, id.to_be_bytes())?;
    }
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn both_directions(cx: &mut Context) -> Outcome {
    let (to_client, to_server) = (cx.topic("to/client"), cx.topic("to/server"));
    let mut other = cx.client("other")?;
    other.subscribe(&to_server, 2)?;
    let mut client = cx.client("a")?;
    client.subscribe(&to_client, 2)?;
    other.publish(Publish::new(&to_client, "1").qos(2))?;
    let id = client.expect_publish()?.packet_id.unwrap_or_default();
    // Both exchanges proceed step by step with the same Packet Identifier.
    client.send(Publish::new(&to_server, "2").qos(2).packet_id(id))?;
    client.expect_pubrec(id)?;
    client.send(Ack::pubrec(id))?;
    client.expect_pubrel(id)?;
    client.send(Ack::pubrel(id))?;
    client.expect_pubcomp(id)?;
    client.expect_silence_by_ping()?;
    client.send(Ack::pubcomp(id))?;
    client.expect_silence_by_ping()?;
    other.expect_message(&to_server, "2")?;
    other.expect_silence_after(&mut client)
}

pub(in crate::cases) fn ownership(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let away = cx.connecting("away").persistent(600);
    let mut client = cx.connect(away.clone())?;
    client.subscribe(&topic, 2)?;
    client.disconnect()?;
    for qos in 1..=2u8 {
        let mut publisher = cx.client("publisher")?;
        publisher.publish(Publish::new(&topic, &[qos]).qos(qos))?;
        publisher.abandon();
    }
    let mut client = cx.connect(away)?;
    for qos in 1..=2u8 {
        let message = client.expect_message(&topic, [qos])?;
        check_qos(cx.version(), message.qos, qos)?;
    }
    client.expect_silence_after(&mut cx.client("publisher")?)
}

pub(in crate::cases) fn exchange_of_an_expired_message(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let away = cx.connecting("away").persistent(600);
    let mut client = cx.connect(away.clone())?;
    client.subscribe(&topic, 2)?;
    client.disconnect()?;
    let mut publisher = cx.client("publisher")?;
    let message = Publish::new(&topic, "expired").qos(2).packet_id(7).with(property::MESSAGE_EXPIRY_INTERVAL, 1u8);
    publisher.send(&message)?;
    publisher.expect_pubrec(7)?;
    cx.sleep(Duration::from_millis(2_500));
    publisher.send(message.dup())?;
    publisher.expect_pubrec(7)?;
    publisher.send(Ack::pubrel(7))?;
    check_equal("the Reason Code of PUBCOMP", publisher.expect_pubcomp(7)?.reason_code(), 0)?;
    cx.connect(away)?.expect_silence_after(&mut publisher)
}
