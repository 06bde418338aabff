use super::harness::{Harness, settings};
use super::packets::*;
use crate::broker::Report;
use crate::codec::{Ack, ClientPacket, MessageProperties, MessageProperty, Publish, Qos, ReasonCode, ServerPacket};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

/// Access to all topics, except publishing to `secret`.
fn no_secrets() -> Access {
    let rule = |effect, action, filter: &str| AccessRule {
        effect,
        action,
        topic_filter: TopicFilter::new(filter.into()).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    };
    Access::new(vec![rule(Effect::Allow, AccessAction::Both, "#"), rule(Effect::Deny, AccessAction::Both, "secret")])
}

#[test]
fn mqtt5_3_3_4_1_response_depends_on_the_qos() {
    // covers: MQTT-4.3.2-4 MQTT-4.3.3-8 MQTT-2.2.1-5
    let mut harness = Harness::new();
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, publish("t", "0", Q0, 0)), [""; 0]);
    assert_eq!(harness.ask(client, publish("t", "1", Q1, 7)), ["PUBACK 7"]);
    assert_eq!(harness.ask(client, publish("t", "2", Q2, 8)), ["PUBREC 8"]);
    assert_eq!(harness.ask(client, pubrel(8)), ["PUBCOMP 8"]);
    let lines = ["PUBLISH t 0 q0", "PUBLISH t 1 q1 #1", "PUBLISH t 2 q2 #2"];
    assert_eq!(harness.received(subscriber), lines);
}

#[test]
fn mqtt311_3_3_4_1_response_depends_on_the_qos() {
    // covers: MQTT-4.3.2-2 MQTT-4.3.3-2 MQTT-2.3.1-6
    let mut harness = Harness::new();
    let client = harness.connect(v311("a", true));
    assert_eq!(harness.ask(client, publish("t", "0", Q0, 0)), [""; 0]);
    assert!(harness.ask(client, publish("t", "1", Q1, 7))[0].starts_with("PUBACK 7"));
    assert!(harness.ask(client, publish("t", "2", Q2, 8))[0].starts_with("PUBREC 8"));
    assert_eq!(harness.ask(client, pubrel(8)), ["PUBCOMP 8"]);
}

#[test]
fn mqtt5_no_matching_subscribers_is_reported_in_puback_and_pubrec() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, publish("t", "1", Q1, 7)), ["PUBACK 7 0x10"]);
    assert_eq!(harness.ask(client, publish("t", "2", Q2, 8)), ["PUBREC 8 0x10"]);
}

#[test]
fn mqtt5_4_3_2_5_identifier_is_new_after_puback() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q0)]);
    let client = harness.connect(transient("a"));
    harness.run(client, [publish("t", "one", Q1, 7)]);
    let again = Publish { dup: true, ..message("t", "two", Q1, 7) };
    assert_eq!(harness.ask(client, ClientPacket::Publish(again)), ["PUBACK 7"]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t one q0", "PUBLISH t two q0"]);
}

#[test]
fn mqtt5_4_3_3_10_repeated_qos2_publish_is_answered_but_routed_once() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q0)]);
    let client = harness.connect(transient("a"));
    harness.run(client, [publish("t", "x", Q2, 7)]);
    let again = Publish { dup: true, ..message("t", "x", Q2, 7) };
    assert_eq!(harness.ask(client, ClientPacket::Publish(again)), ["PUBREC 7"]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q0"]);
}

#[test]
fn mqtt5_4_3_3_10_repeated_qos2_publish_after_a_reconnect_is_routed_once() {
    // covers: MQTT-4.4.0-1
    for version_5 in [true, false] {
        let mut harness = Harness::new();
        let connect = || if version_5 { durable("a") } else { v311("a", false) };
        let subscriber = harness.connect(transient("s"));
        harness.run(subscriber, [subscribe("t", Q0)]);
        let client = harness.connect(connect());
        harness.run(client, [publish("t", "x", Q2, 7)]);
        harness.lose(client);
        let client = harness.connect(connect());
        let again = Publish { dup: true, ..message("t", "x", Q2, 7) };
        assert_eq!(harness.ask(client, ClientPacket::Publish(again)), ["PUBREC 7"]);
        assert_eq!(harness.ask(client, pubrel(7)), ["PUBCOMP 7"]);
        assert_eq!(harness.received(subscriber), ["PUBLISH t x q0"]);
    }
}

#[test]
fn mqtt5_4_3_3_12_identifier_is_new_after_pubcomp() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q0)]);
    let client = harness.connect(transient("a"));
    harness.run(client, [publish("t", "one", Q2, 7), pubrel(7), publish("t", "two", Q2, 7)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t one q0", "PUBLISH t two q0"]);
}

#[test]
fn mqtt5_4_3_3_11_pubrel_of_an_unknown_identifier_is_answered() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, pubrel(9)), ["PUBCOMP 9 0x92"]);
    let not_found = Ack::new(id(9), ReasonCode::PacketIdentifierNotFound);
    assert_eq!(harness.ask(client, ClientPacket::Pubrel(not_found)), ["PUBCOMP 9 0x92"]);
}

#[test]
fn mqtt5_pubrel_with_0x92_frees_the_identifier() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [publish("t", "x", Q2, 9)]);
    let not_found = Ack::new(id(9), ReasonCode::PacketIdentifierNotFound);
    assert_eq!(harness.ask(client, ClientPacket::Pubrel(not_found)), ["PUBCOMP 9"]);
}

#[test]
fn mqtt5_4_3_3_9_identifier_is_new_after_a_failing_pubrec() {
    let mut harness = Harness::new();
    harness.granted = Some(no_secrets());
    let client = harness.connect(transient("a"));
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q0)]);
    assert_eq!(harness.ask(client, publish("secret", "x", Q2, 7)), ["PUBREC 7 0x87"]);
    assert_eq!(harness.ask(client, publish("t", "y", Q2, 7)), ["PUBREC 7"]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t y q0"]);
}

#[test]
fn mqtt5_denied_publish_is_answered_and_reported() {
    let mut harness = Harness::new();
    harness.granted = Some(no_secrets());
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, publish("secret", "x", Q0, 0)), [""; 0]);
    assert_eq!(harness.ask(client, publish("secret", "x", Q1, 7)), ["PUBACK 7 0x87"]);
    assert_eq!(harness.ask(client, publish("secret", "x", Q2, 8)), ["PUBREC 8 0x87"]);
    let denied = |report: &&Report| matches!(report, Report::Denied { packet: "PUBLISH", .. });
    assert_eq!(harness.reports.iter().filter(denied).count(), 3);
    assert_eq!(harness.shards[0].counters().denied, 3);
}

#[test]
fn mqtt311_3_3_5_2_denied_publish_is_acknowledged_and_dropped() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("#", Q0)]);
    harness.granted = Some(no_secrets());
    let client = harness.connect(v311("a", true));
    harness.send(client, publish("secret", "x", Q1, 7));
    harness.send(client, publish("secret", "x", Q2, 8));
    harness.send(client, pubrel(8));
    let types: Vec<_> = harness.packets(client).iter().map(ServerPacket::packet_type).collect();
    use crate::codec::PacketType::{Puback, Pubcomp, Pubrec};
    assert_eq!(types, [Puback, Pubrec, Pubcomp]);
    assert_eq!(harness.received(subscriber), [""; 0]);
}

#[test]
fn mqtt5_topic_above_the_limits_or_in_sys_is_invalid() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, publish("1/2/3/4/5/6/7/8", "x", Q1, 7)), ["PUBACK 7 0x10"]);
    assert_eq!(harness.ask(client, publish("1/2/3/4/5/6/7/8/9", "x", Q1, 7)), ["PUBACK 7 0x90"]);
    assert_eq!(harness.ask(client, publish(&"x".repeat(200), "x", Q1, 7)), ["PUBACK 7 0x10"]);
    assert_eq!(harness.ask(client, publish(&"x".repeat(201), "x", Q2, 7)), ["PUBREC 7 0x90"]);
    assert_eq!(harness.ask(client, publish("$SYS/broker/version", "x", Q1, 7)), ["PUBACK 7 0x90"]);
}

/// 3.1.1 can't refuse a message, and an acknowledgement would be taken for a delivery.
#[test]
fn mqtt311_4_8_0_1_topic_above_the_limits_ends_the_connection_unacknowledged() {
    for (topic, limit) in [
        ("1/2/3/4/5/6/7/8/9".to_owned(), "the topic has 9 levels, more than topic_levels_max (8)"),
        ("x".repeat(201), "the topic has 201 bytes, more than topic_length_max (200)"),
    ] {
        for qos in [Q1, Q2] {
            let mut harness = Harness::new();
            let subscriber = harness.connect(transient("s"));
            harness.run(subscriber, [subscribe("#", Q0)]);
            let client = harness.connect(v311("a", false));
            assert_eq!(harness.ask(client, publish(&topic, "x", qos, 7)), ["CLOSED"]);
            let expected = format!("{limit}: not acknowledged, so the client will send the message again");
            let told = |report: &Report| matches!(report, Report::Disconnected { reason_code: ReasonCode::TopicNameInvalid, cause, .. } if *cause == *expected);
            assert!(harness.reports.iter().any(told), "{:?}", harness.reports);
            assert_eq!(harness.shards[0].counters().denied, 1);
            // The identifier is free: with a shorter topic the message is delivered once.
            let client = harness.connect(v311("a", false));
            harness.send(client, publish("short", "x", qos, 7));
            assert_eq!(harness.packets(client).len(), 1);
            assert_eq!(harness.received(subscriber), ["PUBLISH short x q0"]);
        }
    }
}

#[test]
fn mqtt311_qos_0_above_the_limits_is_dropped_and_reported_and_so_is_sys() {
    let mut harness = Harness::new();
    let client = harness.connect(v311("a", true));
    assert_eq!(harness.ask(client, publish("1/2/3/4/5/6/7/8/9", "x", Q0, 0)), [""; 0]);
    assert_eq!(harness.shards[0].counters().denied, 1);
    harness.send(client, publish("$SYS/broker/version", "x", Q1, 7));
    assert_eq!(harness.packets(client).len(), 1, "a denial is acknowledged");
    assert_eq!(harness.shards[0].counters().denied, 2);
}

fn marked_as_utf8(qos: Qos, packet_id: u16) -> ClientPacket {
    let properties = MessageProperties::from_properties([MessageProperty::PayloadFormatIndicator(true)]);
    let payload = bytes::Bytes::from_static(b"\xFF");
    ClientPacket::Publish(message("t", "", qos, packet_id).with_properties(properties).with_payload(payload))
}

#[test]
fn mqtt5_payload_marked_as_utf8_that_is_not_utf8_is_refused() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, marked_as_utf8(Q1, 7)), ["PUBACK 7 0x99"]);
    assert_eq!(harness.ask(client, marked_as_utf8(Q2, 7)), ["PUBREC 7 0x99"]);
    assert_eq!(harness.ask(client, marked_as_utf8(Q0, 0)), ["DISCONNECT 0x99", "CLOSED"]);
}

#[test]
fn mqtt5_payload_is_not_checked_if_disabled() {
    let mut settings = settings();
    settings.validate_payload_format = false;
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, marked_as_utf8(Q1, 7)), ["PUBACK 7 0x10"]);
}

#[test]
fn mqtt5_3_2_2_11_publish_above_the_maximum_qos_disconnects() {
    let mut settings = settings();
    settings.maximum_qos = Q1;
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, publish("t", "x", Q2, 7)), ["DISCONNECT 0x9B", "CLOSED"]);
    let old = harness.connect(v311("b", true));
    assert_eq!(harness.ask(old, publish("t", "x", Q2, 7)).last().unwrap(), "CLOSED");
}

#[test]
fn mqtt5_3_2_2_14_retained_publish_disconnects_when_not_available() {
    let mut settings = settings();
    settings.retain_available = false;
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, retain("t", "x", Q0, 0)), ["DISCONNECT 0x9A", "CLOSED"]);
}

#[test]
fn mqtt5_3_3_4_7_more_than_receive_maximum_disconnects() {
    // covers: MQTT-4.9.0-3
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    for number in 1..=10 {
        assert_eq!(harness.ask(client, publish("t", "x", Q2, number)), [format!("PUBREC {number} 0x10")]);
    }
    assert_eq!(harness.ask(client, pubrel(3)), ["PUBCOMP 3"]);
    assert_eq!(harness.ask(client, publish("t", "x", Q1, 11)), ["PUBACK 11 0x10"]);
    assert_eq!(harness.ask(client, publish("t", "x", Q2, 3)), ["PUBREC 3 0x10"]);
    assert_eq!(harness.ask(client, publish("t", "x", Q1, 12)), ["DISCONNECT 0x93", "CLOSED"]);
}

#[test]
fn mqtt5_receive_maximum_counts_messages_that_wait_for_a_commit_and_failing_pubrec_returns_quota() {
    let mut harness = Harness::new();
    harness.granted = Some(no_secrets());
    let receiver = harness.connect(durable("s"));
    harness.run(receiver, [subscribe("t", Q1)]);
    let client = harness.connect(transient("a"));
    for number in 1..=20 {
        assert_eq!(harness.ask(client, publish("secret", "x", Q2, number)), [format!("PUBREC {number} 0x87")]);
    }
    harness.store_answers = false;
    for number in 1..=10 {
        assert_eq!(harness.ask(client, publish("t", "x", Q1, number)), [""; 0]);
    }
    assert_eq!(harness.ask(client, publish("t", "x", Q1, 11)), ["DISCONNECT 0x93", "CLOSED"]);
}

#[test]
fn mqtt5_qos1_publish_with_the_identifier_of_a_qos2_one_is_refused() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [publish("t", "x", Q2, 7)]);
    assert_eq!(harness.ask(client, publish("t", "x", Q1, 7)), ["PUBACK 7 0x91"]);
}

#[test]
fn mqtt5_3_12_4_1_pingreq_is_answered() {
    let mut harness = Harness::new();
    for connect in [transient("a"), v311("b", true)] {
        let client = harness.connect(connect);
        assert_eq!(harness.ask(client, ClientPacket::Pingreq), ["PINGRESP"]);
    }
}

#[test]
fn mqtt5_3_4_2_2_reason_string_is_omitted_if_it_does_not_fit() {
    // covers: MQTT-3.5.2-2 MQTT-3.1.2-29
    for (maximum, problem_information, sent) in [(None, true, true), (Some(16), true, false), (None, false, false)] {
        let mut harness = Harness::new();
        harness.granted = Some(no_secrets());
        let mut connect = transient("a");
        connect.properties.maximum_packet_size = maximum.and_then(std::num::NonZeroU32::new);
        connect.properties.request_problem_information = problem_information;
        let client = harness.attempt(0, connect);
        harness.run(client, []);
        harness.send(client, publish("secret", "x", Q1, 7));
        harness.send(client, publish("secret", "x", Q2, 8));
        let packets = harness.packets(client);
        let [ServerPacket::Puback(puback), ServerPacket::Pubrec(pubrec)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!((puback.details.is_some(), pubrec.details.is_some()), (sent, sent));
    }
}
