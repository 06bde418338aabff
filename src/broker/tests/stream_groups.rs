//! Groups of subscribers of streams: `$share/GROUP/$stream/NAME`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use super::fake_streams::{STREAM, stored};
use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::shard::Turn;
use crate::broker::streams::groups::ledger::{Reading, WINDOW_MESSAGES_MAX};
use crate::broker::streams::groups::table::GROUPS_MAX;
use crate::broker::timers::Timer;
use crate::broker::{
    Answer, DropReason, Event, GroupAnswer, GroupDispatch, GroupQuery, GroupView, PageRequest, Query, QueryId,
    ReadMessages, Record, Settings, Shard, StoredStreamMessage, StreamNumber, StreamReadError, StreamStart,
    StreamTable, TrimmedOffset,
};
use crate::codec::{Ack, ClientId, ClientPacket, Connect, MessageProperty, Qos, ReasonCode, ServerPacket};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource, SessionKey};
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

pub(super) const GROUP: &str = "$share/g/$stream/s";

fn with_stream(shards: usize, messages: u64, qos: Qos) -> Harness {
    with_dispatch(shards, messages, qos, GroupDispatch::RoundRobin)
}

fn with_dispatch(shards: usize, messages: u64, qos: Qos, dispatch: GroupDispatch) -> Harness {
    let mut harness = Harness::with(shards, Settings { queued_messages_max: 10_000, ..settings() });
    harness.group_dispatch = dispatch;
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    append(&mut harness, 1..=messages, qos);
    harness
}

/// Messages with seven topics.
pub(super) fn append(harness: &mut Harness, numbers: std::ops::RangeInclusive<u64>, qos: Qos) {
    harness.append_to(STREAM, numbers.map(|number| stored(&format!("t/{}", number % 7), number.to_string(), qos)));
}

pub(super) fn with_receive_maximum(mut connect: Connect, maximum: u16) -> Connect {
    connect.properties.receive_maximum = NonZeroU16::new(maximum).unwrap();
    connect
}

/// Sequence and Packet Identifier of each PUBLISH that a client was sent.
pub(super) fn published(harness: &mut Harness, client: Client) -> Vec<(u64, Option<u16>)> {
    let publish = |packet: ServerPacket| {
        let ServerPacket::Publish(publish) = packet else { return None };
        let sequence = mark(&publish.message.properties.iter().collect::<Vec<_>>(), "stream-sequence")?;
        Some((sequence.parse().unwrap(), publish.packet_id.map(|id| id.number())))
    };
    harness.packets(client).into_iter().filter_map(publish).collect()
}

fn mark(properties: &[MessageProperty], name: &str) -> Option<String> {
    properties.iter().find_map(|property| {
        let MessageProperty::UserProperty(found, value) = property else { return None };
        (*found == *name).then(|| value.to_string())
    })
}

/// The sequences that each client gets until no more come; all are acknowledged.
pub(super) fn drain(harness: &mut Harness, clients: &[Client]) -> Vec<Vec<u64>> {
    let (mut all, mut idle) = (vec![Vec::new(); clients.len()], 0);
    while idle < 2 {
        idle += 1;
        for (client, got) in clients.iter().zip(&mut all) {
            for (sequence, packet_id) in published(harness, *client) {
                idle = 0;
                got.push(sequence);
                if let Some(packet_id) = packet_id {
                    harness.send(*client, puback(packet_id));
                }
            }
        }
        if idle > 0 {
            harness.advance(Duration::from_millis(5));
        }
    }
    all
}

fn sorted(got: &[Vec<u64>]) -> Vec<u64> {
    let mut all: Vec<u64> = got.iter().flatten().copied().collect();
    all.sort_unstable();
    all
}

pub(super) fn view(harness: &Harness) -> GroupView {
    harness.shards[0].shared.groups_of(STREAM).pop().expect("there is no group")
}

impl Harness {
    /// Asserts that what a member is to be sent, and what a group is to read, has a pending event that continues it.
    pub(in crate::broker::tests) fn check_groups(&self, shard: usize) {
        let Shard { connections, sessions, streams, timers, shared, .. } = &self.shards[shard];
        for group in shared.groups.of(STREAM) {
            let ledger = group.ledger();
            assert!(ledger.wanted().is_none(), "nobody reads for {group:?}");
            let is_ready = |shard: &Shard| {
                shard.streams.is_starved(group.place())
                    || shard.streams.is_ready(group.place()) && shard.timers.is_set(Timer::Streams)
            };
            let waits = |shard: usize| {
                let it = &self.shards[shard];
                let (slot, key) = group.place();
                it.streams.waits(STREAM, group.place())
                    || is_ready(it)
                    || it.timers.is_set(Timer::StreamRetry(slot, key))
            };
            let is_continued = match ledger.reading() {
                Reading::Idle => true,
                Reading::Reads(of, read) => {
                    let of = usize::from(of.0);
                    self.stream_reads.iter().any(|(at, request)| (*at, request.cursor.read) == (of, read))
                }
                Reading::Waits(of) => waits(usize::from(of.0)),
            };
            assert!(is_continued, "nothing continues {ledger:?}");
            if ledger.has_waiting() {
                let timer = Timer::GroupRefused(group.number);
                assert!(self.shards.iter().any(|shard| shard.timers.is_set(timer)), "{ledger:?}");
            }
            if ledger.saved.is_scheduled {
                assert!(self.shards.iter().any(|shard| shard.timers.is_set(Timer::Groups)));
            }
        }
        for connection in connections.iter() {
            let Some((slot, entry)) = connection.session().and_then(|slot| Some((slot, sessions.get(slot)?))) else {
                continue;
            };
            let key: SessionKey = entry.subscriber.key;
            let sends = connection.unsent_bytes() > 0 || entry.session.in_flight() > 0 || !entry.session.is_open();
            let sends = sends || entry.session.unstable_responses().0 > 0;
            let is_ready = streams.is_ready((slot, key)) && timers.is_set(Timer::Streams);
            for membership in entry.incidents.groups().into_iter().flat_map(|memberships| memberships.iter()) {
                let has_message = membership.group.ledger().next_qos(key).is_some();
                let is_told = is_ready || sends || self.is_between();
                assert!(!has_message || is_told, "nothing continues {membership:?}");
            }
        }
    }
}

#[test]
fn each_message_goes_to_one_member_in_turn_on_all_shards() {
    for qos in [Q0, Q1] {
        let mut harness = with_stream(3, 3_000, Q2);
        let members: Vec<Client> =
            (0..6).map(|number| harness.connect_to(number % 3, transient(&format!("c{number}")))).collect();
        for client in &members {
            harness.send(*client, subscribe(&format!("{GROUP}@earliest"), qos));
        }
        let mut got = drain(&mut harness, &members);
        for number in 3_001..=3_012 {
            append(&mut harness, number..=number, Q1);
            let live = drain(&mut harness, &members);
            assert_eq!(live.iter().map(Vec::len).sum::<usize>(), 1, "{number}");
            got.iter_mut().zip(live).for_each(|(got, live)| got.extend(live));
        }
        assert_eq!(sorted(&got), (1..=3_012).collect::<Vec<_>>());
        if qos == Q1 {
            assert!(got.iter().all(|got| got.len() > 100), "{:?}", got.iter().map(Vec::len).collect::<Vec<_>>());
        }
        let GroupView { position, lag, members, in_flight, .. } = view(&harness);
        assert_eq!((position, lag, members, in_flight), (Some(3_013), 0, 6, 0));
    }
}

#[test]
fn live_messages_go_round() {
    let mut harness = with_stream(2, 0, Q1);
    let members: Vec<Client> =
        (0..4).map(|number| harness.connect_to(number % 2, transient(&format!("c{number}")))).collect();
    for client in &members {
        harness.run(*client, [subscribe(GROUP, Q1)]);
    }
    let mut turns = Vec::new();
    for number in 1..=8 {
        append(&mut harness, number..=number, Q1);
        turns.extend(drain(&mut harness, &members).iter().position(|got| !got.is_empty()));
    }
    assert_eq!(turns, [0, 1, 2, 3, 0, 1, 2, 3]);
}

#[test]
fn a_member_that_goes_leaves_its_messages_to_others() {
    for (shards, connect) in [(1, transient as fn(&str) -> Connect), (2, transient), (1, durable), (2, durable)] {
        let mut harness = with_stream(shards, 10, Q1);
        let first = harness.connect(connect("a"));
        let second = harness.connect_to(shards - 1, transient("b"));
        harness.run(second, [subscribe(&format!("{GROUP}@earliest"), Q1)]);
        harness.send(first, subscribe(GROUP, Q1));
        append(&mut harness, 11..=30, Q1);
        harness.seconds(1);
        let at_first = published(&mut harness, first);
        assert!(at_first.len() >= 9, "{at_first:?}");
        harness.send(first, puback(at_first[1].1.unwrap()));
        harness.lose(first);
        harness.seconds(1);
        let got = drain(&mut harness, &[second]);
        let acknowledged = at_first[1].0;
        let expected: Vec<u64> = (11..=30).filter(|sequence| *sequence != acknowledged).collect();
        assert!(expected.iter().all(|sequence| got[0].contains(sequence)), "{got:?}");
        assert!(!got[0].contains(&acknowledged));
        if connect("x").properties.session_expiry_interval > 0 {
            append(&mut harness, 31..=31, Q1);
            assert_eq!(drain(&mut harness, &[second]), [[31]]);
            let again = harness.connect_to(shards - 1, durable("a"));
            assert_eq!(published(&mut harness, again), [], "nothing is sent to it again");
            append(&mut harness, 32..=33, Q1);
            let got = drain(&mut harness, &[again, second]);
            assert_eq!(sorted(&got), [32, 33], "it is a member again");
            assert_eq!(got[0].len(), 1);
        }
    }
}

#[test]
fn what_another_shard_gives_a_member_during_its_turn_continues_that_member() {
    let mut harness = with_stream(1, 0, Q1);
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe(GROUP, Q1)]);
    let shard = &mut harness.shards[0];
    let group = shard.shared.groups.of(STREAM).pop().unwrap();
    let member = group.ledger().subscribers()[0].key;
    let mut actions = Vec::new();
    let turn = &mut Turn { now: Timestamp(1), actions: &mut actions };
    assert_eq!(shard.end_group_turn(&group, member, turn), Some(false));
    // Another shard does this between the last message of the turn and its end.
    let (message, expires_at) = stored("t/1", "1".to_owned(), Q1);
    let message = StoredStreamMessage { sequence: 1, timestamp: 1, message, expires_at };
    let read = ReadMessages { messages: Arc::new(vec![message]), next: 2, oldest: 1, unreadable: None };
    group.ledger().on_read(read, GroupDispatch::RoundRobin);
    assert_eq!(shard.end_group_turn(&group, member, turn), Some(true));
    assert_eq!(shard.end_group_turn(&group, member, turn), Some(true), "as long as it is not taken");
    group.ledger().is_gone = true;
    assert_eq!(shard.end_group_turn(&group, member, turn), None);
}

#[test]
fn the_order_of_a_key_is_kept_while_members_come_and_go() {
    let mut harness = with_dispatch(2, 0, Q1, GroupDispatch::HashTopic);
    let mut members: Vec<Client> = Vec::new();
    // What is not acknowledged: member and Packet Identifier of each sequence.
    let mut open: BTreeMap<u64, (usize, u16)> = BTreeMap::new();
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut holders: BTreeSet<(u64, usize)> = BTreeSet::new();
    for round in 0..40_u64 {
        if round % 8 == 0 {
            let client = harness.connect_to(members.len() % 2, transient(&format!("c{round}")));
            harness.run(client, [subscribe(&format!("{GROUP}@earliest"), Q1)]);
            members.push(client);
        }
        append(&mut harness, round * 20 + 1..=round * 20 + 20, Q1);
        harness.seconds(1);
        for (place, client) in members.iter().enumerate() {
            for (sequence, packet_id) in published(&mut harness, *client) {
                let key = sequence % 7;
                assert!(
                    open.iter().all(|(other, (holder, _))| other % 7 != key || *holder == place),
                    "two members have {key}"
                );
                assert!(
                    last.insert(key, sequence).is_none_or(|before| before < sequence),
                    "{sequence} after a later one"
                );
                open.insert(sequence, (place, packet_id.unwrap()));
                holders.insert((key, place));
            }
        }
        let acknowledged: Vec<u64> = open.keys().copied().filter(|sequence| (sequence + round) % 3 != 0).collect();
        for sequence in acknowledged {
            let (place, packet_id) = open.remove(&sequence).unwrap();
            harness.send(members[place], puback(packet_id));
        }
    }
    assert!(holders.len() > 7, "keys have moved to members that came");
    for (_, (place, packet_id)) in open {
        harness.send(members[place], puback(packet_id));
    }
    let got = drain(&mut harness, &members);
    let rest: BTreeSet<u64> = sorted(&got).into_iter().collect();
    assert!(rest.iter().all(|sequence| last[&(sequence % 7)] < *sequence));
    assert_eq!(view(&harness).position, Some(801));
}

#[test]
fn a_key_is_the_value_of_a_user_property() {
    let mut harness = with_dispatch(1, 0, Q1, GroupDispatch::HashKey("customer".into()));
    let members: Vec<Client> = (0..3).map(|number| harness.connect(transient(&format!("c{number}")))).collect();
    for client in &members {
        harness.run(*client, [subscribe(GROUP, Q1)]);
    }
    let message = |number: u64| {
        let (mut message, never) = stored(&format!("t/{number}"), number.to_string(), Q1);
        let property = MessageProperty::UserProperty("customer".into(), (number % 10).to_string().into());
        message.properties = crate::codec::MessageProperties::from_properties([property]);
        (message, never)
    };
    harness.append_to(STREAM, (1..=100).map(message));
    let got = drain(&mut harness, &members);
    assert_eq!(sorted(&got), (1..=100).collect::<Vec<_>>());
    for key in 0..10 {
        let with_key: Vec<_> = got.iter().filter(|got| got.iter().any(|sequence| sequence % 10 == key)).collect();
        assert_eq!(with_key.len(), 1, "{key}");
        assert!(with_key[0].iter().filter(|sequence| *sequence % 10 == key).is_sorted());
    }
}

#[test]
fn the_window_is_bounded_while_nobody_acknowledges() {
    let mut harness = with_stream(1, 20_000, Q1);
    let members: Vec<Client> = (0..60).map(|number| harness.connect(transient(&format!("c{number}")))).collect();
    for client in &members {
        harness.run(*client, [subscribe(&format!("{GROUP}@earliest"), Q1)]);
    }
    harness.seconds(10);
    let view = view(&harness);
    assert!(view.in_flight <= WINDOW_MESSAGES_MAX, "{view:?}");
    assert!(harness.streams.visited <= WINDOW_MESSAGES_MAX, "{}", harness.streams.visited);
}

#[test]
fn a_crash_repeats_what_was_not_stored_and_loses_nothing() {
    let mut harness = with_stream(2, 50, Q1);
    let client = harness.connect(with_receive_maximum(transient("a"), 10));
    harness.send(client, subscribe(&format!("{GROUP}@earliest"), Q1));
    let mut acknowledged = Vec::new();
    for (sequence, packet_id) in published(&mut harness, client) {
        if sequence != 3 {
            harness.send(client, puback(packet_id.unwrap()));
            acknowledged.push(sequence);
        }
    }
    harness.advance(Duration::from_millis(200));
    let stored = harness.records.len();
    for (_, packet_id) in published(&mut harness, client) {
        harness.send(client, puback(packet_id.unwrap())); // their record does not survive
    }
    let mut harness = harness.crash(stored);
    let GroupView { position, lag, members, .. } = view(&harness);
    assert_eq!((position, members), (Some(3), 0));
    assert_eq!(lag, 50 - acknowledged.len() as u64);
    let client = harness.connect(transient("b"));
    harness.send(client, subscribe(GROUP, Q1)); // the offset `latest` has no effect
    let got = drain(&mut harness, &[client]);
    let expected: Vec<u64> = (1..=50).filter(|sequence| !acknowledged.contains(sequence)).collect();
    assert_eq!(got[0], expected);
}

#[test]
fn a_group_is_stable_before_suback_and_its_offset_counts_once() {
    let mut harness = with_stream(1, 5, Q1);
    harness.store_answers = false;
    let client = harness.connect(transient("a"));
    harness.send(client, subscribe(GROUP, Q1));
    assert_eq!(harness.received(client), [] as [String; 0]);
    harness.store_answers = true;
    harness.seconds(1);
    assert_eq!(harness.received(client), ["SUBACK 1 01"]);
    harness.lose(client);
    append(&mut harness, 6..=8, Q1);
    let records = harness.records.len();
    let mut harness = harness.crash(records);
    let client = harness.connect(transient("a"));
    harness.send(client, subscribe(&format!("{GROUP}@earliest"), Q1));
    assert_eq!(drain(&mut harness, &[client]), [[6, 7, 8]], "while nobody was there, the position stayed");
}

#[test]
fn the_subscription_of_a_durable_session_survives_a_crash_and_unsubscribe_ends_it() {
    let mut harness = with_stream(2, 3, Q1);
    let client = harness.connect_to(1, durable("a"));
    harness.run(client, [subscribe(&format!("{GROUP}@earliest/t/#"), Q1)]);
    let records = harness.records.len();
    let mut harness = harness.crash(records);
    let client = harness.connect_to(1, durable("a"));
    assert_eq!(drain(&mut harness, &[client]), [[1, 2, 3]]);
    let page = PageRequest { from: 0, limit: 10 };
    harness.event(1, Event::Query(QueryId(1), Box::new(Query::Subscriptions(ClientId("a".into()), page))));
    let Some((_, Answer::Subscriptions(Some(page)))) = harness.answers.pop() else { panic!("no answer") };
    let filters: Vec<String> = page.entries.iter().map(|view| view.subscription.filter.to_string()).collect();
    assert_eq!(filters, ["$share/g/$stream/s/t/#"]);
    let answer = harness.ask(client, unsubscribe(1, &[&format!("{GROUP}@latest/t/#")]));
    assert_eq!(answer, ["UNSUBACK 1 00"]);
    append(&mut harness, 4..=5, Q1);
    assert_eq!(drain(&mut harness, &[client]), [[0; 0]]);
    let records = harness.records.len();
    let mut harness = harness.crash(records);
    let client = harness.connect(durable("a"));
    assert_eq!(drain(&mut harness, &[client]), [[0; 0]]);
    assert_eq!(harness.ask(client, unsubscribe(1, &[&format!("{GROUP}/t/#")])), ["UNSUBACK 1 11"]);
}

#[test]
fn what_was_sent_before_unsubscribe_is_awaited() {
    let mut harness = with_stream(1, 3, Q1);
    let (first, second) = (harness.connect(with_receive_maximum(transient("a"), 1)), harness.connect(transient("b")));
    harness.send(first, subscribe(&format!("{GROUP}@earliest"), Q1));
    let (sequence, packet_id) = published(&mut harness, first)[0];
    harness.run(first, [unsubscribe(1, &[GROUP])]);
    harness.send(second, subscribe(GROUP, Q1));
    let got = drain(&mut harness, &[second]);
    assert_eq!((sequence, got), (1, vec![vec![2, 3]]));
    harness.send(first, puback(packet_id.unwrap()));
    assert_eq!(view(&harness).position, Some(4));
}

#[test]
fn a_refused_message_counts_as_acknowledged_and_is_counted() {
    // [MQTT-4.8.2-6]: not sent to any other subscriber.
    let mut harness = with_stream(1, 2, Q1);
    let client = harness.connect(transient("a"));
    harness.send(client, subscribe(&format!("{GROUP}@earliest"), Q1));
    let got = published(&mut harness, client);
    let refuse = |packet_id| ClientPacket::Puback(Ack::new(id(packet_id), ReasonCode::QuotaExceeded));
    for (_, packet_id) in got {
        harness.send(client, refuse(packet_id.unwrap()));
    }
    let other = harness.connect(transient("b"));
    harness.run(other, [subscribe(GROUP, Q1)]);
    harness.lose(client);
    assert_eq!(drain(&mut harness, &[other]), [[0; 0]]);
    assert_eq!(view(&harness).position, Some(3));
    assert_eq!(harness.shards[0].counters().dropped[DropReason::Refused as usize], 2);
}

#[test]
fn filters_make_groups_of_their_own_and_properties_say_where_a_message_is() {
    let mut harness = with_stream(1, 14, Q1);
    let (all, some) = (harness.connect(transient("a")), harness.connect(transient("b")));
    harness.send(some, subscribe(&format!("{GROUP}@earliest/t/3"), Q1));
    let mut connect = with_receive_maximum(transient("c"), 1);
    connect.properties.maximum_packet_size = NonZeroU32::new(200);
    let marked = harness.connect(connect);
    harness.send(marked, subscribe("$share/h/$stream/s@seq:3", Q1));
    let packets = harness.packets(marked);
    let ServerPacket::Publish(publish) = &packets[1] else { panic!("{packets:?}") };
    let properties: Vec<_> = publish.message.properties.iter().collect();
    let marks = ["stream", "stream-sequence", "stream-timestamp", "stream-previous"]
        .map(|name| mark(&properties, name).unwrap());
    assert_eq!(marks, ["s", "3", "3000", "none"]);
    assert_eq!(drain(&mut harness, &[some]), [[3, 10]]);
    harness.send(all, subscribe(&format!("{GROUP}@seq:9"), Q1));
    assert_eq!(drain(&mut harness, &[all]), [[9, 10, 11, 12, 13, 14]]);
    assert_eq!(harness.shards[0].shared.groups_of(STREAM).len(), 3);
}

#[test]
fn access_rules_choose_the_members_and_what_nobody_may_receive_is_left_out() {
    let rule = |effect, filter: &str| AccessRule {
        effect,
        action: AccessAction::Both,
        topic_filter: TopicFilter::new(filter.into()).unwrap(),
        source: RuleSource::new("acl.txt", 1, ""),
    };
    let without = |topics: &[&str]| {
        let denied = topics.iter().map(|topic| rule(Effect::Deny, topic));
        Access::new(denied.chain([rule(Effect::Allow, "#")]).collect())
    };
    for dispatch in [GroupDispatch::RoundRobin, GroupDispatch::HashTopic] {
        let mut harness = with_dispatch(1, 0, Q1, dispatch);
        harness.granted = Some(without(&["t/2", "t/3"]));
        let first = harness.connect(transient("a"));
        harness.granted = Some(without(&["t/1", "t/2"]));
        let second = harness.connect(transient("b"));
        for client in [first, second] {
            harness.run(client, [subscribe(GROUP, Q1)]);
        }
        append(&mut harness, 1..=70, Q1);
        let got = drain(&mut harness, &[first, second]);
        assert!(got[0].iter().all(|sequence| ![2, 3].contains(&(sequence % 7))));
        assert!(got[1].iter().all(|sequence| ![1, 2].contains(&(sequence % 7))));
        assert_eq!(sorted(&got), (1..=70).filter(|sequence| sequence % 7 != 2).collect::<Vec<_>>());
        assert_eq!(view(&harness).position, Some(71));
        // A reload applies to what was given before.
        harness.transports_accept = false;
        let access = Arc::new(without(&["#"]));
        harness.event(0, Event::AccessChanged { connection: first.id, access });
        harness.transports_accept = true;
        append(&mut harness, 71..=84, Q1);
        let got = drain(&mut harness, &[first, second]);
        assert_eq!((got[0].len(), got[1].len()), (0, 10));
    }
}

#[test]
fn refusals_have_words() {
    let mut harness = with_stream(1, 10, Q1);
    harness.trim(STREAM, 4);
    let client = harness.connect(transient("c"));
    let mut refused = |filter: &str, options| {
        harness.run(client, []);
        harness.send(client, subscribe_with(filter, options));
        let packets = harness.packets(client);
        let Some(ServerPacket::Suback(suback)) = packets.first() else { panic!("{packets:?}") };
        (suback.reason_codes[0].number(), suback.reason_string.as_ref().map(ToString::to_string).unwrap_or_default())
    };
    for (filter, code, words) in [
        ("$share/g/$stream/other", 0x8F, "$share/g/$stream/other: there is no stream other"),
        ("$share/g/$stream/s@seq:3", 0x83, "$share/g/$stream/s@seq:3: the oldest message of the stream s is seq:4"),
        ("$share/g/$stream/s@x", 0x8F, "$share/g/$stream/s@x: the offset behind @: expected earliest"),
    ] {
        let (got, why) = refused(filter, options(Q1));
        assert_eq!(got, code, "{filter}");
        assert!(why.starts_with(words), "{why}");
    }
    assert_eq!(refused(GROUP, options(Q2)), (0x01, String::new()));
    assert_eq!(refused("$share/g/$stream/s@seq:1", options(Q0)), (0x00, String::new()), "it has a position");
    for number in 1..GROUPS_MAX {
        let name = crate::broker::streams::groups::group::GroupName {
            stream: STREAM,
            name: format!("g{number}").into(),
            filter: None,
        };
        let position = crate::broker::GroupPosition::new(StreamStart::Earliest);
        harness.shards[0].shared.groups.need(name, position).unwrap();
    }
    let mut harness = harness;
    harness.run(client, []);
    harness.send(client, subscribe("$share/more/$stream/s", Q1));
    let packets = harness.packets(client);
    let Some(ServerPacket::Suback(suback)) = packets.first() else { panic!("{packets:?}") };
    assert_eq!(suback.reason_codes[0].number(), 0x97);
    assert!(suback.reason_string.as_ref().unwrap().contains("there are 1000 groups"), "{:?}", suback.reason_string);
}

#[test]
fn operators_reset_and_remove_groups() {
    let mut harness = with_stream(2, 10, Q1);
    let client = harness.connect_to(1, transient("a"));
    harness.send(client, subscribe(GROUP, Q1));
    let number = view(&harness).number;
    let change = |harness: &mut Harness, query| {
        harness.event(0, Event::Query(QueryId(7), Box::new(Query::Groups(query))));
        let Some((_, Answer::Group(answer))) = harness.answers.pop() else { panic!("no answer") };
        answer
    };
    assert_eq!(change(&mut harness, GroupQuery::Remove(number)), GroupAnswer::HasMembers);
    assert_eq!(change(&mut harness, GroupQuery::Reset(99, StreamStart::Earliest)), GroupAnswer::Unknown);
    assert_eq!(change(&mut harness, GroupQuery::Reset(number, StreamStart::Sequence(8))), GroupAnswer::Done);
    assert_eq!(drain(&mut harness, &[client]), [[8, 9, 10]]);
    assert_eq!(change(&mut harness, GroupQuery::Reset(number, StreamStart::Time(9_500))), GroupAnswer::Done);
    assert_eq!(drain(&mut harness, &[client]), [[10]]);
    assert_eq!(change(&mut harness, GroupQuery::Reset(number, StreamStart::Earliest)), GroupAnswer::Done);
    let records = harness.records.len();
    assert_eq!(drain(&mut harness, &[client]), [(1..=10).collect::<Vec<_>>()]);
    let mut after = harness.crash(records);
    let again = after.connect(transient("a"));
    after.send(again, subscribe(GROUP, Q1));
    assert_eq!(drain(&mut after, &[again]), [(1..=10).collect::<Vec<_>>()]);
    harness.trim(STREAM, 5);
    assert_eq!(change(&mut harness, GroupQuery::Reset(number, StreamStart::Sequence(4))), GroupAnswer::Trimmed(5));
    harness.lose(client);
    assert_eq!(change(&mut harness, GroupQuery::Remove(number)), GroupAnswer::Done);
    let records = harness.records.len();
    let mut after = harness.crash(records);
    assert_eq!(after.shards[0].shared.groups_of(STREAM), []);
    let client = after.connect(transient("a"));
    after.send(client, subscribe(GROUP, Q1));
    assert_eq!(drain(&mut after, &[client]), [[0; 0]], "it begins anew");
}

#[test]
fn errors_of_the_disk_are_tried_again_and_a_removed_stream_ends_its_members() {
    let mut harness = with_stream(2, 5, Q1);
    let members = [harness.connect(transient("a")), harness.connect_to(1, transient("b"))];
    harness.streams.failure = Some(StreamReadError::Temporary);
    for client in members {
        harness.run(client, [subscribe(&format!("{GROUP}@earliest"), Q1)]);
    }
    harness.seconds(3);
    assert!(harness.streams.reads <= 5, "{}", harness.streams.reads);
    harness.streams.failure = None;
    harness.seconds(2);
    assert_eq!(sorted(&drain(&mut harness, &members)), [1, 2, 3, 4, 5]);
    harness.streams.failure = Some(StreamReadError::Gone);
    append(&mut harness, 6..=6, Q1);
    for client in members {
        assert_eq!(harness.received(client), ["DISCONNECT 0x98", "CLOSED"]);
    }
}

/// Where a member is when its stream is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whereabouts {
    Connected,
    Away,
    /// Away, and the broker does not run.
    Stopped,
}

/// A member of a stream that is removed is told so once, and is none afterwards, also if there is a stream of that name again.
#[test]
fn a_membership_ends_with_its_stream_and_the_client_is_told() {
    let position = "$stream/s";
    for (whereabouts, filters) in [
        (Whereabouts::Connected, &[GROUP][..]),
        (Whereabouts::Connected, &[GROUP, position]),
        (Whereabouts::Away, &[GROUP]),
        (Whereabouts::Away, &[GROUP, position]),
        (Whereabouts::Stopped, &[GROUP]),
        (Whereabouts::Stopped, &[position]),
    ] {
        let mut harness = with_stream(1, 2, Q1);
        let client = harness.connect(durable("a"));
        for filter in filters {
            harness.run(client, [subscribe(filter, Q1)]);
        }
        if whereabouts != Whereabouts::Connected {
            harness.lose(client);
        }
        let shared = Arc::clone(&harness.shards[0].shared);
        shared.set_streams(StreamTable::default());
        shared.end_groups_of(STREAM);
        harness.streams.failure = Some(StreamReadError::Gone);
        let told = match whereabouts {
            Whereabouts::Connected => {
                append(&mut harness, 3..=3, Q1);
                harness.received(client)
            }
            Whereabouts::Away | Whereabouts::Stopped => {
                if whereabouts == Whereabouts::Stopped {
                    harness.restart(settings());
                }
                // CONNACK waits for a record, and must not refuse the connection because of the stream.
                harness.store_answers = false;
                let client = harness.attempt(0, durable("a"));
                harness.seconds(3);
                assert_eq!(harness.received(client), [""; 0], "{whereabouts:?} {filters:?}");
                harness.store_answers = true;
                harness.persist();
                harness.received(client)
            }
        };
        assert_eq!(told.last().unwrap(), "CLOSED", "{whereabouts:?} {filters:?}: {told:?}");
        assert!(told.contains(&"DISCONNECT 0x98".to_owned()), "{whereabouts:?} {filters:?}: {told:?}");
        harness.streams.failure = None;
        assert!(harness.shards[0].shared.groups_of(STREAM).is_empty());
        harness.add_stream("s", StreamNumber(STREAM.0 + 1), TrimmedOffset::Refuse);
        for _ in 0..2 {
            let client = harness.connect(durable("a"));
            let unsuback = harness.ask(client, unsubscribe(2, &[GROUP, position]));
            assert_eq!(unsuback, ["UNSUBACK 2 11 11"], "{whereabouts:?} {filters:?}");
            harness.restart(settings());
        }
    }
}

#[test]
fn the_position_is_stored_in_its_order_by_all_shards() {
    let mut harness = with_stream(3, 300, Q1);
    let members: Vec<Client> = (0..3)
        .map(|number| harness.connect_to(number, with_receive_maximum(transient(&format!("c{number}")), 2)))
        .collect();
    for client in &members {
        harness.send(*client, subscribe(&format!("{GROUP}@earliest"), Q1));
    }
    let mut number = 0;
    loop {
        let mut is_done = true;
        for client in &members {
            for (_, packet_id) in published(&mut harness, *client) {
                is_done = false;
                number += 1;
                harness.store_answers = number % 5 == 0;
                harness.send(*client, puback(packet_id.unwrap()));
                harness.advance(Duration::from_millis(40));
            }
        }
        if is_done {
            break;
        }
    }
    harness.store_answers = true;
    harness.seconds(1);
    let positions = harness.records.iter().filter_map(|record| {
        if let Record::GroupStored { group, .. } = record { Some(group.position.from) } else { None }
    });
    let positions: Vec<u64> =
        positions.map(|from| if let StreamStart::Sequence(from) = from { from } else { 0 }).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    assert_eq!(positions.last(), Some(&301));
    assert!(positions.len() > 20 && positions.len() < 330, "{}", positions.len());
}

#[test]
fn a_session_that_moves_between_shards_stays_a_member() {
    let mut harness = with_stream(3, 0, Q1);
    let mut client = harness.connect(durable("a"));
    harness.run(client, [subscribe(GROUP, Q1)]);
    for number in 1..=9 {
        append(&mut harness, number..=number, Q1);
        let got = published(&mut harness, client);
        let earlier = number - u64::from(number > 1);
        assert_eq!(
            got.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
            (earlier..=number).collect::<Vec<_>>()
        );
        if number > 1 {
            harness.send(client, puback(got[0].1.unwrap()));
        }
        // The last one is not acknowledged, and is sent again after the move.
        client = harness.connect_to(usize::try_from(number % 3).unwrap(), durable("a"));
    }
}
