//! Queues that are in the store as a whole and in memory only with their head of two messages.

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{DropReason, QueueHead, Record, Report, Settings};
use crate::codec::{ClientPacket, Connect, Publish, ServerPacket};

fn stored() -> Settings {
    let head = QueueHead { messages_max: 2, bytes_max: 100_000, away_share: 1 };
    Settings { queue_head: Some(head), ..settings() }
}

/// A disconnected durable subscriber `s` to `t` with this number of messages in its queue.
fn disconnected(harness: &mut Harness, messages: u16) {
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.lose(subscriber);
    publish_to(harness, 1..=messages);
}

fn publish_to(harness: &mut Harness, numbers: impl Iterator<Item = u16>) {
    let publisher = harness.connect(transient("p"));
    for number in numbers {
        let payload = number.to_string();
        harness.run(publisher, [ClientPacket::Publish(message("t", "", Q1, number).with_payload(payload))]);
    }
}

/// Acknowledges all messages that the client receives, and returns them.
fn drain(harness: &mut Harness, client: Client) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let packets = harness.packets(client);
        if packets.is_empty() {
            return lines;
        }
        for packet in packets {
            lines.push(show(&packet));
            if let ServerPacket::Publish(publish) = packet {
                harness.send(client, puback(publish.packet_id.unwrap().number()));
            }
        }
    }
}

fn lines(numbers: impl Iterator<Item = u16>, dup: &str) -> Vec<String> {
    numbers.map(|number| format!("PUBLISH t {number} q1 #{number}{dup}")).collect()
}

fn window(receive_maximum: u16) -> Connect {
    let mut connect = durable("s");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(receive_maximum).unwrap();
    connect
}

#[test]
fn queue_is_drained_in_order_while_messages_arrive() {
    let mut harness = Harness::with(1, stored());
    disconnected(&mut harness, 30);
    harness.store_reads = false;
    let subscriber = harness.connect(window(3));
    publish_to(&mut harness, 31..=40);
    let mut got = drain(&mut harness, subscriber);
    assert_eq!(got, lines(1..=2, ""));
    while !harness.fetches.is_empty() {
        assert_eq!(harness.fetches.len(), 1, "one fetch at a time");
        harness.read_store();
        got.extend(drain(&mut harness, subscriber));
    }
    assert_eq!(got, lines(1..=40, ""));
    let done = harness.records.iter().filter(|record| matches!(record, Record::Done { .. })).count();
    assert_eq!(done, 40);
}

#[test]
fn queue_is_drained_in_order_after_a_restart_and_sent_messages_have_dup() {
    let mut harness = Harness::with(1, stored());
    disconnected(&mut harness, 9);
    let subscriber = harness.connect(window(3));
    assert_eq!(harness.received(subscriber), lines(1..=3, ""));
    harness.lose(subscriber);
    harness.restart(stored());
    let subscriber = harness.connect(durable("s"));
    assert_eq!(drain(&mut harness, subscriber), [lines(1..=3, " dup"), lines(4..=9, "")].concat());
    publish_to(&mut harness, 10..=12);
    assert_eq!(drain(&mut harness, subscriber), lines(10..=12, ""));
}

#[test]
fn session_that_moves_during_a_fetch_repeats_it_on_the_new_shard() {
    let mut harness = Harness::with(2, stored());
    disconnected(&mut harness, 5);
    harness.restart(stored());
    harness.store_reads = false;
    let first = harness.connect_to(0, durable("s"));
    assert_eq!(harness.received(first), [""; 0]);
    let second = harness.connect_to(1, durable("s"));
    assert_eq!(harness.fetches.iter().map(|(shard, _)| *shard).collect::<Vec<_>>(), [0, 1]);
    harness.read_store();
    assert_eq!(harness.received(second), [""; 0]);
    harness.store_reads = true;
    harness.read_store();
    assert_eq!(drain(&mut harness, second), lines(1..=5, ""));
    assert!(harness.reports.iter().all(|report| !matches!(report, Report::Unreadable { .. })));
}

#[test]
fn session_that_ends_during_a_fetch_ignores_the_answer() {
    let mut harness = Harness::with(1, stored());
    disconnected(&mut harness, 5);
    harness.restart(stored());
    harness.store_reads = false;
    let subscriber = harness.connect(durable("s"));
    harness.lose(subscriber);
    let mut connect = durable("s");
    connect.clean_start = true;
    let subscriber = harness.connect(connect);
    harness.read_store();
    assert_eq!(harness.received(subscriber), [""; 0]);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::Unreadable as usize], 0);
}

#[test]
fn unreadable_message_is_counted_and_reported_and_the_session_continues() {
    let mut harness = Harness::with(1, stored());
    disconnected(&mut harness, 4);
    harness.store_reads = false;
    let subscriber = harness.connect(durable("s"));
    assert_eq!(drain(&mut harness, subscriber), lines(1..=2, ""));
    harness.damaged = true;
    harness.read_store();
    let unreadable = |report: &Report| {
        let Report::Unreadable { client, sequence, cause } = report else { return None };
        Some((client.client_id.as_ref().unwrap().as_str().to_owned(), *sequence, cause.to_string()))
    };
    let reports: Vec<_> = harness.reports.iter().filter_map(unreadable).collect();
    assert_eq!(reports, [3, 4].map(|sequence| ("s".to_owned(), sequence, "damaged".to_owned())));
    assert_eq!(harness.shards[0].counters().dropped[DropReason::Unreadable as usize], 2);
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
    harness.damaged = false;
    publish_to(&mut harness, 5..=6);
    assert_eq!(drain(&mut harness, subscriber), lines(5..=6, ""));
}

#[test]
fn durable_session_that_becomes_transient_still_gets_messages_that_are_only_in_the_store() {
    let mut harness = Harness::with(1, stored());
    disconnected(&mut harness, 6);
    let mut connect = durable("s");
    connect.properties.session_expiry_interval = 0;
    let subscriber = harness.connect(connect);
    assert_eq!(drain(&mut harness, subscriber), lines(1..=6, ""));
    assert!(!harness.records.iter().any(|record| matches!(record, Record::SessionEnded { .. })));
    harness.lose(subscriber);
    assert!(
        harness.records.iter().any(|record| matches!(record, Record::SessionEnded { .. })),
        "all its records are deleted"
    );
}

/// A disconnected durable subscriber to `t` with room for four messages, and a subscriber to the dead letter topic.
fn with_dead_letters() -> (Harness, Client) {
    let mut harness =
        Harness::with(1, Settings { queued_messages_max: 4, dead_letter_topic: Some(topic("dead")), ..stored() });
    let reader = harness.connect(transient("r"));
    harness.run(reader, [subscribe("dead", Q2)]);
    (harness, reader)
}

#[test]
fn message_only_in_the_store_becomes_a_dead_letter_before_its_record_is_deleted() {
    let (mut harness, _) = with_dead_letters();
    disconnected(&mut harness, 4);
    harness.restart(Settings { queued_messages_max: 4, dead_letter_topic: Some(topic("dead")), ..stored() });
    let [reader, keeper] = [transient("r"), durable("k")].map(|connect| harness.connect(connect));
    for client in [reader, keeper] {
        harness.run(client, [subscribe("dead", Q1)]);
    }
    harness.store_reads = false;
    publish_to(&mut harness, 5..=7);
    let is_done = |record: &Record| matches!(record, Record::Done { .. });
    assert!(!harness.records.iter().any(is_done), "no dead letter is published yet");
    assert_eq!(harness.fetches.len(), 1, "one fetch at a time");
    while !harness.fetches.is_empty() {
        harness.read_store();
    }
    let dead: Vec<String> = harness.received(reader);
    assert_eq!(dead, ["PUBLISH dead 1 q1 #1", "PUBLISH dead 2 q1 #2", "PUBLISH dead 3 q1 #3"]);
    let is_dead =
        |record: &Record| matches!(record, Record::Accepted { message, .. } if message.topic.as_str() == "dead");
    let order: Vec<bool> = harness.records.iter().filter(|one| is_done(one) || is_dead(one)).map(is_done).collect();
    assert_eq!(order, [false, true, false, true, false, true]);
    assert_eq!(harness.shards[0].counters().dead_letters, 3);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::QueueFull as usize], 3);
}

#[test]
fn dead_letter_that_cannot_be_read_is_counted_as_lost() {
    let (mut harness, _) = with_dead_letters();
    disconnected(&mut harness, 4);
    harness.damaged = true;
    publish_to(&mut harness, 5..=8);
    // The first two messages were in memory.
    let counters = harness.shards[0].counters();
    assert_eq!((counters.dead_letters, counters.dead_letters_lost), (2, 2));
}

#[test]
fn expired_message_only_in_the_store_becomes_a_dead_letter() {
    let (mut harness, reader) = with_dead_letters();
    disconnected(&mut harness, 2);
    let publisher = harness.connect(transient("q"));
    let expiring = Publish { message_expiry_interval: Some(5), ..message("t", "3", Q1, 3) };
    harness.run(publisher, [ClientPacket::Publish(expiring)]);
    harness.seconds(6);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(drain(&mut harness, subscriber), lines(1..=2, ""));
    assert_eq!(harness.received(reader), ["PUBLISH dead 3 q1 #1"]);
}

#[test]
fn full_queue_drops_without_reading_if_there_is_no_dead_letter_topic() {
    let mut harness = Harness::with(1, Settings { queued_messages_max: 4, ..stored() });
    disconnected(&mut harness, 9);
    assert!(harness.fetches.is_empty());
    assert_eq!(harness.shards[0].counters().dropped[DropReason::QueueFull as usize], 5);
    let dropping = harness.reports.iter().filter(|report| matches!(report, Report::Dropping { .. })).count();
    assert_eq!(dropping, 1, "once per series");
    let subscriber = harness.connect(durable("s"));
    assert_eq!(drain(&mut harness, subscriber), lines(6..=9, ""));
}

#[test]
fn room_in_a_queue_is_credited_for_messages_in_memory_and_in_the_store() {
    let overflow = crate::broker::QueueOverflow::Reject;
    let mut harness = Harness::with(1, Settings { queued_messages_max: 5, queue_overflow: overflow, ..stored() });
    disconnected(&mut harness, 5);
    let publisher = harness.connect(transient("q"));
    assert_eq!(harness.ask(publisher, publish("t", "no", Q1, 9)), ["PUBACK 9 0x97"]);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(drain(&mut harness, subscriber), lines(1..=5, ""));
    harness.lose(subscriber);
    for number in 10..15 {
        assert_eq!(harness.ask(publisher, publish("t", "yes", Q1, number)), [format!("PUBACK {number}")]);
    }
    assert_eq!(harness.ask(publisher, publish("t", "no", Q1, 9)), ["PUBACK 9 0x97"]);
}

#[test]
fn mqtt5_4_8_2_5_shared_message_of_the_last_run_goes_to_another_member_when_its_session_ends() {
    let mut harness = Harness::with(1, stored());
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("$share/g/t", Q1)]);
    harness.lose(subscriber);
    publish_to(&mut harness, 1..=5);
    harness.restart(stored());
    let other = harness.connect(durable("o"));
    harness.run(other, [subscribe("$share/g/t", Q1)]);
    let mut connect = durable("s");
    connect.clean_start = true;
    harness.connect(connect);
    assert_eq!(drain(&mut harness, other), lines(1..=5, ""));
}
