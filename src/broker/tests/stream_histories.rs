//! Random histories of several shards, streams that grow and are trimmed, and consumers that keep their own position: each consumer gets every
//! message that it may get once and in order, and knows what it can't get, whatever is slow or fails in between.

use proptest::prelude::*;

use super::fake_streams::{STREAM, StreamMarks, stored};
use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Settings, StreamReadError, TrimmedOffset};
use crate::codec::ServerPacket;

/// A client that stores the sequence of the last message, and subscribes again with the next one.
struct Consumer {
    name: String,
    shard: usize,
    wants_even: bool,
    client: Option<Client>,
    /// The next sequence that it has not seen.
    next: u64,
    /// The last message of this subscription.
    previous: Option<u64>,
    unacknowledged: Vec<u16>,
}

#[derive(Debug, Clone)]
enum Op {
    Append(u64),
    Trim(u64),
    /// A consumer connects and subscribes, or its connection is lost.
    Connect(usize),
    Lose(usize),
    Acknowledge(usize),
    Flush(usize),
    Read,
    /// Reads fail from now on, or no more.
    Fail(bool),
    /// All connections are lost at once.
    Crash,
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u64..40).prop_map(Op::Append),
        1 => (1_u64..20).prop_map(Op::Trim),
        3 => (0_usize..CONSUMERS).prop_map(Op::Connect),
        1 => (0_usize..CONSUMERS).prop_map(Op::Lose),
        6 => (0_usize..CONSUMERS).prop_map(Op::Acknowledge),
        3 => (0_usize..CONSUMERS).prop_map(Op::Flush),
        8 => Just(Op::Read),
        1 => any::<bool>().prop_map(Op::Fail),
        1 => Just(Op::Crash),
        2 => Just(Op::Wait),
    ]
}

struct World {
    harness: Harness,
    consumers: Vec<Consumer>,
    end: u64,
    oldest: u64,
}

impl World {
    fn new() -> Self {
        let settings = Settings { outgoing_bytes_max: 4_000, queued_messages_max: 30, ..settings() };
        let mut harness = Harness::with(3, settings);
        harness.add_stream("s", STREAM, TrimmedOffset::Oldest);
        harness.store_reads = false;
        harness.transports_accept = false;
        let consumer = |number: usize| Consumer {
            name: format!("c{number}"),
            shard: number % 3,
            wants_even: number % 2 == 1,
            client: None,
            next: 1,
            previous: None,
            unacknowledged: Vec::new(),
        };
        Self { harness, consumers: (0..CONSUMERS).map(consumer).collect(), end: 1, oldest: 1 }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append(count) => {
                let messages = (self.end..self.end + count).map(|sequence| {
                    let topic = if sequence.is_multiple_of(2) { "even" } else { "odd" };
                    stored(topic, "x".repeat((sequence % 90) as usize), if sequence % 3 == 0 { Q0 } else { Q1 })
                });
                self.harness.append_to(STREAM, messages.collect::<Vec<_>>());
                self.end += count;
            }
            Op::Trim(count) => {
                self.oldest = (self.oldest + count).min(self.end);
                self.harness.trim(STREAM, self.oldest);
            }
            Op::Connect(number) => self.connect(number),
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
            Op::Read => self.harness.read_stream(),
            Op::Fail(fails) => self.harness.streams.failure = fails.then_some(StreamReadError::Temporary),
            Op::Crash => (0..CONSUMERS).for_each(|number| self.lose(number)),
            Op::Wait => self.harness.seconds(2),
        }
        (0..CONSUMERS).for_each(|number| self.take(number));
    }

    fn connect(&mut self, number: usize) {
        if self.consumers[number].client.is_some() {
            return;
        }
        let consumer = &mut self.consumers[number];
        let client = self.harness.connect_to(consumer.shard, transient(&consumer.name));
        let filter = if consumer.wants_even { "/even" } else { "" };
        let filter = format!("$stream/s@seq:{}{filter}", consumer.next);
        (consumer.client, consumer.previous) = (Some(client), None);
        self.harness.send(client, subscribe(&filter, Q1));
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
        let consumer = &mut self.consumers[number];
        let Some(client) = consumer.client else { return };
        for packet in self.harness.packets(client) {
            if let ServerPacket::Suback(suback) = &packet {
                assert!(!suback.reason_codes[0].is_error(), "{suback:?}");
                continue;
            }
            let ServerPacket::Publish(publish) = packet else { panic!("{packet:?}") };
            let StreamMarks { sequence, previous, trimmed } = StreamMarks::of(&publish);
            assert_eq!(previous, consumer.previous);
            let is_wanted = |sequence: &u64| !consumer.wants_even || sequence.is_multiple_of(2);
            let missed: Vec<u64> = (consumer.next..sequence).filter(is_wanted).collect();
            let is_told = |missed: &u64| trimmed.as_ref().is_some_and(|range| range.contains(missed));
            assert!(missed.iter().all(is_told), "{missed:?} before {sequence} are missing: {publish:?}");
            assert!(sequence >= consumer.next, "{sequence} came twice");
            assert!(is_wanted(&sequence));
            assert!(trimmed.is_none_or(|range| *range.end() < self.oldest), "what is not trimmed was said to be");
            (consumer.next, consumer.previous) = (sequence + 1, Some(sequence));
            consumer.unacknowledged.extend(publish.packet_id.map(|id| id.number()));
            assert!(consumer.unacknowledged.len() <= 20, "Receive Maximum");
        }
    }

    /// Everybody connects, reads and acknowledges until nothing happens any more.
    fn settle(&mut self) {
        self.apply(&Op::Fail(false));
        let mut idle_rounds = 0;
        while idle_rounds < 5 {
            let before: Vec<u64> = self.consumers.iter().map(|consumer| consumer.next).collect();
            (0..CONSUMERS).for_each(|number| self.apply(&Op::Connect(number)));
            for _ in 0..CONSUMERS {
                self.apply(&Op::Read);
            }
            for number in 0..CONSUMERS {
                self.apply(&Op::Flush(number));
                while !self.consumers[number].unacknowledged.is_empty() {
                    self.apply(&Op::Acknowledge(number));
                }
            }
            self.apply(&Op::Wait);
            let is_idle = before.iter().zip(&self.consumers).all(|(before, consumer)| *before == consumer.next);
            idle_rounds = if is_idle { idle_rounds + 1 } else { 0 };
        }
        let last = |is_even: bool| (self.oldest..self.end).rfind(|sequence| !is_even || sequence.is_multiple_of(2));
        for consumer in &self.consumers {
            if let Some(last) = last(consumer.wants_even) {
                assert!(consumer.next > last, "{} has not got {last}: {}", consumer.name, consumer.next);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn no_gap_and_no_double_whatever_happens(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        world.settle();
    }
}

const CONSUMERS: usize = 5;
