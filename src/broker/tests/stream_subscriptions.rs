//! Subscriptions to streams.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use super::fake_streams::{STREAM, stored};
use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::streams::state::{CHUNK_MESSAGES_MAX, READS_MAX};
use crate::broker::streams::subscriptions::STREAMS_PER_SESSION_MAX;
use crate::broker::{
    Answer, DropReason, Event, MemoryLevel, PageRequest, Query, QueryId, Settings, StreamNumber, StreamReadError,
    TrimmedOffset,
};
use crate::codec::{
    ClientId, ClientPacket, MessageProperty, Qos, ReasonCode, ServerPacket, Subscribe, SubscriptionOptions,
};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::{MountPoint, TopicFilter};

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

fn subscribe_from(filter: &str, qos: Qos, offset: &str) -> ClientPacket {
    ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: id(1),
        subscription_id: None,
        user_properties: [("stream-offset", offset)].into_iter().collect(),
        subscriptions: vec![subscription(filter, options(qos))],
    }))
}

/// Sequence, `stream-previous` and QoS of each PUBLISH; acknowledges them until no more come.
fn drain(harness: &mut Harness, client: Client) -> Vec<(u64, Option<u64>, u8)> {
    let mut all = Vec::new();
    loop {
        let packets = harness.packets(client);
        if packets.is_empty() {
            return all;
        }
        for packet in packets {
            let ServerPacket::Publish(publish) = packet else { continue };
            let mark = |name: &str| mark(&publish.message.properties.iter().collect::<Vec<_>>(), name);
            assert_eq!(mark("stream").as_deref(), Some("s"));
            let sequence: u64 = mark("stream-sequence").unwrap().parse().unwrap();
            assert_eq!(mark("stream-timestamp"), Some((sequence * 1_000).to_string()));
            all.push((sequence, mark("stream-previous").unwrap().parse().ok(), publish.qos.level()));
            if let Some(packet_id) = publish.packet_id {
                harness.send(client, puback(packet_id.number()));
            }
        }
    }
}

fn mark(properties: &[MessageProperty], name: &str) -> Option<String> {
    properties.iter().find_map(|property| {
        let MessageProperty::UserProperty(found, value) = property else { return None };
        (*found == *name).then(|| value.to_string())
    })
}

/// All of these sequences, each behind the one before.
fn chain(sequences: impl IntoIterator<Item = u64>, qos: u8) -> Vec<(u64, Option<u64>, u8)> {
    let mut previous = None;
    sequences.into_iter().map(|sequence| (sequence, previous.replace(sequence), qos)).collect()
}

fn suback(harness: &mut Harness, client: Client, packet: ClientPacket) -> (u8, Option<String>) {
    harness.run(client, []);
    harness.send(client, packet);
    let packets = harness.packets(client);
    let Some(ServerPacket::Suback(suback)) = packets.first() else { panic!("{packets:?}") };
    (suback.reason_codes[0].number(), suback.reason_string.as_ref().map(ToString::to_string))
}

#[test]
fn replay_is_followed_by_the_live_messages_without_gap_or_double() {
    for qos in [Q0, Q1] {
        let mut harness = with_stream(1, 3_000, Q2);
        let client = harness.connect(transient("c"));
        harness.send(client, subscribe_from("$stream/s", qos, "earliest"));
        let mut got = drain(&mut harness, client);
        for number in 3_001..=3_010 {
            append(&mut harness, number..=number, Q1);
            got.extend(drain(&mut harness, client));
        }
        assert_eq!(got, chain(1..=3_010, qos.level()));
    }
}

#[test]
fn offsets_in_the_property_and_in_the_filter_mean_the_same() {
    for (property, filter, first) in [
        (Some("seq:7"), "$stream/s", 7),
        (None, "$stream/s@seq:7", 7),
        (Some("earliest"), "$stream/s", 1),
        (None, "$stream/s@earliest", 1),
        (Some("7000"), "$stream/s", 7),
        (None, "$stream/s@6001", 7),
        (None, "$stream/s@1970-01-01T00:00:06.5Z", 7),
        (Some("latest"), "$stream/s", 11),
        (None, "$stream/s@latest", 11),
        (None, "$stream/s", 11),
        (Some("seq:12"), "$stream/s", 12),
        (Some("13000"), "$stream/s", 13),
    ] {
        let mut harness = with_stream(1, 10, Q0);
        let client = harness.connect(transient("c"));
        match property {
            Some(offset) => harness.send(client, subscribe_from(filter, Q1, offset)),
            None => harness.send(client, subscribe(filter, Q1)),
        }
        let mut got = drain(&mut harness, client);
        append(&mut harness, 11..=15, Q0);
        got.extend(drain(&mut harness, client));
        assert_eq!(got, chain(first..=15, 0), "{filter} {property:?}");
    }
}

#[test]
fn filter_and_expiry_leave_messages_out_and_the_previous_one_is_named() {
    let mut harness = Harness::new();
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    let expires_at = harness.now + Duration::from_secs(10);
    let message = |number: u64| {
        let topic = if number.is_multiple_of(2) { "even/x" } else { "odd/x" };
        let (message, never) = stored(topic, number.to_string(), Q1);
        (message, if number.is_multiple_of(3) { expires_at } else { never })
    };
    harness.append_to(STREAM, (1..=12).map(message));
    let client = harness.connect(transient("c"));
    harness.send(client, subscribe_from("$stream/s/even/#", Q1, "earliest"));
    assert_eq!(drain(&mut harness, client), chain([2, 4, 6, 8, 10, 12], 1));
    harness.seconds(10);
    harness.send(client, subscribe_from("$stream/s/even/#", Q1, "earliest"));
    assert_eq!(drain(&mut harness, client), chain([2, 4, 8, 10], 1));
}

#[test]
fn a_replay_waits_for_receive_maximum_and_for_the_transport() {
    for qos in [Q0, Q1] {
        let mut harness = with_stream(1, 5_000, Q1);
        harness.transports_accept = false;
        let mut connect = transient("c");
        connect.properties.receive_maximum = NonZeroU16::new(3).unwrap();
        let client = harness.connect(connect);
        harness.send(client, subscribe_from("$stream/s", qos, "earliest"));
        let sent = harness.packets(client).len() - 1;
        if qos == Q1 {
            assert_eq!(sent, 3);
            harness.flush(client, 0);
            assert_eq!(harness.received(client), [] as [String; 0]);
            harness.send(client, puback(1));
            assert_eq!(harness.packets(client).len(), 1);
        } else {
            assert!((100..5_000).contains(&sent), "{sent}");
            let before = harness.streams.visited;
            harness.seconds(100);
            assert_eq!((harness.packets(client).len(), harness.streams.visited), (0, before));
            harness.flush(client, 60_000);
            assert_eq!(harness.packets(client).len(), 0, "more than half of the buffer is in use");
            harness.flush(client, 0);
            assert!(harness.packets(client).len() > 100);
        }
        let at_most = sent as u64 + 2 * CHUNK_MESSAGES_MAX as u64 + 600;
        assert!(harness.streams.visited as u64 <= at_most, "{} messages were read", harness.streams.visited);
    }
}

#[test]
fn one_event_handles_a_bounded_number_of_messages_and_reads_are_bounded() {
    let mut harness = with_stream(1, 3_000, Q0);
    harness.store_reads = false;
    let clients: Vec<Client> = (0..2 * READS_MAX).map(|n| harness.connect(transient(&format!("c{n}")))).collect();
    for (number, client) in clients.iter().enumerate() {
        harness.send(*client, subscribe_from("$stream/s", Q0, &format!("seq:{}", number + 1)));
    }
    assert_eq!(harness.stream_reads.len(), READS_MAX);
    for _ in 0..3 * READS_MAX {
        let before: usize = harness.streams.visited;
        harness.read_stream();
        assert!(harness.streams.visited - before <= CHUNK_MESSAGES_MAX);
        assert!(harness.stream_reads.len() <= READS_MAX);
    }
    harness.store_reads = true;
    harness.seconds(1);
    for (first, client) in (1..).zip(clients) {
        assert_eq!(drain(&mut harness, client), chain(first..=3_000, 0));
    }
}

#[test]
fn subscribers_that_wait_for_the_same_message_share_one_read() {
    let mut harness = with_stream(2, 5, Q1);
    let clients: Vec<Client> =
        (0..600).map(|number| harness.connect_to(number % 2, transient(&format!("c{number}")))).collect();
    for client in &clients {
        harness.run(*client, [subscribe("$stream/s", Q1)]);
    }
    for number in 6..=8 {
        let before = harness.streams.reads;
        append(&mut harness, number..=number, Q1);
        harness.seconds(1);
        assert_eq!(harness.streams.reads - before, 2, "one for each shard");
    }
    for client in clients {
        assert_eq!(drain(&mut harness, client), chain(6..=8, 1));
    }
}

#[test]
fn access_is_checked_for_each_message_also_after_a_reload() {
    let rule = |effect, filter: &str| AccessRule {
        effect,
        action: AccessAction::Both,
        topic_filter: TopicFilter::new(filter.into()).unwrap(),
        source: RuleSource::new("acl.txt", 1, ""),
    };
    let without = |topic: &str| Access::new(vec![rule(Effect::Allow, "t/#"), rule(Effect::Deny, topic)]);
    let mut harness = with_stream(1, 5, Q1);
    harness.granted = Some(without("t/2"));
    let mut connect = transient("c");
    connect.properties.receive_maximum = NonZeroU16::new(1).unwrap();
    let client = harness.connect(connect);
    harness.send(client, subscribe_from("$stream/s", Q1, "earliest"));
    assert_eq!(harness.packets(client).len(), 2, "SUBACK and the first message");
    let access = Arc::new(without("t/4"));
    harness.event(0, Event::AccessChanged { connection: client.id, access });
    harness.send(client, puback(1));
    let got = drain(&mut harness, client);
    assert_eq!(got, [(2, Some(1), 1), (3, Some(2), 1), (5, Some(3), 1)]);
    let refused = suback(&mut harness, client, subscribe("$stream/s/u/#", Q1));
    assert_eq!(refused.0, 0x87);
    assert_eq!(refused.1.unwrap(), "$stream/s/u/#: not authorized to receive any message of it");
    harness.granted = Some(Access::new(vec![rule(Effect::Allow, "$SYS/#")]));
    let other = harness.connect(transient("d"));
    assert_eq!(suback(&mut harness, other, subscribe("$stream/s", Q1)).0, 0x87);
}

#[test]
fn refusals_have_words() {
    let mut harness = with_stream(1, 10, Q1);
    harness.trim(STREAM, 4);
    let client = harness.connect(transient("c"));
    let no_local = SubscriptionOptions { no_local: true, ..options(Q1) };
    let as_published = SubscriptionOptions { retain_as_published: true, ..options(Q1) };
    for (packet, code, words) in [
        (subscribe("$stream/other", Q1), 0x8F, "$stream/other: there is no stream other"),
        (subscribe("$stream/s@seq:3", Q1), 0x83, "$stream/s@seq:3: the oldest message of the stream s is seq:4"),
        (subscribe_with("$stream/s", no_local), 0x83, "$stream/s: No Local is not available for streams"),
        (
            subscribe_with("$stream/s", as_published),
            0x83,
            "$stream/s: Retain As Published is not available for streams",
        ),
        (
            subscribe("$stream/s/1/2/3/4/5/6/7/8", Q1),
            0x8F,
            "$stream/s/1/2/3/4/5/6/7/8: the topic has 10 levels, more than topic_levels_max (8)",
        ),
    ] {
        assert_eq!(suback(&mut harness, client, packet), (code, Some(words.into())));
    }
}

#[test]
fn what_is_trimmed_is_named_by_the_next_message() {
    let mut harness = Harness::new();
    harness.add_stream("s", STREAM, TrimmedOffset::Oldest);
    append(&mut harness, 1..=10, Q1);
    harness.trim(STREAM, 4);
    let mut connect = transient("c");
    connect.properties.receive_maximum = NonZeroU16::new(1).unwrap();
    let client = harness.connect(connect);
    harness.store_reads = false;
    harness.send(client, subscribe_from("$stream/s", Q1, "seq:2"));
    harness.read_stream();
    let marks = |harness: &mut Harness| {
        let packets = harness.packets(client);
        let Some(ServerPacket::Publish(publish)) = packets.last() else { panic!("{packets:?}") };
        let all: Vec<_> = publish.message.properties.iter().collect();
        ["stream-sequence", "stream-previous", "stream-trimmed", "stream-unreadable"].map(|name| mark(&all, name))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(marks(&mut harness), [some("4"), some("none"), some("2-3"), None]);
    // What was read stays readable; what was not read may be trimmed or damaged.
    append(&mut harness, 11..=20, Q1);
    for number in 1..=6 {
        harness.send(client, puback(number));
    }
    assert_eq!(marks(&mut harness), [some("10"), some("9"), None, None]);
    harness.trim(STREAM, 15);
    harness.damage(STREAM, 15..17);
    harness.send(client, puback(7));
    harness.read_stream();
    assert_eq!(marks(&mut harness), [some("17"), some("10"), some("11-14"), some("15-16")]);
    harness.send(client, puback(8));
    assert_eq!(marks(&mut harness), [some("18"), some("17"), None, None]);
}

#[test]
fn mqtt5_3_8_4_3_a_second_subscription_replaces_the_first() {
    let mut harness = with_stream(1, 5, Q0);
    let client = harness.connect(transient("c"));
    harness.send(client, subscribe("$stream/s@seq:4", Q0));
    assert_eq!(drain(&mut harness, client), chain(4..=5, 0));
    harness.send(client, subscribe_from("$stream/s", Q0, "earliest"));
    assert_eq!(drain(&mut harness, client), chain(1..=5, 0));
    harness.send(client, subscribe("$stream/s/#", Q0));
    append(&mut harness, 6..=6, Q0);
    let mut got = drain(&mut harness, client);
    got.sort_unstable();
    assert_eq!(got, [(6, None, 0), (6, Some(5), 0)], "another filter is another subscription");
    assert_eq!(
        harness.ask(client, unsubscribe(7, &["$stream/s@latest", "$stream/s/+", "$stream/x"])),
        ["UNSUBACK 7 00 11 11"]
    );
    append(&mut harness, 7..=7, Q0);
    assert_eq!(drain(&mut harness, client), [(7, Some(6), 0)]);
}

#[test]
fn a_read_for_a_replaced_subscription_is_ignored() {
    let mut harness = with_stream(1, 5, Q0);
    harness.store_reads = false;
    let client = harness.connect(transient("c"));
    harness.send(client, subscribe("$stream/s@earliest", Q0));
    harness.send(client, subscribe("$stream/s@seq:5", Q0));
    assert_eq!(harness.stream_reads.len(), 2);
    harness.store_reads = true;
    harness.seconds(1);
    assert_eq!(drain(&mut harness, client), chain([5], 0));
    harness.store_reads = false;
    harness.send(client, subscribe("$stream/s@earliest", Q0));
    harness.lose(client);
    harness.store_reads = true;
    harness.seconds(1);
    assert_eq!(harness.shards[0].streams.waiting(), 0);
}

#[test]
fn subscriptions_are_counted_limited_and_listed() {
    let mut harness = Harness::with(1, Settings { subscriptions_per_session_max: 3, ..settings() });
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    let client = harness.connect(transient("c"));
    harness.run(client, [subscribe("a", Q1), subscribe("$stream/s@earliest/x", Q2), subscribe("$stream/s", Q0)]);
    for filter in ["b", "$stream/s/y"] {
        assert_eq!(harness.ask(client, subscribe(filter, Q0)), ["SUBACK 1 97"], "{filter}");
    }
    assert_eq!(harness.ask(client, subscribe("$stream/s/x", Q1)), ["SUBACK 1 01"]);
    assert_eq!(harness.ask(client, subscribe("$stream/s@earliest/x", Q2)), ["SUBACK 1 01"], "QoS 1 at most");
    let mut listed = Vec::new();
    let mut from = Some(0);
    while let Some(next) = from {
        let page = PageRequest { from: next, limit: 1 };
        harness.event(0, Event::Query(QueryId(1), Box::new(Query::Subscriptions(ClientId::from("c"), page))));
        let Some((_, Answer::Subscriptions(Some(page)))) = harness.answers.pop() else { panic!("no answer") };
        listed.extend(page.entries.iter().map(|view| view.subscription.filter.to_string()));
        from = page.next;
    }
    assert_eq!(listed, ["a", "$stream/s@earliest/x", "$stream/s"]);
    harness.event(0, Event::Query(QueryId(1), Box::new(Query::Client(ClientId::from("c")))));
    let Some((_, Answer::Client(Some(view)))) = harness.answers.pop() else { panic!("no answer") };
    assert_eq!(view.subscriptions, 3);
}

#[test]
fn clients_of_older_versions_get_the_messages_without_properties() {
    let mut harness = with_stream(1, 2, Q1);
    let client = harness.connect(v311("c", true));
    let got = harness.ask(client, subscribe("$stream/s@earliest", Q1));
    assert_eq!(got, ["SUBACK 1 01", "PUBLISH t/1 1 q1 #1", "PUBLISH t/2 2 q1 #2"]);
}

#[test]
fn a_mount_point_limits_and_shortens_the_topics() {
    let mut harness = Harness::new();
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    harness.append_to(STREAM, ["a/x", "b/x", "a/y/z", "x"].map(|topic| stored(topic, topic.into(), Q0)));
    let mount_point = MountPoint::new("a/").unwrap();
    harness.granted = Some(Access::clone(&Arc::new(Access::everything()).below(Some(&mount_point))));
    for (filter, expected) in [
        ("$stream/s@earliest", ["PUBLISH x a/x q0", "PUBLISH y/z a/y/z q0"].as_slice()),
        ("$stream/s@earliest/x", &["PUBLISH x a/x q0"]),
        ("$stream/s@earliest/b/x", &[]),
    ] {
        let client = harness.connect(transient("c"));
        let got = harness.ask(client, subscribe(filter, Q0));
        assert_eq!(got[0], "SUBACK 1 00");
        assert_eq!(&got[1..], expected, "{filter}");
        harness.lose(client);
    }
}

#[test]
fn a_message_that_is_too_large_for_the_client_is_skipped_and_counted() {
    let mut harness = Harness::new();
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    let sizes = [10, 300, 20].map(|size| stored("t", "x".repeat(size), Q1));
    harness.append_to(STREAM, sizes);
    let mut connect = transient("c");
    connect.properties.maximum_packet_size = NonZeroU32::new(200);
    let client = harness.connect(connect);
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    assert_eq!(drain(&mut harness, client), chain([1, 3], 1));
    assert_eq!(harness.shards[0].counters().dropped[DropReason::PacketTooLarge as usize], 1);
}

#[test]
fn failed_reads_are_repeated_and_a_removed_stream_ends_the_connection() {
    let mut harness = with_stream(1, 3, Q0);
    let client = harness.connect(transient("c"));
    harness.streams.failure = Some(StreamReadError::Temporary);
    harness.send(client, subscribe("$stream/s@earliest", Q0));
    harness.seconds(3);
    assert_eq!(harness.streams.reads, 4);
    assert_eq!(drain(&mut harness, client), []);
    harness.streams.failure = None;
    harness.seconds(1);
    assert_eq!(drain(&mut harness, client), chain(1..=3, 0));
    harness.streams.failure = Some(StreamReadError::Gone);
    append(&mut harness, 4..=4, Q0);
    assert_eq!(harness.received(client), ["DISCONNECT 0x98", "CLOSED"]);
}

#[test]
fn each_shard_wakes_its_own_subscribers_and_forgets_those_that_leave() {
    let mut harness = with_stream(3, 2, Q1);
    let clients: Vec<Client> =
        (0..9).map(|number| harness.connect_to(number % 3, transient(&format!("c{number}")))).collect();
    for client in &clients {
        harness.send(*client, subscribe("$stream/s", Q1));
    }
    append(&mut harness, 3..=4, Q1);
    harness.seconds(1);
    for client in &clients {
        assert_eq!(drain(&mut harness, *client), chain(3..=4, 1));
    }
    for client in &clients[3..] {
        harness.lose(*client);
    }
    assert_eq!(harness.shards.iter().map(|shard| shard.streams.waiting()).sum::<usize>(), 3);
    append(&mut harness, 5..=5, Q1);
    for client in &clients[..3] {
        assert_eq!(drain(&mut harness, *client), [(5, Some(4), 1)]);
    }
}

#[test]
fn subscription_identifiers_are_sent_and_other_subscriptions_get_their_own_copy() {
    let mut harness = with_stream(1, 0, Q1);
    let client = harness.connect(transient("c"));
    harness.run(client, [subscribe_all(1, 9, vec![subscription("$stream/s", options(Q1))])]);
    harness.append_to(STREAM, [stored("t", "x".into(), Q1)]);
    assert_eq!(harness.received(client), ["PUBLISH t x q1 #1 ids=[9]"]);
}

#[test]
fn a_slow_replay_leaves_other_messages_of_the_client_alone() {
    let mut harness = with_stream(1, 1_000, Q1);
    let mut connect = transient("c");
    connect.properties.receive_maximum = NonZeroU16::new(2).unwrap();
    let client = harness.connect(connect);
    harness.send(client, subscribe("n", Q1));
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    harness.run(client, []);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("n", "news", Q1, 1)]);
    harness.send(client, puback(1));
    assert_eq!(harness.received(client), ["PUBLISH n news q1 #3"], "it is next");
    harness.send(client, puback(2));
    assert_eq!(harness.received(client), ["PUBLISH t/3 3 q1 #4"]);
}

#[test]
fn two_streams_share_the_turns_of_a_client() {
    let mut harness = with_stream(1, 2_000, Q0);
    let second = StreamNumber(6);
    harness.add_stream("u", second, TrimmedOffset::Refuse);
    harness.append_to(second, (1..=2_000).map(|number| stored("u", number.to_string(), Q0)));
    let client = harness.connect(transient("c"));
    harness.store_reads = false;
    let both = ["$stream/s@earliest", "$stream/u@earliest"].map(|filter| subscription(filter, options(Q0)));
    harness.send(client, subscribe_all(1, 0, both.into()));
    harness.store_reads = true;
    harness.seconds(1);
    let packets = harness.packets(client);
    let first_u =
        packets.iter().position(|packet| show(packet).contains(" u ") || show(packet).starts_with("PUBLISH u"));
    assert!(first_u.unwrap() <= 2 * CHUNK_MESSAGES_MAX, "{first_u:?}");
    assert_eq!(packets.len(), 4_001);
}

#[test]
fn a_subscription_that_waits_for_acknowledgements_holds_up_no_other_one_at_qos_0() {
    let mut harness = with_stream(1, 20, Q1);
    let second = StreamNumber(6);
    harness.add_stream("u", second, TrimmedOffset::Refuse);
    harness.append_to(second, (1..=5).map(|number| stored("u", number.to_string(), Q0)));
    let mut connect = transient("c");
    connect.properties.receive_maximum = NonZeroU16::new(2).unwrap();
    let client = harness.connect(connect);
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    harness.send(client, subscribe("$stream/u@earliest", Q0));
    let of_u = |received: Vec<String>| received.iter().filter(|line| line.starts_with("PUBLISH u")).count();
    assert_eq!(of_u(harness.received(client)), 5);
    harness.append_to(second, [stored("u", "6".to_owned(), Q0)]);
    assert_eq!(of_u(harness.received(client)), 1, "live, too");
}

#[test]
fn subscriptions_at_qos_1_share_receive_maximum() {
    let mut harness = with_stream(1, 5 * CHUNK_MESSAGES_MAX as u64, Q1);
    let second = StreamNumber(6);
    harness.add_stream("u", second, TrimmedOffset::Refuse);
    harness.append_to(second, (1..=5).map(|number| stored("u", number.to_string(), Q1)));
    let mut connect = transient("c");
    connect.properties.receive_maximum = NonZeroU16::new(2).unwrap();
    let client = harness.connect(connect);
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    harness.send(client, subscribe("$stream/u@earliest", Q1));
    let (mut sent, mut of_u) = (0, 0);
    while of_u < 5 {
        for packet in harness.packets(client) {
            let ServerPacket::Publish(publish) = packet else { continue };
            sent += 1;
            of_u += usize::from(publish.message.topic.as_str() == "u");
            harness.send(client, puback(publish.packet_id.unwrap().number()));
        }
        assert!(sent <= 2 * CHUNK_MESSAGES_MAX, "the second stream gets no turn");
    }
}

#[test]
fn messages_that_a_client_does_not_take_are_given_back_when_memory_is_short() {
    let mut harness = with_stream(1, 2_000, Q1);
    let mut connect = transient("c");
    connect.properties.receive_maximum = NonZeroU16::new(2).unwrap();
    let client = harness.connect(connect);
    harness.send(client, subscribe("$stream/s@earliest", Q1));
    let held = |harness: &Harness| {
        let sessions =
            (0..harness.shards[0].sessions.slots_end()).filter_map(|slot| harness.shards[0].sessions.get(slot));
        let cursors = sessions.filter_map(|entry| entry.incidents.streams()).flat_map(|streams| streams.iter());
        cursors.filter(|cursor| cursor.next_qos().is_some()).count()
    };
    assert_eq!(held(&harness), 1);
    harness.event(0, Event::Memory(MemoryLevel::Elevated));
    assert_eq!(held(&harness), 1);
    harness.event(0, Event::Memory(MemoryLevel::High));
    assert_eq!(held(&harness), 0, "they are read again");
    let before = harness.streams.visited;
    harness.seconds(100);
    assert_eq!(harness.streams.visited, before, "and not before the client takes some");
    assert_eq!(drain(&mut harness, client), chain(1..=2_000, 1));
}

#[test]
fn a_session_has_at_most_64_subscriptions_to_streams() {
    let mut harness = Harness::with(1, Settings { subscriptions_per_session_max: 100, ..settings() });
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    let client = harness.connect(transient("c"));
    for number in 1..=STREAMS_PER_SESSION_MAX {
        let filter = format!("$stream/s@earliest/t/{number}");
        assert_eq!(suback(&mut harness, client, subscribe(&filter, Q0)).0, 0, "{filter}");
    }
    for filter in ["$stream/s/u", "$share/g/$stream/s"] {
        harness.send(client, subscribe(filter, Q0));
        let packets = harness.packets(client);
        let [ServerPacket::Suback(suback)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!(suback.reason_codes, [ReasonCode::QuotaExceeded]);
        let why = format!("{filter}: a session has at most 64 subscriptions to streams");
        assert_eq!(suback.reason_string.as_deref(), Some(&*why));
    }
    assert_eq!(suback(&mut harness, client, subscribe("$stream/s@earliest/t/3", Q0)).0, 0, "it replaces one");
    assert_eq!(suback(&mut harness, client, subscribe("u", Q0)).0, 0, "others are not meant");
    harness.send(client, unsubscribe(2, &["$stream/s/t/3"]));
    assert_eq!(suback(&mut harness, client, subscribe("$stream/s/u", Q0)).0, 0);
}
