//! Recovery if the records of retained messages are appended to the log in another order than the changes were made.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::harness::{Client, Harness, recovered, settings};
use super::packets::*;
use crate::broker::{Event, Record, Recovered, RetainedChange};
use crate::codec::{ClientPacket, Publish};

const SHARDS: usize = 3;

/// Shards whose records the test appends to the log one by one.
struct World {
    harness: Harness,
    clients: Vec<Client>,
    /// The records of each shard's last event.
    unappended: Vec<Vec<Record>>,
    log: Vec<Record>,
    /// The number and payload of all changes of each topic, in their order.
    changes: BTreeMap<String, Vec<(u64, String)>>,
}

impl World {
    fn new() -> Self {
        let mut harness = Harness::with(SHARDS, settings());
        let client = |shard| harness.connect_to(shard, transient(["a", "b", "c"][shard]));
        let clients = (0..SHARDS).map(client).collect();
        harness.store_answers = false;
        harness.transports_accept = false;
        Self { harness, clients, unappended: vec![Vec::new(); SHARDS], log: Vec::new(), changes: BTreeMap::new() }
    }

    /// Appends the records of a shard to the log.
    fn log(&mut self, shard: usize) {
        self.log.append(&mut self.unappended[shard]);
    }

    /// Publishes a retained message on this shard, after its earlier records are appended.
    fn retain(&mut self, shard: usize, topic: &str, payload: String) {
        self.log(shard);
        let before = self.harness.records.len();
        let publish = Publish { retain: true, ..Publish::new(super::packets::topic(topic), payload.clone()) };
        self.harness.send(self.clients[shard], ClientPacket::Publish(publish));
        self.unappended[shard] = self.harness.records[before..].to_vec();
        for record in &self.unappended[shard] {
            let number = number(record).unwrap();
            self.changes.entry(topic.to_owned()).or_default().push((number, payload.clone()));
        }
    }

    /// Advances the clock by one second, so that each shard deletes obsolete records.
    fn tick(&mut self) {
        self.harness.now = self.harness.now + Duration::from_secs(1);
        for shard in 0..SHARDS {
            self.log(shard);
            let before = self.harness.records.len();
            self.harness.event(shard, Event::DeadlinePassed);
            self.unappended[shard] = self.harness.records[before..].to_vec();
        }
    }

    /// Asserts that recovery restores the change with the highest number in the log for each topic.
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
    fn last_change_in_the_log_is_recovered_for_a_crash_after_any_record(
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
fn cleared_message_is_not_recovered_if_its_record_is_appended_last() {
    let mut world = World::new();
    world.retain(0, "t", "1".into());
    world.retain(1, "t", String::new());
    world.log(1);
    world.log(0);
    world.check();
    assert_eq!(recovered(&world.log).retained, []);
}

#[test]
fn older_message_is_not_recovered_when_the_newer_one_is_cleared() {
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
fn obsolete_records_are_deleted() {
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
    assert_eq!((recovered.retained.len(), obsolete(&recovered)), (1, 0));
}

#[test]
fn obsolete_records_from_before_a_crash_are_deleted_after_it() {
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
    assert_eq!((found.retained.len(), obsolete(&found)), (1, 3));
    after.run(client, [retain("t", "3", Q1, 1)]);
    let numbers = recovered(&after.records).retained.iter().map(|one| one.number).collect::<Vec<_>>();
    assert!(numbers.iter().all(|number| *number >= 4), "{numbers:?}");
    after.seconds(2);
    let found = recovered(&after.records);
    assert_eq!((found.retained.len(), obsolete(&found)), (2, 0));
}

#[test]
fn acknowledged_clearing_is_recorded_even_if_the_topic_is_cleared_already() {
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
fn record_of_an_expired_retained_message_is_deleted() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    let publish = Publish { retain: true, message_expiry_interval: Some(1), ..message("t", "x", Q1, 1) };
    harness.run(client, [ClientPacket::Publish(publish)]);
    harness.seconds(5);
    let found = recovered(&harness.records);
    assert_eq!((found.retained.len(), obsolete(&found)), (0, 0));
}

/// The number of records of retained messages that nothing depends on.
fn obsolete(found: &Recovered) -> usize {
    found.retained_gone.messages.len() + found.retained_cleared.len()
}
