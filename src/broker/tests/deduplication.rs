use super::harness::{Client, Harness, recovered, settings};
use super::packets::*;
use crate::broker::{Record, Settings};
use crate::codec::{ClientPacket, MessageProperties, Qos, ServerPacket};

fn once(payload: &'static str, qos: Qos, packet_id: u16, dedup_id: &'static str) -> ClientPacket {
    let properties = MessageProperties::from_properties([user_property("dedup-id", dedup_id)]);
    ClientPacket::Publish(message("t", payload, qos, packet_id).with_properties(properties))
}

/// A durable subscriber to `t` and a publisher, on the last shard.
fn world(shards: usize, settings: Settings) -> (Harness, Client, Client) {
    let mut harness = Harness::with(shards, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect_to(shards - 1, transient("p"));
    (harness, subscriber, publisher)
}

/// Whether each acknowledgement has the User Property of a duplicate.
fn duplicates(harness: &mut Harness, client: Client) -> Vec<bool> {
    let is_duplicate = |packet: ServerPacket| {
        let (ServerPacket::Puback(ack) | ServerPacket::Pubrec(ack)) = packet else { panic!("{packet:?}") };
        assert_eq!(ack.reason_code.number(), 0);
        let properties = ack.details.map(|details| details.user_properties).unwrap_or_default();
        properties == [("duplicate".into(), "true".into())]
    };
    harness.packets(client).into_iter().map(is_duplicate).collect()
}

#[test]
fn duplicate_is_acknowledged_and_not_routed() {
    for qos in [Q1, Q2] {
        let (mut harness, subscriber, publisher) = world(1, settings());
        harness.send(publisher, once("x", qos, 1, "a"));
        harness.send(publisher, once("x", qos, 2, "a"));
        harness.send(publisher, once("y", qos, 3, "b"));
        assert_eq!(duplicates(&mut harness, publisher), [false, true, false]);
        assert_eq!(harness.received(subscriber).len(), 2);
        assert_eq!(harness.shards[0].counters().duplicates, 1);
    }
}

#[test]
fn connections_of_one_publisher_share_a_window_and_publishers_do_not() {
    let (mut harness, subscriber, publisher) = world(2, settings());
    harness.send(publisher, once("x", Q1, 1, "a"));
    harness.lose(publisher);
    let again = harness.connect_to(0, transient("p"));
    harness.send(again, once("x", Q1, 1, "a"));
    assert_eq!(duplicates(&mut harness, again), [true]);
    let other = harness.connect_to(0, transient("q"));
    harness.send(other, once("x", Q1, 1, "a"));
    assert_eq!(duplicates(&mut harness, other), [false]);
    assert_eq!(harness.received(subscriber).len(), 2);
}

#[test]
fn duplicate_waits_for_the_record_of_the_first_message_on_any_shard() {
    for shards in [1, 2] {
        let (mut harness, _, publisher) = world(shards, settings());
        let again = harness.connect_to(0, transient("r"));
        harness.lose(again);
        harness.store_answers = false;
        harness.send(publisher, once("x", Q1, 1, "a"));
        harness.lose(publisher);
        let again = harness.connect_to(0, transient("p"));
        harness.send(again, once("x", Q1, 1, "a"));
        harness.seconds(1);
        assert_eq!(duplicates(&mut harness, again), [false; 0]);
        harness.persist();
        harness.seconds(1);
        assert_eq!(duplicates(&mut harness, again), [true]);
    }
}

#[test]
fn identifier_is_new_again_after_it_left_the_window() {
    let (mut harness, subscriber, publisher) = world(1, settings());
    harness.send(publisher, once("x", Q1, 1, "a"));
    harness.seconds(59);
    harness.send(publisher, once("x", Q1, 2, "a"));
    assert_eq!(duplicates(&mut harness, publisher), [false, true]);
    harness.seconds(2);
    assert_eq!(harness.shards[0].counters().deduplication_expired, 1);
    harness.send(publisher, once("x", Q1, 3, "a"));
    for (number, id) in [(4, "b"), (5, "c"), (6, "d")] {
        harness.send(publisher, once("x", Q1, number, id));
    }
    assert_eq!(harness.shards[0].counters().deduplication_left, 1, "one of the four identifiers was evicted");
    harness.send(publisher, once("x", Q1, 7, "b"));
    harness.send(publisher, once("x", Q1, 8, "a"));
    assert_eq!(duplicates(&mut harness, publisher), [false, false, false, false, true, false]);
    assert_eq!(harness.received(subscriber).len(), 6);
}

#[test]
fn window_survives_a_restart_in_the_record_of_its_message() {
    let (mut harness, _, publisher) = world(1, settings());
    harness.run(publisher, [once("x", Q1, 1, "a")]);
    let Some(Record::Accepted { deduplicated: Some(_), receivers, .. }) = harness.records.last() else { panic!() };
    assert_eq!(receivers.len(), 1);
    for (number, id) in [(2, "b"), (3, "c"), (4, "d")] {
        harness.run(publisher, [once("x", Q1, number, id)]);
    }
    let left = recovered(&harness.records).deduplicated;
    let ids: Vec<&str> = left.iter().map(|entry| &*entry.id).collect();
    assert_eq!(ids, ["b", "c", "d"], "the evicted entry is deleted from the store");
    let (mut next, subscriber, publisher) = world(1, settings());
    next.shards[0].shared.restore_deduplication(&left);
    next.send(publisher, once("x", Q1, 1, "b"));
    next.send(publisher, once("x", Q1, 2, "a"));
    assert_eq!(duplicates(&mut next, publisher), [true, false]);
    assert_eq!(next.received(subscriber).len(), 1);
    harness.seconds(61);
    assert!(recovered(&harness.records).deduplicated.is_empty());
}

#[test]
fn identifier_of_a_refused_message_is_not_in_the_window() {
    let mut small = settings();
    small.queued_messages_max = 1;
    small.queue_overflow = crate::broker::QueueOverflow::Reject;
    let (mut harness, subscriber, publisher) = world(1, small);
    harness.run(publisher, [once("x", Q1, 1, "a")]);
    assert_eq!(harness.ask(publisher, once("y", Q1, 2, "b")), ["PUBACK 2 0x97"]);
    harness.run(subscriber, [puback(1)]);
    harness.send(publisher, once("y", Q1, 2, "b"));
    assert_eq!(duplicates(&mut harness, publisher), [false]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t y q1 #2"]);
}

#[test]
fn messages_at_qos_0_or_without_an_identifier_are_not_deduplicated() {
    let (mut harness, subscriber, publisher) = world(1, settings());
    harness.run(publisher, [once("x", Q0, 0, "a"), once("x", Q0, 0, "a")]);
    harness.run(publisher, [publish("t", "y", Q1, 1), publish("t", "y", Q1, 2)]);
    assert_eq!(harness.received(subscriber).len(), 4);
    let mut off = settings();
    off.deduplication_window = std::time::Duration::ZERO;
    let (mut harness, subscriber, publisher) = world(1, off);
    harness.run(publisher, [once("x", Q1, 1, "a"), once("x", Q1, 2, "a")]);
    assert_eq!(harness.received(subscriber).len(), 2);
}

#[test]
fn identifier_above_the_length_limit_is_refused() {
    let (mut harness, _, publisher) = world(1, settings());
    let long: &'static str = Box::leak("x".repeat(257).into_boxed_str());
    assert_eq!(harness.ask(publisher, once("x", Q1, 1, long)), ["PUBACK 1 0x83"]);
}

#[test]
fn mqtt5_3_1_2_29_duplicate_property_is_not_sent_without_request_problem_information() {
    let (mut harness, ..) = world(1, settings());
    let mut connect = transient("q");
    connect.properties.request_problem_information = false;
    let publisher = harness.connect(connect);
    harness.run(publisher, [once("x", Q1, 1, "a")]);
    assert_eq!(harness.ask(publisher, once("x", Q1, 2, "a")), ["PUBACK 2"]);
}
