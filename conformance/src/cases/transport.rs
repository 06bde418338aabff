//! The network connection and WebSockets.

use std::time::Duration;

use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::{Outcome, check, check_equal};
use crate::websocket::{Opcode, WebSocket};
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Encode, Pingreq, Publish, Subscribe, property};

pub(super) const CASES: &[Case] = &[
    Case::both("packets_arrive_whole_when_sent_byte_by_byte", &["MQTT-7.1.1-1"], &["MQTT-4.2.0-1"], byte_by_byte),
    Case::both("packets_arrive_apart_when_sent_together", &["MQTT-7.1.1-1"], &["MQTT-4.2.0-1"], many_packets_together),
    Case::both("a_long_payload_arrives_unchanged", &["MQTT-7.1.1-1"], &["MQTT-4.2.0-1"], long_payload),
    Case::v3("a_client_needs_nothing_but_the_standard", &["MQTT-7.0.0-2"], plain_client),
    Case::both("the_websocket_sub_protocol_is_mqtt", &["MQTT-6.0.0-4"], &["MQTT-6.0.0-4"], sub_protocol)
        .needs(&[Feature::WebSocket]),
    Case::both("packets_are_sent_in_binary_frames", &["MQTT-6.0.0-1"], &["MQTT-6.0.0-1"], binary_frames)
        .needs(&[Feature::WebSocket]),
    Case::both("a_text_frame_closes_the_connection", &["MQTT-6.0.0-1"], &["MQTT-6.0.0-1"], text_frame)
        .needs(&[Feature::WebSocket]),
    Case::both("packets_need_not_begin_or_end_with_a_frame", &["MQTT-6.0.0-2"], &["MQTT-6.0.0-2"], unaligned_frames)
        .needs(&[Feature::WebSocket]),
    Case::both(
        "a_frame_in_fragments_carries_packets_as_a_whole_one_does",
        &["MQTT-6.0.0-2"],
        &["MQTT-6.0.0-2"],
        fragmented_frames,
    )
    .needs(&[Feature::WebSocket]),
];

fn byte_by_byte(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.open()?;
    let version = cx.version();
    let parts: [&dyn Encode; 3] = [
        &cx.connecting("a"),
        &Subscribe::new(&topic, 1).packet_id(1),
        &Publish::new(&topic, "in pieces").qos(1).packet_id(2),
    ];
    for byte in parts.iter().flat_map(|packet| packet.encode(version)) {
        client.send([byte])?;
        std::thread::sleep(Duration::from_millis(1));
    }
    check_equal("the Reason Code", client.expect_connack()?.reason, 0)?;
    client.expect_suback(1)?;
    client.expect_puback(2)?;
    client.expect_message(&topic, "in pieces")?;
    client.expect_silence_by_ping()
}

fn many_packets_together(cx: &mut Context) -> Outcome {
    const COUNT: u16 = 100;
    let topic = cx.topic("a");
    let version = cx.version();
    let mut client = cx.client("a")?;
    let mut bytes = Subscribe::new(&topic, 0).packet_id(COUNT).encode(version);
    for number in 0..COUNT {
        bytes.extend(Publish::new(&topic, number.to_string()).encode(version));
        bytes.extend(Pingreq.encode(version));
    }
    client.send(bytes)?;
    client.expect_suback(COUNT)?;
    for number in 0..COUNT {
        client.expect_message(&topic, number.to_string())?;
        client.expect_kind(Kind::Pingresp)?;
    }
    client.expect_silence_by_ping()
}

fn long_payload(cx: &mut Context) -> Outcome {
    let size = cx.announced().properties.number(property::MAXIMUM_PACKET_SIZE).unwrap_or(u32::MAX);
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 1)?;
    for length in [100_000u32, 300_000].into_iter().filter(|length| length + 1_000 < size) {
        let payload: Vec<u8> =
            (0..length).map(|number| number.to_le_bytes().iter().fold(0, |sum, byte| sum ^ byte)).collect();
        client.publish(Publish::new(&topic, &payload).qos(1))?;
        let message = client.expect_publish()?;
        check(message.payload.as_bytes() == payload, "the payload as it was sent", "another one")?;
        client.acknowledge(&message)?;
    }
    Ok(())
}

fn plain_client(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 1)?;
    client.publish(Publish::new(&topic, "payload").qos(1))?;
    client.expect_message(&topic, "payload")?;
    client.unsubscribe(&topic)?;
    client.ping()?;
    client.disconnect()
}

fn sub_protocol(cx: &mut Context) -> Outcome {
    for offered in ["mqtt", "chat, mqtt", "mqtt, chat"] {
        let socket = WebSocket::open(cx, offered)?;
        check_equal("the Sub Protocol", socket.header("Sec-WebSocket-Protocol"), Some("mqtt"))?;
    }
    Ok(())
}

fn binary_frames(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut socket = WebSocket::connected(cx, "a")?;
    socket.send(&Subscribe::new(&topic, 0).packet_id(1))?;
    socket.expect_kind(Kind::Suback)?;
    // Frames with each width of the length.
    for size in [0, 100, 1_000, 70_000] {
        let payload = "p".repeat(size);
        socket.send(&Publish::new(&topic, payload.clone()))?;
        let packet = socket.expect_packet()?;
        let arrived = matches!(&packet, Packet::Publish(publish) if publish.payload == payload);
        check(arrived, format!("the message of {size} bytes"), packet.describe())?;
    }
    Ok(())
}

fn text_frame(cx: &mut Context) -> Outcome {
    let mut socket = WebSocket::connected(cx, "a")?;
    socket.send_frame(Opcode::Text, true, &Pingreq.encode(cx.version()))?;
    socket.expect_close()?;
    // PINGREQ isn't valid UTF-8, which a text frame must not contain either; CONNECT is.
    let mut socket = WebSocket::connected(cx, "a")?;
    socket.send_frame(Opcode::Text, true, &Publish::new(cx.topic("a"), "text").encode(cx.version()))?;
    socket.expect_close()?;
    let mut socket = WebSocket::open(cx, "mqtt")?;
    socket.send_frame(Opcode::Text, true, &cx.connecting("a").encode(cx.version()))?;
    socket.expect_close()
}

fn unaligned_frames(cx: &mut Context) -> Outcome {
    let (topic, version) = (cx.topic("a"), cx.version());
    let bytes = [
        cx.connecting("a").encode(version),
        Subscribe::new(&topic, 0).packet_id(1).encode(version),
        Publish::new(&topic, "payload").encode(version),
        Pingreq.encode(version),
    ]
    .concat();
    // All bytes in one frame, in frames of one byte, and in frames that end within packets.
    for length in [bytes.len(), 1, 7, 33] {
        let mut socket = WebSocket::open(cx, "mqtt")?;
        for part in bytes.chunks(length) {
            socket.send_frame(Opcode::Binary, true, part)?;
        }
        expect_answers(&mut socket)?;
    }
    Ok(())
}

fn fragmented_frames(cx: &mut Context) -> Outcome {
    let (topic, version) = (cx.topic("a"), cx.version());
    let bytes = [
        cx.connecting("a").encode(version),
        Subscribe::new(&topic, 0).packet_id(1).encode(version),
        Publish::new(&topic, "payload").encode(version),
        Pingreq.encode(version),
    ]
    .concat();
    let mut socket = WebSocket::open(cx, "mqtt")?;
    let (first, rest) = bytes.split_at(5);
    let (second, last) = rest.split_at(20);
    socket.send_frame(Opcode::Binary, false, first)?;
    socket.send_frame(Opcode::Continuation, false, second)?;
    socket.send_frame(Opcode::Continuation, true, last)?;
    expect_answers(&mut socket)
}

/// Expects the responses to CONNECT, SUBSCRIBE, PUBLISH and PINGREQ; the message may overtake PINGRESP only.
fn expect_answers(socket: &mut WebSocket) -> Outcome {
    socket.expect_connack()?;
    let mut kinds = [socket.expect_packet()?.kind(), socket.expect_packet()?.kind(), socket.expect_packet()?.kind()];
    kinds.sort_unstable();
    // The message may be sent before SUBACK (3.8.4).
    check_equal("the packets", kinds, [Kind::Publish, Kind::Suback, Kind::Pingresp])
}
