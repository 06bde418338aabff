use std::num::{NonZeroU16, NonZeroU32};

use super::harness::{Client, Harness};
use super::packets::*;
use crate::codec::{Ack, ClientPacket, Connect, MessageProperties, MessageProperty, Publish, ReasonCode, ServerPacket};

/// A subscriber to `t` and a publisher.
fn pair(connect: Connect) -> (Harness, Client, Client) {
    let mut harness = Harness::new();
    let subscriber = harness.connect(connect);
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect(transient("p"));
    (harness, subscriber, publisher)
}

fn with_receive_maximum(connect: Connect, maximum: u16) -> Connect {
    let mut connect = connect;
    connect.properties.receive_maximum = NonZeroU16::new(maximum).unwrap();
    connect
}

fn failing(number: u16) -> Ack {
    Ack::new(id(number), ReasonCode::UnspecifiedError)
}

#[test]
fn mqtt5_4_3_3_4_pubrec_is_answered_with_pubrel() {
    // covers: MQTT-4.3.3-1 MQTT-4.3.3-2 MQTT-2.2.1-4 MQTT-4.3.2-1 MQTT-4.3.2-2
    for connect in [transient("s"), v311("s", true), durable("s"), v311("s", false)] {
        let (mut harness, subscriber, publisher) = pair(connect);
        harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q2, 2)]);
        assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1", "PUBLISH t 2 q2 #2"]);
        assert_eq!(harness.ask(subscriber, pubrec(2)), ["PUBREL 2"]);
        assert_eq!(harness.ask(subscriber, pubcomp(2)), [""; 0]);
        assert_eq!(harness.ask(subscriber, puback(1)), [""; 0]);
        assert_eq!(harness.shards[0].counters().queued_messages, 0);
    }
}

#[test]
fn mqtt5_repeated_pubrec_gets_pubrel_again_and_unknown_ones_0x92() {
    let (mut harness, subscriber, publisher) = pair(transient("s"));
    harness.run(publisher, [publish("t", "2", Q2, 2)]);
    assert_eq!(harness.ask(subscriber, pubrec(1)), ["PUBLISH t 2 q2 #1", "PUBREL 1"][1..]);
    assert_eq!(harness.ask(subscriber, pubrec(1)), ["PUBREL 1"]);
    harness.run(subscriber, [pubcomp(1)]);
    assert_eq!(harness.ask(subscriber, pubrec(1)), ["PUBREL 1 0x92"]);
    assert_eq!(harness.ask(subscriber, pubrec(77)), ["PUBREL 77 0x92"]);
    assert_eq!(harness.ask(subscriber, pubcomp(77)), [""; 0]);
    assert_eq!(harness.ask(subscriber, puback(77)), [""; 0]);
}

#[test]
fn mqtt5_4_4_0_2_failing_puback_or_pubrec_ends_the_delivery() {
    let (mut harness, subscriber, publisher) = pair(durable("s"));
    harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q2, 2)]);
    harness.run(subscriber, [ClientPacket::Puback(failing(1))]);
    assert_eq!(harness.ask(subscriber, ClientPacket::Pubrec(failing(2))), [""; 0]);
    harness.lose(subscriber);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), [""; 0]);
}

#[test]
fn mqtt5_4_4_0_1_reconnect_resends_in_order_with_the_same_identifiers_and_dup() {
    // covers: MQTT-3.3.1-1 MQTT-4.3.2-3 MQTT-4.3.3-3 MQTT-4.3.3-5 MQTT-4.3.3-6 MQTT-4.6.0-5 MQTT-4.6.0-6
    for connect in [durable("s"), v311("s", false)] {
        let (mut harness, subscriber, publisher) = pair(connect.clone());
        for number in 1..=5 {
            harness.run(publisher, [publish("t", "x", if number % 2 == 0 { Q2 } else { Q1 }, number)]);
        }
        harness.run(subscriber, [puback(3), pubrec(2)]);
        harness.lose(subscriber);
        harness.run(publisher, [publish("t", "new", Q1, 6)]);
        let subscriber = harness.connect(connect);
        let lines = [
            "PUBLISH t x q1 #1 dup",
            "PUBREL 2",
            "PUBLISH t x q2 #4 dup",
            "PUBLISH t x q1 #5 dup",
            "PUBLISH t new q1 #6",
        ];
        assert_eq!(harness.received(subscriber), lines);
    }
}

#[test]
fn mqtt5_3_3_1_3_dup_of_the_publisher_is_not_propagated() {
    // covers: MQTT-3.3.1-2 MQTT-4.3.1-1
    let (mut harness, subscriber, publisher) = pair(transient("s"));
    let again = Publish { dup: true, ..message("t", "x", Q1, 1) };
    harness.run(publisher, [ClientPacket::Publish(again)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q1 #1"]);
}

#[test]
fn mqtt5_3_3_4_9_no_more_than_receive_maximum_is_unacknowledged() {
    // covers: MQTT-4.9.0-1 MQTT-4.9.0-2 MQTT-3.3.4-10
    let (mut harness, subscriber, publisher) = pair(with_receive_maximum(transient("s"), 2));
    for number in 1..=4 {
        harness.run(publisher, [publish("t", "x", Q2, number), pubrel(number)]);
    }
    harness.run(publisher, [publish("t", "0", Q0, 0)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q2 #1", "PUBLISH t x q2 #2", "PUBLISH t 0 q0"]);
    assert_eq!(harness.ask(subscriber, ClientPacket::Pingreq), ["PINGRESP"]);
    assert_eq!(harness.ask(subscriber, pubrec(1)), ["PUBREL 1"]);
    assert_eq!(harness.ask(subscriber, pubcomp(1)), ["PUBLISH t x q2 #3"]);
    assert_eq!(harness.ask(subscriber, ClientPacket::Pubrec(failing(2))), ["PUBLISH t x q2 #4"]);
}

#[test]
fn mqtt5_smaller_receive_maximum_after_a_reconnect_is_respected_and_nothing_is_lost() {
    let (mut harness, subscriber, publisher) = pair(durable("s"));
    for number in 1..=4 {
        harness.run(publisher, [publish("t", "x", Q1, number)]);
    }
    harness.lose(subscriber);
    let subscriber = harness.connect(with_receive_maximum(durable("s"), 1));
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q1 #1 dup"]);
    assert_eq!(harness.ask(subscriber, puback(3)), [""; 0], "it acknowledges a message of the previous connection");
    assert_eq!(harness.ask(subscriber, puback(1)), ["PUBLISH t x q1 #2 dup"]);
    assert_eq!(harness.ask(subscriber, puback(2)), ["PUBLISH t x q1 #4 dup"]);
}

#[test]
fn mqtt5_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    for (qos, packet) in [(Q1, pubrec(1)), (Q1, pubcomp(1)), (Q2, puback(1)), (Q2, pubcomp(1))] {
        let (mut harness, subscriber, publisher) = pair(transient("s"));
        harness.run(publisher, [publish("t", "x", qos, 1)]);
        assert_eq!(harness.ask(subscriber, packet), ["DISCONNECT 0x82", "CLOSED"]);
    }
}

#[test]
fn mqtt5_3_3_2_17_properties_are_forwarded_unaltered_and_in_order() {
    // covers: MQTT-3.3.2-4 MQTT-3.3.2-15 MQTT-3.3.2-16 MQTT-3.3.2-18 MQTT-3.3.2-20
    let (mut harness, subscriber, publisher) = pair(transient("s"));
    let properties = MessageProperties::from_properties([
        MessageProperty::PayloadFormatIndicator(true),
        MessageProperty::ContentType("text".into()),
        MessageProperty::ResponseTopic("answers".into()),
        MessageProperty::CorrelationData(bytes::Bytes::from_static(b"\x00\xFF")),
        user_property("b", "2"),
        user_property("a", "1"),
        user_property("b", "2"),
    ]);
    let sent = message("t", "x", Q1, 1).with_properties(properties.clone());
    harness.run(publisher, [ClientPacket::Publish(sent)]);
    let packets = harness.packets(subscriber);
    let [ServerPacket::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(publish.message.properties, properties);
}

#[test]
fn mqtt5_3_1_2_25_message_too_large_for_the_client_is_discarded_as_if_sent() {
    let mut connect = durable("s");
    connect.properties.maximum_packet_size = NonZeroU32::new(40);
    let (mut harness, subscriber, publisher) = pair(connect);
    // 2 bytes of fixed header, 3 of topic, 2 of Packet Identifier, 1 of properties and 32 of payload.
    harness.run(publisher, [publish("t", "12345678901234567890123456789012", Q1, 1)]);
    harness.run(publisher, [publish("t", "123456789012345678901234567890123", Q1, 2)]);
    harness.run(publisher, [publish("t", "12345678901234567890123456789012345", Q0, 0), publish("t", "y", Q1, 3)]);
    let lines = harness.received(subscriber);
    assert_eq!(lines, ["PUBLISH t 12345678901234567890123456789012 q1 #1", "PUBLISH t y q1 #3"]);
    harness.run(subscriber, [puback(1), puback(3)]);
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
    let dropped = harness.shards[0].counters().dropped;
    assert_eq!(dropped[crate::broker::DropReason::PacketTooLarge as usize], 2);
}

#[test]
fn mqtt5_4_6_0_5_order_of_a_publisher_is_kept_for_each_qos() {
    let (mut harness, subscriber, publisher) = pair(with_receive_maximum(durable("s"), 3));
    let payloads = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for (number, payload) in (1..).zip(payloads) {
        harness.run(publisher, [publish("t", payload, Q1, number)]);
    }
    let mut got = Vec::new();
    loop {
        let packets = harness.packets(subscriber);
        if packets.is_empty() {
            break;
        }
        for packet in packets {
            let ServerPacket::Publish(publish) = packet else { continue };
            got.push(String::from_utf8_lossy(&publish.message.payload).into_owned());
            harness.send(subscriber, puback(publish.packet_id.unwrap().number()));
        }
    }
    assert_eq!(got, payloads);
}

#[test]
fn mqtt5_identifiers_wrap_around() {
    let (mut harness, subscriber, publisher) = pair(transient("s"));
    for number in 1..=65_535_u32 {
        let number = u16::try_from(number).unwrap();
        harness.run(publisher, [publish("t", "x", Q1, 1)]);
        assert_eq!(harness.received(subscriber), [format!("PUBLISH t x q1 #{number}")]);
        harness.run(subscriber, [puback(number)]);
    }
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q1 #1"]);
}
