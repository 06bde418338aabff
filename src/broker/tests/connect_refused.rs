use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Event, Report};
use crate::codec::{ClientPacket, Connect, DecodeError, MessageProperties, MessageProperty, ProtocolVersion};
use crate::codec::{Qos, ReasonCode, ServerPacket, Will};
use crate::routing::Access;
use crate::topic::InvalidTopic;

fn with_will(will: Will) -> Connect {
    Connect { will: Some(will), ..transient("a") }
}

#[test]
fn mqtt5_3_1_0_1_first_packet_must_be_connect() {
    // covers: MQTT-3.14.0-1
    for packet in [ClientPacket::Pingreq, publish("t", "x", Q0, 0), subscribe("t", Q0), disconnect(ReasonCode::Success)]
    {
        let mut harness = Harness::new();
        let client = harness.open(0);
        harness.send(client, packet);
        assert_eq!(harness.received(client), ["CLOSED"]);
    }
}

#[test]
fn mqtt5_connection_without_connect_is_closed_after_the_connect_timeout() {
    let mut harness = Harness::new();
    let client = harness.open(0);
    harness.seconds(9);
    assert!(!harness.is_closed(client));
    harness.seconds(1);
    assert_eq!(harness.received(client), ["CLOSED"]);
}

#[test]
fn mqtt5_3_1_4_2_refused_client_gets_the_reason_and_is_closed() {
    // covers: MQTT-3.2.2-6 MQTT-3.2.2-7 MQTT-3.2.2-8 MQTT-4.13.2-1
    for (reason_code, line) in [
        (ReasonCode::BadUserNameOrPassword, "CONNACK 0x86"),
        (ReasonCode::NotAuthorized, "CONNACK 0x87"),
        (ReasonCode::Banned, "CONNACK 0x8A"),
        (ReasonCode::BadAuthenticationMethod, "CONNACK 0x8C"),
    ] {
        let mut harness = Harness::new();
        harness.granted = None;
        let client = harness.attempt(0, durable("a"));
        harness.refuse(reason_code);
        assert_eq!(harness.received(client), [line, "CLOSED"]);
        assert_eq!(harness.shards[0].counters().sessions, 0);
        assert!(matches!(&harness.reports[..], [Report::Refused { reason_code: sent, .. }] if *sent == reason_code));
    }
}

#[test]
fn mqtt5_3_1_4_6_packets_after_a_refused_connect_are_not_processed() {
    let mut harness = Harness::new();
    harness.granted = None;
    let other = harness.attempt(0, transient("s"));
    harness.grant(Access::everything(), None);
    harness.run(other, [subscribe("#", Q0)]);
    let client = harness.attempt(0, transient("a"));
    harness.send(client, publish("t", "x", Q0, 0));
    harness.refuse(ReasonCode::NotAuthorized);
    assert_eq!(harness.received(client), ["CONNACK 0x87", "CLOSED"]);
    assert_eq!(harness.received(other), [""; 0]);
}

#[test]
fn mqtt5_3_1_2_24_refusing_connack_that_is_too_large_is_not_sent() {
    for (maximum, received) in [(5, vec!["CONNACK 0x85", "CLOSED"]), (4, vec!["CLOSED"])] {
        let mut harness = Harness::new();
        let mut connect = transient(&"x".repeat(65));
        connect.properties.maximum_packet_size = std::num::NonZeroU32::new(maximum);
        let client = harness.attempt(0, connect);
        assert_eq!(harness.received(client), received);
    }
}

#[test]
fn mqtt5_client_identifier_too_long_is_refused() {
    // covers: MQTT-3.1.3-8
    let mut harness = Harness::new();
    let client = harness.attempt(0, transient(&"x".repeat(65)));
    assert_eq!(harness.received(client), ["CONNACK 0x85", "CLOSED"]);
    let client = harness.attempt(0, transient(&"x".repeat(64)));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
}

#[test]
fn mqtt311_3_1_3_8_empty_client_identifier_without_clean_session_is_rejected() {
    // covers: MQTT-3.1.3-9 MQTT-3.2.2-4 MQTT-3.2.2-5
    let mut harness = Harness::new();
    let client = harness.open(0);
    harness.undecodable(client, DecodeError::ClientIdMissing { rule: "" }, Some(ProtocolVersion::V3_1_1));
    assert_eq!(harness.received(client), ["CONNACK 0x85", "CLOSED"]);
}

#[test]
fn mqtt311_3_1_2_2_unknown_protocol_level_is_answered_with_1() {
    let mut harness = Harness::new();
    let client = harness.open(0);
    harness.undecodable(client, DecodeError::ProtocolLevel(9), Some(ProtocolVersion::V3_1_1));
    assert_eq!(harness.received(client), ["CONNACK 0x84", "CLOSED"]);
}

#[test]
fn mqtt5_3_1_4_1_malformed_connect_is_answered_and_closed() {
    let mut harness = Harness::new();
    let client = harness.open(0);
    harness.undecodable(client, DecodeError::Truncated, Some(ProtocolVersion::V5));
    assert_eq!(harness.received(client), ["CONNACK 0x81", "CLOSED"]);
}

#[test]
fn mqtt311_3_1_4_1_malformed_connect_is_closed_without_connack() {
    let mut harness = Harness::new();
    let client = harness.open(0);
    harness.undecodable(client, DecodeError::Truncated, Some(ProtocolVersion::V3_1_1));
    assert_eq!(harness.received(client), ["CLOSED"]);
}

#[test]
fn mqtt5_3_2_0_2_malformed_second_connect_gets_no_connack() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.undecodable(client, DecodeError::Truncated, Some(ProtocolVersion::V5));
    assert_eq!(harness.received(client), ["DISCONNECT 0x81", "CLOSED"]);
}

#[test]
fn mqtt5_malformed_packet_is_answered_with_disconnect() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.undecodable(client, DecodeError::Truncated, None);
    assert_eq!(harness.received(client), ["DISCONNECT 0x81", "CLOSED"]);
    let old = harness.connect(v311("b", true));
    harness.undecodable(old, DecodeError::Truncated, None);
    assert_eq!(harness.received(old), ["CLOSED"]);
}

#[test]
fn mqtt5_3_2_2_12_will_above_the_maximum_qos_is_refused() {
    let mut settings = settings();
    settings.maximum_qos = Qos::AtMostOnce;
    let mut harness = Harness::with(1, settings);
    let client = harness.attempt(0, with_will(Will { qos: Q1, ..will("w", "x") }));
    assert_eq!(harness.received(client), ["CONNACK 0x9B", "CLOSED"]);
}

#[test]
fn mqtt5_3_2_2_13_will_retain_is_refused_when_not_available() {
    let mut settings = settings();
    settings.retain_available = false;
    let mut harness = Harness::with(1, settings);
    let client = harness.attempt(0, with_will(Will { retain: true, ..will("w", "x") }));
    assert_eq!(harness.received(client), ["CONNACK 0x9A", "CLOSED"]);
}

#[test]
fn mqtt5_will_payload_marked_as_utf8_that_is_not_utf8_is_refused() {
    let properties = MessageProperties::from_properties([MessageProperty::PayloadFormatIndicator(true)]);
    let payload = bytes::Bytes::from_static(b"\xFF");
    let mut harness = Harness::new();
    let client = harness.attempt(0, with_will(Will { properties, payload, ..will("w", "x") }));
    assert_eq!(harness.received(client), ["CONNACK 0x99", "CLOSED"]);
}

#[test]
fn mqtt5_will_beyond_the_limits_is_refused() {
    for name in ["1/2/3/4/5/6/7/8/9", "$SYS/2/3/4/5/6/7/8/9"] {
        let mut harness = Harness::new();
        let client = harness.attempt(0, with_will(will(name, "x")));
        assert_eq!(harness.received(client), ["CONNACK 0x90", "CLOSED"]);
    }
}

#[test]
fn mqtt311_3_1_4_2_every_refusal_but_that_of_a_malformed_connect_has_a_connack() {
    // covers: MQTT-3.2.2-5 MQTT-3.2.2-6
    let mut settings = settings();
    settings.maximum_qos = Q1;
    settings.retain_available = false;
    for version in [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1] {
        for will in [
            will("1/2/3/4/5/6/7/8/9", "x"),
            Will { qos: Q2, ..will("w", "x") },
            Will { retain: true, ..will("w", "x") },
        ] {
            let mut harness = Harness::with(1, settings.clone());
            let connect = Connect { will: Some(will), ..Connect::new(version, "a", true) };
            let client = harness.attempt(0, connect);
            assert_eq!(return_codes(&mut harness, client), [5]);
            assert!(harness.is_closed(client));
        }
        let no_topic_name = DecodeError::TopicName(InvalidTopic::WildcardInName);
        let too_large = DecodeError::PacketTooLarge { size: 2, maximum_packet_size: 1 };
        for (error, codes) in [
            (no_topic_name, &[][..]),
            (too_large, &[5]),
            (DecodeError::ClientIdMissing { rule: "" }, &[2]),
            (DecodeError::Utf8, &[]),
        ] {
            let mut harness = Harness::new();
            let client = harness.open(0);
            harness.undecodable(client, error, Some(version));
            assert_eq!(return_codes(&mut harness, client), codes, "{error}");
            assert!(harness.is_closed(client));
        }
    }
}

#[test]
fn mqtt311_3_1_4_2_each_reason_of_a_provider_has_a_return_code() {
    for reason_code in (0x80..=u8::MAX).filter_map(ReasonCode::new) {
        let mut harness = Harness::new();
        harness.granted = None;
        let client = harness.attempt(0, v311("a", true));
        harness.refuse(reason_code);
        let malformed = matches!(reason_code, ReasonCode::MalformedPacket | ReasonCode::ProtocolError);
        assert_eq!(return_codes(&mut harness, client).len(), usize::from(!malformed), "{reason_code}");
    }
}

#[test]
fn connect_that_is_not_answered_at_the_shutdown_or_at_a_takeover_is_refused() {
    for connect in [transient("a"), v311("a", true)] {
        let mut harness = Harness::new();
        harness.granted = None;
        let authenticating = harness.attempt(0, connect.clone());
        harness.event(0, Event::ShuttingDown);
        assert_eq!(harness.received(authenticating), ["CONNACK 0x88", "CLOSED"]);

        let mut harness = Harness::new();
        harness.store_answers = false;
        let committing = harness.attempt(0, Connect { will: Some(will("w", "x")), ..connect.clone() });
        assert_eq!(harness.received(committing), [""; 0]);
        harness.attempt(0, connect);
        assert_eq!(harness.received(committing), ["CONNACK 0x88", "CLOSED"]);
    }
}

/// The Return Codes of the received CONNACK packets, as they are encoded.
fn return_codes(harness: &mut Harness, client: Client) -> Vec<u8> {
    let packets = harness.packets(client);
    let encoded = packets.iter().map(|packet| {
        let mut output = bytes::BytesMut::new();
        crate::codec::encode(packet, ProtocolVersion::V3_1_1, &mut output);
        output
    });
    encoded.filter(|output| output.first() == Some(&0x20)).map(|output| output[3]).collect()
}

#[test]
fn mqtt5_will_that_the_client_may_not_publish_is_refused() {
    let mut harness = Harness::new();
    harness.granted = Some(Access::new(Vec::new()));
    let client = harness.attempt(0, with_will(will("w", "x")));
    assert_eq!(harness.received(client), ["CONNACK 0x87", "CLOSED"]);
    assert!(harness.reports.iter().any(|report| matches!(report, Report::Denied { packet: "CONNECT", .. })));
}

#[test]
fn mqtt5_4_11_referred_client_gets_the_server_reference() {
    let mut settings = settings();
    settings.server_reference = Some("other:1883".into());
    let mut harness = Harness::with(1, settings);
    let client = harness.attempt(0, transient("a"));
    let packets = harness.packets(client);
    let [ServerPacket::Connack(connack)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(connack.reason_code, ReasonCode::UseAnotherServer);
    assert_eq!(connack.properties.server_reference.as_deref(), Some("other:1883"));
    assert!(harness.is_closed(client));
}

#[test]
fn sessions_beyond_sessions_max_are_refused_and_existing_ones_are_not() {
    let mut settings = settings();
    settings.sessions_max = 1;
    let mut harness = Harness::with(1, settings);
    let first = harness.connect(durable("a"));
    let second = harness.attempt(0, durable("b"));
    assert_eq!(harness.received(second), ["CONNACK 0x97", "CLOSED"]);
    harness.lose(first);
    let again = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(again), ["CONNACK 0x00 present"]);
    harness.send(again, disconnect(ReasonCode::Success));
    harness.seconds(1_000);
    let second = harness.attempt(0, durable("b"));
    assert_eq!(harness.received(second), ["CONNACK 0x00"]);
}
