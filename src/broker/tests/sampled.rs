//! The messages of which traces are made, and their steps as the caller reads them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Answer, Event, Query, QueryId, SampledMessage, Settings, TailPart, TailPlace, TailRequest};
use crate::codec::{ClientPacket, Message, MessageId, MessageProperties, MessageProperty, Publish, Qos, ServerPacket};
use crate::timestamp::Timestamp;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn traced(per_million: u32) -> Harness {
    Harness::with(2, Settings { traced_per_million: Some(per_million), ..settings() })
}

fn with_properties(qos: Qos, packet_id: u16, properties: Vec<MessageProperty>) -> ClientPacket {
    let publish = message("t", "hello", qos, packet_id);
    let message =
        Message { properties: MessageProperties::from_properties(properties), ..Message::clone(&publish.message) };
    ClientPacket::Publish(Publish { message: Arc::new(message), ..publish })
}

fn ids(sampled: &[SampledMessage]) -> Vec<Option<u64>> {
    sampled.iter().map(|message| message.id.map(|id| id.number)).collect()
}

#[test]
fn without_traces_no_message_is_told() {
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [with_properties(Q1, 1, vec![user_property("traceparent", PARENT)])]);
    assert_eq!(harness.sampled, []);
}

#[test]
fn each_accepted_message_is_told_once_with_what_it_is() {
    let mut harness = traced(1_000_000);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "hello", Q0, 0), publish("t", "hello", Q1, 1), publish("t", "hello", Q2, 2)]);
    harness.run(publisher, [publish("t", "hello", Q2, 2), pubrel(2)]);
    assert_eq!(ids(&harness.sampled), [None, Some(1), Some(2)], "a PUBLISH that is sent again is the same message");
    let expected = SampledMessage {
        id: Some(MessageId { run: 0, number: 2 }),
        qos: Q2,
        topic: "t".to_owned(),
        client_id: Some("p".into()),
        bytes: 5,
        at: Timestamp(1_000_000),
        waits: true,
        parent: None,
    };
    assert_eq!(harness.sampled[2], expected);
}

#[test]
fn the_publisher_decides_if_it_has_begun_a_trace() {
    for per_million in [0, 1_000_000] {
        let mut harness = traced(per_million);
        let publisher = harness.connect(transient("p"));
        harness.run(
            publisher,
            [
                with_properties(Q1, 1, vec![user_property("a", "b"), user_property("traceparent", PARENT)]),
                with_properties(Q1, 2, vec![user_property("traceparent", UNSAMPLED)]),
                with_properties(Q1, 3, vec![user_property("traceparent", "malformed")]),
                with_properties(Q1, 4, vec![]),
            ],
        );
        let expected = if per_million == 0 { vec![Some(1)] } else { vec![Some(1), Some(3), Some(4)] };
        assert_eq!(ids(&harness.sampled), expected);
        assert_eq!(harness.sampled[0].parent.unwrap().parent_id, 0x00f0_67aa_0ba9_02b7);
        assert!(harness.sampled[1..].iter().all(|message| message.parent.is_none()));
    }
}

/// [MQTT-3.3.2-17]
#[test]
fn the_user_property_reaches_the_receivers_unaltered() {
    let mut harness = traced(1_000_000);
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    let properties = vec![user_property("traceparent", PARENT), user_property("tracestate", "a=b")];
    harness.run(publisher, [with_properties(Q1, 1, properties.clone())]);
    let packets = harness.packets(subscriber);
    let [ServerPacket::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
    assert!(publish.message.properties.iter().eq(properties));
}

/// What the caller keeps between its requests.
#[derive(Default)]
struct Reader {
    messages: HashSet<MessageId, RandomState>,
    places: HashMap<TailPlace, MessageId, RandomState>,
    from: [Option<u64>; 2],
}

impl Reader {
    /// The steps of all shards until this time: the client and what became of the message.
    fn read(&mut self, harness: &mut Harness, until: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        for shard in 0..2 {
            loop {
                let part = self.part(harness, shard, until);
                for (id, step) in part.steps {
                    let place = (step.receiver, step.sequence);
                    let first = if id.is_some() { "first " } else { "" };
                    let of = id.unwrap_or_else(|| self.places[&place]);
                    self.places.insert(place, of);
                    let client = step.client_id.map_or("?".to_owned(), |id| id.as_str().to_owned());
                    lines.push(format!("{} {first}{} {client}", of.number, step.step.name()));
                }
                self.from[shard] = Some(part.next);
                if !part.has_more {
                    break;
                }
            }
        }
        lines
    }

    fn part(&self, harness: &mut Harness, shard: usize, until: Timestamp) -> TailPart {
        let request = TailRequest {
            messages: Arc::new(self.messages.clone()),
            places: Arc::new(self.places.clone()),
            from: self.from[shard],
            since: Timestamp(1_000_000),
            until,
            accepted: if shard == 0 { self.messages.iter().copied().collect() } else { Vec::new() },
        };
        harness.queries += 1;
        let id = QueryId(harness.queries);
        harness.event(shard, Event::Query(id, Box::new(Query::Tail(Box::new(request)))));
        let Some((answered, Answer::Tail(part))) = harness.answers.last().cloned() else { panic!() };
        assert_eq!(answered, id);
        *part
    }
}

fn acknowledge(harness: &mut Harness, client: Client) {
    harness.run(client, [puback(1)]);
}

#[test]
fn the_steps_of_the_messages_asked_for_are_read_once_on_all_shards() {
    let mut harness = traced(1_000_000);
    let near = harness.connect(durable("near"));
    harness.run(near, [subscribe("t", Q1)]);
    let far = harness.connect_to(1, durable("far"));
    harness.run(far, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1), publish("t", "y", Q1, 2)]);
    let mut reader = Reader::default();
    reader.messages.extend(harness.sampled[0].id);
    let now = Timestamp(1_000_000);
    assert_eq!(reader.read(&mut harness, Timestamp(999_999)), [""; 0], "later steps wait");
    assert_eq!(reader.read(&mut harness, now), ["1 first sent near", "1 first sent far"]);
    assert_eq!(reader.read(&mut harness, now), [""; 0]);
    harness.seconds(1);
    acknowledge(&mut harness, near);
    acknowledge(&mut harness, far);
    assert_eq!(reader.read(&mut harness, now), [""; 0]);
    assert_eq!(reader.read(&mut harness, Timestamp(1_001_000)), ["1 acknowledged near", "1 acknowledged far"]);
    let accepted = reader.part(&mut harness, 0, now).accepted;
    assert_eq!(accepted.len(), 1);
    assert_eq!((accepted[0].0.number, accepted[0].1.matched), (1, 2));
}

#[test]
fn a_request_looks_at_a_bounded_number_of_steps() {
    let mut harness = Harness::with(
        2,
        Settings {
            traced_per_million: Some(0),
            journey_steps_max: 200_000,
            queued_messages_max: 100_000,
            queued_bytes_max: 100_000_000,
            ..settings()
        },
    );
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("#", Q1)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("p"));
    for number in 1..=17_000_u16 {
        harness.run(publisher, [publish("t", "x", Q1, number)]);
    }
    let mut reader = Reader::default();
    let id = |number| MessageId { run: 0, number };
    reader.messages.extend([id(1), id(17_000)]);
    let part = reader.part(&mut harness, 0, Timestamp(1_000_000));
    assert!(part.has_more && part.next <= 16_384, "{} {}", part.has_more, part.next);
    assert_eq!(reader.read(&mut harness, Timestamp(1_000_000)), ["1 first queued s", "17000 first queued s"]);
    reader.messages.extend((1..17_000).map(id));
    reader.from = [None; 2];
    assert_eq!(reader.part(&mut harness, 0, Timestamp(1_000_000)).steps.len(), 2_048);
}
