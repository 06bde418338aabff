use super::harness::Harness;
use super::packets::*;
use crate::codec::{ClientPacket, Connect};

#[test]
fn mqtt5_3_1_4_3_existing_client_is_sent_disconnect_and_closed() {
    // covers: MQTT-3.14.2-2
    let mut harness = Harness::new();
    let first = harness.connect(durable("a"));
    let second = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(first), ["DISCONNECT 0x8E", "CLOSED"]);
    assert_eq!(harness.received(second), ["CONNACK 0x00 present"]);
    assert_eq!(harness.shards[0].counters().sessions_taken_over, 1);
    assert_eq!(harness.shards[0].counters().sessions, 1);
}

#[test]
fn mqtt311_3_1_4_2_existing_client_is_closed() {
    let mut harness = Harness::new();
    let first = harness.connect(v311("a", false));
    let second = harness.attempt(0, v311("a", false));
    assert!(harness.is_closed(first));
    assert_eq!(harness.received(second), ["CONNACK 0x00 present"]);
}

#[test]
fn mqtt5_takeover_of_a_transient_session_begins_a_new_one() {
    let mut harness = Harness::new();
    let first = harness.connect(transient("a"));
    harness.run(first, [subscribe("t", Q1)]);
    let second = harness.attempt(0, Connect { clean_start: false, ..transient("a") });
    assert_eq!(harness.received(second), ["CONNACK 0x00"]);
    let publisher = harness.connect(transient("p"));
    assert_eq!(harness.ask(publisher, publish("t", "x", Q1, 1)), ["PUBACK 1 0x10"]);
}

#[test]
fn mqtt5_messages_in_flight_are_resent_on_the_new_connection() {
    let mut harness = Harness::new();
    let first = harness.connect(durable("a"));
    harness.run(first, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    assert_eq!(harness.received(first), ["PUBLISH t x q1 #1"]);
    let second = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(second), ["CONNACK 0x00 present", "PUBLISH t x q1 #1 dup"]);
}

#[test]
fn session_moves_to_the_new_connection_when_its_records_are_stable() {
    let mut harness = Harness::new();
    let other = harness.connect(durable("o"));
    harness.run(other, [subscribe("t", Q1)]);
    let first = harness.connect(durable("a"));
    harness.store_answers = false;
    harness.send(first, publish("t", "x", Q2, 1));
    let second = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(first), ["DISCONNECT 0x8E", "CLOSED"]);
    assert_eq!(harness.received(second), [""; 0]);
    harness.commit(0);
    assert_eq!(harness.received(second), ["CONNACK 0x00 present"]);
    assert_eq!(harness.ask(second, publish("t", "x", Q2, 1)), ["PUBREC 1"]);
    assert_eq!(harness.received(other), ["PUBLISH t x q1 #1"]);
}

#[test]
fn takeover_on_one_shard_waits_for_one_commit_if_it_changes_anything() {
    let mut expires_later = durable("a");
    expires_later.properties.session_expiry_interval += 1;
    let with_will = Connect { will: Some(will("w", "gone")), ..durable("a") };
    let clean_start = Connect { clean_start: true, ..durable("a") };
    let present = "CONNACK 0x00 present";
    for (connect, connack) in [(expires_later, present), (with_will, present), (clean_start, "CONNACK 0x00")] {
        let mut harness = Harness::new();
        harness.connect(durable("a"));
        harness.store_answers = false;
        let second = harness.attempt(0, connect);
        assert_eq!(harness.received(second), [""; 0]);
        harness.commit(0);
        assert_eq!(harness.received(second), [connack]);
    }
}

#[test]
fn takeover_on_one_shard_that_changes_nothing_is_not_recorded() {
    let mut harness = Harness::new();
    harness.connect(durable("a"));
    let records = harness.records.len();
    harness.store_answers = false;
    let second = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(second), ["CONNACK 0x00 present"]);
    assert_eq!(harness.records.len(), records);
    harness.lose(second);
    assert_eq!(harness.records.len(), records + 1, "the end of the last connection is");
    let third = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(third), [""; 0]);
    let fourth = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(fourth), [""; 0], "it waits for the record of the third");
    harness.persist();
    assert_eq!(harness.received(fourth), ["CONNACK 0x00 present"]);
    assert_eq!(harness.records.len(), records + 2);
}

#[test]
fn clean_start_without_a_durable_session_waits_for_the_end_of_the_old_one() {
    let mut harness = Harness::new();
    harness.connect(durable("a"));
    harness.store_answers = false;
    let second = harness.attempt(0, transient("a"));
    assert_eq!(harness.received(second), [""; 0]);
    harness.commit(0);
    assert_eq!(harness.received(second), ["CONNACK 0x00"]);
    assert_eq!(harness.ask(second, ClientPacket::Pingreq), ["PINGRESP"]);
}

#[test]
fn several_concurrent_connects_leave_only_the_last() {
    let mut harness = Harness::new();
    harness.store_answers = false;
    let clients = [0; 4].map(|_| harness.attempt(0, durable("a")));
    for _ in 0..10 {
        harness.persist();
    }
    let open: Vec<bool> = clients.iter().map(|client| !harness.is_closed(*client)).collect();
    assert_eq!(open, [false, false, false, true]);
    assert_eq!(harness.received(clients[3]), ["CONNACK 0x00 present"]);
    assert_eq!(harness.shards[0].counters().sessions, 1);
}

#[test]
fn claimant_that_closes_leaves_the_session_to_the_next_one() {
    let mut harness = Harness::new();
    let first = harness.connect(durable("a"));
    harness.run(first, [subscribe("t", Q1)]);
    harness.store_answers = false;
    harness.send(first, subscribe("u", Q1));
    let second = harness.attempt(0, durable("a"));
    harness.lose(second);
    harness.store_answers = true;
    harness.persist();
    let third = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(third), ["CONNACK 0x00 present"]);
    harness.lose(third);
    harness.seconds(1_000);
    assert_eq!(harness.shards[0].counters().sessions, 0);
}
