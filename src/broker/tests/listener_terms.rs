//! What a listener says for its clients. The listener of the harness is `tcp`.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Event, ListenerTerms, Settings};
use crate::codec::{Connack, Connect, ProtocolVersion, ServerPacket};

/// The settings with terms for the listener of all clients, and others for one that has none.
fn with(change: impl FnOnce(&mut ListenerTerms)) -> Settings {
    let mut terms = ListenerTerms::new("tcp".into());
    change(&mut terms);
    let other = ListenerTerms { protocol_versions: Some(Vec::new()), ..ListenerTerms::new("other".into()) };
    Settings { listeners: vec![other, terms], ..settings() }
}

fn harness(change: impl FnOnce(&mut ListenerTerms)) -> Harness {
    Harness::with(1, with(change))
}

fn connack(harness: &mut Harness, connect: Connect) -> (Client, Connack) {
    let client = harness.attempt(0, connect);
    let packets = harness.packets(client);
    let [ServerPacket::Connack(connack)] = &packets[..] else { panic!("{packets:?}") };
    (client, (**connack).clone())
}

fn version(version: ProtocolVersion) -> Connect {
    Connect::new(version, "a", true)
}

#[test]
fn mqtt5_3_1_2_2_a_version_that_the_listener_does_not_accept_is_refused() {
    let all = [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1, ProtocolVersion::V5];
    for accepted in all {
        let mut harness = harness(|terms| terms.protocol_versions = Some(vec![accepted]));
        for sent in all {
            let client = harness.attempt(0, version(sent));
            let expected = if sent == accepted { &["CONNACK 0x00"][..] } else { &["CONNACK 0x84", "CLOSED"] };
            assert_eq!(harness.received(client), expected, "{sent:?} where {accepted:?} is accepted");
        }
    }
}

#[test]
fn mqtt5_3_1_3_8_an_empty_client_identifier_is_refused_where_none_is_assigned() {
    let empty = || Connect::new(ProtocolVersion::V5, "", true);
    let mut strict = harness(|terms| terms.assigns_client_ids = false);
    for connect in [empty(), v311("", true)] {
        let client = strict.attempt(0, connect);
        assert_eq!(strict.received(client), ["CONNACK 0x85", "CLOSED"]);
    }
    strict.connect(transient("a"));
    let mut prefixed = harness(|terms| terms.assigned_client_id_prefix = Some("office-".into()));
    let (_, connack) = connack(&mut prefixed, empty());
    let assigned = connack.properties.assigned_client_identifier.unwrap();
    let number = assigned.strip_prefix("office-").unwrap();
    assert!(number.len() == 32 && u128::from_str_radix(number, 16).is_ok(), "{assigned}");
}

#[test]
fn mqtt5_3_2_2_11_the_maximum_qos_of_a_listener_is_announced_and_enforced() {
    for (of_all, own) in [(Q2, Q1), (Q1, Q1), (Q0, Q1)] {
        let mut settings = with(|terms| terms.maximum_qos = Some(own));
        settings.maximum_qos = of_all;
        let mut harness = Harness::with(1, settings);
        let (client, connack) = connack(&mut harness, transient("a"));
        assert_eq!(connack.properties.maximum_qos, own);
        assert_eq!(harness.ask(client, subscribe("t", Q2)), ["SUBACK 1 01"]);
        assert_eq!(harness.ask(client, publish("t", "x", Q1, 1)), ["PUBLISH t x q1 #1", "PUBACK 1"]);
        assert_eq!(harness.ask(client, publish("t", "x", Q2, 2)), ["DISCONNECT 0x9B", "CLOSED"]);
        let mut will = will("w", "gone");
        will.qos = Q2;
        let client = harness.attempt(0, Connect { will: Some(will), ..transient("b") });
        assert_eq!(harness.received(client), ["CONNACK 0x9B", "CLOSED"]);
    }
}

#[test]
fn mqtt5_3_2_2_14_retain_available_of_a_listener_is_announced_and_enforced() {
    for of_all in [true, false] {
        for own in [true, false] {
            let mut settings = with(|terms| terms.retain_available = Some(own));
            settings.retain_available = of_all;
            let mut harness = Harness::with(1, settings);
            let (client, connack) = connack(&mut harness, transient("a"));
            assert_eq!(connack.properties.retain_available, own);
            let expected = if own { &["PUBACK 1 0x10"][..] } else { &["DISCONNECT 0x9A", "CLOSED"] };
            assert_eq!(harness.ask(client, retain("t", "x", Q1, 1)), expected);
            let mut will = will("w", "gone");
            will.retain = true;
            let client = harness.attempt(0, Connect { will: Some(will), ..transient("b") });
            let expected = if own { &["CONNACK 0x00"][..] } else { &["CONNACK 0x9A", "CLOSED"] };
            assert_eq!(harness.received(client), expected);
        }
    }
}

#[test]
fn mqtt5_3_2_2_22_the_keep_alive_of_a_listener_is_announced() {
    let mut settings = with(|terms| terms.keep_alive_max = NonZeroU16::new(20));
    settings.keep_alive_max = NonZeroU16::new(60);
    let mut harness = Harness::with(1, settings);
    for (requested, expected) in [(0, Some(20)), (10, None), (30, Some(20))] {
        let (_, connack) = connack(&mut harness, Connect { keep_alive: requested, ..transient("a") });
        assert_eq!(connack.properties.server_keep_alive, expected, "{requested}");
    }
}

#[test]
fn mqtt5_3_2_2_18_the_topic_alias_maximum_of_a_listener_is_announced() {
    let mut harness = harness(|terms| {
        terms.topic_alias_maximum = Some(3);
        terms.topic_alias_maximum_outgoing = Some(0);
    });
    let mut connect = transient("a");
    connect.properties.topic_alias_maximum = 10;
    let (client, connack) = connack(&mut harness, connect);
    assert_eq!(connack.properties.topic_alias_maximum, 3);
    harness.run(client, [subscribe("t", Q0)]);
    for _ in 0..3 {
        harness.run(client, []);
        harness.send(client, publish("t", "x", Q0, 0));
        let packets = harness.packets(client);
        let [ServerPacket::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!(publish.topic_alias, None);
    }
}

#[test]
fn a_reload_is_for_the_next_connect_and_a_listener_that_is_not_named_is_as_for_all() {
    let mut harness = Harness::new();
    let before = harness.connect(version(ProtocolVersion::V5));
    let qos = Settings { listeners: with(|terms| terms.maximum_qos = Some(Q0)).listeners, ..settings() };
    harness.event(0, Event::SettingsChanged(Arc::new(qos)));
    assert_eq!(harness.ask(before, publish("t", "x", Q2, 1)), ["PUBREC 1 0x10"]);
    let after = harness.connect(transient("b"));
    assert_eq!(harness.ask(after, publish("t", "x", Q1, 1)), ["DISCONNECT 0x9B", "CLOSED"]);
}
