use std::num::NonZeroU16;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{DropReason, Event, MemoryLevel};
use crate::codec::{AliasUse, ClientPacket, Publish, Qos};

/// A subscriber to `t` and a publisher, which are connected when memory gets short.
fn world(durable_session: bool) -> (Harness, Client, Client) {
    let mut harness = Harness::with(1, settings());
    let subscriber = harness.connect(if durable_session { durable("s") } else { transient("s") });
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect(transient("p"));
    (harness, subscriber, publisher)
}

fn dropped(harness: &Harness) -> u64 {
    harness.shards[0].counters().dropped[DropReason::QueueFull as usize]
}

#[test]
fn new_clients_subscriptions_and_retained_messages_are_refused_while_memory_is_short() {
    let (mut harness, subscriber, publisher) = world(true);
    harness.run(publisher, [retain("kept", "x", Q1, 9)]);
    harness.event(0, Event::Memory(MemoryLevel::High));
    let refused = harness.attempt(0, transient("new"));
    assert_eq!(harness.received(refused), ["CONNACK 0x88", "CLOSED"]);
    let older = harness.attempt(0, v311("old", true));
    assert_eq!(harness.received(older), ["CONNACK 0x88", "CLOSED"]);
    assert_eq!(harness.ask(subscriber, subscribe("u", Q1)), ["SUBACK 1 97"]);
    assert_eq!(harness.ask(publisher, retain("r", "x", Q1, 1)), ["PUBACK 1 0x97"]);
    assert_eq!(harness.ask(publisher, retain("kept", "", Q1, 2)), ["PUBACK 2 0x10"], "it is cleared");
    assert_eq!(harness.ask(publisher, publish("t", "x", Q1, 3)), ["PUBACK 3"]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q1 #1"]);

    harness.event(0, Event::Memory(MemoryLevel::Normal));
    assert_eq!(harness.ask(subscriber, subscribe("u", Q1)), ["SUBACK 1 01"]);
    harness.connect(transient("new"));
    assert_eq!(harness.ask(publisher, retain("r", "x", Q1, 1)), ["PUBACK 1 0x10"]);
}

#[test]
fn queue_that_only_memory_has_takes_few_messages_while_memory_is_short() {
    let (mut harness, subscriber, publisher) = world(false);
    harness.event(0, Event::Memory(MemoryLevel::High));
    for number in 1..=40 {
        harness.run(publisher, [publish("t", "x", Q1, number)]);
    }
    assert_eq!((harness.received(subscriber).len(), dropped(&harness)), (16, 24));
    let counters = *harness.shards[0].counters();
    assert_eq!((counters.queued_messages, counters.in_flight_messages), (16, 16));
    // The client acknowledges, and gets the next messages, in spite of the gap.
    harness.run(subscriber, (1..=16).map(puback));
    harness.run(publisher, [publish("t", "next", Q1, 41)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t next q1 #41"]);
    harness.run(subscriber, [puback(41)]);
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
}

#[test]
fn durable_queue_takes_all_messages_while_memory_is_short() {
    let (mut harness, subscriber, publisher) = world(true);
    harness.lose(subscriber);
    harness.event(0, Event::Memory(MemoryLevel::Critical));
    for number in 1..=40 {
        assert_eq!(harness.ask(publisher, publish("t", "x", Q1, number)), [format!("PUBACK {number}")]);
    }
    assert_eq!((harness.shards[0].counters().queued_messages, dropped(&harness)), (40, 0));
    harness.event(0, Event::Memory(MemoryLevel::Normal));
    let subscriber = harness.connect(durable("s"));
    let first = harness.received(subscriber);
    assert_eq!(first.first().map(String::as_str), Some("PUBLISH t x q1 #1"));
    harness.run(subscriber, (1..=40).map(puback));
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
}

#[test]
fn receiver_gets_less_buffer_while_memory_is_short() {
    let (mut harness, subscriber, publisher) = world(false);
    let half = settings().outgoing_bytes_max / 2;
    harness.flush(subscriber, half.min(20_000));
    let slow = |harness: &Harness| harness.shards[0].counters().dropped[DropReason::SlowReceiver as usize];
    let before = harness.ask(publisher, publish("t", "x", Q0, 0)).len();
    assert_eq!((before, slow(&harness)), (0, 0));
    harness.event(0, Event::Memory(MemoryLevel::High));
    harness.flush(subscriber, 20_000);
    harness.run(publisher, [publish("t", "x", Q0, 0)]);
    assert_eq!(slow(&harness), 1);
    harness.event(0, Event::Memory(MemoryLevel::Critical));
    assert_eq!(harness.received(subscriber).last().map(String::as_str), Some("CLOSED"), "it has the most");
    assert!(!harness.is_closed(publisher));
    assert_eq!(harness.shards[0].counters().ended_for_memory, 1);
}

#[test]
fn long_topic_gets_no_alias_while_memory_is_short() {
    let aliased = |name: &str| {
        let topic_alias = NonZeroU16::new(1).map(|alias| (alias, AliasUse::Set));
        ClientPacket::Publish(Publish { topic_alias, ..message(name, "m", Qos::AtMostOnce, 0) })
    };
    let (mut harness, _, publisher) = world(false);
    harness.run(publisher, [aliased(&"x".repeat(300))]);
    harness.event(0, Event::Memory(MemoryLevel::High));
    harness.run(publisher, [aliased("short")]);
    assert_eq!(harness.ask(publisher, aliased(&"x".repeat(300))), ["DISCONNECT 0x97", "CLOSED"]);
}

#[test]
fn connection_with_too_large_an_incomplete_packet_ends_with_the_reason() {
    let (mut harness, _, publisher) = world(false);
    let event = Event::InputRefused { connection: publisher.id };
    harness.event(0, event);
    assert_eq!(harness.received(publisher), ["DISCONNECT 0x97", "CLOSED"]);
}
