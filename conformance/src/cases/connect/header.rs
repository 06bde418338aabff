//! The first packet, the Protocol Name and the Protocol Version.

use super::refusal::{bytes_until_close, expect_refused};
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::bytes::{frame, prefixed};
use crate::wire::kind::Kind;
use crate::wire::{Connect, Utf8, Version, Will};

pub(super) fn another_first_packet(cx: &mut Context) -> Outcome {
    let topic = prefixed(cx.topic("a"));
    let (id, topic): (&[u8], _) = (&[0, 1], topic.as_slice());
    let property_length: &[u8] = if cx.version().is_v5() { &[0] } else { &[] };
    let packets = [
        (Kind::Connack, vec![0, 0]),
        (Kind::Publish, [topic, property_length].concat()),
        (Kind::Puback, id.to_vec()),
        (Kind::Pubrec, id.to_vec()),
        (Kind::Pubrel, id.to_vec()),
        (Kind::Pubcomp, id.to_vec()),
        (Kind::Subscribe, [id, property_length, topic, &[0]].concat()),
        (Kind::Suback, [id, property_length, &[0]].concat()),
        (Kind::Unsubscribe, [id, property_length, topic].concat()),
        (Kind::Unsuback, [id, property_length].concat()),
        (Kind::Pingreq, vec![]),
        (Kind::Pingresp, vec![]),
        (Kind::Disconnect, vec![]),
        (Kind::Auth, vec![]),
    ];
    for (kind, body) in packets {
        let mut client = cx.open()?;
        client.send(frame(kind.first_byte(), &body))?;
        client.expect_close()?;
    }
    let mut client = cx.open()?;
    // Packet type 0 is reserved.
    client.send([0, 0])?;
    client.expect_close()
}

pub(super) fn second_connect(cx: &mut Context) -> Outcome {
    for label in ["a", "b"] {
        let mut client = cx.client("a")?;
        let again = cx.connecting(label);
        client.send(&again)?;
        client.expect_disconnect_or_close(&[0x82])?;
    }
    Ok(())
}

pub(super) fn second_connect_and_will(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let connect = cx.connecting("willing").will(Will::new(&topic, "gone"));
    let mut client = cx.connect(connect.clone())?;
    client.send(&connect)?;
    client.expect_disconnect_or_close(&[0x82])?;
    subscriber.expect_message(&topic, "gone")?;
    Ok(())
}

pub(super) fn fixed_header_flags(cx: &mut Context) -> Outcome {
    for flags in [0b0001, 0b0010, 0b0100, 0b1000, 0b1111] {
        expect_refused(cx, &cx.connecting("a").flags(flags), &[0x81])?;
    }
    Ok(())
}

pub(super) fn protocol_name(cx: &mut Context) -> Outcome {
    let names: [&[u8]; 9] = [b"", b"M", b"MQT", b"mqtt", b"Mqtt", b"MQTX", b"MQTTT", b" MQTT", Utf8::NUL];
    let (_, ill_formed) = Utf8::ILL_FORMED[0];
    for name in names.into_iter().chain([ill_formed]) {
        let mut client = cx.open()?;
        client.send_connect(&cx.connecting("a").protocol_name(name))?;
        client.expect_disconnect_or_close(&[0x81, 0x82, 0x84])?;
    }
    Ok(())
}

/// 3.1.1 prescribes the code. For a broker of both versions, MQTT-3.1.2-2 of 5.0 permits the CONNACK of 5.0 for every level
/// that it doesn't accept, too.
pub(super) fn protocol_level(cx: &mut Context) -> Outcome {
    const REFUSED: [u8; 4] = [0x20, 2, 0, 1];
    for level in [0, 1, 2, 6, 7, 64, 127] {
        let mut client = cx.open()?;
        client.send_connect(&cx.connecting("a").protocol_level(level))?;
        let bytes = bytes_until_close(&mut client)?;
        let of_version_5 = !cx.announced().properties.0.is_empty() && is_refusal_of_version_5(&bytes);
        check(
            bytes == REFUSED || of_version_5,
            format!("CONNACK with the return code 1 to the Protocol Level {level}"),
            format!("the bytes {bytes:02X?} and the end"),
        )?;
    }
    Ok(())
}

/// CONNACK is optional; it may be one of 3.1.1, because the broker doesn't know the version.
pub(super) fn protocol_version(cx: &mut Context) -> Outcome {
    for version in [0, 1, 2, 6, 7, 64, 127, 255] {
        let mut client = cx.open()?;
        client.send_connect(&cx.connecting("a").protocol_level(version))?;
        let bytes = bytes_until_close(&mut client)?;
        check(
            bytes.is_empty() || bytes == [0x20, 2, 0, 1] || is_refusal_of_version_5(&bytes),
            format!("no CONNACK to the Protocol Version {version}, or one with the Reason Code 0x84"),
            format!("the bytes {bytes:02X?} and the end"),
        )?;
    }
    Ok(())
}

fn is_refusal_of_version_5(bytes: &[u8]) -> bool {
    matches!(bytes, [0x20, length, 0, 0x84, rest @ ..] if usize::from(*length) == rest.len() + 2)
}

pub(super) fn older_client(cx: &mut Context) -> Outcome {
    let client_id = cx.client_id("older");
    let older = Connect::new(Version::V3).client_id(client_id.as_str());
    let connect = match cx.version() {
        Version::V3 => older.protocol_name("MQIsdp").protocol_level(3),
        Version::V5 => older,
    };
    let mut client = cx.open()?;
    client.send_connect(&connect)?;
    let Some(connack) = client.expect_connack_or_close()? else { return Ok(()) };
    if connack.reason == 0 {
        return client.ping();
    }
    check_equal("the return code", connack.reason, 1)
        .map_err(|_| Failure::new("Success, the return code 1, or the end of the connection", format!("{connack:?}")))
}
