//! Records of retained messages come to the log in another order than the messages were retained in.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::harness::{Client, Harness, recovered, settings};
use super::packets::*;
use crate::broker::{Record, RetainedChange};
use crate::codec::{ClientPacket, Publish};

const SHARDS: usize = 3;

/// Shards whose records are gathered one by one before they come to the log.
struct World {
    harness: Harness,
    clients: Vec<Client>,
    /// What each shard gave to the store in its last event.
    given: Vec<Vec<Record>>,
    log: Vec<Record>,
    /// All changes of each topic, in the order they happened: the number, and the payload.
    changes: BTreeMap<String, Vec<(u64, String)>>,
}

impl World {
    fn new() -> Self {
        let mut harness = Harness::with(SHARDS, settings());
        let client = |shard| harness.connect_to(shard, transient(["a", "b", "c"][shard]));
        let clients = (0..SHARDS).map(client).collect();
        harness.store_answers = false;
        harness.transports_take = false;
        Self { harness, clients, given: vec![Vec::new(); SHARDS], log: Vec::new(), changes: BTreeMap::new() }
    }

    /// What a shard gave to the store comes to the log.
    fn log(&mut self, shard: usize) {
        self.log.append(&mut self.given[shard]);
    }

    /// A client of this shard publishes. All that the shard did before is done.
    fn retain(&mut self, shard: usize, topic: &str, payload: String) {
        self.log(shard);
        let before = self.harness.records.len();
        let publish = Publish { retain: true, ..Publish::new(super::packets::topic(topic), payload.clone()) };
        self.harness.send(self.clients[shard], ClientPacket::Publish(publish));
        self.given[shard] = self.harness.records[before..].to_vec();
        for record in &self.given[shard] {
            let number = number(record).unwrap();
            self.changes.entry(topic.to_owned()).or_default().push((number, payload.clone()));
        }
    }

    /// A second passes: one shard looks what can go. It is the first of this event to give something.
    fn tick(&mut self) {
        (0..SHARDS).for_each(|shard| self.log(shard));
        let before = self.harness.records.len();
        self.harness.seconds(1);
        self.given[0] = self.harness.records[before..].to_vec();
    }

    /// A crash leaves what the last change in the log said.
    fn check(&self) {
        let recovered = recovered(&self.log);
        let found: BTreeMap<_, _> = recovered
            .retained
            .iter()
            .map(|one| {
                (one.message.topic.as_str().to_owned(), String::from_utf8_lossy(&one.message.payload).into_owned())
            })
            .collect();
        let is_logged = |number: u64| self.log.iter().any(|record| self::number(record) == Some(number));
        let last = |changes: &Vec<(u64, String)>| changes.iter().rfind(|(number, _)| is_logged(*number)).cloned();
        let expected: BTreeMap<_, _> = self
            .changes
            .iter()
            .filter_map(|(topic, changes)| Some((topic.clone(), last(changes)?.1)))
            .filter(|(_, payload)| !payload.is_empty())
            .collect();
        assert_eq!(found, expected);
    }
}

fn number(record: &Record) -> Option<u64> {
    let Record::Accepted { retained, .. } = record else { return None };
    match retained {
        RetainedChange::None => None,
        RetainedChange::Set { number, .. } | RetainedChange::Cleared { number, .. } => Some(*number),
    }
}

proptest! {
    #[test]
    fn last_change_in_the_log_counts_wherever_the_crash_comes(
        steps in prop::collection::vec((0..SHARDS, 0..2usize, 0..12u8), 1..60),
    ) {
        let mut world = World::new();
        for (at, (shard, topic, what)) in steps.into_iter().enumerate() {
            let topic = ["t", "u"][topic];
            match what {
                0..4 => world.retain(shard, topic, format!("{at}")),
                4..7 => world.retain(shard, topic, String::new()),
                7..11 => world.log(shard),
                _ => world.tick(),
            }
            world.check();
        }
    }
}

#[test]
fn cleared_message_does_not_return_if_its_record_comes_last() {
    let mut world = World::new();
    world.retain(0, "t", "1".into());
    world.retain(1, "t", String::new());
    world.log(1);
    world.log(0);
    world.check();
    assert_eq!(recovered(&world.log).retained, []);
}

#[test]
fn older_message_does_not_return_when_the_newer_one_is_cleared() {
    let mut world = World::new();
    world.retain(0, "t", "1".into());
    world.retain(1, "t", "2".into());
    world.log(1);
    world.retain(1, "t", String::new());
    world.log(1);
    world.log(0);
    world.check();
    assert_eq!(recovered(&world.log).retained, []);
}

#[test]
fn nothing_is_left_of_what_counts_no_more() {
    let mut world = World::new();
    for at in 0..20 {
        world.retain(at % SHARDS, "t", format!("{at}"));
        world.retain((at + 1) % SHARDS, "u", if at % 2 == 0 { format!("{at}") } else { String::new() });
    }
    for _ in 0..3 {
        world.tick();
    }
    world.log(0);
    let recovered = recovered(&world.log);
    assert_eq!((recovered.retained.len(), recovered.retained_gone.len()), (1, 0));
}

#[test]
fn what_a_crash_left_and_counts_no_more_goes_after_it() {
    let mut world = World::new();
    world.retain(0, "t", "1".into());
    world.retain(1, "t", String::new());
    world.retain(1, "u", "1".into());
    world.retain(2, "u", "2".into());
    for shard in 0..SHARDS {
        world.log(shard);
    }
    world.harness.records = world.log;
    let mut after = world.harness.crash(world.harness.records.len());
    let client = after.connect(transient("a"));
    let found = recovered(&after.records);
    assert_eq!((found.retained.len(), found.retained_gone.len()), (1, 3));
    after.run(client, [retain("t", "3", Q1, 1)]);
    let numbers = recovered(&after.records).retained.iter().map(|one| one.number).collect::<Vec<_>>();
    assert!(numbers.iter().all(|number| *number >= 4), "{numbers:?}");
    after.seconds(2);
    let found = recovered(&after.records);
    assert_eq!((found.retained.len(), found.retained_gone.len()), (2, 0));
}

#[test]
fn acknowledged_clearing_is_stable_even_if_somebody_cleared_before() {
    let mut harness = Harness::new();
    let (one, other) = (harness.connect(transient("a")), harness.connect(transient("b")));
    harness.run(one, [retain("t", "x", Q1, 1)]);
    harness.store_answers = false;
    assert_eq!(harness.ask(one, retain("t", "", Q1, 2)), [""; 0]);
    assert_eq!(harness.ask(other, retain("t", "", Q1, 1)), [""; 0]);
    harness.persist();
    assert_eq!(harness.received(other), ["PUBACK 1 0x10"]);
}

#[test]
fn expired_message_leaves_nothing_in_the_store() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    let publish = Publish { retain: true, message_expiry_interval: Some(1), ..message("t", "x", Q1, 1) };
    harness.run(client, [ClientPacket::Publish(publish)]);
    harness.seconds(5);
    let found = recovered(&harness.records);
    assert_eq!((found.retained.len(), found.retained_gone.len()), (0, 0));
}
