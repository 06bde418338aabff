//! Statements of 3.1.1 that 5.0 numbers differently or does not have.

use super::harness::{Client, Harness};
use super::packets::*;
use crate::codec::{ClientPacket, Connect, Publish, ReasonCode, Will};

/// A durable subscriber to `t`, and a publisher.
fn pair() -> (Harness, Client, Client) {
    let mut harness = Harness::new();
    let subscriber = harness.connect(v311("s", false));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect(v311("p", true));
    (harness, subscriber, publisher)
}

#[test]
fn mqtt311_4_4_0_1_unacknowledged_packets_are_sent_again_with_their_identifiers() {
    // covers: MQTT-3.3.1-1 MQTT-4.3.2-1 MQTT-4.3.3-1 MQTT-2.3.1-4 MQTT-4.5.0-1 MQTT-4.6.0-5 MQTT-4.6.0-6
    let (mut harness, subscriber, publisher) = pair();
    harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q2, 2), publish("t", "3", Q2, 3)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1", "PUBLISH t 2 q2 #2", "PUBLISH t 3 q2 #3"]);
    harness.run(subscriber, [pubrec(2)]);
    harness.lose(subscriber);
    let subscriber = harness.connect(v311("s", false));
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1 dup", "PUBREL 2", "PUBLISH t 3 q2 #3 dup"]);
}

#[test]
fn mqtt311_3_3_1_3_dup_is_not_propagated() {
    // covers: MQTT-3.3.1-2 MQTT-4.3.1-1 MQTT-2.3.1-5
    let (mut harness, subscriber, publisher) = pair();
    let again = Publish { dup: true, ..message("t", "1", Q1, 1) };
    harness.run(publisher, [ClientPacket::Publish(again), publish("t", "0", Q0, 0)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1", "PUBLISH t 0 q0"]);
}

#[test]
fn mqtt311_3_1_2_8_will_is_published_and_removed() {
    // covers: MQTT-3.1.2-10 MQTT-3.1.2-16
    let (mut harness, subscriber, _) = pair();
    let with_will = Connect { will: Some(Will { qos: Q1, ..will("t", "gone") }), ..v311("a", false) };
    let client = harness.connect(with_will);
    harness.lose(client);
    assert_eq!(harness.received(subscriber), ["PUBLISH t gone q1 #1"]);
    let client = harness.connect(v311("a", false));
    harness.lose(client);
    assert_eq!(harness.received(subscriber), [""; 0]);
}

#[test]
fn mqtt311_3_14_4_3_disconnect_discards_the_will() {
    let (mut harness, subscriber, _) = pair();
    let client = harness.connect(Connect { will: Some(will("t", "gone")), ..v311("a", true) });
    assert_eq!(harness.ask(client, disconnect(ReasonCode::Success)), ["CLOSED"]);
    assert_eq!(harness.received(subscriber), [""; 0]);
}

#[test]
fn mqtt311_3_1_2_17_will_retain_makes_it_the_retained_message() {
    let (mut harness, _, publisher) = pair();
    let client = harness.connect(Connect { will: Some(Will { retain: true, ..will("w", "x") }), ..v311("a", true) });
    harness.lose(client);
    assert_eq!(harness.ask(publisher, subscribe("w", Q0)), ["SUBACK 1 00", "PUBLISH w x q0 retain"]);
}

#[test]
fn mqtt311_3_3_1_10_empty_retained_message_clears_and_is_delivered() {
    // covers: MQTT-3.3.1-9 MQTT-3.3.1-11 MQTT-3.3.1-12
    let (mut harness, subscriber, publisher) = pair();
    harness.run(publisher, [retain("t", "x", Q0, 0), publish("t", "", Q0, 0)]);
    assert_eq!(harness.ask(publisher, subscribe("t", Q0)), ["SUBACK 1 00", "PUBLISH t x q0 retain"]);
    harness.run(publisher, [retain("t", "", Q0, 0)]);
    assert_eq!(harness.ask(publisher, subscribe("t", Q0)), ["SUBACK 1 00"]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q0", "PUBLISH t  q0", "PUBLISH t  q0"]);
}

#[test]
fn mqtt311_3_8_4_6_message_is_delivered_at_the_lower_qos() {
    let (mut harness, _, publisher) = pair();
    let client = harness.connect(v311("a", true));
    harness.run(client, [subscribe("t", Q1)]);
    harness.run(publisher, [publish("t", "2", Q2, 1), publish("t", "0", Q0, 0)]);
    assert_eq!(harness.received(client), ["PUBLISH t 2 q1 #1", "PUBLISH t 0 q0"]);
}

#[test]
fn mqtt311_3_10_4_3_delivery_that_has_begun_is_completed() {
    let (mut harness, subscriber, publisher) = pair();
    harness.run(publisher, [publish("t", "x", Q2, 1)]);
    harness.run(subscriber, [unsubscribe(2, &["t"])]);
    harness.lose(subscriber);
    let subscriber = harness.connect(v311("s", false));
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q2 #1 dup"]);
    assert_eq!(harness.ask(subscriber, pubrec(1)), ["PUBREL 1"]);
}

#[test]
fn mqtt311_3_12_4_1_pingreq_is_answered() {
    let (mut harness, subscriber, _) = pair();
    assert_eq!(harness.ask(subscriber, ClientPacket::Pingreq), ["PINGRESP"]);
}

#[test]
fn mqtt311_4_7_2_1_wildcards_do_not_match_dollar_topics() {
    // covers: MQTT-3.3.2-3 MQTT-4.7.3-4 MQTT-3.8.3-2
    let (mut harness, _, publisher) = pair();
    let client = harness.connect(v311("a", true));
    harness.run(client, [subscribe("#", Q0), subscribe("+/x", Q0)]);
    harness.run(publisher, [publish("$d/x", "1", Q0, 0), publish("A/x", "2", Q0, 0)]);
    assert_eq!(harness.received(client), ["PUBLISH A/x 2 q0"]);
}

#[test]
fn mqtt311_3_1_0_1_first_packet_must_be_connect() {
    let mut harness = Harness::new();
    let client = harness.open(0);
    assert_eq!(harness.ask(client, publish("t", "x", Q0, 0)), ["CLOSED"]);
}

#[test]
fn mqtt311_3_2_0_1_first_packet_to_the_client_is_connack() {
    // covers: MQTT-3.1.4-3 MQTT-3.1.3-2
    let (mut harness, subscriber, publisher) = pair();
    harness.lose(subscriber);
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    harness.store_answers = false;
    let subscriber = harness.attempt(0, v311("s", false));
    harness.send(subscriber, ClientPacket::Pingreq);
    harness.run(publisher, [publish("t", "y", Q0, 0)]);
    harness.persist();
    assert_eq!(harness.received(subscriber), ["CONNACK 0x00 present", "PUBLISH t x q1 #1", "PINGRESP"]);
}

#[test]
fn mqtt311_3_1_4_5_packets_after_a_refused_connect_are_not_processed() {
    let (mut harness, subscriber, _) = pair();
    harness.granted = None;
    let client = harness.attempt(0, v311("a", true));
    harness.send(client, publish("t", "x", Q0, 0));
    harness.refuse(ReasonCode::BadUserNameOrPassword);
    assert_eq!(harness.received(client), ["CONNACK 0x86", "CLOSED"]);
    assert_eq!(harness.received(subscriber), [""; 0]);
}
