//! Messages that members of groups of subscribers of streams refuse.

use std::time::Duration;

use super::fake_streams::STREAM;
use super::harness::{Client, Harness, settings};
use super::packets::*;
use super::redelivery::{attempts, refuse_q1, rule};
use super::stream_groups::{GROUP, append, drain, published, view, with_receive_maximum};
use crate::broker::{DropReason, GroupDispatch, Record, RedeliveryRules, Settings, StreamStart, TrimmedOffset};
use crate::codec::{MessageProperty, ServerPacket};

/// Three attempts, after 2 and 4 seconds.
fn with_rule() -> Settings {
    Settings { redelivery: RedeliveryRules::new([rule("t/#", 3, false)]), queued_messages_max: 10_000, ..settings() }
}

fn with_stream(shards: usize, messages: u64, dispatch: GroupDispatch) -> Harness {
    let mut harness = Harness::with(shards, with_rule());
    harness.group_dispatch = dispatch;
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    append(&mut harness, 1..=messages, Q1);
    harness
}

/// The positions that were stored, from the record with this index on.
fn positions(harness: &Harness, from: usize) -> Vec<StreamStart> {
    let of_group =
        |record: &Record| if let Record::GroupStored { group, .. } = record { Some(group.position.from) } else { None };
    harness.records[from..].iter().filter_map(of_group).collect()
}

#[test]
fn a_refused_message_goes_to_a_member_again_and_becomes_a_dead_letter_after_the_last_attempt() {
    let mut harness = with_stream(2, 1, GroupDispatch::RoundRobin);
    let members: [Client; 2] = [harness.connect(transient("a")), harness.connect_to(1, transient("b"))];
    let reader = harness.connect(transient("r"));
    harness.run(reader, [subscribe("dead", Q0)]);
    harness.packets(reader);
    for client in members {
        harness.send(client, subscribe(&format!("{GROUP}@earliest"), Q1));
        harness.packets(client);
    }
    harness.lose(members[0]);
    let first = harness.connect(transient("a"));
    harness.run(first, [subscribe(GROUP, Q1)]);
    let members = [first, members[1]];
    let next = |harness: &mut Harness| {
        let got = members.map(|client| attempts(harness, client));
        let of = got.iter().position(|got| got.iter().any(|line| line.starts_with("PUBLISH")))?;
        let line = got[of].iter().find(|line| line.starts_with("PUBLISH")).unwrap().clone();
        let id: u16 = line.split('#').nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        Some((members[of], id, line.split(" #").nth(1).unwrap().to_owned()))
    };
    let (client, id, _) = next(&mut harness).unwrap();
    harness.send(client, refuse_q1(id));
    append(&mut harness, 2..=20, Q1);
    assert_eq!(drain(&mut harness, &members).iter().map(Vec::len).sum::<usize>(), 19, "others do not wait");
    assert_eq!(view(&harness).position, Some(1));
    harness.advance(Duration::from_secs(2));
    let (client, id, line) = next(&mut harness).unwrap();
    assert!(line.ends_with("attempt=2"), "{line}");
    harness.send(client, refuse_q1(id));
    harness.seconds(3);
    assert!(next(&mut harness).is_none());
    harness.seconds(1);
    let (client, id, line) = next(&mut harness).unwrap();
    assert!(line.ends_with("attempt=3"), "{line}");
    assert_eq!(view(&harness).in_flight, 1);
    harness.send(client, refuse_q1(id));
    harness.seconds(100);
    assert!(next(&mut harness).is_none());
    assert_eq!((view(&harness).position, view(&harness).lag), (Some(21), 0));
    let packets = harness.packets(reader);
    let [ServerPacket::Publish(letter)] = &packets[..] else { panic!("{packets:?}") };
    let properties = letter.message.properties.iter().filter_map(|property| {
        let MessageProperty::UserProperty(name, value) = property else { return None };
        Some(format!("{name}={value}"))
    });
    let properties: Vec<_> = properties.filter(|text| !text.starts_with("client-id")).collect();
    let expected = ["reason=refused", "topic=t/1", "attempts=3", "reason-code=0x80", "group=g", "stream-sequence=1"];
    assert_eq!(properties, expected);
    let sum =
        |of: fn(&crate::broker::Counters) -> u64| harness.shards.iter().map(|shard| of(shard.counters())).sum::<u64>();
    assert_eq!((sum(|it| it.redeliveries_scheduled), sum(|it| it.redelivered)), (2, 2));
    assert_eq!((sum(|it| it.dead_letters), sum(|it| it.dropped[DropReason::Refused as usize])), (1, 1));
}

#[test]
fn later_messages_of_a_key_wait_for_the_refused_one_and_others_do_not() {
    let mut harness = with_stream(1, 21, GroupDispatch::HashTopic);
    let client = harness.connect(with_receive_maximum(transient("a"), 1));
    harness.send(client, subscribe(&format!("{GROUP}@earliest"), Q1));
    let [(1, Some(id))] = published(&mut harness, client)[..] else { panic!("not the first") };
    harness.send(client, refuse_q1(id));
    let mut got = Vec::new();
    while let [(sequence, Some(id))] = published(&mut harness, client)[..] {
        got.push(sequence);
        harness.send(client, puback(id));
    }
    assert_eq!(got, (1..=21).filter(|sequence| sequence % 7 != 1).collect::<Vec<_>>());
    harness.seconds(3);
    assert_eq!(drain(&mut harness, &[client]), [[1, 8, 15]]);
}

#[test]
fn the_refusals_of_a_message_survive_a_crash_and_the_departure_of_all_members() {
    for is_crash in [true, false] {
        let mut harness = with_stream(2, 3, GroupDispatch::HashTopic);
        let client = harness.connect(transient("a"));
        harness.send(client, subscribe(&format!("{GROUP}@earliest"), Q1));
        let got = published(&mut harness, client);
        harness.send(client, refuse_q1(got[1].1.unwrap()));
        for place in [0, 2] {
            harness.send(client, puback(got[place].1.unwrap()));
        }
        harness.advance(Duration::from_millis(200));
        harness.lose(client);
        if is_crash {
            let records = harness.records.len();
            harness.crash_with(records, with_rule());
        }
        assert_eq!(view(&harness).position, Some(2));
        let client = harness.connect_to(1, transient("b"));
        harness.run(client, [subscribe(GROUP, Q1)]);
        assert_eq!(attempts(&mut harness, client), [""; 0], "it is not due");
        harness.seconds(3);
        assert_eq!(attempts(&mut harness, client), ["PUBLISH t/2 2 q1 #1 attempt=2"], "crash: {is_crash}");
        harness.send(client, puback(1));
        assert_eq!(view(&harness).position, Some(4));
    }
}

/// Otherwise, a crash could leave a position behind the message, and no dead letter.
#[test]
fn a_position_behind_a_dead_letter_is_stored_after_it() {
    let mut harness =
        Harness::with(2, Settings { redelivery: RedeliveryRules::new([rule("t/#", 1, false)]), ..settings() });
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    let members = [harness.connect(transient("a")), harness.connect_to(1, transient("b"))];
    let reader = harness.connect(durable("r"));
    harness.run(reader, [subscribe("dead", Q1)]);
    harness.lose(reader);
    for client in members {
        harness.run(client, [subscribe(GROUP, Q1)]);
    }
    append(&mut harness, 1..=2, Q1);
    let got = members.map(|client| published(&mut harness, client));
    let [[(_, Some(first))], [(_, Some(second))]] = [&got[0][..], &got[1][..]] else { panic!("not one each: {got:?}") };
    harness.persist();
    harness.store_answers = false;
    let records = harness.records.len();
    harness.send(members[0], puback(*first)); // its shard will store the position
    harness.send(members[1], refuse_q1(*second));
    harness.seconds(1);
    assert_eq!(view(&harness).position, Some(3));
    assert_eq!(harness.records.len(), records + 1, "the dead letter: {:?}", &harness.records[records..]);
    harness.store_answers = true;
    harness.persist();
    harness.seconds(1);
    assert_eq!(positions(&harness, records), [StreamStart::Sequence(3)]);
}
