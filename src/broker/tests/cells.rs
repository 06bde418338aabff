//! Cells, with links between them that the test controls.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::harness::{Client, Harness, settings};
use super::packets::{durable, id, puback, pubcomp, publish, pubrec, pubrel, subscribe, transient, unsubscribe};
use crate::broker::{CellLink, CellTerms, Counters, LinkPeer, LinkRole};
use crate::codec::{Decoder, ProtocolVersion, Publish, Qos, ServerPacket, encode};
use crate::routing::{CellId, RetainedLimits};
use crate::topic::TopicName;

pub(super) const CELLS: u8 = 3;

/// All cells of a cluster.
pub(super) struct World {
    /// By their numbers; behind them, former owners that do not know that they are.
    pub(super) cells: Vec<Harness>,
    /// The ends of each connection between two cells.
    pub(super) links: BTreeMap<Key, [End; 2]>,
}

/// Two cells, and what their connection is for the first one: a [`LinkRole`]; above, one to a former owner.
pub(super) type Key = (u8, u8, u8);

pub(super) struct End {
    cell: usize,
    pub(super) client: Client,
    decoder: Decoder,
    unread: Bytes,
}

impl World {
    /// Cells, each with this number of shards. They have no connections yet.
    fn new(shards: usize) -> Self {
        let limits = RetainedLimits { retained_messages_max: 50, retained_bytes_max: 100_000 };
        let cell = |cell| {
            let (interest_key, interest_bytes_max) = ([7; 16], 64 << 20);
            let terms =
                CellTerms { cell: CellId(cell), cells: CELLS.into(), epoch: 1, interest_key, interest_bytes_max };
            Harness::of_cell(Some(terms), shards, settings(), limits)
        };
        Self { cells: (0..CELLS).map(cell).collect(), links: BTreeMap::new() }
    }

    /// Cells that know each other.
    pub(super) fn joined(shards: usize) -> Self {
        let mut world = Self::new(shards);
        world.connect();
        world.settle();
        assert!(world.cells.iter().all(knows_cells));
        world
    }

    /// Opens all connections that are not there.
    pub(super) fn connect(&mut self) {
        for (one, other) in (0..CELLS).flat_map(|one| (one + 1..CELLS).map(move |other| (one, other))) {
            for role in LinkRole::ALL {
                if !self.links.contains_key(&(one, other, role as u8)) {
                    let ends = [self.open(one, other, role), self.open(other, one, role.reversed())];
                    self.links.insert((one, other, role as u8), ends);
                }
            }
        }
    }

    fn open(&mut self, cell: u8, other: u8, role: LinkRole) -> End {
        let cell = &mut self.cells[usize::from(cell)];
        let shard = usize::from(other) % cell.shards.len();
        let client = cell.open_link(shard, LinkPeer { cell: CellId(other), role });
        let at = usize::from(cell.shards[0].shared.cell.as_ref().unwrap().terms.cell.0);
        End { cell: at, client, decoder: Decoder::of_cell(), unread: Bytes::new() }
    }

    /// Passes what was sent on a connection, in one direction. Returns whether there was something.
    pub(super) fn pass(&mut self, key: Key, from: usize) -> bool {
        let Some([first, second]) = self.links.get_mut(&key) else { return false };
        let (sender, receiver) = if from == 0 { (first, second) } else { (second, first) };
        let mut bytes = BytesMut::from(&receiver.unread[..]);
        let packets = self.cells[sender.cell].packets(sender.client);
        packets.iter().for_each(|packet| encode(packet, ProtocolVersion::V5, &mut bytes));
        receiver.unread = bytes.freeze();
        while let Some(packet) = receiver.decoder.decode(&mut receiver.unread).unwrap() {
            self.cells[receiver.cell].send(receiver.client, packet);
        }
        let is_closed = |end: &End| self.cells[end.cell].is_closed(end.client);
        if is_closed(sender) || is_closed(receiver) {
            self.cut(key);
        }
        !packets.is_empty()
    }

    /// A connection is lost, with what is on its way.
    pub(super) fn cut(&mut self, key: Key) {
        for End { cell, client, .. } in self.links.remove(&key).into_iter().flatten() {
            self.cells[cell].lose(client);
        }
    }

    /// Passes everything, until nothing is on its way.
    pub(super) fn settle(&mut self) {
        loop {
            let keys: Vec<Key> = self.links.keys().copied().collect();
            let passed =
                keys.into_iter().flat_map(|key| [(key, 0), (key, 1)]).filter(|(key, from)| self.pass(*key, *from));
            if passed.count() == 0 {
                return;
            }
        }
    }

    /// Kills the owner of a cell of one shard, after which only what was stable is there. Its successor begins.
    pub(super) fn crash(&mut self, cell: u8) {
        let keys: Vec<Key> = self.links.keys().copied().filter(|(a, b, _)| *a == cell || *b == cell).collect();
        for End { cell: at, client, .. } in keys.into_iter().filter_map(|key| self.links.remove(&key)).flatten() {
            if at != usize::from(cell) {
                self.cells[at].lose(client);
            }
        }
        let successor = self.successor(cell);
        self.cells[usize::from(cell)] = successor;
    }

    /// Another owner takes over a cell of one shard, and its predecessor goes on. Nothing that it stores becomes stable any more.
    pub(super) fn take_over(&mut self, cell: u8) {
        let successor = self.successor(cell);
        let former = self.cells.len();
        let predecessor = std::mem::replace(&mut self.cells[usize::from(cell)], successor);
        self.cells.push(predecessor);
        let keys: Vec<Key> = self.links.keys().copied().filter(|(a, b, _)| *a == cell || *b == cell).collect();
        for key in keys {
            let Some(mut ends) = self.links.remove(&key) else { continue };
            ends.iter_mut().filter(|end| end.cell == usize::from(cell)).for_each(|end| end.cell = former);
            let (one, other, role) = key;
            let mut places = (1_u8..).map(|round| (one, other, role + 10 * round));
            let place = places.find(|place| !self.links.contains_key(place)).unwrap();
            self.links.insert(place, ends);
        }
    }

    /// What begins with that of a cell's log which is stable.
    pub(super) fn successor(&self, cell: u8) -> Harness {
        let harness = &self.cells[usize::from(cell)];
        let lost = usize::try_from(harness.shards[0].unstable()).unwrap();
        let mut successor = harness.crash(harness.records.len() - lost);
        successor.store_answers = harness.store_answers;
        successor
    }

    /// The cell with this number.
    pub(super) fn cell(&mut self, cell: u8) -> &mut Harness {
        &mut self.cells[usize::from(cell)]
    }
}

pub(super) fn knows_cells(cell: &Harness) -> bool {
    cell.shards[0].shared.knows_cells()
}

/// QoS and payload of the messages among these packets.
pub(super) fn messages(packets: &[ServerPacket]) -> Vec<(u8, String)> {
    let message = |packet: &ServerPacket| {
        let ServerPacket::Publish(publish) = packet else { return None };
        assert!(publish.subscription_ids().is_empty(), "what cells tell each other is not for clients");
        Some((publish.qos.level(), String::from_utf8(publish.message.payload.to_vec()).unwrap()))
    };
    packets.iter().filter_map(message).collect()
}

#[test]
fn a_message_gets_to_the_subscribers_of_other_cells_with_the_qos_that_both_ask_for() {
    let mut world = World::joined(2);
    let subscribers = [(Qos::AtMostOnce, 0), (Qos::AtLeastOnce, 1), (Qos::ExactlyOnce, 1)].map(|(qos, cell)| {
        let client = world.cell(cell).connect(durable(&format!("s{}", qos.level())));
        world.cell(cell).send(client, subscribe("a/+", qos));
        (cell, client)
    });
    world.settle();
    let publisher = world.cell(2).connect(transient("p"));
    for (qos, payload) in [(Qos::AtMostOnce, "zero"), (Qos::AtLeastOnce, "one"), (Qos::ExactlyOnce, "two")] {
        world.cell(2).send(publisher, publish("a/b", payload, qos, 5));
        world.cell(2).send(publisher, publish("other", payload, qos, 6));
    }
    world.settle();
    let received = subscribers.map(|(cell, client)| messages(&world.cell(cell).packets(client)));
    let expected = |granted: u8| {
        let messages = ["zero", "one", "two"].into_iter().zip(0..);
        messages.map(|(payload, qos)| (granted.min(qos), payload.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(received, [0, 1, 2].map(expected));
    assert!(world.cells.iter().all(|cell| cell.shards.iter().all(|shard| shard.unstable() == 0)));
}

#[test]
fn suback_waits_until_all_other_cells_know_the_filter_and_not_for_one_that_they_know() {
    let mut world = World::joined(2);
    let first = world.cell(0).connect(durable("first"));
    let (one, other) = ((0, 1, LinkRole::Control as u8), (0, 2, LinkRole::Control as u8));
    assert_eq!(world.cell(0).ask(first, subscribe("a/#", Qos::AtLeastOnce)), [""; 0]);
    assert!(world.cell(0).is_paused(first));
    assert!(world.pass(one, 0) && world.pass(one, 1));
    assert_eq!(world.cell(0).received(first), [""; 0], "one cell does not know it");
    assert!(world.pass(other, 0) && world.pass(other, 1));
    assert_eq!(world.cell(0).received(first), ["SUBACK 1 01"]);
    assert!(!world.cell(0).is_paused(first));
    let second = world.cell(0).connect_to(1, durable("second"));
    assert_eq!(world.cell(0).ask(second, subscribe("a/#", Qos::AtLeastOnce)), ["SUBACK 1 01"]);
    // The owner of another cell is gone, and its successor is told.
    world.crash(1);
    assert_eq!(world.cell(0).ask(second, subscribe("b", Qos::AtLeastOnce)), [""; 0]);
    world.settle();
    assert_eq!(world.cell(0).received(second), [""; 0]);
    let lacking = |world: &mut World| world.cell(1).shards[0].shared.lacking_cells();
    assert!(!knows_cells(world.cell(1)) && lacking(&mut world) == [CellId(0), CellId(2)]);
    world.connect();
    world.settle();
    assert_eq!(world.cell(0).received(second), ["SUBACK 1 01"]);
    assert!(knows_cells(world.cell(1)) && lacking(&mut world).is_empty());
}

#[test]
fn the_connections_to_each_other_cell_are_known_and_what_waits_for_it() {
    let mut world = World::joined(2);
    let subscriber = world.cell(1).connect(durable("s"));
    world.cell(1).send(subscriber, subscribe("a", Qos::AtLeastOnce));
    world.settle();
    let links = |world: &mut World| world.cell(0).shards[0].shared.cell_links();
    let up = |cell| CellLink { cell: CellId(cell), open: [true; 3], waiting: (0, 0) };
    assert_eq!(links(&mut world), [up(1), up(2)]);
    world.cut((0, 1, LinkRole::Out as u8));
    let publisher = world.cell(0).connect(transient("p"));
    for number in 1..4 {
        world.cell(0).send(publisher, publish("a", "payload", Qos::AtLeastOnce, number));
    }
    world.settle();
    let [CellLink { cell: CellId(1), open: [false, true, true], waiting: (3, bytes) }, other] = links(&mut world)[..]
    else {
        panic!("{:?}", links(&mut world))
    };
    assert!((3 * 7..1_000).contains(&bytes) && other == up(2), "{bytes}");
    let clients = |world: &mut World, cell: u8| {
        let counters = world.cell(cell).shards.iter().map(|shard| shard.counters);
        let sum = counters.fold(Counters::default(), |sum, counters| sum + counters);
        (sum.sessions, sum.sessions_connected, sum.connects_accepted)
    };
    assert_eq!([0, 1, 2].map(|cell| clients(&mut world, cell)), [(1, 1, 1), (1, 1, 1), (0, 0, 0)]);
    world.connect();
    world.settle();
    assert_eq!(links(&mut world), [up(1), up(2)]);
}

#[test]
fn a_second_control_connection_takes_the_place_of_the_first() {
    let mut world = World::joined(2);
    let client = world.cell(0).connect(durable("c"));
    // The first one is dead at the other side, which this side does not know, and an announcement is on its way.
    let key = (0, 1, LinkRole::Control as u8);
    let [first, other] = world.links.remove(&key).unwrap();
    world.cells[other.cell].lose(other.client);
    assert_eq!(world.cell(0).ask(client, subscribe("a", Qos::AtLeastOnce)), [""; 0]);
    world.connect();
    assert!(world.cells[first.cell].is_closed(first.client));
    world.settle();
    assert_eq!(world.cell(0).received(client), ["SUBACK 1 01"]);
}

#[test]
fn a_cell_of_another_cluster_and_a_cell_that_is_none_are_refused() {
    let mut world = World::new(1);
    let (interest_key, interest_bytes_max) = ([8; 16], 64 << 20);
    let terms = CellTerms { cell: CellId(1), cells: CELLS.into(), epoch: 1, interest_key, interest_bytes_max };
    let limits = RetainedLimits { retained_messages_max: 50, retained_bytes_max: 100_000 };
    world.cells[1] = Harness::of_cell(Some(terms), 1, settings(), limits);
    world.connect();
    world.settle();
    assert!(!world.links.contains_key(&(0, 1, LinkRole::Control as u8)), "they have different keys");
    assert!(world.cells.iter().take(2).all(|cell| !knows_cells(cell)));
    for cell in [0, CELLS, u8::MAX] {
        let link = world.cell(0).open_link(0, LinkPeer { cell: CellId(cell), role: LinkRole::Out });
        assert!(world.cell(0).is_closed(link), "{cell}");
    }
    let mut alone = Harness::new();
    let link = alone.open_link(0, LinkPeer { cell: CellId(0), role: LinkRole::Control });
    assert!(alone.is_closed(link));
}

/// A step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// The publisher of a cell publishes.
    Publish(u8, Qos),
    /// The subscriber of a cell subscribes, or unsubscribes.
    Subscribe(u8),
    Unsubscribe(u8),
    /// A connection passes what was sent in one direction.
    Pass(u8, u8, bool),
    /// A connection is lost.
    Cut(u8, u8),
    /// Those that are not there are opened.
    Connect,
    /// Connections to former owners pass what was sent.
    PassFormer(usize),
    /// The store of a cell commits what it has.
    Commit(u8),
    Crash(u8),
    TakeOver(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![1 => Just(Qos::AtMostOnce), 3 => Just(Qos::AtLeastOnce), 3 => Just(Qos::ExactlyOnce)];
    let (cell, other) = (|| 0..CELLS, || 0..3_u8);
    prop_oneof![
        8 => (cell(), qos).prop_map(|(cell, qos)| Step::Publish(cell, qos)),
        2 => cell().prop_map(Step::Subscribe),
        1 => cell().prop_map(Step::Unsubscribe),
        30 => (other(), other(), any::<bool>()).prop_map(|(pair, role, way)| Step::Pass(pair, role, way)),
        2 => (other(), other()).prop_map(|(pair, role)| Step::Cut(pair, role)),
        4 => Just(Step::Connect),
        10 => cell().prop_map(Step::Commit),
        3 => (0..32_usize).prop_map(Step::PassFormer),
        1 => cell().prop_map(Step::Crash),
        1 => cell().prop_map(Step::TakeOver),
    ]
}

/// What the clients of one cell know.
#[derive(Default)]
struct Clients {
    publisher: Option<Client>,
    subscriber: Option<Client>,
    /// Whether the subscriber has asked for its subscription, and has SUBACK; `None`: it has not.
    subscribed: Option<bool>,
    /// The message that is not acknowledged.
    unacknowledged: Option<(Qos, String)>,
    received: Vec<String>,
    /// The Packet Identifiers at QoS 2 that the subscriber has and that are not released.
    unreleased: BTreeSet<u16>,
}

/// Runs a history in which all clients go on until each message is acknowledged, and checks what came.
struct History {
    world: World,
    clients: Vec<Clients>,
    published: u32,
    /// What publishers have sent again.
    sent_again: BTreeSet<String>,
    /// The messages that the subscriber of a cell must get, in the order of each publisher.
    owed: Vec<Vec<String>>,
}

impl History {
    fn new() -> Self {
        let mut world = World::joined(1);
        world.cells.iter_mut().for_each(|cell| cell.store_answers = false);
        let clients = (0..CELLS).map(|_| Clients::default()).collect();
        Self { world, clients, published: 0, sent_again: BTreeSet::new(), owed: vec![Vec::new(); usize::from(CELLS)] }
    }

    /// Connects the clients of a cell that are not connected, if the cell accepts clients.
    fn attend(&mut self, cell: u8) {
        let harness = self.world.cell(cell);
        if !knows_cells(harness) {
            return;
        }
        let clients = &mut self.clients[usize::from(cell)];
        for (client, name) in [(&mut clients.publisher, "p"), (&mut clients.subscriber, "s")] {
            if client.is_none() {
                *client = Some(harness.attempt(0, durable(&format!("{name}{cell}"))));
                if name == "p"
                    && let Some((qos, payload)) = clients.unacknowledged.clone()
                {
                    self.sent_again.insert(payload.clone());
                    let publish = publication(qos, &payload, true);
                    harness.send(client.unwrap(), publish.into());
                }
            }
        }
        self.take(cell);
    }

    /// Takes what the clients of a cell have got.
    fn take(&mut self, cell: u8) {
        let (place, harness) = (usize::from(cell), self.world.cell(cell));
        loop {
            let clients = &mut self.clients[place];
            let (Some(publisher), Some(subscriber)) = (clients.publisher, clients.subscriber) else { return };
            let answers = harness.packets(publisher);
            let packets = harness.packets(subscriber);
            if answers.is_empty() && packets.is_empty() {
                return;
            }
            for packet in answers {
                if let ServerPacket::Puback(_) | ServerPacket::Pubcomp(_) = packet {
                    clients.unacknowledged = None;
                } else if let ServerPacket::Pubrec(_) = packet {
                    harness.send(publisher, pubrel(7));
                }
            }
            for packet in packets {
                if let ServerPacket::Publish(publish) = packet {
                    let number = publish.packet_id.map_or(0, |id| id.number());
                    let payload = String::from_utf8(publish.message.payload.to_vec()).unwrap();
                    let is_repeated = match publish.qos {
                        Qos::AtMostOnce => false,
                        // At QoS 1, the publisher or the cell of the subscriber may have sent it twice, but no cell to another.
                        Qos::AtLeastOnce => {
                            let is_known = clients.received.contains(&payload);
                            is_known && (publish.dup || self.sent_again.contains(&payload))
                        }
                        Qos::ExactlyOnce => !clients.unreleased.insert(number),
                    };
                    if !is_repeated {
                        clients.received.push(payload);
                    }
                    match publish.qos {
                        Qos::AtMostOnce => {}
                        Qos::AtLeastOnce => harness.send(subscriber, puback(number)),
                        Qos::ExactlyOnce => harness.send(subscriber, pubrec(number)),
                    }
                } else if let ServerPacket::Pubrel(ack) = packet {
                    clients.unreleased.remove(&ack.packet_id.number());
                    harness.send(subscriber, pubcomp(ack.packet_id.number()));
                } else if let ServerPacket::Suback(_) = packet {
                    clients.subscribed = clients.subscribed.map(|_| true);
                }
            }
        }
    }

    fn perform(&mut self, step: &Step) {
        match *step {
            Step::Publish(cell, qos) => {
                let clients = &mut self.clients[usize::from(cell)];
                let Some(publisher) = clients.publisher.filter(|_| clients.unacknowledged.is_none()) else { return };
                self.published += 1;
                // One at QoS 0 does not wait for those before it.
                let kind = if qos == Qos::AtMostOnce { "at most once " } else { "" };
                let payload = format!("{kind}{cell}-{}", self.published);
                if qos > Qos::AtMostOnce {
                    clients.unacknowledged = Some((qos, payload.clone()));
                    for (clients, owed) in self.clients.iter().zip(&mut self.owed) {
                        if clients.subscribed == Some(true) {
                            owed.push(payload.clone());
                        }
                    }
                }
                self.world.cell(cell).send(publisher, publication(qos, &payload, false).into());
                self.take(cell);
            }
            Step::Subscribe(cell) => {
                let clients = &mut self.clients[usize::from(cell)];
                let Some(subscriber) = clients.subscriber.filter(|_| clients.subscribed.is_none()) else { return };
                clients.subscribed = Some(false);
                self.world.cell(cell).send(subscriber, subscribe("t/#", Qos::ExactlyOnce));
                self.take(cell);
            }
            Step::Unsubscribe(cell) => {
                let clients = &mut self.clients[usize::from(cell)];
                // What is on its way to it may come or not.
                let is_idle = self.owed[usize::from(cell)].iter().all(|owed| clients.received.contains(owed));
                let Some(subscriber) = clients.subscriber.filter(|_| clients.subscribed == Some(true) && is_idle)
                else {
                    return;
                };
                clients.subscribed = None;
                self.world.cell(cell).send(subscriber, unsubscribe(2, &["t/#"]));
                self.take(cell);
            }
            Step::Pass(pair, role, way) => {
                let key = key(pair, role);
                self.world.pass(key, usize::from(way));
                (0..CELLS).for_each(|cell| self.take(cell));
            }
            Step::Cut(pair, role) => self.world.cut(key(pair, role)),
            Step::Connect => {
                self.world.connect();
                (0..CELLS).for_each(|cell| self.attend(cell));
            }
            Step::Commit(cell) => {
                self.world.cell(cell).commit(0);
                self.attend(cell);
            }
            Step::PassFormer(place) => {
                let keys: Vec<Key> = self.world.links.keys().copied().filter(|(.., role)| *role >= 10).collect();
                if let Some(key) = keys.get(place / 2 % keys.len().max(1)) {
                    self.world.pass(*key, place % 2);
                    (0..CELLS).for_each(|cell| self.take(cell));
                }
            }
            Step::Crash(cell) | Step::TakeOver(cell) => {
                if let Step::Crash(_) = step {
                    self.world.crash(cell);
                } else {
                    self.world.take_over(cell);
                }
                let clients = &mut self.clients[usize::from(cell)];
                (clients.publisher, clients.subscriber) = (None, None);
                if clients.subscribed == Some(false) {
                    // It may be subscribed, and asks again.
                    clients.subscribed = None;
                }
            }
        }
    }

    /// Lets everything come to its end.
    fn finish(mut self) -> Result<(), TestCaseError> {
        let former: Vec<Key> = self.world.links.keys().copied().filter(|(.., role)| *role >= 10).collect();
        former.into_iter().for_each(|key| self.world.cut(key));
        for _ in 0..40 {
            self.world.connect();
            self.world.settle();
            for cell in 0..CELLS {
                self.world.cell(cell).persist();
                self.attend(cell);
            }
        }
        for (cell, (clients, owed)) in self.clients.iter().zip(&self.owed).enumerate() {
            prop_assert!(knows_cells(&self.world.cells[cell]), "cell {cell} does not serve");
            prop_assert_eq!(&clients.unacknowledged, &None, "at cell {}", cell);
            for (place, payload) in clients.received.iter().enumerate() {
                prop_assert!(!clients.received[..place].contains(payload), "{payload} came twice to cell {cell}");
            }
            for payload in owed {
                prop_assert!(clients.received.contains(payload), "{payload} did not come to cell {cell}");
            }
            for publisher in 0..CELLS {
                let number = |payload: &String| payload.strip_prefix(&format!("{publisher}-"))?.parse::<u32>().ok();
                prop_assert!(
                    clients.received.iter().filter_map(number).is_sorted(),
                    "order at cell {cell}: {:?}",
                    clients.received
                );
            }
        }
        Ok(())
    }
}

pub(super) fn key(pair: u8, role: u8) -> Key {
    let (one, other) = [(0, 1), (0, 2), (1, 2)][usize::from(pair)];
    (one, other, role)
}

pub(super) fn publication(qos: Qos, payload: &str, dup: bool) -> Publish {
    let packet_id = if qos == Qos::AtMostOnce { None } else { Some(id(7)) };
    Publish { qos, dup, packet_id, ..Publish::new(TopicName::new("t/x".into()).unwrap(), payload.to_owned()) }
}

impl From<Publish> for crate::codec::ClientPacket {
    fn from(publish: Publish) -> Self {
        Self::Publish(publish)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_delivers_each_message_once_and_in_order_to_all_cells(steps in prop::collection::vec(step(), 0..300)) {
        let mut history = History::new();
        (0..CELLS).for_each(|cell| history.attend(cell));
        steps.iter().for_each(|step| history.perform(step));
        history.finish()?;
    }
}
