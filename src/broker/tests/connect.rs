use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{AnonymousSessions, AuthenticationOutcome, Durability, DurabilityRule, VerifiedUser};
use crate::codec::{ClientPacket, Connack, Connect, ProtocolVersion, Qos, ServerPacket};
use crate::routing::Access;
use crate::topic::TopicFilter;

fn connack(harness: &mut Harness, connect: Connect) -> (Client, Connack) {
    let client = harness.attempt(0, connect);
    match harness.packets(client).into_iter().next() {
        Some(ServerPacket::Connack(connack)) => (client, *connack),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mqtt5_3_1_4_5_accepted_connect_is_answered_with_connack_success() {
    let mut harness = Harness::new();
    let client = harness.attempt(0, transient("a"));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
}

#[test]
fn mqtt311_3_1_4_4_accepted_connect_is_answered_with_connack_0() {
    let mut harness = Harness::new();
    let client = harness.attempt(0, v311("a", true));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
}

#[test]
fn mqtt5_3_1_2_4_clean_start_discards_the_session() {
    // covers: MQTT-3.1.4-4 MQTT-3.2.2-2
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.lose(client);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "old", Q1, 1)]);
    let client = harness.attempt(0, Connect { clean_start: true, ..durable("a") });
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
    harness.run(publisher, [publish("t", "new", Q1, 1)]);
    assert_eq!(harness.received(client), [""; 0]);
}

#[test]
fn mqtt5_3_1_2_5_without_clean_start_the_session_resumes() {
    // covers: MQTT-3.2.2-3 MQTT-3.1.2-23 MQTT-4.5.0-1
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.lose(client);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    let client = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(client), ["CONNACK 0x00 present", "PUBLISH t x q1 #1"]);
}

#[test]
fn mqtt5_3_1_2_6_without_clean_start_and_session_a_new_one_begins() {
    let mut harness = Harness::new();
    let client = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
}

#[test]
fn mqtt311_3_1_2_4_clean_session_0_resumes() {
    // covers: MQTT-3.1.2-5 MQTT-3.2.2-2
    let mut harness = Harness::new();
    let client = harness.connect(v311("a", false));
    harness.run(client, [subscribe("t", Q2)]);
    harness.send(client, disconnect(crate::codec::ReasonCode::Success));
    let publisher = harness.connect(v311("p", true));
    harness.run(publisher, [publish("t", "x", Q2, 1)]);
    harness.seconds(1_000_000);
    let client = harness.attempt(0, v311("a", false));
    assert_eq!(harness.received(client), ["CONNACK 0x00 present", "PUBLISH t x q2 #1"]);
}

#[test]
fn mqtt311_3_1_2_6_clean_session_1_lasts_as_long_as_its_connection() {
    // covers: MQTT-3.2.2-1 MQTT-3.2.2-3
    let mut harness = Harness::new();
    let client = harness.connect(v311("a", false));
    harness.run(client, [subscribe("t", Q1)]);
    harness.lose(client);
    let client = harness.attempt(0, v311("a", true));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
    harness.run(client, [subscribe("u", Q1)]);
    harness.lose(client);
    let client = harness.attempt(0, v311("a", false));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1), publish("u", "x", Q1, 2)]);
    assert_eq!(harness.received(client), [""; 0]);
}

#[test]
fn mqtt5_session_with_interval_0_ends_with_its_connection() {
    // covers: MQTT-4.1.0-2
    let mut harness = Harness::new();
    let client = harness.connect(Connect { clean_start: false, ..transient("a") });
    harness.lose(client);
    let client = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
}

#[test]
fn mqtt5_3_2_2_16_empty_client_identifier_gets_a_new_one() {
    // covers: MQTT-3.1.3-6 MQTT-3.1.3-7
    let mut harness = Harness::new();
    let (_, first) = connack(&mut harness, transient(""));
    let (_, second) = connack(&mut harness, Connect { clean_start: false, ..durable("") });
    let first = first.properties.assigned_client_identifier.unwrap();
    let second = second.properties.assigned_client_identifier.unwrap();
    assert!(first.starts_with("auto-") && second.starts_with("auto-"));
    assert_ne!(first, second);
    let back = harness.attempt(0, durable(&second));
    assert_eq!(
        harness.received(back),
        ["CONNACK 0x00 present"],
        "the client can reconnect with the assigned identifier"
    );
}

#[test]
fn mqtt311_3_1_3_6_empty_client_identifier_is_accepted_with_clean_session() {
    let mut harness = Harness::new();
    let (first, second) = (harness.connect(v311("", true)), harness.connect(v311("", true)));
    assert_eq!((harness.received(first), harness.received(second)), (vec![], vec![]));
}

#[test]
fn mqtt5_3_1_3_2_client_identifiers_are_compared_by_every_character() {
    // covers: MQTT-3.1.3-5
    let mut harness = Harness::new();
    let names = ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "a", "A"];
    let clients = names.map(|name| harness.connect(durable(name)));
    for client in clients {
        assert!(!harness.is_closed(client));
    }
}

#[test]
fn mqtt5_connack_announces_the_limits_of_the_broker() {
    let mut harness = Harness::new();
    let (_, connack) = connack(&mut harness, transient("a"));
    let properties = connack.properties;
    assert_eq!(properties.receive_maximum, NonZeroU16::new(10));
    assert_eq!(properties.maximum_packet_size, NonZeroU32::new(1_000_000));
    assert_eq!(properties.topic_alias_maximum, 4);
    assert_eq!(properties.maximum_qos, Qos::ExactlyOnce);
    assert!(properties.retain_available);
    assert_eq!(properties.session_expiry_interval, None);
    assert_eq!(properties.server_keep_alive, None);
    assert_eq!(properties.assigned_client_identifier, None);
    assert_eq!(properties.authentication_method, None);
    assert_eq!(properties.user_properties, []);
}

/// The User Properties of CONNACK, for a CONNECT with these.
fn told(harness: &mut Harness, mut connect: Connect, asks: &[(&'static str, &'static str)]) -> Vec<String> {
    connect.properties.user_properties = asks.iter().copied().collect();
    let (client, connack) = connack(harness, connect);
    harness.lose(client);
    connack.properties.user_properties.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn connack_explains_itself_to_clients_that_ask() {
    let mut harness = Harness::new();
    for asks in [&[("explain", "false")][..], &[("Explain", "true"), ("explain", "")], &[]] {
        assert_eq!(told(&mut harness, transient("a"), asks), [""; 0]);
    }
    let asks = &[("other", "x"), ("explain", "true")][..];
    let transient_session = ["durability: none", "session: ends with the connection", "queued-messages: 0"];
    assert_eq!(told(&mut harness, transient("a"), asks), transient_session);
    let kept = ["durability: none", "session: kept in memory", "queued-messages: 0"];
    assert_eq!(told(&mut harness, durable("a"), asks), kept);
    assert_eq!(told(&mut harness, v311("b", true), asks), [""; 0]);
}

#[test]
fn connack_explains_the_user_the_store_and_the_queue() {
    let mut settings = settings();
    settings.durability = Durability::Crash;
    let rule = |filter: &str, level| DurabilityRule { topic_filter: TopicFilter::new(filter.into()).unwrap(), level };
    settings.durability_rules = vec![rule("a/#", Durability::None), rule("b/#", Durability::PowerLoss)];
    settings.anonymous_sessions = AnonymousSessions::Adopt;
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.lose(client);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q1, 2)]);
    harness.granted = None;
    let mut connect = durable("a");
    connect.properties.user_properties = [("explain", "true")].into_iter().collect();
    let client = harness.attempt(0, connect);
    let user: Arc<str> = "é".repeat(200).into();
    let outcome = AuthenticationOutcome::Granted {
        access: Arc::new(Access::everything()),
        user: None,
        verified_user: Some(VerifiedUser { provider: "password".into(), name: user }),
        expires_at: None,
        authentication_data: None,
    };
    let (_, _request) = harness.requests.pop_front().unwrap();
    harness.answer(client, outcome);
    let packets = harness.packets(client);
    let Some(ServerPacket::Connack(connack)) = packets.first() else { panic!("{packets:?}") };
    let expected = [
        ("durability".into(), "crash".into()),
        ("durability-rules".into(), "2".into()),
        ("session".into(), "stored".into()),
        ("queued-messages".into(), "2".into()),
        ("user".into(), "é".repeat(128).into()),
    ];
    assert_eq!(connack.properties.user_properties, expected);
}

#[test]
fn mqtt5_3_2_2_20_the_explanation_is_omitted_if_it_does_not_fit() {
    let mut connect = transient("a");
    connect.properties.maximum_packet_size = NonZeroU32::new(60);
    assert_eq!(told(&mut Harness::new(), connect, &[("explain", "true")]), [""; 0]);
}

#[test]
fn mqtt5_3_2_2_9_limited_maximum_qos_is_announced() {
    let mut settings = settings();
    settings.maximum_qos = Qos::AtLeastOnce;
    settings.retain_available = false;
    let (_, connack) = connack(&mut Harness::with(1, settings), transient("a"));
    assert_eq!(connack.properties.maximum_qos, Qos::AtLeastOnce);
    assert!(!connack.properties.retain_available);
}

#[test]
fn mqtt5_session_expiry_above_the_maximum_is_lowered_and_announced() {
    let mut settings = settings();
    settings.session_expiry_max = 60;
    let mut harness = Harness::with(1, settings);
    let (client, connack) = connack(&mut harness, durable("a"));
    assert_eq!(connack.properties.session_expiry_interval, Some(60));
    harness.lose(client);
    harness.seconds(59);
    assert_eq!(harness.shards[0].counters().sessions, 1);
    harness.seconds(1);
    assert_eq!(harness.shards[0].counters().sessions, 0);
}

#[test]
fn mqtt5_3_1_2_28_response_information_only_on_request() {
    let mut settings = settings();
    settings.response_information = Some("answers/".into());
    let mut harness = Harness::with(1, settings);
    assert_eq!(connack(&mut harness, transient("a")).1.properties.response_information, None);
    let mut connect = transient("b");
    connect.properties.request_response_information = true;
    assert_eq!(connack(&mut harness, connect).1.properties.response_information, Some("answers/b".into()));
}

#[test]
fn mqtt5_3_2_2_20_connack_omits_properties_that_do_not_fit() {
    // covers: MQTT-3.2.2-19 MQTT-3.1.2-24
    let mut harness = Harness::new();
    let mut connect = transient("a");
    connect.properties.maximum_packet_size = NonZeroU32::new(20);
    let (_, connack) = connack(&mut harness, connect);
    assert_eq!(connack.properties.user_properties, []);
    assert_eq!(connack.properties.receive_maximum, NonZeroU16::new(10));
}

#[test]
fn mqtt5_3_1_2_25_packets_too_large_to_send_are_left_out() {
    let mut harness = Harness::new();
    let mut connect = transient("a");
    connect.properties.maximum_packet_size = NonZeroU32::new(16);
    let client = harness.connect(connect);
    let many = (0..12).map(|i| subscription(&format!("t/{i}"), options(Q0))).collect();
    assert_eq!(harness.ask(client, subscribe_all(1, 0, many)), [""; 0]);
    assert_eq!(harness.ask(client, subscribe("t/0", Q0)), ["SUBACK 1 00"]);
}

#[test]
fn mqtt5_3_1_2_24_client_whose_maximum_packet_size_excludes_connack_is_closed() {
    let mut harness = Harness::new();
    for connect in [transient("a"), durable("a")] {
        let mut connect = connect;
        connect.properties.maximum_packet_size = NonZeroU32::new(15);
        let client = harness.attempt(0, connect);
        assert_eq!(harness.received(client), ["CONNACK 0x95", "CLOSED"]);
    }
}

#[test]
fn mqtt5_3_1_0_2_second_connect_is_a_protocol_error() {
    // covers: MQTT-4.13.1-1
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    let second = ClientPacket::Connect(Box::new(transient("a")));
    assert_eq!(harness.ask(client, second), ["DISCONNECT 0x82", "CLOSED"]);
}

#[test]
fn mqtt311_3_1_0_2_second_connect_closes() {
    // covers: MQTT-4.8.0-1
    let mut harness = Harness::new();
    let client = harness.connect(v311("a", true));
    let second = ClientPacket::Connect(Box::new(v311("a", true)));
    let lines = harness.ask(client, second);
    assert_eq!(lines.last().map(String::as_str), Some("CLOSED"));
}

#[test]
fn mqtt5_3_2_0_1_nothing_is_sent_before_connack() {
    let mut harness = Harness::new();
    harness.store_answers = false;
    let client = harness.attempt(0, durable("a"));
    harness.send(client, ClientPacket::Pingreq);
    harness.send(client, pubrec(9));
    harness.send(client, subscribe("t", Q0));
    assert_eq!(harness.received(client), [""; 0]);
    harness.persist();
    harness.persist();
    assert_eq!(harness.received(client), ["CONNACK 0x00", "PINGRESP", "PUBREL 9 0x92", "SUBACK 1 00"]);
}

#[test]
fn mqtt31_is_accepted_as_311() {
    let mut harness = Harness::new();
    let client = harness.attempt(0, Connect::new(ProtocolVersion::V3_1, "a", true));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
}
