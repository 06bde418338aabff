//! The fixed header and Packet Identifiers.

use super::carrier::Carrier;
use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal, check_qos};
use crate::wire::bytes::{frame, prefixed};
use crate::wire::kind::Kind;
use crate::wire::{Ack, Auth, Encode, Publish, Subscribe, Unsubscribe, property};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_reserved_flag_in_the_fixed_header_closes_the_connection",
        &["MQTT-2.2.2-1", "MQTT-2.2.2-2"],
        &["MQTT-2.1.3-1", "5.0/2.1.3/1"],
        reserved_flags,
    ),
    Case::both(
        "a_reserved_flag_in_connect_closes_the_connection",
        &["MQTT-2.2.2-1", "MQTT-2.2.2-2"],
        &["MQTT-2.1.3-1", "5.0/2.1.3/1"],
        reserved_flags_in_connect,
    ),
    Case::v5("a_reserved_flag_in_auth_closes_the_connection", &["MQTT-2.1.3-1", "5.0/2.1.3/1"], reserved_flags_in_auth),
    Case::both(
        "all_packets_of_the_broker_have_the_reserved_flags_right",
        &["MQTT-2.2.2-1"],
        &["MQTT-2.1.3-1", "MQTT-2.2.2-1"],
        every_packet_of_the_broker,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "a_message_at_qos_0_has_no_packet_identifier",
        &["MQTT-2.3.1-5"],
        &["MQTT-2.2.1-2"],
        no_packet_identifier_at_qos_0,
    ),
    Case::both(
        "a_packet_identifier_0_closes_the_connection",
        &["MQTT-2.3.1-1"],
        &["MQTT-2.2.1-3"],
        packet_identifier_0,
    ),
    Case::both(
        "messages_in_flight_have_packet_identifiers_of_their_own",
        &["MQTT-2.3.1-4", "MQTT-2.3.1-1"],
        &["MQTT-2.2.1-4"],
        packet_identifiers_in_flight,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "a_packet_identifier_of_the_client_may_be_in_use_by_the_broker",
        &["MQTT-2.3.1-6"],
        &["MQTT-2.2.1-5"],
        packet_identifiers_of_both_sides,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "acknowledgements_have_the_packet_identifier_of_the_publish",
        &["MQTT-2.3.1-6"],
        &["MQTT-2.2.1-5"],
        acknowledged_packet_identifiers,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "pubrel_has_the_packet_identifier_of_the_publish",
        &["MQTT-2.3.1-6"],
        &["MQTT-2.2.1-5"],
        pubrel_packet_identifiers,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "suback_and_unsuback_have_the_packet_identifier_of_the_request",
        &["MQTT-2.3.1-7"],
        &["MQTT-2.2.1-6"],
        answered_packet_identifiers,
    ),
];

fn reserved_flags(cx: &mut Context) -> Outcome {
    let topic = prefixed(cx.topic("a"));
    let no_properties = if cx.version().is_v5() { vec![0] } else { Vec::new() };
    let subscribe = [vec![0, 1], no_properties.clone(), topic.clone(), vec![0]].concat();
    let unsubscribe = [vec![0, 1], no_properties, topic].concat();
    let packets: [(Kind, &[u8]); 8] = [
        (Kind::Puback, &[0, 1]),
        (Kind::Pubrec, &[0, 1]),
        (Kind::Pubrel, &[0, 1]),
        (Kind::Pubcomp, &[0, 1]),
        (Kind::Subscribe, &subscribe),
        (Kind::Unsubscribe, &unsubscribe),
        (Kind::Pingreq, &[]),
        (Kind::Disconnect, &[]),
    ];
    for (kind, body) in packets {
        let right = kind.first_byte();
        for first_byte in (right & 0xF0..=right | 0x0F).filter(|first_byte| *first_byte != right) {
            let mut client = cx.client("a")?;
            // If the broker accepts the invalid packet, the response to PINGREQ shows it.
            client.send([frame(first_byte, body), frame(Kind::Pingreq.first_byte(), &[])].concat())?;
            client.expect_disconnect_or_close(&[0x81])?;
        }
    }
    Ok(())
}

fn reserved_flags_in_connect(cx: &mut Context) -> Outcome {
    for flags in 1..16 {
        let mut client = cx.open()?;
        client.send_connect(&cx.connecting("a").flags(flags))?;
        client.expect_disconnect_or_close(&[0x81])?;
    }
    Ok(())
}

fn reserved_flags_in_auth(cx: &mut Context) -> Outcome {
    for flags in 1..16 {
        let mut client = cx.client("a")?;
        client.send(Auth::new(0x19).with(property::AUTHENTICATION_METHOD, "method").flags(flags))?;
        client.expect_disconnect_or_close(Carrier::Auth.malformed())?;
    }
    Ok(())
}

/// Causes each kind of packet that a broker sends in normal operation; the decoder checks each.
fn every_packet_of_the_broker(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 2)?;
    for qos in 0..=2 {
        client.publish(Publish::new(&topic, "payload").qos(qos))?;
        let message = client.expect_message(&topic, "payload")?;
        check_qos(cx.version(), message.qos, qos)?;
    }
    client.unsubscribe(&topic)?;
    client.ping()?;
    client.disconnect()
}

fn no_packet_identifier_at_qos_0(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 0)?;
    // A Packet Identifier copied from QoS 1 or 2 would precede the payload.
    for qos in 0..=2 {
        client.publish(Publish::new(&topic, "payload").qos(qos))?;
        client.expect_message(&topic, "payload")?;
    }
    Ok(())
}

fn packet_identifier_0(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let packets: [&dyn Encode; 4] = [
        &Subscribe::new(&topic, 0).packet_id(0),
        &Unsubscribe::new(&topic).packet_id(0),
        &Publish::new(&topic, "").qos(1).packet_id(0),
        &Publish::new(&topic, "").qos(2).packet_id(0),
    ];
    for packet in packets {
        let mut client = cx.client("a")?;
        client.send(packet)?;
        client.expect_disconnect_or_close(&[0x81, 0x82])?;
    }
    Ok(())
}

fn packet_identifiers_in_flight(cx: &mut Context) -> Outcome {
    const COUNT: u8 = 20;
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 2)?;
    for number in 0..COUNT {
        client.publish(Publish::new(&topic, &[number]).qos(1 + number % 2))?;
    }
    let mut ids = Vec::new();
    for _ in 0..COUNT {
        let message = client.expect_publish()?;
        ids.push(message.packet_id.ok_or_else(|| Failure::new("a Packet Identifier", format!("{message:?}")))?);
    }
    ids.sort_unstable();
    ids.dedup();
    check_equal("the number of different Packet Identifiers", ids.len(), usize::from(COUNT))
}

fn packet_identifiers_of_both_sides(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    cx.client("publisher")?.publish(Publish::new(&topic, "theirs").qos(1))?;
    let message = subscriber.expect_publish()?;
    let packet_id = message.packet_id.unwrap_or_default();
    // The broker's message is not acknowledged, so its Packet Identifier is in use in that direction.
    subscriber.publish(Publish::new(cx.topic("other"), "mine").qos(1).packet_id(packet_id))?;
    subscriber.subscribe_with(Subscribe::new(cx.topic("third"), 0).packet_id(packet_id))?;
    subscriber.acknowledge(&message)?;
    subscriber.expect_silence_by_ping()
}

/// Values that reveal wrong or swapped bytes.
const PACKET_IDS: [u16; 7] = [1, 0x00FF, 0x0100, 0x0102, 0x7FFF, 0x8000, 0xFFFF];

fn acknowledged_packet_identifiers(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for packet_id in PACKET_IDS {
        client.publish(Publish::new(&topic, "").qos(1).packet_id(packet_id))?;
        client.publish(Publish::new(&topic, "").qos(2).packet_id(packet_id))?;
    }
    // Several exchanges at the same time.
    for packet_id in PACKET_IDS {
        client.send(Publish::new(&topic, "").qos(2).packet_id(packet_id))?;
    }
    for packet_id in PACKET_IDS {
        client.expect_pubrec(packet_id)?;
    }
    for packet_id in PACKET_IDS {
        client.send(Ack::pubrel(packet_id))?;
    }
    for packet_id in PACKET_IDS {
        client.expect_pubcomp(packet_id)?;
    }
    Ok(())
}

fn pubrel_packet_identifiers(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    for payload in ["one", "two", "three"] {
        publisher.publish(Publish::new(&topic, payload).qos(2))?;
    }
    let mut ids = Vec::new();
    for payload in ["one", "two", "three"] {
        let message = subscriber.expect_publish()?;
        check(message.payload == payload, format!("the message {payload:?}"), format!("{message:?}"))?;
        ids.extend(message.packet_id);
    }
    for packet_id in &ids {
        subscriber.send(Ack::pubrec(*packet_id))?;
    }
    for packet_id in &ids {
        subscriber.expect_pubrel(*packet_id)?;
    }
    Ok(())
}

fn answered_packet_identifiers(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for packet_id in PACKET_IDS {
        client.subscribe_with(Subscribe::new(&topic, 0).packet_id(packet_id))?;
        client.unsubscribe_with(Unsubscribe::new(&topic).packet_id(packet_id))?;
    }
    Ok(())
}
