//! Malformed DISCONNECT, and protocol violations in 3.1.1.

use super::by_the_client::WillPair;
use crate::context::Context;
use crate::failure::Outcome;
use crate::wire::bytes::frame;
use crate::wire::kind::Kind;
use crate::wire::{Disconnect, Encode, Publish, property};

pub(super) fn reserved_flags(cx: &mut Context) -> Outcome {
    let mut willing = WillPair::new(cx)?;
    for flags in 1..16 {
        let mut client = willing.client(cx)?;
        client.send(Disconnect::new().flags(flags))?;
        client.expect_disconnect_or_close(&[0x81])?;
        // The connection ended without a valid DISCONNECT.
        willing.expect_will()?;
    }
    Ok(())
}

pub(super) fn property_twice(cx: &mut Context) -> Outcome {
    const REASONS: [u8; 2] = [0x81, 0x82];
    let mut willing = WillPair::new(cx)?;
    for second in ["one", "two"] {
        for id in [property::REASON_STRING, property::SERVER_REFERENCE] {
            let mut client = willing.client(cx)?;
            client.send(Disconnect::new().with(id, "one").with(id, second))?;
            client.expect_disconnect_or_close(&REASONS)?;
            willing.expect_will()?;
        }
    }
    for second in [0, 1] {
        let mut client = willing.client(cx)?;
        let id = property::SESSION_EXPIRY_INTERVAL;
        client.send(Disconnect::new().with(id, 0).with(id, second))?;
        client.expect_disconnect_or_close(&REASONS)?;
        willing.expect_will()?;
    }
    Ok(())
}

pub(super) fn protocol_violations(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut bystander = cx.client("bystander")?;
    bystander.subscribe(&topic, 1)?;
    let violations = [
        // A second CONNECT.
        cx.connecting("violator").encode(cx.version()),
        // Packets that only a server sends.
        frame(Kind::Connack.first_byte(), &[0, 0]),
        frame(Kind::Suback.first_byte(), &[0, 1, 0]),
        frame(Kind::Unsuback.first_byte(), &[0, 1]),
        frame(Kind::Pingresp.first_byte(), &[]),
        // Reserved packet types.
        frame(0x00, &[]),
        frame(0xF0, &[]),
        // Empty payloads, and a Packet Identifier of 0.
        frame(Kind::Subscribe.first_byte(), &[0, 1]),
        frame(Kind::Unsubscribe.first_byte(), &[0, 1]),
        frame(Kind::Subscribe.first_byte(), &[0, 0, 0, 1, b'a', 0]),
        // QoS 3; a Remaining Length of five bytes; truncated fields.
        frame(Kind::Publish.first_byte() | 0b0110, &[0, 1, b'a', 0, 1]),
        vec![Kind::Publish.first_byte(), 0x80, 0x80, 0x80, 0x80, 0x01],
        frame(Kind::Publish.first_byte(), &[0]),
        frame(Kind::Puback.first_byte(), &[0]),
    ];
    for violation in violations {
        let mut client = cx.client("violator")?;
        client.subscribe(&topic, 0)?;
        client.send(violation)?;
        client.expect_disconnect_or_close(&[])?;
        cx.client("publisher")?.publish(Publish::new(&topic, "payload").qos(1))?;
        bystander.expect_message(&topic, "payload")?;
    }
    bystander.expect_silence_by_ping()
}
