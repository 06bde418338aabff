//! Messages that groups of subscribers get when they are stable, without a read of the stream.

use std::time::Duration;

use super::fake_streams::{STREAM, stored};
use super::harness::{Client, Harness, settings};
use super::packets::*;
use super::stream_groups::{GROUP, published, view};
use crate::broker::TrimmedOffset;
use crate::codec::Qos::{AtLeastOnce as Q1, AtMostOnce as Q0};

fn with_members(shards: usize, filter: &str) -> (Harness, Vec<Client>) {
    let mut harness = Harness::with(shards, settings());
    harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
    let connect = |number| harness.connect_to(number % shards, transient(&format!("c{number}")));
    let members: Vec<Client> = (0..4).map(connect).collect();
    for client in &members {
        harness.run(*client, [subscribe(&format!("{GROUP}{filter}"), Q1)]);
    }
    harness.store_reads = false;
    (harness, members)
}

fn sequences(harness: &mut Harness, members: &[Client]) -> Vec<u64> {
    let all = members.iter().flat_map(|client| published(harness, *client));
    all.map(|(sequence, _)| sequence).collect()
}

#[test]
fn stable_messages_reach_the_members_on_all_shards_without_a_read() {
    for shards in [1, 2] {
        let (mut harness, members) = with_members(shards, "");
        let publishers: Vec<_> =
            (0..2).map(|number| harness.connect_to(number % shards, transient(&format!("p{number}")))).collect();
        for number in 0..8 {
            harness.run(publishers[usize::from(number) % 2], [publish("t", "x", Q1, number + 1)]);
        }
        assert_eq!(sequences(&mut harness, &members), [1, 5, 2, 6, 3, 7, 4, 8], "each member has two");
        assert_eq!(harness.stream_reads.len(), 0);
        assert_eq!((view(&harness).position, view(&harness).in_flight), (Some(1), 8));
    }
}

/// If a crash took its record, its sequence would be given to another message.
#[test]
fn a_message_is_not_sent_before_its_record_is_stable_nor_before_those_with_lower_sequences() {
    let (mut harness, members) = with_members(2, "");
    let publishers: Vec<_> =
        (0..2).map(|number| harness.connect_to(number, transient(&format!("p{number}")))).collect();
    harness.store_answers = false;
    harness.send(publishers[0], publish("t", "first", Q1, 1));
    harness.send(publishers[1], publish("t", "second", Q1, 1));
    harness.send(publishers[0], publish("t", "third", Q1, 2));
    assert_eq!(sequences(&mut harness, &members), [0; 0]);
    harness.commit(1);
    assert_eq!(sequences(&mut harness, &members), [0; 0], "the shard that has the first one may be told later");
    harness.persist_one(0);
    assert_eq!(sequences(&mut harness, &members), [1, 2]);
    harness.commit(0);
    assert_eq!(sequences(&mut harness, &members), [3]);
}

/// It may be on its way from another shard. Only the stream has it here.
#[test]
fn a_message_that_no_shard_passes_on_is_read_after_a_pause() {
    let (mut harness, members) = with_members(1, "");
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    assert_eq!(sequences(&mut harness, &members), [1]);
    harness.store_reads = true;
    harness.append_to(STREAM, ["1", "2"].map(|payload| stored("t", payload.to_owned(), Q1)));
    assert_eq!((sequences(&mut harness, &members), harness.stream_reads.len()), (vec![], 0));
    harness.advance(Duration::from_millis(10));
    assert_eq!(sequences(&mut harness, &members), [2]);
}

#[test]
fn what_a_group_does_not_want_is_passed_over() {
    let (mut harness, members) = with_members(1, "/a/+");
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("b", "x", Q1, 1), publish("a/b", "x", Q0, 0), publish("b", "x", Q1, 2)]);
    assert_eq!(sequences(&mut harness, &members), [2]);
    assert_eq!((view(&harness).position, harness.stream_reads.len()), (Some(4), 0));
}
