use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{DropReason, Report};

fn full_queue() -> (Harness, Client) {
    let mut settings = settings();
    settings.queued_messages_max = 3;
    let mut harness = Harness::with(1, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("p"));
    for (number, payload) in [(1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5")] {
        harness.run(publisher, [publish("t", payload, Q1, number)]);
    }
    (harness, publisher)
}

#[test]
fn full_queue_drops_the_oldest_and_counts_it() {
    let (mut harness, _) = full_queue();
    assert_eq!(harness.shards[0].counters().dropped[DropReason::QueueFull as usize], 2);
    assert_eq!(harness.shards[0].counters().queued_messages, 3);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH t 3 q1 #3", "PUBLISH t 4 q1 #4", "PUBLISH t 5 q1 #5"]);
}

#[test]
fn full_queue_is_reported_once_per_series_of_drops() {
    let (mut harness, publisher) = full_queue();
    let reported = |harness: &Harness| {
        let dropping = |report: &&Report| matches!(report, Report::Dropping { reason: DropReason::QueueFull, .. });
        harness.reports.iter().filter(dropping).count()
    };
    assert_eq!(reported(&harness), 1);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [puback(3), puback(4), puback(5)]);
    harness.lose(subscriber);
    for number in 1..=5 {
        harness.run(publisher, [publish("t", "x", Q1, number)]);
    }
    assert_eq!(reported(&harness), 2);
}

#[test]
fn full_queue_never_drops_messages_in_flight() {
    let mut settings = settings();
    settings.queued_messages_max = 2;
    let mut harness = Harness::with(1, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q2, 2)]);
    harness.lose(subscriber);
    harness.run(publisher, [publish("t", "3", Q1, 3), publish("t", "4", Q1, 4)]);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1 dup", "PUBLISH t 2 q2 #2 dup"]);
}

#[test]
fn mqtt5_4_4_0_1_full_queue_does_not_block_resent_messages() {
    let mut settings = settings();
    settings.queued_messages_max = 3;
    let mut harness = Harness::with(1, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q1, 2)]);
    harness.lose(subscriber);
    let mut connect = durable("s");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
    let subscriber = harness.connect(connect);
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1 dup"]);
    for payload in ["3", "4", "5"] {
        // A new message waits until the messages in flight are resent and acknowledged.
        let publisher = harness.connect(transient(payload));
        harness.run(publisher, [publish("t", payload, Q1, 1)]);
    }
    assert_eq!(harness.ask(subscriber, puback(1)), ["PUBLISH t 2 q1 #2 dup"]);
    assert_eq!(harness.ask(subscriber, puback(2)), ["PUBLISH t 5 q1 #5"]);
}

#[test]
fn full_queue_in_bytes_drops_the_oldest() {
    let mut settings = settings();
    settings.queued_bytes_max = 1_500;
    let mut harness = Harness::with(1, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("p"));
    for number in 1..=50 {
        harness.run(publisher, [publish("t", "0123456789012345678901234567890123456789", Q1, number)]);
    }
    let counters = *harness.shards[0].counters();
    assert!(counters.queued_bytes <= 1_500);
    assert_eq!(counters.queued_messages + counters.dropped[DropReason::QueueFull as usize], 50);
}

#[test]
fn qos0_message_for_a_session_without_connection_is_counted() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q0, 0)]);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::NotConnected as usize], 1);
}

#[test]
fn counters_follow_connections_sessions_and_messages() {
    let (mut harness, publisher) = full_queue();
    harness.run(publisher, [publish("t", "0", Q0, 0)]);
    let counters = *harness.shards[0].counters();
    assert_eq!((counters.connections, counters.sessions, counters.sessions_connected), (1, 2, 1));
    assert_eq!(counters.messages_received, [1, 5, 0]);
    assert_eq!(counters.payload_bytes_received, 6);
    assert_eq!((counters.connects_accepted, counters.connects_refused), (2, 0));
    harness.seconds(1_000);
    let counters = *harness.shards[0].counters();
    assert_eq!((counters.queued_messages, counters.queued_bytes, counters.sessions), (0, 0, 1));
    assert_eq!(counters.dropped[DropReason::SessionEnded as usize], 3);
}
