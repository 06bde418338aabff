use std::num::{NonZeroU16, NonZeroU32};

use super::harness::{Client, Harness};
use super::packets::*;
use crate::codec::{AliasUse, ClientPacket, Connect, Publish};

fn aliased(name: &str, alias: u16) -> ClientPacket {
    let (name, alias_use) = if name.is_empty() { ("?", AliasUse::Known) } else { (name, AliasUse::Set) };
    let topic_alias = NonZeroU16::new(alias).map(|alias| (alias, alias_use));
    ClientPacket::Publish(Publish { topic_alias, ..message(name, "m", Q0, 0) })
}

fn watched() -> (Harness, Client, Client) {
    let mut harness = Harness::new();
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q0)]);
    let client = harness.connect(durable("a"));
    (harness, watcher, client)
}

fn taking(maximum: u16) -> Connect {
    let mut connect = transient("s");
    connect.properties.topic_alias_maximum = maximum;
    connect
}

#[test]
fn mqtt5_3_3_2_12_aliases_up_to_the_maximum_are_accepted_and_may_change() {
    let (mut harness, watcher, client) = watched();
    harness.run(client, [aliased("one", 4), aliased("", 4), aliased("two", 4), aliased("", 4), aliased("", 4)]);
    let lines = ["one", "one", "two", "two", "two"].map(|topic| format!("PUBLISH {topic} m q0"));
    assert_eq!(harness.received(watcher), lines);
}

#[test]
fn mqtt5_3_3_2_9_alias_above_the_maximum_is_invalid() {
    // covers: MQTT-3.2.2-17
    let (mut harness, _, client) = watched();
    assert_eq!(harness.ask(client, aliased("one", 5)), ["DISCONNECT 0x94", "CLOSED"]);
}

#[test]
fn mqtt5_3_2_2_18_no_alias_when_none_is_announced() {
    let mut settings = super::harness::settings();
    settings.topic_alias_maximum = 0;
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, aliased("one", 1)), ["DISCONNECT 0x94", "CLOSED"]);
}

#[test]
fn mqtt5_unset_alias_is_a_protocol_error() {
    let (mut harness, _, client) = watched();
    assert_eq!(harness.ask(client, aliased("", 1)), ["DISCONNECT 0x82", "CLOSED"]);
}

#[test]
fn mqtt5_3_3_2_7_aliases_do_not_outlive_their_connection() {
    let (mut harness, _, client) = watched();
    harness.run(client, [aliased("one", 1)]);
    harness.lose(client);
    let client = harness.connect(durable("a"));
    assert_eq!(harness.ask(client, aliased("", 1)), ["DISCONNECT 0x82", "CLOSED"]);
}

#[test]
fn mqtt5_3_1_2_26_no_alias_above_the_clients_maximum_is_sent() {
    // covers: MQTT-3.3.2-11
    let mut harness = Harness::new();
    let client = harness.connect(taking(2));
    harness.run(client, [subscribe("#", Q0)]);
    let publisher = harness.connect(transient("p"));
    for name in ["long/1", "long/2", "long/3", "long/1", "t", "t"] {
        harness.run(publisher, [publish(name, "x", Q0, 0)]);
    }
    let lines = [
        "PUBLISH long/1 x q0 sets alias 1",
        "PUBLISH long/2 x q0 sets alias 2",
        "PUBLISH long/3 x q0",
        "PUBLISH long/1 x q0 by alias 1",
        "PUBLISH t x q0",
        "PUBLISH t x q0",
    ];
    assert_eq!(harness.received(client), lines);
}

#[test]
fn mqtt5_3_1_2_27_no_alias_without_topic_alias_maximum() {
    let mut harness = Harness::new();
    let client = harness.connect(taking(0));
    harness.run(client, [subscribe("#", Q0)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("long/1", "x", Q0, 0), publish("long/1", "x", Q0, 0)]);
    assert_eq!(harness.received(client), ["PUBLISH long/1 x q0", "PUBLISH long/1 x q0"]);
}

#[test]
fn mqtt5_resent_message_sets_its_alias_again() {
    let mut harness = Harness::new();
    let mut connect = durable("s");
    connect.properties.topic_alias_maximum = 2;
    let client = harness.connect(connect.clone());
    harness.run(client, [subscribe("#", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("long/1", "x", Q1, 1), publish("long/1", "y", Q1, 2)]);
    harness.lose(client);
    let client = harness.connect(connect);
    let lines = ["PUBLISH long/1 x q1 #1 dup sets alias 1", "PUBLISH long/1 y q1 #2 dup by alias 1"];
    assert_eq!(harness.received(client), lines);
}

#[test]
fn mqtt5_3_1_2_24_alias_is_omitted_if_it_makes_the_packet_too_large() {
    let mut harness = Harness::new();
    let mut connect = taking(2);
    connect.properties.maximum_packet_size = NonZeroU32::new(128);
    let client = harness.connect(connect);
    harness.run(client, [subscribe("#", Q0)]);
    let publisher = harness.connect(transient("p"));
    // 2 bytes of fixed header, 8 of topic and 1 of properties: with the payloads, packets have 124 to 129 bytes without an alias.
    for length in 113..=118 {
        let large = Publish::new(topic(&format!("lo/{length}")), "x".repeat(length));
        harness.run(publisher, [ClientPacket::Publish(large)]);
    }
    let sent = harness.packets(client).len();
    assert_eq!(sent, 5);
}
