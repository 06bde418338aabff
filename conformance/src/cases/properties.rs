//! Rules for the properties of all packets.

use super::carrier::{self, Carrier};
use crate::case::Case;
use crate::context::Context;
use crate::failure::{Outcome, check, check_equal};
use crate::wire::bytes::{frame, prefixed};
use crate::wire::kind::Kind;
use crate::wire::property::{self, Property, Value};
use crate::wire::{Disconnect, Properties, Publish, tables};

pub(super) const CASES: &[Case] = &[
    Case::v5("a_missing_property_length_is_malformed", &["MQTT-2.2.2-1"], missing_property_length),
    Case::v5("a_property_length_beyond_the_packet_is_malformed", &["MQTT-2.2.2-1"], property_length_beyond_the_packet),
    Case::v5("no_properties_are_encoded_as_a_length_of_0", &["MQTT-2.2.2-1"], no_properties),
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

fn missing_property_length(cx: &mut Context) -> Outcome {
    let packets: [(Kind, Vec<u8>); 3] =
        [(Kind::Publish, prefixed(cx.topic("a"))), (Kind::Subscribe, vec![0, 1]), (Kind::Unsubscribe, vec![0, 1])];
    for (kind, body) in packets {
        let mut client = cx.client("a")?;
        client.send(frame(kind.first_byte(), &body))?;
        client.expect_disconnect_or_close(&[0x81, 0x82])?;
    }
    let mut client = cx.open()?;
    // The Client Identifier follows Keep Alive: its length is read as a Property Length of 0 and half a length.
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
    // Without the length of 0, the first byte of the payload would be read as the length.
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
            // A property that only a server may send here is data that the protocol doesn't allow.
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
        // An identifier of two bytes, which no property has.
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
