use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::DropReason;
use crate::codec::{ClientPacket, Publish, Qos, Will};

fn expiring(seconds: u32, qos: Qos, packet_id: u16) -> ClientPacket {
    ClientPacket::Publish(Publish { message_expiry_interval: Some(seconds), ..message("t", "x", qos, packet_id) })
}

fn offline() -> (Harness, Client) {
    let mut harness = Harness::new();
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("p"));
    (harness, publisher)
}

#[test]
fn mqtt5_3_3_2_6_interval_is_lowered_by_the_time_waited() {
    let (mut harness, publisher) = offline();
    harness.run(publisher, [expiring(100, Q1, 1)]);
    harness.advance(std::time::Duration::from_millis(30_500));
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q1 #1 expiry=70"]);
    harness.run(publisher, [expiring(100, Q0, 0)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q0 expiry=100"]);
}

#[test]
fn mqtt5_3_3_2_5_message_that_expired_in_the_queue_is_dropped_and_counted() {
    let (mut harness, publisher) = offline();
    harness.run(publisher, [expiring(10, Q1, 1), expiring(11, Q2, 2), publish("t", "stays", Q1, 3)]);
    harness.seconds(10);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q2 #2 expiry=1", "PUBLISH t stays q1 #3"]);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::Expired as usize], 1);
}

#[test]
fn mqtt5_4_3_3_7_message_that_was_sent_does_not_expire() {
    // covers: MQTT-4.3.3-13
    let mut harness = Harness::new();
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [expiring(10, Q2, 1)]);
    harness.lose(subscriber);
    harness.seconds(20);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH t x q2 #1 dup expiry=0"]);
    assert_eq!(harness.ask(subscriber, pubrec(1)), ["PUBREL 1"]);
    assert_eq!(harness.ask(publisher, pubrel(1)), ["PUBCOMP 1"]);
}

#[test]
fn mqtt5_4_1_0_2_session_is_discarded_when_its_interval_has_passed() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.seconds(5_000);
    assert!(!harness.is_closed(client)); // [MQTT-4.1.0-1]
    harness.lose(client);
    harness.seconds(999);
    assert_eq!(harness.shards[0].counters().sessions, 1);
    harness.seconds(1);
    let counters = *harness.shards[0].counters();
    assert_eq!((counters.sessions, counters.sessions_expired, counters.queued_messages), (0, 1, 0));
    let publisher = harness.connect(transient("p"));
    assert_eq!(harness.ask(publisher, publish("t", "x", Q1, 1)), ["PUBACK 1 0x10"]);
    let client = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
}

#[test]
fn mqtt5_interval_counts_from_the_last_connection() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.lose(client);
    harness.seconds(900);
    let client = harness.connect(durable("a"));
    harness.lose(client);
    harness.seconds(900);
    let client = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(client), ["CONNACK 0x00 present"]);
}

#[test]
fn session_that_reconnects_often_has_one_deadline() {
    let mut harness = Harness::with(2, settings());
    let timers = |harness: &Harness| harness.shards.iter().map(|shard| shard.timers.len()).sum::<usize>();
    let sessions = |harness: &Harness| harness.shards.iter().map(|shard| shard.counters().sessions).sum::<u64>();
    for shard in 0..2 {
        let client = harness.connect_to(shard, transient("b"));
        harness.lose(client);
    }
    let before = timers(&harness);
    for reconnect in 0..1_000 {
        // On alternating shards, each time with a longer interval, and with a Will that is due first.
        let mut connect = durable("a");
        connect.will = Some(Will { will_delay_interval: 30, ..will("w", "gone") });
        connect.properties.session_expiry_interval += reconnect;
        let client = harness.connect_to(reconnect as usize / 3 % 2, connect);
        harness.advance(std::time::Duration::from_millis(10));
        harness.lose(client);
    }
    assert_eq!(timers(&harness), before + 1);
    harness.seconds(1_998);
    assert_eq!(sessions(&harness), 1);
    harness.seconds(1);
    assert_eq!((sessions(&harness), timers(&harness)), (0, before));
}

#[test]
fn mqtt5_session_without_end_stays() {
    let mut harness = Harness::new();
    let mut connect = durable("a");
    connect.properties.session_expiry_interval = u32::MAX;
    let client = harness.connect(connect);
    harness.lose(client);
    harness.now = harness.now + std::time::Duration::from_secs(u64::from(u32::MAX) + 10);
    harness.seconds(1);
    assert_eq!(harness.shards[0].counters().sessions, 1);
}
