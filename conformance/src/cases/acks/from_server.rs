//! Acknowledgements from the server.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Outcome, check, check_equal};
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Ack, Publish, Utf8, property};

const SUCCESS: u8 = 0;
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
const NOT_FOUND: u8 = 0x92;

pub(in crate::cases) fn success(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let away = cx.connecting("away").persistent(600);
    let mut client = cx.connect(away)?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    // A disconnected subscriber also counts as matching.
    let mut publisher = cx.client("publisher")?;
    for subscribed in [false, true] {
        if subscribed {
            publisher.subscribe(&topic, 0)?;
        }
        publisher.send(Publish::new(&topic, "1").qos(1).packet_id(1))?;
        check_equal("the Reason Code of PUBACK", publisher.expect_puback(1)?.reason_code(), SUCCESS)?;
        publisher.send(Publish::new(&topic, "2").qos(2).packet_id(2))?;
        check_equal("the Reason Code of PUBREC", publisher.expect_pubrec(2)?.reason_code(), SUCCESS)?;
        publisher.send(Ack::pubrel(2))?;
        check_equal("the Reason Code of PUBCOMP", publisher.expect_pubcomp(2)?.reason_code(), SUCCESS)?;
    }
    Ok(())
}

pub(in crate::cases) fn no_matching_subscribers(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let allowed = |ack: &Ack| {
        let fits = [SUCCESS, NO_MATCHING_SUBSCRIBERS].contains(&ack.reason_code());
        check(fits, "Success or No matching subscribers", format!("{ack:?}"))
    };
    publisher.send(Publish::new(&topic, "1").qos(1).packet_id(1))?;
    allowed(&publisher.expect_puback(1)?)?;
    publisher.send(Publish::new(&topic, "2").qos(2).packet_id(2))?;
    allowed(&publisher.expect_pubrec(2)?)?;
    // The message is accepted in either case, so the exchange continues.
    publisher.send(Ack::pubrel(2))?;
    check_equal("the Reason Code of PUBCOMP", publisher.expect_pubcomp(2)?.reason_code(), SUCCESS)
}

pub(in crate::cases) fn pubrel_success(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 2)?;
    client.publish(Publish::new(&topic, "2").qos(2))?;
    let id = client.expect_publish()?.packet_id.unwrap_or_default();
    for reason in [None, Some(0)] {
        // The second PUBREC arrives after PUBREL was sent.
        client.send(reason.map_or(Ack::pubrec(id), |reason| Ack::pubrec(id).reason(reason)))?;
        check_equal("the Reason Code of PUBREL", client.expect_pubrel(id)?.reason_code(), SUCCESS)?;
    }
    client.send(Ack::pubcomp(id))?;
    client.expect_silence_by_ping()
}

pub(in crate::cases) fn unknown_pubrel(cx: &mut Context) -> Outcome {
    let mut client = cx.client("a")?;
    for id in [1, 0x1234, 0xFFFF] {
        client.send(Ack::pubrel(id))?;
        let reason = client.expect_pubcomp(id)?.reason_code();
        check_not_found(reason)?;
    }
    // The Packet Identifier can be used afterwards.
    client.publish(Publish::new(cx.topic("a"), "").qos(2).packet_id(1))
}

pub(in crate::cases) fn unknown_pubrec(cx: &mut Context) -> Outcome {
    let mut client = cx.client("a")?;
    client.send(Ack::pubrec(0x1234))?;
    client.send(crate::wire::Pingreq)?;
    let answer = client.receive();
    if client.link().is_closed() {
        return Ok(());
    }
    let answer = answer?;
    let Packet::Ack(ack) = &answer else {
        let nothing = matches!(answer, Packet::Pingresp | Packet::Disconnect(_));
        return check(nothing, "PUBREL or nothing", answer.describe());
    };
    check_equal("the answer", Kind::from(ack.kind), Kind::Pubrel)?;
    check_equal("the Packet Identifier", ack.packet_id, 0x1234)?;
    let reason = ack.reason_code();
    check_not_found(reason)
}

/// The standard has a Reason Code for an unknown Packet Identifier, but doesn't require it.
fn check_not_found(reason: u8) -> Outcome {
    let expected = "the Reason Code Packet Identifier not found, or Success";
    check([SUCCESS, NOT_FOUND].contains(&reason), expected, format!("0x{reason:02X}"))
}

/// Causes responses that could carry a Reason String.
fn provoke(cx: &Context, client: &mut Client) -> Outcome {
    client.send(Ack::pubrel(0x1234))?;
    client.expect_pubcomp(0x1234)?;
    client.send(Ack::pubrec(0x1235))?;
    for (_, payload) in Utf8::ILL_FORMED {
        for qos in 1..=2 {
            let publish = Publish::new(cx.topic("a"), payload).qos(qos).packet_id(qos.into());
            client.send(publish.with(property::PAYLOAD_FORMAT_INDICATOR, 1u8))?;
            let first = client.receive()?;
            let pubrel = matches!(&first, Packet::Ack(ack) if Kind::from(ack.kind) == Kind::Pubrel);
            let answer = if pubrel { client.receive()? } else { first };
            if matches!(&answer, Packet::Ack(ack) if qos == 2 && ack.reason_code() < 0x80) {
                client.send(Ack::pubrel(2))?;
                client.expect_pubcomp(2)?;
            }
        }
    }
    client.send(Publish::new("$SYS/conformance", "").qos(1).packet_id(3))?;
    client.expect_puback(3).map(|_| ())
}

pub(in crate::cases) fn maximum_packet_size(cx: &mut Context) -> Outcome {
    let mut accepted = false;
    // A broker may discard a CONNACK that doesn't fit.
    let smallest = cx.smallest_maximum_packet_size();
    for size in [smallest, 8, 16, 24, 32, 48, 64, 100].into_iter().filter(|size| *size >= smallest) {
        let mut client = cx.open()?;
        client.send_connect(&cx.connecting("a").with(property::MAXIMUM_PACKET_SIZE, size))?;
        if let Err(failure) = client.expect_connack() {
            if client.link().is_closed() {
                continue;
            }
            return Err(failure);
        }
        accepted = true;
        let outcome = provoke(cx, &mut client);
        // The server may close the connection after an error. Earlier packets are checked on arrival.
        if !client.link().is_closed() {
            outcome?;
        }
    }
    check(accepted, "a connection with a Maximum Packet Size that the CONNACK fits", "none")
}
