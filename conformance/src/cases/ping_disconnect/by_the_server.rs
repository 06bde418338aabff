//! DISCONNECT from the server.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check};
use crate::wire::bytes::frame;
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Encode, Pingreq, Publish, Subscribe, Unsubscribe, Utf8, Will, property};

pub(super) fn none_before_connack(cx: &mut Context) -> Outcome {
    let connect = || cx.connecting("a");
    let refused = [
        connect().flags(1).encode(cx.version()),
        connect().connect_flags(0b0000_0011).encode(cx.version()),
        connect().with(property::RECEIVE_MAXIMUM, 0).encode(cx.version()),
        connect().will(Will::new("a/+", "")).encode(cx.version()),
        cx.connecting("").client_id(Utf8::NUL).encode(cx.version()),
        // A packet before CONNECT.
        Pingreq.encode(cx.version()),
        Publish::new(cx.topic("a"), "payload").encode(cx.version()),
        Subscribe::new(cx.topic("a"), 0).packet_id(1).encode(cx.version()),
        frame(Kind::Disconnect.first_byte(), &[]),
        frame(Kind::Auth.first_byte(), &[]),
        vec![0x00, 0x00],
        vec![0xFF; 8],
    ];
    for bytes in refused {
        let mut client = cx.open()?;
        client.send(bytes)?;
        let answer = client.receive_or_close()?;
        let is_refusal = match &answer {
            None => true,
            Some(Packet::Connack(connack)) => connack.reason >= 0x80,
            Some(_) => false,
        };
        // Who accepts the CONNECT violates another statement.
        let statement = matches!(answer, Some(Packet::Connack(_))).then_some("MQTT-3.1.4-1");
        check(is_refusal, "a refusing CONNACK, or the end of the connection", format!("{answer:?}"))
            .map_err(|failure| failure.or_of(statement))?;
        let then = if answer.is_some() { client.receive_or_close()? } else { None };
        check(then.is_none(), "the end of the connection", format!("{then:?}"))?;
    }
    Ok(())
}

/// Errors that make a broker disconnect, each with the appropriate Reason Codes.
fn errors(cx: &Context) -> Vec<(Vec<u8>, &'static [u8])> {
    let version = cx.version();
    let topic = cx.topic("a");
    vec![
        (cx.connecting("a").encode(version), &[0x82]),
        (Subscribe::new(&topic, 0).packet_id(1).flags(0).encode(version), &[0x81]),
        (Subscribe::new(&topic, 0b1000_0000).packet_id(1).encode(version), &[0x81]),
        (Subscribe::new(Utf8::NUL, 0).packet_id(1).encode(version), &[0x81, 0x8F]),
        (Unsubscribe::default().packet_id(1).encode(version), &[0x81, 0x82]),
        (Publish::new(cx.topic("+"), "").encode(version), &[0x81, 0x82, 0x90]),
        (Publish::new(&topic, "").qos(3).packet_id(1).encode(version), &[0x81]),
        (Publish::new(&topic, "").with(property::TOPIC_ALIAS, 0).encode(version), &[0x81, 0x82, 0x94]),
        (Publish::new(&topic, "").with(property::TOPIC_ALIAS, 65_535).encode(version), &[0x94]),
        (frame(Kind::Auth.first_byte(), &[0x18, 0]), &[0x81, 0x82]),
        (vec![Kind::Publish.first_byte(), 0xFF, 0xFF, 0xFF, 0xFF, 0x01], &[0x81]),
    ]
}

pub(super) fn reasons(cx: &mut Context) -> Outcome {
    let broker_takes_all_aliases =
        cx.announced().properties.number(property::TOPIC_ALIAS_MAXIMUM) == Some(u32::from(u16::MAX));
    for (bytes, reasons) in errors(cx) {
        if reasons == [0x94] && broker_takes_all_aliases {
            continue;
        }
        let mut client = cx.client("a")?;
        client.send(bytes)?;
        client.expect_disconnect_or_close(reasons)?;
    }
    let mut client = cx.client("a")?;
    let mut successor = cx.client("a")?;
    client.expect_disconnect_or_close(&[0x8E])?;
    successor.expect_silence_by_ping()
}

pub(super) fn maximum_packet_size(cx: &mut Context) -> Outcome {
    let limit = cx.smallest_maximum_packet_size();
    for (bytes, _) in errors(cx) {
        let mut client = cx.connect(cx.connecting("a").with(property::MAXIMUM_PACKET_SIZE, limit))?;
        client.send(bytes)?;
        // The size of each packet is checked on arrival.
        expect_end(&mut client)?;
    }
    let mut client = cx.connect(cx.connecting("a").with(property::MAXIMUM_PACKET_SIZE, limit))?;
    cx.client("a")?.ping()?;
    expect_end(&mut client)
}

/// Receives packets until the connection is closed. Packets after DISCONNECT are detected on arrival.
fn expect_end(client: &mut Client) -> Outcome {
    while client.receive_or_close()?.is_some() {}
    Ok(())
}

pub(super) fn nothing_after(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    for _ in 0..5 {
        let mut client = cx.client("a")?;
        client.subscribe(&topic, 1)?;
        client.send(Publish::new(&topic, "payload").qos(1).packet_id(1))?;
        // Messages to the client are in flight meanwhile.
        for number in 0..20 {
            publisher.send(Publish::new(&topic, number.to_string()))?;
        }
        client.send(Pingreq.encode(cx.version()).repeat(10))?;
        let mut successor = cx.client("a")?;
        for number in 0..20 {
            publisher.send(Publish::new(&topic, number.to_string()))?;
        }
        expect_end(&mut client)?;
        successor.expect_silence_by_ping()?;
        refusing(&mut successor)?;
    }
    Ok(())
}

/// An error between other packets also closes the connection, and later packets get no response.
fn refusing(client: &mut Client) -> Result<(), Failure> {
    let version = client.version();
    let wrong = frame(Kind::Subscribe.first_byte() & 0xF0, &[0, 1, 0, 0, 1, b'a', 0]);
    let ping = Pingreq.encode(version);
    client.send([ping.clone(), wrong, ping.repeat(5)].concat())?;
    let answer = client.receive_or_close()?;
    check(
        matches!(answer, None | Some(Packet::Pingresp | Packet::Disconnect(_))),
        "PINGRESP, then DISCONNECT or the end of the connection",
        format!("{answer:?}"),
    )?;
    let mut pings = usize::from(answer == Some(Packet::Pingresp));
    while let Some(packet) = client.receive_or_close()? {
        pings += usize::from(packet == Packet::Pingresp);
    }
    check(pings <= 1, "at most one PINGRESP", pings.to_string())
}
