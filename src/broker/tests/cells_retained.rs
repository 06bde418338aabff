//! Retained messages of several cells.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::cells::{CELLS, World, key, knows_cells};
use super::harness::{Client, Harness};
use super::packets::*;
use crate::broker::LinkRole;
use crate::codec::{Connect, MessageProperties, OutgoingPublish, Publish, ServerPacket};
use crate::routing::{Access, RetainedMessage};
use crate::topic::TopicName;

#[test]
fn a_retained_message_is_sent_to_a_new_subscription_in_each_cell_until_it_is_cleared_in_any() {
    for qos in [Q0, Q1, Q2] {
        let mut world = World::joined(2);
        let publishers = [0, 1, 2].map(|cell| world.cell(cell).connect(transient(&format!("p{cell}"))));
        let number = if qos == Q0 { 0 } else { 5 };
        world.cell(1).send(publishers[1], retain("a/b", "first", qos, number));
        world.settle();
        world.cell(2).send(publishers[2], retain("a/b", "second", qos, number));
        world.settle();
        let live = world.cell(0).connect(durable("live"));
        let replayed = format!("PUBLISH a/b second q{}{} retain", qos.level(), if qos == Q0 { "" } else { " #1" });
        for cell in 0..CELLS {
            let client = if cell == 0 { live } else { world.cell(cell).connect(transient("s")) };
            world.cell(cell).send(client, subscribe("a/#", Q2));
            world.settle();
            assert_eq!(world.cell(cell).received(client), ["SUBACK 1 02", &replayed], "{cell}");
        }
        world.cell(0).send(publishers[0], retain("a/b", "", qos, number));
        world.settle();
        assert_eq!(world.cell(0).received(live).len(), 1);
        for cell in 0..CELLS {
            assert!(world.cell(cell).shards[0].shared.retained().is_empty(), "{cell}");
        }
        // Nothing is left of it after a start, and it stays cleared.
        for cell in 0..CELLS {
            world.cell(cell).persist();
            let harness = world.cell(cell);
            let restarted = harness.crash(harness.records.len());
            assert!(restarted.shards[0].shared.retained().is_empty(), "{cell}");
        }
    }
}

#[test]
fn puback_and_pubrec_of_a_retained_message_wait_until_all_other_cells_have_it_and_those_behind_with_them() {
    let mut world = World::joined(1);
    let client = world.cell(0).connect(durable("p"));
    assert_eq!(world.cell(0).ask(client, retain("a", "x", Q1, 1)), [""; 0]);
    assert_eq!(world.cell(0).ask(client, publish("a", "y", Q1, 2)), [""; 0]);
    assert_eq!(world.cell(0).ask(client, retain("a", "z", Q2, 3)), [""; 0]);
    let (one, other) = ((0, 1, LinkRole::Out as u8), (0, 2, LinkRole::Out as u8));
    assert!(world.pass(one, 0) && world.pass(one, 1));
    assert_eq!(world.cell(0).received(client), [""; 0], "one cell does not have it");
    // It is sent again on another connection, which waits for the same.
    world.cell(0).lose(client);
    let client = world.cell(0).connect(durable("p"));
    let again = Publish { dup: true, retain: true, ..message("a", "z", Q2, 3) };
    assert_eq!(world.cell(0).ask(client, again.into()), [""; 0]);
    assert!(world.pass(other, 0) && world.pass(other, 1));
    assert_eq!(world.cell(0).received(client), ["PUBREC 3"]);
    assert_eq!(world.cell(0).ask(client, retain("b", "x", Q1, 4)), [""; 0]);
    // The cell that has it crashes before it says so.
    assert!(world.pass(one, 0) && world.pass(other, 0));
    world.cell(1).persist();
    world.crash(1);
    world.settle();
    assert_eq!(world.cell(0).received(client), [""; 0]);
    world.connect();
    world.settle();
    assert_eq!(world.cell(0).received(client), ["PUBACK 4"]);
}

#[test]
fn a_retained_message_comes_once_to_a_share_and_to_each_subscriber_and_is_retained_once() {
    for qos in [Q0, Q1, Q2] {
        let mut world = World::joined(1);
        let clients = [0, 1, 2].map(|cell| (cell, world.cell(cell).connect(durable(&format!("s{cell}")))));
        for (cell, client) in clients {
            let filter = if cell == 1 { "$share/g/a" } else { "a" };
            world.cell(cell).send(client, subscribe(filter, Q2));
            world.settle();
            world.cell(cell).received(client);
        }
        let publisher = world.cell(0).connect(transient("p"));
        world.cell(0).send(publisher, retain("a", "x", qos, if qos == Q0 { 0 } else { 1 }));
        world.settle();
        let expected = format!("PUBLISH a x q{}{}", qos.level(), if qos == Q0 { "" } else { " #1" });
        for (cell, client) in clients {
            assert_eq!(world.cell(cell).received(client), [expected.as_str()], "{cell}");
            assert_eq!(contents(world.cell(cell)), [("a".to_owned(), "x".to_owned())].into());
        }
        assert_eq!(world.cell(0).received(publisher).len(), usize::from(qos > Q0));
    }
}

#[test]
fn the_answer_to_a_duplicate_of_a_retained_message_waits_for_the_other_cells_too() {
    let mut world = World::joined(1);
    let properties = MessageProperties::from_properties([user_property("dedup-id", "1")]);
    let publication =
        |number| Publish { retain: true, ..message("a", "x", Q1, number).with_properties(properties.clone()) };
    let first = world.cell(0).connect(durable("p"));
    assert_eq!(world.cell(0).ask(first, publication(1).into()), [""; 0]);
    world.cell(0).lose(first);
    let client = world.cell(0).connect(durable("p"));
    assert_eq!(world.cell(0).ask(client, publication(2).into()), [""; 0]);
    world.settle();
    assert_eq!(world.cell(0).received(client).len(), 1);
    let again = world.cell(0).ask(client, publication(3).into());
    assert_eq!(again.len(), 1, "nothing is on its way: {again:?}");
}

#[test]
fn a_retained_message_of_another_cell_is_sent_while_its_publisher_may_publish_it() {
    let mut world = World::joined(1);
    world.cells.iter_mut().for_each(|cell| cell.verifies = true);
    let publisher = Connect { user_name: Some("alice".into()), ..durable("p") };
    let publisher = world.cell(0).connect(publisher);
    world.cell(0).send(publisher, retain("a", "x", Q1, 1));
    world.settle();
    for restarts in [false, true] {
        if restarts {
            world.cell(1).persist();
            world.crash(1);
            world.cell(1).verifies = true;
            world.connect();
            world.settle();
        }
        for (access, expected) in [(Access::everything(), 2), (Access::new(Vec::new()), 1)] {
            world.cell(1).rights.set("alice@password", access);
            let client = world.cell(1).connect(Connect { user_name: Some("r".into()), ..transient("s") });
            world.cell(1).send(client, subscribe("a", Q0));
            world.settle();
            world.cell(1).seconds(1);
            assert_eq!(world.cell(1).received(client).len(), expected, "after a start: {restarts}");
            world.cell(1).lose(client);
        }
    }
}

#[test]
fn a_publisher_whose_answers_wait_for_other_cells_is_paused_and_goes_on_when_they_come() {
    let mut world = World::joined(1);
    let client = world.cell(0).connect(v311("p", true));
    let mut sent = 0;
    while !world.cell(0).is_paused(client) {
        sent += 1;
        assert!(sent < 5_000, "there is no bound");
        world.cell(0).send(client, retain("a", "x", Q1, sent));
    }
    assert_eq!(world.cell(0).received(client), [""; 0]);
    world.settle();
    assert_eq!(world.cell(0).received(client).len(), usize::from(sent));
    assert!(!world.cell(0).is_paused(client));
    let owed = &world.cell(0).shards[0].links.owed;
    assert!(owed.is_empty());
}

#[test]
fn messages_at_qos_0_to_a_topic_stay_in_order_whether_they_are_retained_or_not() {
    let mut world = World::joined(1);
    let subscriber = world.cell(1).connect(transient("s"));
    world.cell(1).send(subscriber, subscribe("a", Q0));
    world.settle();
    world.cell(1).received(subscriber);
    let publisher = world.cell(0).connect(transient("p"));
    world.cell(0).store_answers = false;
    for packet in [publish("a", "1", Q0, 0), retain("a", "2", Q0, 0), publish("a", "3", Q0, 0), retain("a", "4", Q0, 0)]
    {
        world.cell(0).send(publisher, packet);
    }
    world.settle();
    assert_eq!(world.cell(1).received(subscriber), ["PUBLISH a 1 q0"]);
    world.cell(0).persist();
    world.cell(0).store_answers = true;
    world.settle();
    assert_eq!(world.cell(1).received(subscriber), ["PUBLISH a 2 q0", "PUBLISH a 3 q0", "PUBLISH a 4 q0"]);
    world.cell(0).send(publisher, publish("a", "5", Q0, 0));
    let unused = (0, 1, LinkRole::Out as u8);
    assert!(world.pass(unused, 0));
    assert_eq!(world.cell(1).received(subscriber), ["PUBLISH a 5 q0"], "nothing is before it any more");
}

#[test]
fn a_message_at_qos_0_does_not_overtake_one_that_is_left_from_before_a_start() {
    let mut world = World::joined(1);
    let subscriber = world.cell(1).connect(transient("s"));
    world.cell(1).send(subscriber, subscribe("a", Q0));
    world.settle();
    world.cell(1).received(subscriber);
    (0..CELLS).for_each(|other| world.cut((0, other, LinkRole::Out as u8)));
    let publisher = world.cell(0).connect(transient("p"));
    world.cell(0).send(publisher, retain("a", "1", Q0, 0));
    world.cell(0).persist();
    world.crash(0);
    world.connect();
    // What cells tell each other comes, and what is in the queues does not.
    for _ in 0..3 {
        for (pair, way) in (0..3).flat_map(|pair| [(pair, 0), (pair, 1)]) {
            world.pass(key(pair, LinkRole::Control as u8), way);
        }
    }
    assert!(knows_cells(world.cell(0)));
    let publisher = world.cell(0).connect(transient("p"));
    world.cell(0).send(publisher, publish("a", "3", Q0, 0));
    world.settle();
    assert_eq!(world.cell(1).received(subscriber), ["PUBLISH a 1 q0", "PUBLISH a 3 q0"]);
    world.cell(0).send(publisher, publish("a", "4", Q0, 0));
    assert!(world.pass((0, 1, LinkRole::Out as u8), 0));
    assert_eq!(world.cell(1).received(subscriber), ["PUBLISH a 4 q0"]);
}

#[test]
fn a_message_that_expires_on_its_way_to_another_cell_takes_the_place_of_the_one_before() {
    let mut world = World::joined(1);
    let publisher = world.cell(0).connect(transient("p"));
    world.cell(0).send(publisher, retain("a", "old", Q1, 1));
    world.settle();
    (0..CELLS).for_each(|other| world.cut((0, other, LinkRole::Out as u8)));
    let short = Publish { retain: true, message_expiry_interval: Some(1), ..message("a", "short", Q1, 2) };
    world.cell(0).send(publisher, short.into());
    world.cells.iter_mut().for_each(|cell| cell.seconds(10));
    world.connect();
    world.settle();
    world.cells.iter_mut().for_each(|cell| cell.seconds(2));
    for cell in 0..CELLS {
        assert!(world.cell(cell).shards[0].shared.retained().is_empty(), "{cell}");
    }
    // An earlier change of another cell that comes now does not take effect, and a later one does.
    assert!(world.cell(0).received(publisher).contains(&"PUBACK 2".to_owned()));
    world.cell(0).send(publisher, retain("a", "new", Q1, 3));
    world.settle();
    assert_eq!(contents(world.cell(2)), [("a".to_owned(), "new".to_owned())].into());
}

/// Payloads of all retained messages by their topics.
fn contents(cell: &Harness) -> BTreeMap<String, String> {
    let shared = &cell.shards[0].shared;
    let retained = shared.retained();
    let topics = (0..=CELLS).map(|number| topic(&format!("r/{number}"))).chain([topic("a")]);
    let text = |retained: &RetainedMessage| String::from_utf8(retained.message.payload.to_vec()).unwrap();
    topics.filter_map(|topic| Some((topic.to_string(), text(retained.get(&topic)?)))).collect()
}

/// A step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// The publisher of a cell changes a retained message: its own, or that which all change. The last one clears it.
    Change(u8, bool, u8, bool),
    /// It publishes to its own topic without RETAIN at QoS 0.
    Plain(u8),
    /// A new subscriber at QoS 0 comes to a cell.
    Subscriber(u8),
    Pass(u8, u8, bool),
    Cut(u8, u8),
    Connect,
    Commit(u8),
    Crash(u8),
    TakeOver(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (cell, other) = (|| 0..CELLS, || 0..3_u8);
    let change = (cell(), any::<bool>(), 0..3_u8, prop::bool::weighted(0.3));
    prop_oneof![
        8 => change.prop_map(|(cell, shared, qos, clears)| Step::Change(cell, shared, qos, clears)),
        2 => cell().prop_map(Step::Plain),
        2 => cell().prop_map(Step::Subscriber),
        30 => (other(), other(), any::<bool>()).prop_map(|(pair, role, way)| Step::Pass(pair, role, way)),
        2 => (other(), other()).prop_map(|(pair, role)| Step::Cut(pair, role)),
        4 => Just(Step::Connect),
        10 => cell().prop_map(Step::Commit),
        1 => cell().prop_map(Step::Crash),
        1 => cell().prop_map(Step::TakeOver),
    ]
}

#[derive(Default)]
struct Clients {
    publisher: Option<Client>,
    /// A change that is not acknowledged.
    pending: Option<Publish>,
    subscribers: Vec<Subscriber>,
}

struct Subscriber {
    client: Client,
    has_suback: bool,
    /// The messages of the topic of each publisher, in order.
    received: BTreeMap<String, Vec<OutgoingPublish>>,
}

struct History {
    world: World,
    clients: Vec<Clients>,
    published: u32,
    /// The numbers of the messages at QoS 1 that publishers have sent again, which may come twice.
    sent_again: BTreeSet<u32>,
}

impl History {
    fn new() -> Self {
        let mut world = World::joined(1);
        world.cells.iter_mut().for_each(|cell| cell.store_answers = false);
        Self {
            world,
            clients: (0..CELLS).map(|_| Clients::default()).collect(),
            published: 0,
            sent_again: BTreeSet::new(),
        }
    }

    fn attend(&mut self, cell: u8) -> Result<(), TestCaseError> {
        let harness = self.world.cell(cell);
        let clients = &mut self.clients[usize::from(cell)];
        if clients.publisher.is_none() && knows_cells(harness) {
            let publisher = harness.attempt(0, durable(&format!("p{cell}")));
            clients.publisher = Some(publisher);
            if let Some(pending) = &clients.pending {
                let again = Publish { dup: true, ..pending.clone() };
                if again.qos == Q1 {
                    self.sent_again.extend(number(&again.message.payload));
                }
                harness.send(publisher, again.into());
            }
        }
        self.take(cell)
    }

    /// Takes what the clients of a cell have got. A change that is acknowledged is known in all cells.
    fn take(&mut self, cell: u8) -> Result<(), TestCaseError> {
        let (harness, clients) = (self.world.cell(cell), &mut self.clients[usize::from(cell)]);
        let mut acknowledged = None;
        let packets = clients.publisher.map(|publisher| (publisher, harness.packets(publisher)));
        for (publisher, packet) in
            packets.iter().flat_map(|(publisher, packets)| packets.iter().map(|one| (*publisher, one)))
        {
            if let ServerPacket::Puback(_) | ServerPacket::Pubrec(_) = packet {
                acknowledged = clients.pending.take();
            }
            if let ServerPacket::Pubrec(_) = packet {
                harness.send(publisher, pubrel(7));
            }
        }
        for subscriber in &mut clients.subscribers {
            for packet in harness.packets(subscriber.client) {
                subscriber.has_suback |= matches!(packet, ServerPacket::Suback(_));
                if let ServerPacket::Publish(publish) = packet {
                    let topic = publish.message.topic.to_string();
                    subscriber.received.entry(topic).or_default().push(publish);
                }
            }
        }
        if let Some(publish) = acknowledged {
            let topic: &TopicName = &publish.message.topic;
            let last_change = |cell: &Harness| cell.shards[0].shared.retained().last_change(topic);
            let cells = &self.world.cells[..usize::from(CELLS)];
            let own = &cells[usize::from(cell)];
            let payload = contents(own).remove(topic.as_str()).unwrap_or_default();
            // Another one may have cleared the topic that all change.
            let is_last = !payload.is_empty() || topic.as_str() != format!("r/{CELLS}");
            if is_last && payload.as_bytes() == publish.message.payload {
                for cell in cells {
                    prop_assert!(last_change(cell) >= last_change(own), "{publish:?} is acknowledged");
                }
            }
        }
        Ok(())
    }

    fn perform(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Change(cell, shared, qos, clears) => {
                let (place, harness) = (usize::from(cell), self.world.cell(cell));
                let clients = &mut self.clients[place];
                let Some(publisher) = clients.publisher.filter(|_| clients.pending.is_none()) else { return Ok(()) };
                self.published += 1;
                let topic = topic(&format!("r/{}", if shared { CELLS } else { cell }));
                let payload = if clears { String::new() } else { format!("{cell}-{}", self.published) };
                let qos = [Q0, Q1, Q2][usize::from(qos)];
                let packet_id = (qos > Q0).then(|| id(7));
                let publish = Publish { qos, packet_id, retain: true, ..Publish::new(topic, payload) };
                harness.send(publisher, publish.clone().into());
                clients.pending = Some(publish).filter(|_| qos > Q0);
                self.take(cell)?;
            }
            Step::Plain(cell) => {
                let harness = self.world.cell(cell);
                let Some(publisher) = self.clients[usize::from(cell)].publisher else { return Ok(()) };
                self.published += 1;
                let payload = format!("plain {}", self.published);
                harness.send(publisher, Publish::new(topic(&format!("r/{cell}")), payload).into());
                self.take(cell)?;
            }
            Step::Subscriber(cell) => {
                let harness = self.world.cell(cell);
                if !knows_cells(harness) {
                    return Ok(());
                }
                self.published += 1;
                let client = harness.attempt(0, transient(&format!("s{}", self.published)));
                harness.send(client, subscribe("r/#", Q0));
                let subscriber = Subscriber { client, has_suback: false, received: BTreeMap::new() };
                self.clients[usize::from(cell)].subscribers.push(subscriber);
                self.take(cell)?;
            }
            Step::Pass(pair, role, way) => {
                self.world.pass(key(pair, role), usize::from(way));
                (0..CELLS).try_for_each(|cell| self.take(cell))?;
            }
            Step::Cut(pair, role) => self.world.cut(key(pair, role)),
            Step::Connect => {
                self.world.connect();
                (0..CELLS).try_for_each(|cell| self.attend(cell))?;
            }
            Step::Commit(cell) => {
                self.world.cell(cell).commit(0);
                self.attend(cell)?;
            }
            Step::Crash(cell) | Step::TakeOver(cell) => {
                if let Step::Crash(_) = step {
                    self.world.crash(cell);
                } else {
                    self.world.take_over(cell);
                }
                let clients = &mut self.clients[usize::from(cell)];
                (clients.publisher, clients.subscribers) = (None, Vec::new());
            }
        }
        Ok(())
    }

    /// Lets everything come to its end.
    fn finish(mut self) -> Result<(), TestCaseError> {
        let former: Vec<_> = self.world.links.keys().copied().filter(|(.., role)| *role >= 10).collect();
        former.into_iter().for_each(|key| self.world.cut(key));
        for _ in 0..20 {
            self.world.connect();
            self.world.settle();
            for cell in 0..CELLS {
                self.world.cell(cell).persist();
                self.attend(cell)?;
            }
        }
        let first = contents(&self.world.cells[0]);
        for (cell, clients) in self.clients.iter().enumerate() {
            prop_assert!(clients.pending.is_none(), "at cell {}", cell);
            prop_assert_eq!(&contents(&self.world.cells[cell]), &first, "of cell {}", cell);
            for subscriber in &clients.subscribers {
                prop_assert!(subscriber.has_suback);
                for publisher in 0..CELLS {
                    subscriber.check(&format!("r/{publisher}"), &first, &self.sent_again)?;
                }
            }
        }
        // After a start, each cell has what it had, and knows what it knew.
        for cell in 0..CELLS {
            self.world.cell(cell).persist();
            let restarted = self.world.successor(cell);
            prop_assert_eq!(contents(&restarted), first.clone(), "of cell {} after a start", cell);
            for number in 0..=CELLS {
                let known =
                    |harness: &Harness| harness.shards[0].shared.retained().last_change(&topic(&format!("r/{number}")));
                prop_assert_eq!(known(&restarted), known(self.world.cell(cell)));
            }
        }
        Ok(())
    }
}

impl Subscriber {
    /// The topic of one publisher: messages at QoS 0 are in order as they are published, each retained one comes once, and the last one is what the topic
    /// has now.
    fn check(
        &self,
        topic: &str,
        retained: &BTreeMap<String, String>,
        sent_again: &BTreeSet<u32>,
    ) -> Result<(), TestCaseError> {
        let received = self.received.get(topic).map(Vec::as_slice).unwrap_or_default();
        let payloads: Vec<_> =
            received.iter().map(|one| String::from_utf8(one.message.payload.to_vec()).unwrap()).collect();
        let at_qos_0 = payloads.iter().zip(received).filter(|(_, one)| one.message.qos == Q0 && !one.retain);
        prop_assert!(
            at_qos_0.filter_map(|(payload, _)| number(payload.as_bytes())).is_sorted(),
            "{topic}: {payloads:?}"
        );
        let changes: Vec<_> = payloads.iter().filter(|payload| !payload.starts_with("plain")).collect();
        let numbers: Vec<_> = changes.iter().filter_map(|payload| number(payload.as_bytes())).collect();
        let follows = |one: &u32, next: &u32| one < next || one == next && sent_again.contains(one);
        prop_assert!(numbers.is_sorted_by(follows), "{topic}: {changes:?}");
        let last = changes.last().map(|payload| payload.as_str()).unwrap_or_default();
        prop_assert_eq!(last, retained.get(topic).map(String::as_str).unwrap_or_default(), "{}: {:?}", topic, changes);
        Ok(())
    }
}

/// The number of a message, at the end of its payload.
fn number(payload: &[u8]) -> Option<u32> {
    std::str::from_utf8(payload).ok()?.rsplit(['-', ' ']).next()?.parse().ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn all_cells_retain_the_same_and_each_subscriber_sees_it(steps in prop::collection::vec(step(), 0..300)) {
        let mut history = History::new();
        (0..CELLS).try_for_each(|cell| history.attend(cell))?;
        steps.iter().try_for_each(|step| history.perform(step))?;
        history.finish()?;
    }
}
