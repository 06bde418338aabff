//! What a restart knows about the time, and what happens to messages if it knows nothing.

use std::time::Duration;

use super::harness::{Harness, recovered, settings};
use super::packets::*;
use crate::broker::{DropReason, Event, Record, Settings};
use crate::codec::{ClientPacket, Connect, Publish, Qos};
use crate::timestamp::Timestamp;

fn expiring(name: &str, payload: &'static str, packet_id: u16) -> ClientPacket {
    ClientPacket::Publish(Publish { message_expiry_interval: Some(1_000), ..message(name, payload, Q1, packet_id) })
}

/// A durable Session `s` without connection, with these messages in its queue.
fn queued(settings: Settings, packets: impl IntoIterator<Item = ClientPacket>) -> Harness {
    let mut harness = Harness::with(1, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q1), subscribe("$share/g/u", Q1)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, packets);
    harness
}

#[test]
fn no_time_in_the_store_is_after_the_latest() {
    let mut harness = queued(settings(), []);
    let detached = harness.now;
    assert_eq!(recovered(&harness.records).latest, detached);
    harness.seconds(5);
    let publisher = harness.connect(transient("q"));
    harness.run(publisher, [publish("t", "1", Q1, 1)]);
    assert_eq!(recovered(&harness.records).latest, detached, "a message that does not expire has no time");
    harness.run(publisher, [expiring("t", "2", 2)]);
    assert_eq!(recovered(&harness.records).latest, harness.now);
}

#[test]
fn messages_with_an_interval_expire_after_an_unknown_time_and_their_records_are_deleted() {
    let packets = [expiring("t", "1", 1), publish("t", "2", Q1, 2), expiring("u", "3", 3), expiring("t", "4", 4)];
    let mut harness = queued(settings(), packets);
    harness.restart_with_expired_messages(settings());
    harness.advance(Duration::ZERO);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::Expired as usize], 3);
    let stored = recovered(&harness.records);
    assert_eq!(stored.sessions[0].queue.len(), 1);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH t 2 q1 #2"]);
}

#[test]
fn a_client_that_is_back_before_its_expired_messages_are_dropped_does_not_get_them() {
    let mut harness = queued(settings(), [expiring("t", "1", 1), publish("t", "2", Q1, 2)]);
    harness.restart_with_expired_messages(settings());
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH t 2 q1 #2"]);
    harness.advance(Duration::ZERO);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::Expired as usize], 1);
}

#[test]
fn messages_that_expire_after_an_unknown_time_become_dead_letters() {
    let with_dead_letters = || Settings { dead_letter_topic: Some(topic("dead")), ..settings() };
    let mut harness = queued(with_dead_letters(), [expiring("t", "1", 1)]);
    let keeper = harness.connect(durable("k"));
    harness.run(keeper, [subscribe("dead", Q1)]);
    harness.lose(keeper);
    harness.restart_with_expired_messages(with_dead_letters());
    harness.advance(Duration::ZERO);
    assert_eq!(harness.shards[0].counters().dead_letters, 1);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), [""; 0]);
    let keeper = harness.connect(durable("k"));
    assert_eq!(harness.received(keeper), ["PUBLISH dead 1 q1 #1"]);
}

#[test]
fn retained_messages_with_an_interval_expire_after_an_unknown_time() {
    let retained = ClientPacket::Publish(Publish {
        retain: true,
        message_expiry_interval: Some(1_000),
        ..message("r/1", "old", Q1, 1)
    });
    let mut harness = queued(settings(), [retained, retain("r/2", "state", Q1, 2)]);
    harness.restart_with_expired_messages(settings());
    let reader = harness.connect(transient("x"));
    harness.send(reader, subscribe("r/#", Qos::AtMostOnce));
    assert_eq!(harness.received(reader), ["SUBACK 1 00", "PUBLISH r/2 state q0 retain"]);
    harness.seconds(2);
    assert_eq!(recovered(&harness.records).retained.len(), 1);
}

#[test]
fn an_interval_in_a_record_without_the_time_of_acceptance_is_read() {
    let harness = queued(settings(), [expiring("t", "1", 1)]);
    let accepted = harness.records.iter().find(|record| matches!(record, Record::Accepted { .. })).unwrap();
    let bytes = accepted.to_bytes();
    // QoS, 2, when it expires, when it was accepted.
    assert_eq!(bytes.body[1], 2);
    let old = [&bytes.body[..1], &[1], &bytes.body[2..10], &bytes.body[18..]].concat();
    let expiry_of = |body: &[u8]| {
        let mut recovery = crate::broker::Recovery::default();
        for record in harness.records.iter().filter(|record| !matches!(record, Record::Accepted { .. })) {
            let bytes = record.to_bytes();
            recovery.apply(&bytes.body, (&bytes.puts, &bytes.parts.list()), &bytes.deletes, bytes.ends);
        }
        recovery.apply(body, (&bytes.puts, &bytes.parts.list()), &bytes.deletes, bytes.ends);
        let recovered = recovery.finish();
        assert_eq!(recovered.unreadable, 0);
        format!("{:?}", recovered.sessions[0].queue)
    };
    assert_eq!(expiry_of(&old), expiry_of(&bytes.body));
    assert!(expiry_of(&old).contains(&format!("{:?}", harness.now + Duration::from_secs(1_000))));
}

#[test]
fn keep_alive_begins_again_after_the_shard_stood_still() {
    let mut harness = Harness::new();
    let client = harness.connect(Connect { keep_alive: 10, ..transient("a") });
    harness.seconds(3);
    harness.now = harness.now + Duration::from_secs(3_600);
    harness.event(0, Event::Stalled);
    harness.event(0, Event::DeadlinePassed);
    assert!(!harness.is_closed(client));
    harness.advance(Duration::from_millis(14_999));
    assert!(!harness.is_closed(client));
    harness.advance(Duration::from_millis(1));
    assert_eq!(harness.received(client), ["DISCONNECT 0x8D", "CLOSED"]);
    assert_ne!(harness.now, Timestamp::default());
}
