//! Malformed Packets and Protocol Errors.

use crate::case::Case;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::bytes::{frame, prefixed};
use crate::wire::kind::Kind;
use crate::wire::{Ack, Connect, Disconnect, Publish, Subscribe, Version, Will, property};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_packet_type_that_does_not_exist_closes_the_connection",
        &["MQTT-4.8.0-1"],
        &["MQTT-4.13.1-1"],
        unknown_packet_type,
    ),
    Case::both(
        "a_packet_that_only_a_server_sends_closes_the_connection",
        &["MQTT-4.8.0-1"],
        &["MQTT-4.13.1-1"],
        packet_of_a_server,
    ),
    Case::both(
        "a_remaining_length_of_five_bytes_closes_the_connection",
        &["MQTT-4.8.0-1"],
        &["MQTT-4.13.1-1"],
        remaining_length_of_five_bytes,
    ),
    Case::both(
        "a_packet_that_breaks_off_closes_the_connection",
        &["MQTT-4.8.0-1"],
        &["MQTT-4.13.1-1"],
        broken_off_packet,
    ),
    Case::both(
        "bytes_after_the_last_field_close_the_connection",
        &["MQTT-4.8.0-1"],
        &["MQTT-4.13.1-1"],
        trailing_bytes,
    ),
    Case::both(
        "a_connect_that_breaks_off_closes_the_connection",
        &["MQTT-4.8.0-1"],
        &["MQTT-4.13.1-1", "5.0/4.13.1/6"],
        broken_off_connect,
    ),
    Case::both(
        "an_error_of_one_client_does_not_affect_others",
        &["MQTT-4.8.0-1"],
        &["MQTT-4.13.1-1"],
        others_are_left_alone,
    ),
    Case::both(
        "the_will_of_a_client_with_an_error_is_published",
        &["MQTT-4.8.0-1"],
        &["MQTT-4.13.1-1"],
        malformed_disconnect_leaves_the_will,
    ),
    Case::v5("an_unknown_reason_code_is_an_error", &["MQTT-4.13.1-1"], unknown_reason_codes),
    Case::v5("an_error_is_reported_with_disconnect", &["5.0/4.13.1/7", "5.0/4.13.1/8"], error_is_told_with_disconnect),
    Case::v5("an_error_in_connect_may_be_reported_with_connack", &["5.0/4.13.1/6", "5.0/4.13.1/8"], error_in_connect),
    Case::v5("a_refusing_connack_is_followed_by_the_end", &["MQTT-4.13.2-1"], refusing_connack),
    Case::v5("a_refusing_disconnect_is_followed_by_the_end", &["MQTT-4.13.2-1"], disconnect_on_takeover),
    Case::v5(
        "a_disconnect_of_the_client_with_an_error_is_followed_by_the_end",
        &["MQTT-4.13.2-1", "MQTT-3.1.2-8"],
        client_tells_an_error,
    ),
    Case::v5("a_refusing_acknowledgement_does_not_end_the_connection", &["MQTT-4.13.2-1"], refusing_acknowledgement),
];

/// Sends these bytes and PINGREQ on a new connection; the broker must not respond to the PINGREQ.
fn closes(cx: &mut Context, bytes: &[u8]) -> Outcome {
    let mut client = cx.client("a")?;
    send_with_ping(&mut client, bytes)?;
    client.expect_disconnect_or_close(&[0x81, 0x82])
}

fn send_with_ping(client: &mut Client, bytes: &[u8]) -> Outcome {
    client.send([bytes, &frame(Kind::Pingreq.first_byte(), &[])].concat())
}

fn unknown_packet_type(cx: &mut Context) -> Outcome {
    for first_byte in [0x00, 0x02, 0x0F] {
        closes(cx, &frame(first_byte, &[]))?;
    }
    // AUTH exists since 5.0.
    if cx.version() == Version::V3 {
        closes(cx, &frame(0xF0, &[]))?;
        closes(cx, &frame(0xF0, &[0x18, 0]))?;
    }
    Ok(())
}

fn packet_of_a_server(cx: &mut Context) -> Outcome {
    let no_properties: &[u8] = if cx.version().is_v5() { &[0] } else { &[] };
    let packets = [
        (Kind::Connack, [&[0, 0], no_properties].concat()),
        (Kind::Suback, [&[0, 1], no_properties, &[0]].concat()),
        // The Property Length of 0 is also a valid Reason Code.
        (Kind::Unsuback, [&[0, 1], no_properties, no_properties].concat()),
        (Kind::Pingresp, Vec::new()),
    ];
    packets.iter().try_for_each(|(kind, body)| closes(cx, &frame(kind.first_byte(), body)))
}

fn remaining_length_of_five_bytes(cx: &mut Context) -> Outcome {
    closes(cx, &[Kind::Pingreq.first_byte(), 0x80, 0x80, 0x80, 0x80, 0x00])?;
    closes(cx, &[Kind::Publish.first_byte(), 0xFF, 0xFF, 0xFF, 0xFF, 0x7F])?;
    // A complete packet with this length.
    let body = frame(0, &[prefixed(cx.topic("a")), vec![0], b"payload".to_vec()].concat());
    let length = body.get(1).copied().unwrap_or_default();
    let body = body.get(2..).unwrap_or_default();
    closes(cx, &[&[Kind::Publish.first_byte(), length | 0x80, 0x80, 0x80, 0x80, 0x00], body].concat())
}

fn broken_off_packet(cx: &mut Context) -> Outcome {
    let no_properties: &[u8] = if cx.version().is_v5() { &[0] } else { &[] };
    let id: &[u8] = &[0, 1];
    let packets: [(u8, Vec<u8>); 14] = [
        (Kind::Publish.first_byte(), vec![]),
        (Kind::Publish.first_byte(), vec![0]),
        (Kind::Publish.first_byte(), vec![0, 5, b'a']),
        (Kind::Publish.first_byte() | 0b010, prefixed(cx.topic("a"))),
        (Kind::Publish.first_byte() | 0b010, [prefixed(cx.topic("a")), vec![0]].concat()),
        (Kind::Puback.first_byte(), vec![]),
        (Kind::Puback.first_byte(), vec![0]),
        (Kind::Pubrec.first_byte(), vec![0]),
        (Kind::Pubrel.first_byte(), vec![0]),
        (Kind::Pubcomp.first_byte(), vec![0]),
        (Kind::Subscribe.first_byte(), vec![0]),
        (Kind::Subscribe.first_byte(), [id, no_properties, &prefixed(cx.topic("a"))].concat()),
        (Kind::Subscribe.first_byte(), [id, no_properties, &[0, 9, b'a', 0]].concat()),
        (Kind::Unsubscribe.first_byte(), [id, no_properties, &[0, 9, b'a']].concat()),
    ];
    packets.iter().try_for_each(|(first_byte, body)| closes(cx, &frame(*first_byte, body)))
}

fn trailing_bytes(cx: &mut Context) -> Outcome {
    closes(cx, &frame(Kind::Pingreq.first_byte(), &[0]))?;
    match cx.version() {
        Version::V3 => {
            for kind in [Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp] {
                closes(cx, &frame(kind.first_byte(), &[0, 1, 0]))?;
            }
        }
        Version::V5 => {
            // A Property Length of 0, followed by an extra byte.
            for kind in [Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp] {
                closes(cx, &frame(kind.first_byte(), &[0, 1, 0, 0, 0]))?;
            }
        }
    }
    let mut client = cx.open()?;
    client.send_connect(&Connect { trailing: vec![0, 1, b'a'], ..cx.connecting("a") })?;
    client.expect_disconnect_or_close(&[0x81, 0x82])
}

fn broken_off_connect(cx: &mut Context) -> Outcome {
    let will = Will::new(cx.topic("will"), "payload");
    let connect = cx.connecting("a").will(will).user_name("name").password("password");
    let whole = crate::wire::Encode::encode(&connect, cx.version());
    let body = whole.get(2..).unwrap_or_default();
    for length in 0..body.len() {
        let mut client = cx.open()?;
        client.send(frame(Kind::Connect.first_byte(), body.get(..length).unwrap_or_default()))?;
        client.expect_disconnect_or_close(&[0x81, 0x82, 0x84])?;
    }
    Ok(())
}

fn others_are_left_alone(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut bystander = cx.client("bystander")?;
    bystander.subscribe(&topic, 0)?;
    closes(cx, &frame(Kind::Connack.first_byte(), &[0, 0, 0]))?;
    closes(cx, &frame(Kind::Publish.first_byte() | 0b110, &prefixed(&topic)))?;
    bystander.publish(Publish::new(&topic, "still here").qos(1))?;
    bystander.expect_message(&topic, "still here")?;
    bystander.expect_silence_by_ping()
}

fn malformed_disconnect_leaves_the_will(cx: &mut Context) -> Outcome {
    let mut subscriber = cx.client("subscriber")?;
    let normal: &[u8] = if cx.version().is_v5() { &[0, 0] } else { &[] };
    let wrong = [
        Kind::Disconnect.first_byte() | 0b0010,
        Kind::Pubrel.first_byte() & 0xF0,
        Kind::Connack.first_byte(),
        Kind::Publish.first_byte() | 0b110,
    ];
    for (number, first_byte) in (0..).zip(wrong) {
        let topic = cx.topic(&format!("will/{number}"));
        subscriber.subscribe(&topic, 0)?;
        let mut client = cx.connect(cx.connecting("willing").will(Will::new(&topic, "gone")))?;
        client.send(frame(first_byte, normal))?;
        client.expect_disconnect_or_close(&[0x81, 0x82])?;
        subscriber.expect_message(&topic, "gone")?;
    }
    Ok(())
}

fn unknown_reason_codes(cx: &mut Context) -> Outcome {
    // A client must not send any of these Reason Codes in the packet.
    for code in [0x01, 0x02, 0x03, 0x05, 0x7F, 0x8D, 0x8E, 0xFF] {
        let mut client = cx.client("a")?;
        send_with_ping(&mut client, &frame(Kind::Disconnect.first_byte(), &[code]))?;
        client.expect_disconnect_or_close(&[0x81, 0x82])?;
    }
    for (kind, codes) in [(Kind::Puback, [0x01, 0x92, 0xFF]), (Kind::Pubrel, [0x01, 0x10, 0x80])] {
        for code in codes {
            closes(cx, &frame(kind.first_byte(), &[0, 1, code]))?;
        }
    }
    Ok(())
}

fn error_is_told_with_disconnect(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let malformed = [
        frame(Kind::Pingreq.first_byte() | 1, &[]),
        frame(Kind::Publish.first_byte() | 0b110, &prefixed(&topic)),
        frame(Kind::Subscribe.first_byte(), &[0]),
    ];
    for bytes in malformed {
        let mut client = cx.client("a")?;
        client.send(bytes)?;
        client.expect_disconnect(&[0x81])?;
    }
    let mut client = cx.client("a")?;
    client.send(Publish::new("", ""))?;
    client.expect_disconnect(&[0x82])?;
    let mut client = cx.client("a")?;
    client.send(Subscribe { filters: Vec::new(), ..Subscribe::default() }.packet_id(1))?;
    client.expect_disconnect(&[0x82])?;
    let mut client = cx.client("a")?;
    client.send_connect(&cx.connecting("a"))?;
    client.expect_disconnect(&[0x82]).map(|_| ())
}

fn error_in_connect(cx: &mut Context) -> Outcome {
    let malformed = [cx.connecting("a").connect_flags(0b11), cx.connecting("a").flags(1)];
    for connect in malformed {
        let mut client = cx.open()?;
        client.send_connect(&connect)?;
        client.expect_disconnect_or_close(&[0x81])?;
    }
    let wrong = [
        cx.connecting("a").with(property::RECEIVE_MAXIMUM, 0),
        cx.connecting("a").with(property::MAXIMUM_PACKET_SIZE, 0),
        cx.connecting("a").with(property::REQUEST_PROBLEM_INFORMATION, 2),
    ];
    for connect in wrong {
        let mut client = cx.open()?;
        client.send(&connect)?;
        client.expect_disconnect_or_close(&[0x81, 0x82])?;
    }
    Ok(())
}

fn refusing_connack(cx: &mut Context) -> Outcome {
    let refused = [
        cx.connecting("a").connect_flags(0b11),
        cx.connecting("a").with(property::AUTHENTICATION_METHOD, "conformance has no such method"),
    ];
    for connect in refused {
        let mut client = cx.open()?;
        client.send_connect(&connect)?;
        // The broker must close the connection after its response, if it sends one.
        client.send(Subscribe::new(cx.topic("a"), 0).packet_id(1))?;
        client.expect_close()?;
    }
    Ok(())
}

fn disconnect_on_takeover(cx: &mut Context) -> Outcome {
    let mut first = cx.client("a")?;
    let mut second = cx.client("a")?;
    first.expect_disconnect_or_close(&[0x8E])?;
    second.ping()
}

fn client_tells_an_error(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    for reason in [0x80, 0x81, 0x82, 0x83, 0x99] {
        let mut client = cx.connect(cx.connecting("willing").will(Will::new(&topic, "gone")))?;
        client.send(Disconnect::new().reason(reason))?;
        match client.receive() {
            Err(Failure::Broken { came, .. }) if came.contains("closed") => {}
            Err(failure) => return Err(failure),
            Ok(packet) => return Err(Failure::new("nothing but the end after DISCONNECT", packet.describe())),
        }
        subscriber.expect_message(&topic, "gone").map_err(|failure| failure.of("MQTT-3.1.2-8"))?;
    }
    Ok(())
}

/// An error in PUBREC, SUBACK or similar refers to one packet only.
fn refusing_acknowledgement(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 2)?;
    client.publish(Publish::new(&topic, "one").qos(1))?;
    let one = client.expect_publish()?;
    client.send(Ack::puback(one.packet_id.unwrap_or_default()).reason(0x83))?;
    client.publish(Publish::new(&topic, "two").qos(2))?;
    let two = client.expect_publish()?;
    client.send(Ack::pubrec(two.packet_id.unwrap_or_default()).reason(0x83))?;
    client.publish(Publish::new(&topic, "three").qos(1))?;
    client.expect_message(&topic, "three")?;
    // PUBREL for a finished exchange: PUBCOMP reports it, and the connection stays open.
    client.send(Ack::pubrel(999))?;
    let pubcomp = client.expect_pubcomp(999)?;
    check(matches!(pubcomp.reason_code(), 0 | 0x92), "Success or Packet Identifier not found", format!("{pubcomp:?}"))?;
    client.ping()?;
    check_equal("the payload", two.payload, "two")
}
