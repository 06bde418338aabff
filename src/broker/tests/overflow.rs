use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::Event::StoreRoom;
use crate::broker::{DropReason, QueueOverflow, Report, StoreRoom as Room};
use crate::routing::RetainedLimits;

/// A disconnected durable subscriber to `t` with room for three messages.
fn disconnected(shards: usize, queue_overflow: QueueOverflow) -> Harness {
    let mut settings = settings();
    settings.queued_messages_max = 3;
    settings.queue_overflow = queue_overflow;
    let mut harness = Harness::with(shards, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.lose(subscriber);
    harness
}

fn fill(harness: &mut Harness, publisher: Client) {
    for (number, payload) in [(1, "1"), (2, "2"), (3, "3")] {
        assert_eq!(harness.ask(publisher, publish("t", payload, Q1, number)), [format!("PUBACK {number}")]);
    }
}

fn queue_full(harness: &Harness) -> u64 {
    harness.shards.iter().map(|shard| shard.counters().dropped[DropReason::QueueFull as usize]).sum()
}

fn received_by_subscriber(harness: &mut Harness) -> Vec<String> {
    let subscriber = harness.connect(durable("s"));
    harness.received(subscriber)
}

const FIRST_THREE: [&str; 3] = ["PUBLISH t 1 q1 #1", "PUBLISH t 2 q1 #2", "PUBLISH t 3 q1 #3"];

#[test]
fn drop_newest_keeps_queued_messages_and_counts_drops() {
    for shards in [1, 2] {
        let mut harness = disconnected(shards, QueueOverflow::DropNewest);
        let publisher = harness.connect_to(shards - 1, transient("p"));
        fill(&mut harness, publisher);
        let records = harness.records.len();
        assert_eq!(harness.ask(publisher, publish("t", "4", Q1, 4)), ["PUBACK 4"]);
        assert_eq!(harness.ask(publisher, publish("t", "5", Q2, 5)), ["PUBREC 5"]);
        assert_eq!(harness.records.len(), records, "a dropped message has no record");
        assert_eq!(queue_full(&harness), 2);
        let dropping = |report: &&Report| matches!(report, Report::Dropping { reason: DropReason::QueueFull, .. });
        assert_eq!(harness.reports.iter().filter(dropping).count(), 1, "once per series");
        assert_eq!(received_by_subscriber(&mut harness), FIRST_THREE);
    }
}

#[test]
fn drop_newest_affects_only_the_full_session() {
    let mut harness = disconnected(1, QueueOverflow::DropNewest);
    let publisher = harness.connect(transient("p"));
    fill(&mut harness, publisher);
    let other = harness.connect(durable("o"));
    harness.run(other, [subscribe("t", Q1)]);
    harness.run(publisher, [publish("t", "4", Q1, 4)]);
    assert_eq!(harness.received(other), ["PUBLISH t 4 q1 #1"]);
}

#[test]
fn reject_refuses_a_message_of_a_5_0_publisher_for_all_receivers() {
    for shards in [1, 2] {
        let mut harness = disconnected(shards, QueueOverflow::Reject);
        let publisher = harness.connect_to(shards - 1, transient("p"));
        fill(&mut harness, publisher);
        let other = harness.connect(durable("o"));
        harness.run(other, [subscribe("t", Q1)]);
        assert_eq!(harness.ask(publisher, publish("t", "4", Q1, 4)), ["PUBACK 4 0x97"]);
        assert_eq!(harness.ask(publisher, publish("t", "5", Q2, 5)), ["PUBREC 5 0x97"]);
        assert_eq!(harness.ask(publisher, retain("t", "6", Q1, 6)), ["PUBACK 6 0x97"]);
        assert_eq!(harness.received(other), [""; 0]);
        assert_eq!(harness.shards[0].shared.retained_len().0, 0);
        assert_eq!(queue_full(&harness), 0, "no acknowledged message is dropped");
        assert_eq!(received_by_subscriber(&mut harness), FIRST_THREE);
    }
}

#[test]
fn reject_accepts_again_when_there_is_room() {
    let mut harness = disconnected(2, QueueOverflow::Reject);
    let publisher = harness.connect_to(1, transient("p"));
    fill(&mut harness, publisher);
    assert_eq!(harness.ask(publisher, publish("t", "4", Q1, 4)), ["PUBACK 4 0x97"]);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [puback(1)]);
    assert_eq!(harness.ask(publisher, publish("t", "4", Q2, 4)), ["PUBREC 4"]);
    assert_eq!(harness.ask(publisher, publish("t", "5", Q1, 5)), ["PUBACK 5 0x97"]);
    harness.run(subscriber, [puback(2), puback(3), pubrec(4), pubcomp(4)]);
    fill(&mut harness, publisher);
    assert_eq!(harness.ask(publisher, publish("t", "5", Q1, 5)), ["PUBACK 5 0x97"]);
}

#[test]
fn reject_counts_messages_that_wait_for_a_commit() {
    let mut harness = disconnected(1, QueueOverflow::Reject);
    let publisher = harness.connect(transient("p"));
    harness.store_answers = false;
    for number in 1..=4 {
        harness.send(publisher, publish("t", "x", Q1, number));
    }
    harness.persist();
    assert_eq!(harness.received(publisher), ["PUBACK 1", "PUBACK 2", "PUBACK 3", "PUBACK 4 0x97"]);
}

#[test]
fn reject_bounds_the_bytes_of_a_queue_too() {
    let mut settings = settings();
    settings.queued_bytes_max = 1_000;
    settings.queue_overflow = QueueOverflow::Reject;
    let mut harness = Harness::with(1, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("p"));
    let large = |number| {
        let publish = message("t", "", Q1, number);
        crate::codec::ClientPacket::Publish(publish.with_payload(vec![0; 2_000]))
    };
    assert_eq!(harness.ask(publisher, large(1)), ["PUBACK 1"], "an empty queue accepts one message of any size");
    assert_eq!(harness.ask(publisher, publish("t", "x", Q1, 2)), ["PUBACK 2 0x97"]);
}

#[test]
fn reject_pauses_a_3_1_1_publisher_until_there_is_room() {
    for shards in [1, 2] {
        let mut harness = disconnected(shards, QueueOverflow::Reject);
        let publisher = harness.connect_to(shards - 1, v311("p", true));
        fill(&mut harness, publisher);
        assert_eq!(harness.ask(publisher, publish("t", "4", Q2, 4)), [""; 0]);
        assert!(harness.is_paused(publisher));
        harness.seconds(1);
        assert!(harness.is_paused(publisher), "there is no room yet");
        let subscriber = harness.connect(durable("s"));
        harness.received(subscriber);
        harness.send(subscriber, puback(1));
        assert!(!harness.is_paused(publisher));
        assert_eq!(harness.received(publisher), ["PUBREC 4"]);
        assert_eq!(harness.received(subscriber), ["PUBLISH t 4 q2 #4"]);
    }
}

#[test]
fn blocked_message_of_a_closed_3_1_1_publisher_is_new_when_resent() {
    let mut harness = disconnected(1, QueueOverflow::Reject);
    let publisher = harness.connect(v311("p", false));
    fill(&mut harness, publisher);
    harness.send(publisher, publish("t", "4", Q2, 4));
    harness.lose(publisher);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [puback(1)]);
    let publisher = harness.attempt(0, v311("p", false));
    harness.seconds(1);
    assert_eq!(harness.received(subscriber), [""; 0]);
    harness.run(publisher, [publish("t", "4", Q2, 4)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t 4 q2 #4"]);
}

#[test]
fn full_disk_refuses_5_0_and_pauses_3_1_1_until_there_is_room() {
    let mut harness = disconnected(1, QueueOverflow::DropOldest);
    let (refused, paused) = (harness.connect(transient("p")), harness.connect(v311("q", false)));
    harness.event(0, StoreRoom(Room::None));
    assert_eq!(harness.ask(refused, publish("t", "1", Q1, 1)), ["PUBACK 1 0x97"]);
    assert_eq!(harness.ask(refused, publish("t", "1", Q2, 2)), ["PUBREC 2 0x97"]);
    assert_eq!(harness.ask(paused, publish("t", "2", Q2, 1)), [""; 0]);
    harness.seconds(1);
    assert_eq!(harness.received(paused), [""; 0]);
    harness.event(0, StoreRoom(Room::Some));
    harness.seconds(1);
    assert_eq!(harness.received(paused), ["PUBREC 1"]);
    assert_eq!(harness.ask(refused, publish("t", "3", Q1, 3)), ["PUBACK 3"]);
    assert_eq!(received_by_subscriber(&mut harness), ["PUBLISH t 2 q2 #1", "PUBLISH t 3 q1 #2"]);
}

#[test]
fn full_disk_does_not_affect_qos_0_and_transient_sessions() {
    let mut harness = disconnected(1, QueueOverflow::DropOldest);
    let [publisher, other] = ["p", "o"].map(|name| harness.connect(transient(name)));
    harness.run(other, [subscribe("#", Q2)]);
    harness.event(0, StoreRoom(Room::None));
    assert_eq!(harness.ask(publisher, publish("t", "1", Q0, 0)), [""; 0]);
    assert_eq!(harness.ask(publisher, publish("u", "2", Q2, 2)), ["PUBREC 2"]);
    assert_eq!(harness.received(other), ["PUBLISH t 1 q0", "PUBLISH u 2 q2 #1"]);
}

#[test]
fn unacknowledged_message_of_a_3_1_1_client_is_new_when_resent() {
    let limits = RetainedLimits { retained_messages_max: 1, retained_bytes_max: 1_000 };
    let mut harness = Harness::with_retained(1, settings(), limits);
    let publisher = harness.connect(v311("p", false));
    harness.run(publisher, [retain("r", "1", Q1, 1)]);
    harness.send(publisher, retain("s", "2", Q2, 2));
    assert!(harness.is_closed(publisher));
    let publisher = harness.connect(v311("p", false));
    harness.run(publisher, [retain("r", "", Q1, 1)]);
    assert_eq!(harness.ask(publisher, retain("s", "2", Q2, 2)), ["PUBREC 2 0x10"]);
    let subscriber = harness.connect(transient("s"));
    assert_eq!(harness.ask(subscriber, subscribe("s", Q2)), ["SUBACK 1 02", "PUBLISH s 2 q2 #1 retain"]);
}

#[test]
fn reject_does_not_affect_qos_0() {
    let mut harness = disconnected(1, QueueOverflow::Reject);
    let publisher = harness.connect(transient("p"));
    fill(&mut harness, publisher);
    let other = harness.connect(transient("o"));
    harness.run(other, [subscribe("t", Q0)]);
    harness.run(publisher, [publish("t", "4", Q0, 0)]);
    assert_eq!(harness.received(other), ["PUBLISH t 4 q0"]);
}
