//! Random histories of several shards, a stream that grows and is trimmed, and durable consumers that move between shards, go away, come back and
//! subscribe again, with crashes of the broker: no message at QoS 1 is missing, none comes twice except with DUP and the same Packet Identifier,
//! and none at QoS 0 comes twice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::fake_streams::{STREAM, StreamMarks, stored};
use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Settings, StreamReadError, TrimmedOffset};
use crate::codec::{OutgoingPublish, ServerPacket};

#[derive(Debug)]
struct Consumer {
    name: String,
    wants_even: bool,
    client: Option<Client>,
    /// Whether SUBACK has come: from then on the broker keeps the position.
    is_subscribed: bool,
    /// The next sequence at QoS 1 that it has not got.
    next: u64,
    /// The Packet Identifiers of the messages at QoS 1 that it has got, by sequence.
    got: BTreeMap<u64, u16>,
    got_qos_0: BTreeSet<u64>,
    unacknowledged: Vec<u16>,
}

#[derive(Debug, Clone)]
enum Op {
    Append(u64),
    Trim(u64),
    Connect(usize, usize),
    /// The consumer subscribes again, without an offset.
    Subscribe(usize),
    Lose(usize),
    Acknowledge(usize),
    Flush(usize),
    Read,
    Persist,
    Forward,
    Fail(bool),
    /// The broker crashes, and loses what was not stable or not.
    Crash(bool),
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u64..40).prop_map(Op::Append),
        1 => (1_u64..12).prop_map(Op::Trim),
        4 => (0_usize..CONSUMERS, 0_usize..SHARDS).prop_map(|(number, shard)| Op::Connect(number, shard)),
        1 => (0_usize..CONSUMERS).prop_map(Op::Subscribe),
        1 => (0_usize..CONSUMERS).prop_map(Op::Lose),
        8 => (0_usize..CONSUMERS).prop_map(Op::Acknowledge),
        3 => (0_usize..CONSUMERS).prop_map(Op::Flush),
        8 => Just(Op::Read),
        8 => Just(Op::Persist),
        4 => Just(Op::Forward),
        1 => any::<bool>().prop_map(Op::Fail),
        1 => any::<bool>().prop_map(Op::Crash),
        2 => Just(Op::Wait),
    ]
}

struct World {
    harness: Harness,
    consumers: Vec<Consumer>,
    end: u64,
    oldest: u64,
    /// The number of records that are stable in any case.
    stable: usize,
}

fn limits() -> Settings {
    Settings { outgoing_bytes_max: 4_000, queued_messages_max: 30, ..settings() }
}

impl World {
    fn new() -> Self {
        let mut harness = Harness::with(SHARDS, limits());
        harness.add_stream("s", STREAM, TrimmedOffset::Refuse);
        let consumer = |number: usize| Consumer {
            name: format!("c{number}"),
            wants_even: number % 2 == 1,
            client: None,
            is_subscribed: false,
            next: 1,
            got: BTreeMap::new(),
            got_qos_0: BTreeSet::new(),
            unacknowledged: Vec::new(),
        };
        let mut world =
            Self { harness, consumers: (0..CONSUMERS).map(consumer).collect(), end: 1, oldest: 1, stable: 0 };
        for number in 0..CONSUMERS {
            world.apply(&Op::Connect(number, number % SHARDS));
            world.lose(number);
        }
        world.stable = world.harness.records.len();
        world.be_slow();
        world
    }

    fn be_slow(&mut self) {
        self.harness.store_reads = false;
        self.harness.transports_accept = false;
        self.harness.store_answers = false;
        self.harness.forwards = false;
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append(count) => {
                let messages = (self.end..self.end + count).map(|sequence| {
                    let topic = if sequence.is_multiple_of(2) { "even" } else { "odd" };
                    stored(topic, "x".repeat((sequence % 90) as usize), if is_qos_0(sequence) { Q0 } else { Q2 })
                });
                self.harness.append_to(STREAM, messages.collect::<Vec<_>>());
                self.end += count;
            }
            Op::Trim(count) => {
                self.oldest = (self.oldest + count).min(self.end);
                self.harness.trim(STREAM, self.oldest);
            }
            Op::Connect(number, shard) => {
                if self.consumers[number].client.is_none() {
                    let connect = durable(&self.consumers[number].name);
                    self.consumers[number].client = Some(self.harness.attempt(shard, connect));
                    if !self.consumers[number].is_subscribed {
                        self.subscribe(number, "@earliest");
                    }
                }
            }
            Op::Subscribe(number) if self.consumers[number].is_subscribed => self.subscribe(number, ""),
            Op::Subscribe(_) => {}
            Op::Lose(number) => self.lose(number),
            Op::Acknowledge(number) => {
                let consumer = &mut self.consumers[number];
                if let Some(client) = consumer.client
                    && !consumer.unacknowledged.is_empty()
                {
                    let packet_id = consumer.unacknowledged.remove(0);
                    self.harness.send(client, puback(packet_id));
                }
            }
            Op::Flush(number) => {
                if let Some(client) = self.consumers[number].client {
                    self.harness.flush(client, 0);
                }
            }
            Op::Read => {
                self.harness.read_stream();
                self.harness.read_store();
            }
            Op::Persist => {
                while self.harness.shards.iter().any(|shard| shard.unstable() > 0) {
                    self.harness.persist();
                }
                self.stable = self.harness.records.len();
            }
            Op::Forward => self.harness.forward(),
            Op::Fail(fails) => self.harness.streams.failure = fails.then_some(StreamReadError::Temporary),
            Op::Crash(is_all_stable) => {
                (0..CONSUMERS).for_each(|number| self.take(number));
                for consumer in &mut self.consumers {
                    consumer.client = None;
                    consumer.unacknowledged.clear();
                }
                let records = if is_all_stable { self.harness.records.len() } else { self.stable };
                self.harness.crash_with(records, limits());
                self.stable = self.harness.records.len();
                self.be_slow();
            }
            Op::Wait => self.harness.seconds(2),
        }
        (0..CONSUMERS).for_each(|number| self.take(number));
    }

    fn subscribe(&mut self, number: usize, offset: &str) {
        if let Some(client) = self.consumers[number].client {
            let filter = if self.consumers[number].wants_even { "/even" } else { "" };
            self.harness.send(client, subscribe(&format!("$stream/s{offset}{filter}"), Q1));
        }
    }

    fn lose(&mut self, number: usize) {
        self.take(number);
        if let Some(client) = self.consumers[number].client.take() {
            self.harness.lose(client);
            self.consumers[number].unacknowledged.clear();
        }
    }

    /// Checks what the consumer has got.
    fn take(&mut self, number: usize) {
        let Some(client) = self.consumers[number].client else { return };
        for packet in self.harness.packets(client) {
            if let ServerPacket::Suback(suback) = &packet {
                assert!(!suback.reason_codes[0].is_error(), "{suback:?}");
                self.consumers[number].is_subscribed = true;
            } else if let ServerPacket::Publish(publish) = &packet {
                self.consumers[number].on_publish(publish, self.oldest);
            } else {
                assert!(matches!(packet, ServerPacket::Connack(_) | ServerPacket::Disconnect(_)), "{packet:?}");
            }
        }
        if self.harness.is_closed(client) {
            // Its CONNECT took too long, for instance.
            self.consumers[number].client = None;
            self.consumers[number].unacknowledged.clear();
        }
    }

    /// Everybody connects, reads and acknowledges until nothing happens any more.
    fn settle(&mut self) {
        self.apply(&Op::Fail(false));
        let mut idle_rounds = 0;
        while idle_rounds < 8 {
            let before: Vec<usize> = self.consumers.iter().map(|consumer| consumer.got.len()).collect();
            (0..CONSUMERS).for_each(|number| self.apply(&Op::Connect(number, number % SHARDS)));
            for _ in 0..CONSUMERS {
                [Op::Forward, Op::Persist, Op::Read].iter().for_each(|op| self.apply(op));
            }
            for number in 0..CONSUMERS {
                self.apply(&Op::Flush(number));
                while !self.consumers[number].unacknowledged.is_empty() {
                    self.apply(&Op::Acknowledge(number));
                }
            }
            self.apply(&Op::Wait);
            let is_idle = before.iter().zip(&self.consumers).all(|(before, consumer)| *before == consumer.got.len());
            idle_rounds = if is_idle { idle_rounds + 1 } else { 0 };
        }
        for consumer in &self.consumers {
            let is_wanted = |sequence: &u64| consumer.is_wanted(*sequence) && !is_qos_0(*sequence);
            if let Some(last) = (self.oldest..self.end).rfind(is_wanted) {
                assert!(consumer.next > last, "{} has not got {last}: {}", consumer.name, consumer.next);
            }
        }
    }
}

impl Consumer {
    const fn is_wanted(&self, sequence: u64) -> bool {
        !self.wants_even || sequence.is_multiple_of(2)
    }

    fn on_publish(&mut self, publish: &OutgoingPublish, oldest: u64) {
        let marks = StreamMarks::of(publish);
        let (sequence, previous, trimmed) = (marks.sequence, marks.previous, marks.trimmed);
        assert!(self.is_wanted(sequence) && previous.is_none_or(|previous| previous < sequence));
        let Some(packet_id) = publish.packet_id.map(|id| id.number()) else {
            assert!(is_qos_0(sequence) && self.got_qos_0.insert(sequence), "{sequence} came twice");
            return;
        };
        self.unacknowledged.push(packet_id);
        if let Some(before) = self.got.get(&sequence) {
            assert!(publish.dup && *before == packet_id, "{sequence} came again: {publish:?}");
            return;
        }
        let missed = (self.next..sequence).filter(|missed| self.is_wanted(*missed) && !is_qos_0(*missed));
        // A message at QoS 0 that named what was trimmed may have been lost.
        let is_told = |missed: u64| {
            trimmed.as_ref().is_some_and(|range| range.contains(&missed))
                || missed < oldest && previous.is_none_or(|previous| previous > missed)
        };
        let missed: Vec<u64> = missed.filter(|missed| !is_told(*missed)).collect();
        assert_eq!(missed, [] as [u64; 0], "before {sequence} of {}: {publish:?}", self.name);
        assert!(sequence >= self.next, "{sequence} came behind {}", self.next);
        assert!(trimmed.is_none_or(|range| *range.end() < oldest), "what is not trimmed was said to be");
        self.next = sequence + 1;
        self.got.insert(sequence, packet_id);
    }
}

/// Whether the message was published at QoS 0.
const fn is_qos_0(sequence: u64) -> bool {
    sequence.is_multiple_of(3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn no_gap_and_no_double_through_crashes_and_moves(ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        world.settle();
    }
}

const CONSUMERS: usize = 4;
const SHARDS: usize = 3;
