//! The fixed header, Packet Identifiers and the properties' frame.

use super::carrier::{self, Carrier};
use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::bytes::{frame, prefixed};
use crate::wire::packet::Kind;
use crate::wire::property::{self, Property, Value};
use crate::wire::{Ack, Auth, Disconnect, Encode, Properties, Publish, Subscribe, Unsubscribe, tables};

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
    Case::v5("a_missing_property_length_is_malformed", &["MQTT-2.2.2-1"], missing_property_length),
    Case::v5("a_property_length_beyond_the_packet_is_malformed", &["MQTT-2.2.2-1"], property_length_beyond_the_packet),
    Case::v5("no_properties_are_told_by_a_length_of_0", &["MQTT-2.2.2-1"], no_properties),
    Case::v5(
        "a_property_of_another_packet_is_malformed",
        &["5.0/2.2.2.2/1", "5.0/2.2.2.2/2"],
        property_of_another_packet,
    )
    .seconds(30),
    Case::v5("a_property_that_does_not_exist_is_malformed", &["5.0/2.2.2.2/1", "5.0/2.2.2.2/2"], unknown_property),
    Case::v5("a_property_that_breaks_off_is_malformed", &["5.0/2.2.2.2/1", "5.0/2.2.2.2/2"], broken_off_property)
        .seconds(20),
    Case::v5(
        "a_variable_byte_integer_of_five_bytes_is_malformed",
        &["5.0/2.2.2.2/1"],
        subscription_identifier_of_five_bytes,
    ),
    Case::v5(
        "a_malformed_property_is_answered_with_malformed_packet",
        &["5.0/2.2.2.2/2"],
        malformed_property_is_answered,
    ),
    Case::v5("every_property_of_a_client_is_accepted", &["5.0/2.2.2.2/1"], allowed_properties),
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
            // Behind a packet that is wrongly taken, the answer to PINGREQ shows that the connection goes on.
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

/// Each kind of packet that a broker sends without being asked for anything unusual; the decoder checks each.
fn every_packet_of_the_broker(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 2)?;
    for qos in 0..=2 {
        client.publish(Publish::new(&topic, "payload").qos(qos))?;
        let message = client.expect_message(&topic, "payload")?;
        check_equal("the QoS", message.qos, qos)?;
    }
    client.unsubscribe(&topic)?;
    client.ping()?;
    client.disconnect()
}

fn no_packet_identifier_at_qos_0(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 0)?;
    // A Packet Identifier, taken over from QoS 1 or 2, would stand before the payload.
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
    // The message of the broker is not acknowledged: its Packet Identifier is in use, on its side.
    subscriber.publish(Publish::new(cx.topic("other"), "mine").qos(1).packet_id(packet_id))?;
    subscriber.subscribe_with(Subscribe::new(cx.topic("third"), 0).packet_id(packet_id))?;
    subscriber.acknowledge(&message)?;
    subscriber.expect_silence_by_ping()
}

/// Those that only come out right if both bytes do.
const PACKET_IDS: [u16; 7] = [1, 0x00FF, 0x0100, 0x0102, 0x7FFF, 0x8000, 0xFFFF];

fn acknowledged_packet_identifiers(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for packet_id in PACKET_IDS {
        client.publish(Publish::new(&topic, "").qos(1).packet_id(packet_id))?;
        client.publish(Publish::new(&topic, "").qos(2).packet_id(packet_id))?;
    }
    // Several exchanges at once.
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

fn missing_property_length(cx: &mut Context) -> Outcome {
    let packets: [(Kind, Vec<u8>); 3] =
        [(Kind::Publish, prefixed(cx.topic("a"))), (Kind::Subscribe, vec![0, 1]), (Kind::Unsubscribe, vec![0, 1])];
    for (kind, body) in packets {
        let mut client = cx.client("a")?;
        client.send(frame(kind.first_byte(), &body))?;
        client.expect_disconnect_or_close(&[0x81, 0x82])?;
    }
    let mut client = cx.open()?;
    // After the Keep Alive follows the Client Identifier: its length is a Property Length of 0 and half a length.
    client.send(frame(Kind::Connect.first_byte(), &[prefixed("MQTT"), vec![5, 0b10, 0, 60, 0, 0]].concat()))?;
    client.expect_disconnect_or_close(&[0x81, 0x82])
}

fn property_length_beyond_the_packet(cx: &mut Context) -> Outcome {
    let id = [0, 1].as_slice();
    let topic = prefixed(cx.topic("a"));
    let long = [5, property::USER_PROPERTY, 0].as_slice();
    let packets: [(Kind, Vec<u8>); 4] = [
        (Kind::Publish, [&topic, long].concat()),
        (Kind::Subscribe, [id, long].concat()),
        (Kind::Unsubscribe, [id, long].concat()),
        (Kind::Disconnect, [&[0], long].concat()),
    ];
    for (kind, body) in packets {
        let mut client = cx.client("a")?;
        client.send(frame(kind.first_byte(), &body))?;
        client.expect_disconnect_or_close(&[0x81])?;
    }
    Ok(())
}

fn no_properties(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 0)?;
    // Without the length of 0, the payload's first byte would be taken for it.
    client.publish(Publish::new(&topic, &[3, 1, 2, 3]))?;
    client.expect_message(&topic, [3, 1, 2, 3])?;
    client.publish(Publish::new(&topic, ""))?;
    client.expect_message(&topic, "")?;
    client.unsubscribe(&topic)?;
    // DISCONNECT with a Reason Code and a Property Length of 0.
    client.disconnect_with(Disconnect { properties: Some(Properties::default()), ..Disconnect::new().reason(0) })
}

fn property_of_another_packet(cx: &mut Context) -> Outcome {
    for carrier in Carrier::ALL {
        let mut ids: Vec<u8> = tables::properties().iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids.into_iter().filter(|id| carrier.allowed().all(|row| row.id != *id)) {
            let Some(row) = tables::properties().iter().find(|row| row.id == id) else { continue };
            let properties = Properties(vec![Property { id, value: carrier::fitting(row) }]);
            // What a Server alone may send in this packet is data that the protocol doesn't allow.
            let of_the_server = tables::property(carrier.name(), id).is_some();
            let reasons = if of_the_server { &[0x81, 0x82] } else { carrier.malformed() };
            carrier.send(cx, properties)?.expect_disconnect_or_close(reasons)?;
        }
    }
    Ok(())
}

fn unknown_property(cx: &mut Context) -> Outcome {
    for carrier in Carrier::ALL {
        for id in [0x00, 0x04, 0x14, 0x2B, 0x7F] {
            let properties = Properties(vec![Property { id, value: Value::Number(0) }]);
            carrier.send(cx, properties)?.expect_disconnect_or_close(carrier.malformed())?;
        }
        // An identifier in two bytes, which no property has.
        let properties = Properties(vec![Property { id: 0xA6, value: Value::Raw(vec![0x01, 0, 0, 0, 0]) }]);
        carrier.send(cx, properties)?.expect_disconnect_or_close(carrier.malformed())?;
    }
    Ok(())
}

fn broken_off_property(cx: &mut Context) -> Outcome {
    for carrier in Carrier::ALL {
        for row in carrier.allowed() {
            let whole = Property { id: row.id, value: carrier::fitting(row) }.encode();
            let cut = whole.get(1..whole.len().saturating_sub(1)).unwrap_or_default().to_vec();
            let properties = Properties(vec![Property { id: row.id, value: Value::Raw(cut) }]);
            carrier.send(cx, properties)?.expect_disconnect_or_close(carrier.malformed())?;
        }
    }
    Ok(())
}

fn subscription_identifier_of_five_bytes(cx: &mut Context) -> Outcome {
    let value = Value::Raw(vec![0x80, 0x80, 0x80, 0x80, 0x01]);
    let properties = Properties(vec![Property { id: property::SUBSCRIPTION_IDENTIFIER, value }]);
    Carrier::Subscribe.send(cx, properties)?.expect_disconnect_or_close(&[0x81])
}

fn malformed_property_is_answered(cx: &mut Context) -> Outcome {
    let unknown = || Properties(vec![Property { id: 0x7F, value: Value::Number(0) }]);
    for carrier in [Carrier::Publish, Carrier::Subscribe, Carrier::Unsubscribe, Carrier::Puback, Carrier::Pubrel] {
        carrier.send(cx, unknown())?.expect_disconnect(&[0x81])?;
    }
    let mut client = Carrier::Connect.send(cx, unknown())?;
    check_equal("the Reason Code", client.expect_connack()?.reason, 0x81)?;
    client.expect_close()
}

fn allowed_properties(cx: &mut Context) -> Outcome {
    let asked_elsewhere = [property::AUTHENTICATION_METHOD, property::AUTHENTICATION_DATA, property::TOPIC_ALIAS];
    for carrier in Carrier::ALL.into_iter().filter(|carrier| !matches!(carrier, Carrier::Auth | Carrier::Disconnect)) {
        let rows: Vec<_> = carrier.allowed().filter(|row| !asked_elsewhere.contains(&row.id)).collect();
        let properties = rows.iter().map(|row| Property { id: row.id, value: carrier::fitting(row) }).collect();
        let mut client = carrier.send(cx, Properties(properties))?;
        let (kind, reason) = match carrier {
            Carrier::Connect | Carrier::Will => (Kind::Connack, client.expect_connack()?.reason),
            Carrier::Subscribe => (Kind::Suback, u8::from(client.expect_suback(1)?.reasons != [0]) * 0x80),
            Carrier::Unsubscribe => (Kind::Unsuback, u8::from(client.expect_unsuback(1)?.reasons.len() != 1) * 0x80),
            Carrier::Pubrel => (Kind::Pubcomp, client.expect_pubcomp(1)?.reason_code()),
            Carrier::Pubrec => (Kind::Pubrel, client.expect_kind(Kind::Pubrel).map(|_| 0)?),
            Carrier::Publish | Carrier::Puback | Carrier::Pubcomp | Carrier::Disconnect | Carrier::Auth => {
                (Kind::Pingresp, client.ping().map(|()| 0)?)
            }
        };
        check(reason < 0x80, "the packet is accepted", format!("{} with 0x{reason:02X}", kind.name()))?;
        client.ping()?;
    }
    Ok(())
}
