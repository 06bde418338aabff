//! Two shards on two threads: a new subscription gets each concurrently retained message once.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use super::harness::{Harness, settings};
use super::packets::*;
use crate::broker::{Action, ConnectionId, Event, Shard};
use crate::codec::{ClientPacket, ServerPacket};
use crate::routing::RetainedLimits;
use crate::timestamp::Timestamp;

const ROUNDS: u16 = 3_000;
const TOPICS: usize = 12;

/// Handles a packet on a shard, and returns its actions.
fn handle(shard: &mut Shard, now: Timestamp, connection: ConnectionId, packet: ClientPacket) -> Vec<Action> {
    let mut actions = Vec::new();
    shard.handle(now, Event::Packet { connection, packet }, &mut actions);
    actions
}

#[test]
fn message_that_is_retained_while_a_client_subscribes_comes_to_it_once() {
    let limits = RetainedLimits { retained_messages_max: 100_000, retained_bytes_max: 100_000_000 };
    let mut settings = settings();
    settings.outgoing_bytes_max = 1_000_000_000;
    let mut harness = Harness::with_retained(2, settings, limits);
    let (subscriber, publisher) = (harness.connect_to(0, transient("s")), harness.connect_to(1, transient("p")));
    let now = harness.now;
    let (mut missing, mut repeated) = (0, 0);
    let [here, there] = &mut harness.shards[..] else { panic!("two shards") };
    for round in 0..ROUNDS {
        let filter = format!("r/{round}/+");
        let topics: Vec<String> = (0..TOPICS).map(|number| format!("r/{round}/{number}")).collect();
        let publishes: Vec<_> = topics.iter().map(|topic| retain(topic, "x", Q0, 0)).collect();
        let barrier = Barrier::new(2);
        let (mut seen, forwarded) = thread::scope(|scope| {
            let published = scope.spawn(|| {
                barrier.wait();
                publishes.into_iter().flat_map(|packet| handle(there, now, publisher.id, packet)).collect::<Vec<_>>()
            });
            let packet = subscribe(&filter, Q0);
            barrier.wait();
            (0..u64::from(round) % 64 * 50).for_each(|number| _ = std::hint::black_box(number));
            let seen = handle(here, now, subscriber.id, packet);
            (seen, published.join().unwrap())
        });
        for action in forwarded {
            if let Action::Forward { message, .. } = action {
                here.handle(now, Event::Forwarded(message), &mut seen);
            }
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for action in seen {
            if let Action::Send { packet: ServerPacket::Publish(publish), .. } = action {
                *counts.entry(publish.message.topic.as_str().to_owned()).or_default() += 1;
            }
        }
        for topic in &topics {
            let count = counts.get(topic).copied().unwrap_or_default();
            missing += usize::from(count == 0);
            repeated += usize::from(count > 1);
            handle(there, now, publisher.id, retain(topic, "", Q0, 0));
        }
        handle(here, now, subscriber.id, unsubscribe(1, &[&filter]));
        here.handle(now, Event::Flushed { connection: subscriber.id, remaining: 0 }, &mut Vec::new());
    }
    assert_eq!((missing, repeated), (0, 0), "of {}", usize::from(ROUNDS) * TOPICS);
}
