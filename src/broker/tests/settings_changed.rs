//! A reload changes the settings of a shard, and removes listeners.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Event, Settings};
use crate::codec::{ClientPacket, ServerPacket};

fn change(harness: &mut Harness, change: impl FnOnce(&mut Settings)) {
    let mut settings = settings();
    change(&mut settings);
    harness.event(0, Event::SettingsChanged(Arc::new(settings)));
}

fn receive_maximum(harness: &mut Harness, client: Client) -> Option<NonZeroU16> {
    let packets = harness.packets(client);
    let Some(ServerPacket::Connack(connack)) = packets.first() else { panic!("{packets:?}") };
    connack.properties.receive_maximum
}

#[test]
fn mqtt5_3_3_4_9_a_connected_client_keeps_what_its_connack_announced() {
    let mut harness = Harness::new();
    harness.store_answers = false;
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q0)]);
    let before = harness.connect(transient("before"));
    change(&mut harness, |settings| {
        settings.receive_maximum = NonZeroU16::MIN;
        settings.maximum_qos = Q0;
        settings.retain_available = false;
    });
    harness.run(before, [publish("t", "1", Q2, 1), publish("t", "2", Q2, 2), retain("t", "3", Q1, 3)]);
    assert!(!harness.is_closed(before));
    assert_eq!(harness.received(subscriber).len(), 3);

    let after = harness.attempt(0, transient("after"));
    assert_eq!(receive_maximum(&mut harness, after), Some(NonZeroU16::MIN));
    assert_eq!(harness.ask(after, publish("t", "4", Q1, 1)), ["DISCONNECT 0x9B", "CLOSED"]);
    let other = harness.connect(transient("other"));
    assert_eq!(harness.ask(other, retain("t", "5", Q0, 0)), ["DISCONNECT 0x9A", "CLOSED"]);
}

#[test]
fn the_queue_of_a_session_that_is_away_gets_the_new_bound() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, (1..=5).map(|number| publish("t", "x", Q1, number)));
    assert_eq!(harness.shards[0].counters().queued_messages, 5);
    change(&mut harness, |settings| settings.queued_messages_max = 2);
    assert_eq!(harness.shards[0].counters().queued_messages, 5, "nothing is dropped before the next message");
    harness.run(publisher, [publish("t", "y", Q1, 6)]);
    assert_eq!(harness.shards[0].counters().queued_messages, 2);
    change(&mut harness, |settings| settings.queued_messages_max = 100);
    harness.run(publisher, [publish("t", "z", Q1, 7)]);
    assert_eq!(harness.shards[0].counters().queued_messages, 3);
}

#[test]
fn a_rate_and_a_length_apply_to_connected_clients() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("c"));
    change(&mut harness, |settings| {
        settings.client_messages_per_second_max = Some(std::num::NonZeroU32::MIN);
        settings.topic_length_max = 3;
    });
    assert_eq!(harness.ask(client, publish("long", "", Q1, 1)), ["PUBACK 1 0x90"]);
    harness.run(client, [publish("t", "", Q0, 0), publish("t", "", Q0, 0)]);
    assert!(harness.is_paused(client));
}

#[test]
fn mqtt5_4_13_1_the_client_of_a_removed_listener_is_told() {
    let mut harness = Harness::new();
    let observer = harness.connect(transient("o"));
    harness.run(observer, [subscribe("w", Q0)]);
    let mut with_will = transient("c");
    with_will.will = Some(will("w", "gone"));
    let client = harness.connect(with_will);
    let old = harness.connect(v311("old", true));
    let silent = harness.open(0);
    harness.granted = None;
    let waiting = harness.attempt(0, transient("waiting"));
    for gone in [client, old, silent, waiting] {
        harness.event(0, Event::ListenerRemoved { connection: gone.id });
    }
    assert_eq!(harness.received(client), ["DISCONNECT 0x98", "CLOSED"]);
    assert_eq!(harness.received(old), ["CLOSED"]);
    assert_eq!(harness.received(silent), ["CLOSED"]);
    assert_eq!(harness.received(waiting), ["CONNACK 0x88", "CLOSED"]);
    assert_eq!(harness.received(observer), ["PUBLISH w gone q0"]);
    harness.send(observer, ClientPacket::Pingreq);
    assert!(!harness.is_closed(observer));
}
