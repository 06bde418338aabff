//! Which messages enter streams, and what waits for that.

use std::sync::Arc;
use std::time::Duration;

use super::fake_streams::STREAM;
use super::harness::{Harness, recovered, settings};
use super::packets::*;
use crate::broker::{
    Durability, DurabilityRule, Event, QueueHead, Record, RecordKey, Recovery, Settings, StoreRoom, Stream,
    StreamNumber, StreamTable, TrimmedOffset,
};
use crate::codec::{ClientPacket, MessageProperties, MessageProperty, Publish, Qos, ServerPacket};
use crate::topic::TopicFilter;

fn stream(number: u32, topic: &str) -> Stream {
    Stream {
        number: StreamNumber(number),
        name: format!("stream-{number}").into(),
        topic: TopicFilter::new(topic.into()).unwrap(),
        is_open: true,
        trimmed_offset: TrimmedOffset::Refuse,
        group_dispatch: Default::default(),
    }
}

/// A broker with these streams, numbered from 1.
fn with(settings: Settings, topics: &[&str]) -> Harness {
    let harness = Harness::with(1, settings);
    set(&harness, topics);
    harness
}

fn set(harness: &Harness, topics: &[&str]) {
    let streams = (1..).zip(topics).map(|(number, topic)| stream(number, topic));
    harness.shards[0].shared.set_streams(StreamTable::new(streams));
}

/// The payloads of all messages that entered streams, with the numbers of the streams, in the order of their records.
fn entered(harness: &Harness) -> Vec<(String, Vec<u32>)> {
    let entered = |record: &Record| {
        let Record::Accepted { streams, message, .. } = record else { return None };
        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
        (!streams.is_empty()).then(|| (payload, streams.iter().map(|stream| stream.0).collect()))
    };
    harness.records.iter().filter_map(entered).collect()
}

fn entry(payload: &str, streams: &[u32]) -> (String, Vec<u32>) {
    (payload.to_owned(), streams.to_vec())
}

#[test]
fn a_message_at_qos_0_is_committed_at_once_while_a_subscriber_waits_for_it() {
    for filter in ["$stream/s", "$share/g/$stream/s"] {
        let mut harness = Harness::new();
        harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
        let publisher = harness.connect(transient("p"));
        let is_awaited = |harness: &mut Harness| {
            harness.run(publisher, [publish("a", "x", Q0, 0)]);
            let Some(record @ Record::Accepted { .. }) = harness.records.last() else { panic!("no record") };
            (record.durability().is_some(), record.stored_durability())
        };
        let stored = Some(Durability::PowerLoss);
        assert_eq!(is_awaited(&mut harness), (false, stored));
        let subscriber = harness.connect(transient("s"));
        harness.run(subscriber, [subscribe(filter, Q0)]);
        harness.seconds(1);
        assert!(harness.hurries > 0, "a message that came just before it waited is committed at once, too");
        assert_eq!(is_awaited(&mut harness), (true, stored));
        // It is woken, and has not come back for more.
        harness.shards[0].shared.stream_advanced(STREAM, 1..100, |_| ());
        assert_eq!(is_awaited(&mut harness), (false, stored));
    }
}

#[test]
fn puback_and_pubrec_wait_for_a_message_that_only_a_stream_takes() {
    for client in [durable("p"), transient("p")] {
        let mut harness = with(settings(), &["a/#", "+/b"]);
        let publisher = harness.connect(client);
        harness.store_answers = false;
        assert_eq!(harness.ask(publisher, publish("a/b", "1", Q1, 1)), [""; 0]);
        assert_eq!(harness.ask(publisher, publish("a/c", "2", Q2, 2)), [""; 0]);
        assert_eq!(entered(&harness), [entry("1", &[1, 2]), entry("2", &[1])]);
        harness.persist();
        assert_eq!(harness.received(publisher), ["PUBACK 1 0x10", "PUBREC 2 0x10"]);
        assert_eq!(harness.ask(publisher, publish("x", "3", Q1, 3)), ["PUBACK 3 0x10"]);
    }
}

#[test]
fn a_message_at_qos_0_enters_streams_and_nothing_waits_for_that() {
    let mut harness = with(settings(), &["a/#"]);
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q2)]);
    let publisher = harness.connect(transient("p"));
    harness.store_answers = false;
    harness.run(publisher, [publish("a/b", "1", Q0, 0), publish("b", "2", Q0, 0)]);
    assert_eq!(harness.received(watcher), ["PUBLISH a/b 1 q0", "PUBLISH b 2 q0"]);
    assert_eq!(entered(&harness), [entry("1", &[1])]);
    assert_eq!(harness.records.last().unwrap().durability(), None);
}

#[test]
fn cached_routes_follow_a_change_of_the_streams() {
    let mut harness = with(settings(), &[]);
    let publisher = harness.connect(transient("p"));
    let publish = |payload| publish("a", payload, Q1, 1);
    assert_eq!(harness.ask(publisher, publish("1")), ["PUBACK 1 0x10"]);
    set(&harness, &["a"]);
    harness.run(publisher, [publish("2")]);
    set(&harness, &["b", "#"]);
    harness.run(publisher, [publish("3")]);
    let closed = Stream { is_open: false, ..stream(1, "a") };
    harness.shards[0].shared.set_streams(StreamTable::new([closed]));
    harness.run(publisher, [publish("4")]);
    assert_eq!(entered(&harness), [entry("2", &[1]), entry("3", &[2])]);
}

#[test]
fn a_filter_takes_topics_of_the_broker_only_if_it_names_them() {
    let mut settings = settings();
    settings.sys_interval = std::time::Duration::from_secs(10);
    let harness_of = |topic| {
        let mut harness = with(settings.clone(), &[topic]);
        harness.connect(transient("c"));
        harness.seconds(30);
        entered(&harness).len()
    };
    assert_eq!(harness_of("#"), 0);
    assert!(harness_of("$SYS/broker/uptime") > 0);
}

#[test]
fn a_message_enters_when_it_is_published_and_not_when_it_is_delivered_again() {
    let mut harness = with(settings(), &["#"]);
    let (one, two) = (harness.connect(durable("one")), harness.connect(durable("two")));
    for member in [one, two] {
        harness.run(member, [subscribe("$share/g/s", Q1)]);
    }
    let publisher = harness.connect(durable("p"));
    harness.run(publisher, [retain("r", "kept", Q1, 1), publish("s", "shared", Q1, 2)]);
    // The retained message is replayed, the member that has the message ends, and the publisher sends a message again.
    harness.run(one, [subscribe("r", Q1)]);
    harness.run(one, [disconnect(crate::codec::ReasonCode::Success)]);
    let ended = crate::codec::Connect { clean_start: true, ..durable("one") };
    harness.connect(ended);
    harness.run(publisher, [publish("q", "once", Q2, 3), publish("q", "once", Q2, 3), pubrel(3)]);
    assert_eq!(entered(&harness), [entry("kept", &[1]), entry("shared", &[1]), entry("once", &[1])]);
}

#[test]
fn a_delayed_message_and_a_will_enter_when_they_are_published() {
    let head = QueueHead { messages_max: 100, bytes_max: 100_000, away_share: 1 };
    let mut harness = with(Settings { queue_head: Some(head), ..settings() }, &["#"]);
    let publisher = harness.connect(crate::codec::Connect { will: Some(will("w", "gone")), ..durable("p") });
    harness.run(publisher, [publish("$delayed/5/d", "late", Q1, 1)]);
    assert_eq!(entered(&harness), []);
    harness.seconds(6);
    assert_eq!(entered(&harness), [entry("late", &[1])]);
    harness.lose(publisher);
    harness.seconds(60);
    assert_eq!(entered(&harness), [entry("late", &[1]), entry("gone", &[1])]);
}

#[test]
fn on_a_full_disk_a_message_is_refused_at_qos_1_and_does_not_enter_at_qos_0() {
    let mut harness = with(settings(), &["a"]);
    let publisher = harness.connect(transient("p"));
    harness.event(0, Event::StoreRoom(StoreRoom::None));
    assert_eq!(harness.ask(publisher, publish("a", "1", Q1, 1)), ["PUBACK 1 0x97"]);
    assert_eq!(harness.ask(publisher, publish("a", "2", Q0, 0)), [""; 0]);
    assert_eq!(entered(&harness), []);
    assert_eq!(harness.ask(publisher, publish("b", "3", Q1, 2)), ["PUBACK 2 0x10"]);
}

#[test]
fn a_message_in_a_stream_has_a_record_whatever_the_durability_of_its_topic() {
    let mut settings = settings();
    let topic_filter = TopicFilter::new("#".into()).unwrap();
    settings.durability_rules = vec![DurabilityRule { topic_filter, level: Durability::None }];
    let mut harness = with(settings, &["a"]);
    let publisher = harness.connect(transient("p"));
    harness.store_answers = false;
    assert_eq!(harness.ask(publisher, publish("a", "1", Qos::AtLeastOnce, 1)), [""; 0]);
    assert_eq!(harness.records.last().unwrap().durability(), Some(Durability::PowerLoss));
    harness.persist();
    assert_eq!(harness.received(publisher), ["PUBACK 1 0x10"]);
}

#[test]
fn the_record_of_a_message_in_a_stream_has_its_content_and_is_recovered_without_a_session() {
    let mut harness = with(settings(), &["a"]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("a", "content", Q1, 1)]);
    let bytes = harness.records.last().unwrap().to_bytes();
    assert!(bytes.body.windows(7).any(|part| part == b"content"));
    assert!(bytes.puts.is_empty() && bytes.deletes.is_empty());
    let state = recovered(&harness.records);
    assert_eq!((state.unreadable, state.orphans.len()), (0, 0));
}

/// The User Properties of the retained message of a topic, as a new subscriber gets them.
fn of_retained(harness: &mut Harness, topic: &str) -> Vec<MessageProperty> {
    let reader = harness.connect(transient("reader"));
    harness.send(reader, subscribe(topic, Q1));
    let packets = harness.packets(reader);
    let Some(ServerPacket::Publish(publish)) = packets.last() else { panic!("{packets:?}") };
    assert!(publish.retain);
    publish.message.properties.iter().collect()
}

#[test]
fn a_retained_message_says_where_it_is_in_each_stream_before_and_after_a_restart() {
    let topics = ["state/#", "+/1"];
    let mut harness = with(settings(), &topics);
    let publisher = harness.connect(transient("p"));
    let own = [user_property("own", "x"), user_property("stream-sequence", "7")];
    let forged = message("state/1", "now", Q1, 2).with_properties(MessageProperties::from_properties(own));
    let forged = ClientPacket::Publish(Publish { retain: true, ..forged });
    harness.run(publisher, [publish("state/2", "before", Q1, 1), forged, retain("other", "x", Q1, 3)]);
    // Not before it is stable: a crash could give its sequences to others.
    let early = harness.connect(transient("early"));
    harness.send(early, subscribe("state/1", Q1));
    harness.advance(Duration::from_millis(5));
    assert!(matches!(harness.packets(early)[..], [ServerPacket::Suback(_)]));
    let shared = Arc::clone(&harness.shards[0].shared);
    for (stream, range) in [(1, 1..3), (2, 1..2)] {
        shared.stream_advanced(StreamNumber(stream), range, |_| ());
    }
    harness.advance(Duration::from_millis(5));
    assert!(matches!(harness.packets(early)[..], [ServerPacket::Publish(_)]));
    let expected = [
        ("stream", "stream-1"),
        ("stream-sequence", "2"),
        ("stream", "stream-2"),
        ("stream-sequence", "1"),
        ("own", "x"),
        ("stream-sequence", "7"),
    ];
    let expected = expected.map(|(name, value)| user_property(name, value));
    assert_eq!(of_retained(&mut harness, "state/1"), expected);
    assert_eq!(of_retained(&mut harness, "other"), []);
    // What the store adds to the entry when it appends it.
    let mut recovery = Recovery::default();
    let bytes = harness.records.iter().map(Record::to_bytes).find(|bytes| bytes.streams.len() == 2).unwrap();
    let given = [(1, 2), (2, 1)].map(|(stream, id)| RecordKey { group: StreamNumber(stream).group(), kind: 16, id });
    let puts: Vec<RecordKey> = bytes.puts.iter().copied().chain(given).collect();
    recovery.apply(&bytes.body, (&puts, &bytes.parts.list()), &bytes.deletes, bytes.ends);
    let retained = recovery.finish().retained;
    assert_eq!(retained[0].sequences.as_ref().unwrap().get(), Some(&[(1, 2), (2, 1)][..]));
}
