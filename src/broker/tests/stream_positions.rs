//! Subscriptions of Sessions that outlive their connections to streams: their windows, and their positions.

use std::num::NonZeroU16;

use super::fake_streams::{STREAM, stored};
use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{
    Answer, DropReason, Event, PageRequest, Query, QueryId, Record, Settings, StreamProgress, StreamReadError,
    StreamStart, TrimmedOffset,
};
use crate::codec::{ClientId, MessageProperty, OutgoingPublish, Qos, ServerPacket};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

/// A broker with the stream `s`, which has messages `t/1`, `t/2`, … at this QoS.
fn with_stream(shards: usize, messages: u64, qos: Qos) -> Harness {
    let mut harness = Harness::with(shards, Settings { queued_messages_max: 10_000, ..settings() });
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    append(&mut harness, 1..=messages, qos);
    harness
}

fn append(harness: &mut Harness, numbers: std::ops::RangeInclusive<u64>, qos: Qos) {
    harness.append_to(STREAM, numbers.map(|number| stored(&format!("t/{number}"), number.to_string(), qos)));
}

fn mark(publish: &OutgoingPublish, wanted: &str) -> Option<String> {
    publish.message.properties.iter().find_map(|property| {
        let MessageProperty::UserProperty(name, value) = property else { return None };
        (*name == *wanted).then(|| value.to_string())
    })
}

/// A message of a stream, as a client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    sequence: u64,
    previous: Option<u64>,
    packet_id: Option<u16>,
    dup: bool,
}

/// Takes the messages that the client has got, without an acknowledgement.
fn take(harness: &mut Harness, client: Client) -> Vec<Got> {
    let publishes = harness.packets(client).into_iter().filter_map(|packet| {
        let ServerPacket::Publish(publish) = packet else { return None };
        Some(Got {
            sequence: mark(&publish, "stream-sequence")?.parse().unwrap(),
            previous: mark(&publish, "stream-previous")?.parse().ok(),
            packet_id: publish.packet_id.map(|id| id.number()),
            dup: publish.dup,
        })
    });
    publishes.collect()
}

/// Acknowledges messages until no more come. Returns their sequences, after a check that each names the one before.
fn drain(harness: &mut Harness, client: Client, mut previous: Option<u64>) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let got = take(harness, client);
        if got.is_empty() {
            return all;
        }
        for got in got {
            assert_eq!(got.previous, previous.replace(got.sequence), "{got:?}");
            all.push(got.sequence);
            if let Some(packet_id) = got.packet_id {
                harness.send(client, puback(packet_id));
            }
        }
    }
}

/// The number of messages in the queue of the client.
fn queued(harness: &Harness) -> usize {
    let client = ClientId::from("c");
    let sessions = harness.shards.iter().filter_map(|shard| shard.session_of(&client));
    sessions.map(|entry| entry.session.queued().0).sum()
}

fn range(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

fn position_of(record: &Record) -> Option<StreamStart> {
    let Record::StreamPosition { position, .. } = record else { return None };
    Some(position.place.next)
}

fn positions(harness: &Harness) -> Vec<StreamStart> {
    let records = harness.records.iter();
    records.filter_map(position_of).collect()
}

#[test]
fn position_and_window_are_one_change_and_stable_before_the_first_publish() {
    let mut harness = with_stream(1, 3, Q1);
    let client = harness.connect(durable("c"));
    harness.store_answers = false;
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    assert_eq!(harness.received(client), [] as [String; 0], "SUBACK waits for the position");
    assert_eq!(positions(&harness), [StreamStart::Earliest, StreamStart::Sequence(4)]);
    let group = harness.groups.last().unwrap().clone();
    assert_eq!(group.len(), 4, "three messages and the position");
    assert!(matches!(harness.records[group][3], Record::StreamPosition { .. }));
    harness.seconds(5);
    assert_eq!(take(&mut harness, client), []);
    harness.persist();
    let got = harness.received(client);
    assert_eq!(got.iter().filter(|line| line.starts_with("SUBACK 1 01")).count(), 1);
    assert_eq!(got.iter().filter(|line| line.starts_with("PUBLISH")).count(), 3);
}

#[test]
fn replay_is_followed_by_the_live_messages_and_goes_on_after_each_absence_and_restart() {
    for shards in [1, 3] {
        let mut harness = with_stream(shards, 1_500, Q2);
        let client = harness.connect(durable("c"));
        harness.send(client, subscribe("$stream/s@earliest", Q1));
        assert_eq!(drain(&mut harness, client, None), range(1..=1_500));
        append(&mut harness, 1_501..=1_510, Q1);
        assert_eq!(drain(&mut harness, client, Some(1_500)), range(1_501..=1_510));
        harness.lose(client);
        append(&mut harness, 1_511..=2_600, Q1);
        assert_eq!(queued(&harness), 0, "nothing moves while the client is away");
        let client = harness.connect_to(shards - 1, durable("c"));
        assert_eq!(drain(&mut harness, client, Some(1_510)), range(1_511..=2_600));
        harness.restart(Settings { queued_messages_max: 10_000, ..settings() });
        append(&mut harness, 2_601..=2_700, Q1);
        let client = harness.connect_to(shards / 2, durable("c"));
        assert_eq!(drain(&mut harness, client, Some(2_600)), range(2_601..=2_700));
    }
}

#[test]
fn messages_of_a_window_keep_their_identifiers_and_come_again_with_dup() {
    let mut harness = with_stream(2, 10, Q1);
    let mut connect = durable("c");
    connect.properties.receive_maximum = NonZeroU16::new(3).unwrap();
    let client = harness.connect(connect.clone());
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    let first = take(&mut harness, client);
    assert_eq!(first.iter().map(|got| got.packet_id).collect::<Vec<_>>(), [1, 2, 3].map(Some));
    harness.send(client, puback(1));
    assert_eq!(take(&mut harness, client).len(), 1);
    for shard in [1, 0] {
        harness.lose(client);
        let client = harness.connect_to(shard, connect.clone());
        let again = take(&mut harness, client);
        let expected = [(2, 1), (3, 2), (4, 3)].map(|(sequence, previous)| (sequence, Some(previous), true));
        let got: Vec<_> = again.iter().map(|got| (got.sequence, got.previous, got.dup)).collect();
        assert_eq!(got, expected);
        assert_eq!(again[0].packet_id, Some(2));
        harness.lose(client);
    }
    harness.restart(settings());
    let client = harness.connect(connect);
    let again = take(&mut harness, client);
    assert!(
        again.iter().all(|got| got.dup && got.packet_id == Some(u16::try_from(got.sequence).unwrap())),
        "{again:?}"
    );
    assert_eq!(again.len(), 3);
}

#[test]
fn a_crash_at_each_record_leaves_neither_gap_nor_double() {
    let mut harness = with_stream(1, 40, Q1);
    let client = harness.connect(durable("c"));
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    let mut got: Vec<u64> = Vec::new();
    for round in 0..3_u16 {
        let first = 41 + u64::from(round) * 20;
        append(&mut harness, first..=first + 19, Q1);
        got.extend(take(&mut harness, client).iter().map(|got| got.sequence));
        (1..=10).for_each(|id| harness.send(client, puback(id + 10 * round)));
    }
    for records in 0..=harness.records.len() {
        if harness.groups.iter().any(|group| group.start < records && records < group.end) {
            continue;
        }
        let mut after = harness.crash(records);
        let Some(before) = positions_of(&harness, records) else { continue };
        let client = after.connect(durable("c"));
        let mut seen = Vec::new();
        loop {
            let packets = take(&mut after, client);
            if packets.is_empty() {
                break;
            }
            for got in packets {
                seen.push((got.sequence, got.dup));
                after.send(client, puback(got.packet_id.unwrap()));
            }
        }
        let sequences: Vec<u64> = seen.iter().map(|(sequence, _)| *sequence).collect();
        let first = *sequences.first().unwrap();
        assert_eq!(sequences, range(first..=100), "{records} records");
        assert!(first <= before, "{records} records: {first} > {before}");
        // What comes a second time is what was sent before and not acknowledged in a stable record.
        assert!(seen.iter().all(|(sequence, dup)| *dup == (*sequence < before)), "{records} records: {seen:?}");
    }
}

/// The last stored position among these records.
fn positions_of(harness: &Harness, records: usize) -> Option<u64> {
    let stored = harness.records[..records].iter().rev().find_map(position_of)?;
    Some(if let StreamStart::Sequence(next) = stored { next } else { 1 })
}

#[test]
fn subscribing_again_goes_on_without_an_offset_and_begins_there_with_one() {
    let mut harness = with_stream(1, 10, Q1);
    let client = harness.connect(durable("c"));
    harness.send(client, subscribe("$stream/s@seq:4", Q1));
    assert_eq!(drain(&mut harness, client, None), range(4..=10));
    harness.lose(client);
    append(&mut harness, 11..=12, Q1);
    let client = harness.connect(durable("c"));
    harness.send(client, subscribe("$stream/s", Q1));
    assert_eq!(drain(&mut harness, client, Some(10)), [11, 12]);
    harness.send(client, subscribe("$stream/s@seq:9", Q1));
    assert_eq!(drain(&mut harness, client, None), range(9..=12));
    harness.send(client, subscribe("$stream/s/t/+", Q1));
    assert_eq!(drain(&mut harness, client, None), [] as [u64; 0], "another filter is another subscription");
    harness.send(client, unsubscribe(2, &["$stream/s/t/+"]));
    harness.send(client, subscribe("$stream/s", Q0));
    append(&mut harness, 13..=13, Q1);
    let got = take(&mut harness, client);
    assert_eq!(
        got.iter().map(|got| (got.sequence, got.previous, got.packet_id)).collect::<Vec<_>>(),
        [(13, Some(12), None)]
    );
}

#[test]
fn a_transient_session_begins_again_as_ever() {
    let mut harness = with_stream(1, 3, Q1);
    let client = harness.connect(transient("c"));
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    assert_eq!(drain(&mut harness, client, None), range(1..=3));
    harness.send(client, subscribe("$stream/s", Q1));
    append(&mut harness, 4..=4, Q1);
    assert_eq!(drain(&mut harness, client, None), [4]);
    assert_eq!((positions(&harness), harness.groups.len()), (Vec::new(), 0));
}

#[test]
fn the_position_ends_with_the_subscription_and_with_the_session() {
    let left = |harness: &Harness| {
        let recovered = super::harness::recovered(&harness.records);
        recovered.sessions.iter().map(|session| session.positions.len()).sum::<usize>()
    };
    let mut harness = with_stream(1, 3, Q1);
    let client = harness.connect(durable("c"));
    harness.run(client, [subscribe("$stream/s@earliest", Q1), subscribe("$stream/s@earliest/t/1", Q0)]);
    assert_eq!(left(&harness), 2);
    harness.store_answers = false;
    assert_eq!(harness.ask(client, unsubscribe(1, &["$stream/s"])), [] as [String; 0]);
    harness.persist();
    assert_eq!(harness.received(client), ["UNSUBACK 1 00"]);
    harness.store_answers = true;
    assert_eq!(left(&harness), 1);
    harness.send(client, subscribe("$stream/s", Q1));
    assert_eq!(left(&harness), 2);
    harness.lose(client);
    let mut connect = durable("c");
    connect.clean_start = true;
    harness.connect(connect);
    assert_eq!(left(&harness), 0);
}

#[test]
fn a_message_at_qos_0_is_sent_once_when_the_window_is_stable() {
    let mut harness = with_stream(1, 3, Q0);
    append(&mut harness, 4..=6, Q1);
    let client = harness.connect(durable("c"));
    harness.store_answers = false;
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    assert_eq!(take(&mut harness, client), []);
    harness.persist();
    let got = take(&mut harness, client);
    assert_eq!(got.iter().map(|got| got.sequence).collect::<Vec<_>>(), range(1..=6));
    harness.restart(settings());
    let client = harness.connect(durable("c"));
    let again = take(&mut harness, client);
    assert_eq!(again.iter().map(|got| got.sequence).collect::<Vec<_>>(), range(4..=6));
}

#[test]
fn what_is_trimmed_while_the_client_is_away_is_named() {
    let mut harness = with_stream(1, 10, Q1);
    let client = harness.connect(durable("c"));
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    assert_eq!(drain(&mut harness, client, None), range(1..=10));
    harness.lose(client);
    append(&mut harness, 11..=20, Q1);
    harness.trim(STREAM, 15);
    harness.restart(settings());
    let client = harness.connect(durable("c"));
    harness.send(client, subscribe("$stream/s", Q1));
    let packets = harness.packets(client);
    let publish = packets.iter().find_map(|packet| {
        let ServerPacket::Publish(publish) = packet else { return None };
        Some(publish)
    });
    let publish = publish.unwrap();
    assert_eq!(mark(publish, "stream-trimmed").as_deref(), Some("11-14"));
    assert_eq!(
        (mark(publish, "stream-sequence").unwrap(), mark(publish, "stream-previous").unwrap()),
        ("15".into(), "10".into())
    );
}

#[test]
fn windows_leave_half_of_the_queue_to_other_messages_and_drop_nothing() {
    let mut harness = Harness::with(1, Settings { queued_messages_max: 10, ..settings() });
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    append(&mut harness, 1..=100, Q1);
    let client = harness.connect(durable("c"));
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    assert_eq!(queued(&harness), 5);
    assert_eq!(drain(&mut harness, client, None), range(1..=100));
    assert_eq!(harness.shards[0].counters().dropped.iter().sum::<u64>(), 0);
}

#[test]
fn the_queue_takes_a_window_ahead_of_a_client_that_does_not_acknowledge() {
    let mut harness = with_stream(1, 5_000, Q1);
    let client = harness.connect(durable("c"));
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    let got = take(&mut harness, client);
    assert_eq!(got.len(), 20, "messages in flight");
    let ahead = queued(&harness);
    assert!((20..=20 + 768).contains(&ahead), "{ahead}");
    harness.seconds(100);
    assert_eq!(queued(&harness), ahead);
}

#[test]
fn filtered_messages_are_passed_over_once_and_the_lag_is_told() {
    let mut harness = with_stream(1, 5_000, Q1);
    let client = harness.connect(durable("c"));
    harness.send(client, subscribe("$stream/s@earliest/none", Q1));
    harness.lose(client);
    assert_eq!(positions(&harness).last(), Some(&StreamStart::Sequence(5_001)));
    append(&mut harness, 5_001..=5_003, Q1);
    let page = PageRequest { from: 0, limit: 5 };
    harness.event(0, Event::Query(QueryId(1), Box::new(Query::Subscriptions(ClientId::from("c"), page))));
    let Some((_, Answer::Subscriptions(Some(page)))) = harness.answers.pop() else { panic!("no answer") };
    assert_eq!(page.entries[0].progress, Some(StreamProgress { next: Some(5_001), lag: Some(3) }));
}

#[test]
fn access_is_decided_when_the_window_is_taken_and_again_at_delivery() {
    let mut harness = with_stream(1, 4, Q1);
    let rule = |effect, filter: &str| AccessRule {
        effect,
        action: AccessAction::Both,
        topic_filter: TopicFilter::new(filter.into()).unwrap(),
        source: RuleSource::new("acl.txt", 1, ""),
    };
    let without = |topic: &str| Access::new(vec![rule(Effect::Allow, "t/#"), rule(Effect::Deny, topic)]);
    harness.granted = Some(without("t/2"));
    let mut connect = durable("c");
    connect.properties.receive_maximum = NonZeroU16::new(1).unwrap();
    let client = harness.connect(connect.clone());
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    assert_eq!(take(&mut harness, client).iter().map(|got| got.sequence).collect::<Vec<_>>(), [1]);
    harness.lose(client);
    harness.granted = Some(without("t/3"));
    let client = harness.connect(connect);
    assert_eq!(take(&mut harness, client).iter().map(|got| got.sequence).collect::<Vec<_>>(), [1]);
    harness.send(client, puback(1));
    let got = take(&mut harness, client);
    assert_eq!(got.iter().map(|got| (got.sequence, got.previous)).collect::<Vec<_>>(), [(4, Some(3))]);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::NotAuthorized as usize], 1);
}

#[test]
fn a_removed_stream_takes_the_position_with_it() {
    let mut harness = with_stream(1, 3, Q1);
    let client = harness.connect(durable("c"));
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    assert_eq!(drain(&mut harness, client, None), range(1..=3));
    harness.streams.failure = Some(StreamReadError::Gone);
    append(&mut harness, 4..=4, Q1);
    assert_eq!(harness.received(client), ["DISCONNECT 0x98", "CLOSED"]);
    harness.connect(durable("c"));
    let recovered = super::harness::recovered(&harness.records);
    assert_eq!(recovered.sessions[0].positions.len(), 0);
}
