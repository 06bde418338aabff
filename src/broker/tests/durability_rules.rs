use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Durability, DurabilityRule, Event, Record, Recovered, Recovery, RetainedChange, StoreRoom};
use crate::codec::{ClientPacket, MessageProperties, Qos};
use crate::topic::TopicFilter;

fn rule(filter: &str, level: Durability) -> DurabilityRule {
    DurabilityRule { topic_filter: TopicFilter::new(filter.into()).unwrap(), level }
}

/// A durable subscriber to all topics, a durable and a transient client; then the store stops committing. Topics `none/…` and `crash/…` have
/// these levels, all others have `power-loss`.
fn slow_store(qos: Qos) -> (Harness, [Client; 3]) {
    let mut settings = settings();
    settings.durability = Durability::PowerLoss;
    settings.durability_rules = vec![
        rule("none/safe", Durability::PowerLoss),
        rule("none/#", Durability::None),
        rule("crash/#", Durability::Crash),
    ];
    let mut harness = Harness::with(1, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("#", qos)]);
    let clients = [subscriber, harness.connect(durable("d")), harness.connect(transient("v"))];
    harness.store_answers = false;
    harness.records.clear();
    (harness, clients)
}

/// The state that is recovered from these records.
fn recovered(records: &[Record]) -> Recovered {
    let mut recovery = Recovery::default();
    for record in records {
        let bytes = record.to_bytes();
        recovery.apply(&bytes.body, (&bytes.puts, &bytes.parts.list()), &bytes.deletes, bytes.ends);
    }
    recovery.finish()
}

fn level_of_last(harness: &Harness) -> Durability {
    let Some(Record::Accepted { durability, .. }) = harness.records.last() else { panic!("{:?}", harness.records) };
    *durability
}

fn once(name: &str, packet_id: u16, dedup_id: &'static str) -> ClientPacket {
    let properties = MessageProperties::from_properties([user_property("dedup-id", dedup_id)]);
    ClientPacket::Publish(message(name, "x", Q1, packet_id).with_properties(properties))
}

#[test]
fn first_matching_rule_applies_and_otherwise_the_default_level() {
    let mut settings = settings();
    let level = |settings: &crate::broker::Settings, name| settings.durability_of(&topic(name));
    settings.durability = Durability::Crash;
    assert_eq!(level(&settings, "a/b"), Durability::PowerLoss, "without rules all topics have one level");
    settings.durability_rules =
        vec![rule("a/+", Durability::None), rule("a/#", Durability::PowerLoss), rule("#", Durability::None)];
    assert_eq!(level(&settings, "a/b"), Durability::None);
    assert_eq!(level(&settings, "a/b/c"), Durability::PowerLoss);
    assert_eq!(level(&settings, "$b"), Durability::Crash, "a leading wildcard does not match it");
}

#[test]
fn puback_at_level_none_does_not_wait_and_nothing_is_recorded() {
    let (mut harness, [subscriber, durable, transient]) = slow_store(Q1);
    for publisher in [durable, transient] {
        assert_eq!(harness.ask(publisher, publish("none/t", "1", Q1, 1)), ["PUBACK 1"]);
        assert_eq!(harness.received(subscriber).len(), 1);
    }
    assert!(harness.records.is_empty());
    assert_eq!(harness.ask(durable, publish("none/safe", "3", Q1, 3)), [""; 0], "an earlier rule matches");
    assert_eq!(harness.ask(durable, publish("t", "3", Q1, 4)), [""; 0], "no rule matches");
}

#[test]
fn acknowledgement_of_a_message_in_memory_leaves_no_record() {
    let (mut harness, [subscriber, durable, _]) = slow_store(Q1);
    harness.run(durable, [publish("none/t", "1", Q1, 1)]);
    harness.run(subscriber, [puback(1)]);
    assert!(harness.records.is_empty());
    harness.store_answers = true;
    harness.run(durable, [publish("t", "2", Q1, 1)]);
    harness.run(subscriber, [puback(2)]);
    assert!(matches!(harness.records.last(), Some(Record::Done { sequence: 2, .. })));
}

#[test]
fn message_in_memory_is_queued_for_a_disconnected_client_until_the_process_ends() {
    let (mut harness, [subscriber, durable, _]) = slow_store(Q1);
    harness.store_answers = true;
    harness.lose(subscriber);
    harness.records.clear();
    harness.run(durable, [publish("none/t", "1", Q1, 1), publish("t", "2", Q1, 2)]);
    let subscriber = harness.connect(super::packets::durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH none/t 1 q1 #1", "PUBLISH t 2 q1 #2"]);
}

#[test]
fn messages_of_different_levels_keep_their_order() {
    let (mut harness, [subscriber, durable, _]) = slow_store(Q1);
    harness.send(durable, publish("t", "1", Q1, 1));
    harness.send(durable, publish("none/t", "2", Q1, 2));
    assert_eq!(harness.received(subscriber), [""; 0]);
    harness.persist();
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1", "PUBLISH none/t 2 q1 #2"]);
    assert_eq!(harness.received(durable), ["PUBACK 1", "PUBACK 2"]);
}

#[test]
fn level_crash_is_in_the_record_of_the_message() {
    let (mut harness, [_, durable, _]) = slow_store(Q1);
    assert_eq!(harness.ask(durable, publish("crash/t", "1", Q1, 1)), [""; 0]);
    assert_eq!(level_of_last(&harness), Durability::Crash);
    harness.send(durable, retain("crash/t", "1", Q1, 2));
    assert_eq!(level_of_last(&harness), Durability::Crash);
    harness.send(durable, publish("t", "1", Q1, 3));
    assert_eq!(level_of_last(&harness), Durability::PowerLoss);
    harness.persist();
    assert_eq!(harness.received(durable), ["PUBACK 1", "PUBACK 2", "PUBACK 3"]);
}

/// After a crash, a new message must not get the Packet Identifier of a message that a client has and whose record is lost.
#[test]
fn qos2_message_for_a_durable_session_is_recorded_at_every_level_before_it_is_sent() {
    let (mut harness, [subscriber, _, transient]) = slow_store(Q2);
    assert_eq!(harness.ask(transient, publish("none/t", "1", Q2, 1)), ["PUBREC 1"], "PUBREC does not wait");
    assert_eq!(level_of_last(&harness), Durability::PowerLoss);
    assert_eq!(harness.ask(transient, publish("crash/t", "2", Q2, 2)), [""; 0]);
    assert_eq!(level_of_last(&harness), Durability::PowerLoss);
    assert_eq!(harness.received(subscriber), [""; 0], "delivery waits for the record");
    harness.persist();
    assert_eq!(harness.received(subscriber), ["PUBLISH none/t 1 q2 #1", "PUBLISH crash/t 2 q2 #2"]);
    assert_eq!(harness.received(transient), ["PUBREC 2"]);
}

#[test]
fn qos2_message_in_memory_goes_to_transient_sessions_once() {
    let (mut harness, [subscriber, _, transient]) = slow_store(Q1);
    harness.run(subscriber, [unsubscribe(9, &["#"])]);
    harness.run(transient, [subscribe("none/#", Q2)]);
    harness.records.clear();
    assert_eq!(harness.ask(transient, publish("none/t", "1", Q2, 1)), ["PUBLISH none/t 1 q2 #1", "PUBREC 1"]);
    assert_eq!(harness.ask(transient, publish("none/t", "1", Q2, 1)), ["PUBREC 1"], "the resent message is not routed");
    assert!(harness.records.is_empty());
}

#[test]
fn received_identifier_is_in_the_record_of_its_message_or_not_recorded() {
    let (mut harness, [subscriber, durable, _]) = slow_store(Q2);
    assert_eq!(harness.ask(durable, publish("none/t", "1", Q2, 5)), ["PUBREC 5"]);
    let Some(Record::Accepted { publisher, receivers, .. }) = harness.records.last() else { panic!() };
    assert_eq!((publisher.map(|(_, packet_id)| packet_id), receivers.len()), (Some(id(5)), 1));
    harness.run(subscriber, [unsubscribe(9, &["#"])]);
    harness.records.clear();
    assert_eq!(harness.ask(durable, publish("none/t", "2", Q2, 6)), ["PUBREC 6 0x10"]);
    assert!(harness.records.is_empty(), "{:?}", harness.records);
}

#[test]
fn retained_message_is_recorded_at_every_level_and_its_puback_waits() {
    let (mut harness, [_, _, transient]) = slow_store(Q1);
    assert_eq!(harness.ask(transient, retain("none/r", "new", Q1, 1)), [""; 0]);
    assert_eq!(level_of_last(&harness), Durability::PowerLoss);
    assert_eq!(recovered(&harness.records).retained[0].message.payload, "new");
    assert_eq!(harness.ask(transient, retain("none/r", "", Q1, 2)), [""; 0]);
    assert!(recovered(&harness.records).retained.is_empty());
    harness.send(transient, retain("none/r", "q0", Q0, 0));
    let Some(Record::Accepted { retained, .. }) = harness.records.last() else { panic!() };
    assert!(matches!(retained, RetainedChange::Set { .. }));
    harness.persist();
    assert_eq!(harness.received(transient), ["PUBACK 1", "PUBACK 2"]);
}

#[test]
fn dedup_id_of_a_message_in_memory_is_not_recorded() {
    let (mut harness, [subscriber, _, transient]) = slow_store(Q1);
    for (number, name) in [(1, "none/t"), (2, "none/t")] {
        assert_eq!(harness.ask(transient, once(name, number, "a")).len(), 1);
    }
    assert_eq!(harness.received(subscriber).len(), 1, "it is accepted once while the process runs");
    assert!(harness.records.is_empty(), "it is not recorded, so it is new after a crash");
}

#[test]
fn eviction_for_a_message_in_memory_is_recorded() {
    let (mut harness, [_, _, transient]) = slow_store(Q1);
    for (number, dedup_id) in [(1, "a"), (2, "b"), (3, "c")] {
        harness.send(transient, once("t", number, dedup_id));
    }
    assert_eq!(recovered(&harness.records).deduplicated.len(), 3);
    harness.send(transient, once("none/t", 4, "d"));
    let left = recovered(&harness.records).deduplicated;
    assert_eq!(left.iter().map(|entry| &*entry.id).collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn full_disk_refuses_only_messages_that_need_a_record() {
    let (mut harness, [_, _, transient]) = slow_store(Q2);
    harness.event(0, Event::StoreRoom(StoreRoom::None));
    assert_eq!(harness.ask(transient, publish("none/t", "1", Q1, 1)), ["PUBACK 1"]);
    assert_eq!(harness.ask(transient, publish("none/t", "2", Q2, 2)), ["PUBREC 2 0x97"]);
    assert_eq!(harness.ask(transient, retain("none/t", "3", Q1, 3)), ["PUBACK 3 0x97"]);
    assert_eq!(harness.ask(transient, publish("crash/t", "4", Q1, 4)), ["PUBACK 4 0x97"]);
}

#[test]
fn will_stays_stored_and_replayed_message_has_the_level_of_its_topic() {
    let (mut harness, [_, durable, _]) = slow_store(Q1);
    harness.store_answers = true;
    let mut connect = transient("w");
    connect.will = Some(crate::codec::Will { qos: Q1, ..will("none/will", "gone") });
    let dying = harness.connect(connect);
    harness.run(durable, [retain("none/r", "kept", Q1, 1)]);
    let accepted =
        |harness: &Harness| harness.records.iter().filter(|record| matches!(record, Record::Accepted { .. })).count();
    let before = accepted(&harness);
    harness.lose(dying);
    assert_eq!(harness.ask(durable, subscribe("none/r", Q1)), ["SUBACK 1 01", "PUBLISH none/r kept q1 #1 retain"]);
    assert_eq!(accepted(&harness), before + 1, "only the Will: its record deletes the stored Will");
    let subscriber = harness.connect(super::packets::durable("s"));
    assert!(harness.received(subscriber).iter().any(|line| line.starts_with("PUBLISH none/will gone q1")));
}

#[test]
fn moved_session_keeps_messages_in_memory() {
    let mut settings = settings();
    settings.durability_rules = vec![rule("none/#", Durability::None)];
    let mut harness = Harness::with(2, settings);
    let subscriber = harness.connect_to(0, durable("s"));
    harness.run(subscriber, [subscribe("#", Q1)]);
    harness.lose(subscriber);
    let publisher = harness.connect_to(1, transient("p"));
    harness.run(publisher, [publish("none/t", "1", Q1, 1)]);
    let subscriber = harness.connect_to(1, durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH none/t 1 q1 #1"]);
}
