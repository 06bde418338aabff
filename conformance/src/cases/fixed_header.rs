//! The fixed header, Packet Identifiers and the properties' frame.

use crate::case::Case;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal};
use crate::wire::packet::Kind;
use crate::wire::{Publish, Subscribe};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_reserved_flag_in_the_fixed_header_closes_the_connection",
        &["MQTT-2.2.2-1", "MQTT-2.2.2-2"],
        &["MQTT-2.1.3-1", "5.0/2.1.3/1"],
        reserved_flags,
    ),
    Case::both(
        "a_message_at_qos_0_has_no_packet_identifier",
        &["MQTT-2.3.1-5"],
        &["MQTT-2.2.1-2"],
        no_packet_identifier_at_qos_0,
    ),
    Case::both(
        "messages_in_flight_have_packet_identifiers_of_their_own",
        &["MQTT-2.3.1-4"],
        &["MQTT-2.2.1-4"],
        packet_identifiers_in_flight,
    ),
];

fn reserved_flags(cx: &mut Context) -> Outcome {
    let packets: [(Kind, &[u8]); 5] = [
        (Kind::Puback, &[0, 1]),
        (Kind::Pubrec, &[0, 1]),
        (Kind::Pubcomp, &[0, 1]),
        (Kind::Pingreq, &[]),
        (Kind::Disconnect, &[]),
    ];
    for (kind, body) in packets {
        for flag in 0..4 {
            let mut client = cx.client("a")?;
            let mut bytes = crate::wire::bytes::frame(kind.first_byte() | 1 << flag, body);
            // Behind a packet that is wrongly taken, the answer to this one shows that the connection goes on.
            bytes.extend([Kind::Pingreq.first_byte(), 0]);
            client.send(bytes)?;
            client.expect_disconnect_or_close(&[0x81])?;
        }
    }
    Ok(())
}

fn no_packet_identifier_at_qos_0(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 0)?;
    // A Packet Identifier, taken over from QoS 1, would stand before the payload.
    client.publish(Publish::new(&topic, "one").qos(1))?;
    client.expect_message(&topic, "one")?;
    client.publish(Publish::new(&topic, "zero"))?;
    client.expect_message(&topic, "zero")?;
    Ok(())
}

fn packet_identifiers_in_flight(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe_with(Subscribe::new(&topic, 2))?;
    let mut ids = Vec::new();
    for number in 0..20u8 {
        client.publish(Publish::new(&topic, &[number]).qos(1 + number % 2))?;
    }
    for _ in 0..20 {
        let message = client.expect_publish()?;
        ids.push(message.packet_id.ok_or_else(|| Failure::new("a Packet Identifier", format!("{message:?}")))?);
    }
    ids.sort_unstable();
    ids.dedup();
    check_equal("the number of different Packet Identifiers", ids.len(), 20)
}
