//! Shared Subscriptions with members in several cells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::cells::{CELLS, Key, World, key, knows_cells, messages, publication};
use super::harness::{Client, settings};
use super::packets::{durable, puback, pubcomp, publish, pubrec, pubrel, subscribe, transient, unsubscribe};
use crate::broker::counters::DropReason;
use crate::broker::{Event, LinkRole, Settings};
use crate::codec::{ClientPacket, Connect, Disconnect, Qos, ReasonCode, ServerPacket};
use crate::routing::ShareStrategy;

const FILTER: &str = "$share/g/t/#";

/// A subscriber with `filter` in a cell.
fn member(world: &mut World, cell: u8, connect: Connect, filter: &str) -> Client {
    let client = world.cell(cell).connect(connect);
    world.cell(cell).send(client, subscribe(filter, Qos::ExactlyOnce));
    world.settle();
    assert_eq!(world.cell(cell).received(client), ["SUBACK 1 02"]);
    client
}

/// The payloads that a client has got since the last time.
fn payloads(world: &mut World, cell: u8, client: Client) -> Vec<String> {
    messages(&world.cell(cell).packets(client)).into_iter().map(|(_, payload)| payload).collect()
}

fn end_of_session() -> ClientPacket {
    let session_expiry_interval = Some(0);
    ClientPacket::Disconnect(Box::new(Disconnect {
        session_expiry_interval,
        ..Disconnect::new(ReasonCode::NormalDisconnection)
    }))
}

#[test]
fn mqtt5_4_8_2_one_member_of_all_cells_gets_a_message_and_all_get_as_many() {
    for shards in [1, 2] {
        let mut world = World::joined(shards);
        let members =
            [(0, "a"), (1, "b"), (1, "c")].map(|(cell, name)| (cell, member(&mut world, cell, durable(name), FILTER)));
        let other_share = member(&mut world, 1, durable("d"), "$share/h/t/+");
        let ordinary = [0, 1, 2].map(|cell| (cell, member(&mut world, cell, durable("e"), "t/x")));
        for publisher in 0..CELLS {
            let client = world.cell(publisher).connect(transient("p"));
            for (number, qos) in (1..).zip([Qos::ExactlyOnce, Qos::AtMostOnce, Qos::AtLeastOnce]) {
                world.cell(publisher).send(client, publish("t/x", "x", qos, number));
                world.settle();
            }
        }
        let received = members.map(|(cell, client)| messages(&world.cell(cell).packets(client)));
        assert_eq!(received.each_ref().map(Vec::len), [3; 3], "in proportion to the members of the cells");
        let all = received.concat();
        assert_eq!([0, 1, 2].map(|qos| all.iter().filter(|(of, _)| *of == qos).count()), [3; 3]);
        for (cell, client) in ordinary.into_iter().chain([(1, other_share)]) {
            assert_eq!(payloads(&mut world, cell, client).len(), 9);
        }
        assert!(world.cells.iter().all(|cell| cell.shards.iter().all(|shard| shard.unstable() == 0)));
    }
}

#[test]
fn suback_of_the_first_member_waits_until_all_other_cells_know_the_share() {
    let mut world = World::joined(2);
    let first = world.cell(0).connect(durable("first"));
    assert_eq!(world.cell(0).ask(first, subscribe(FILTER, Qos::AtLeastOnce)), [""; 0]);
    let (one, other) = ((0, 1, LinkRole::Control as u8), (0, 2, LinkRole::Control as u8));
    assert!(world.pass(one, 0) && world.pass(one, 1));
    assert_eq!(world.cell(0).received(first), [""; 0], "one cell does not know it");
    assert!(world.pass(other, 0) && world.pass(other, 1));
    assert_eq!(world.cell(0).received(first), ["SUBACK 1 01"]);
    let ordinary = world.cell(0).connect(durable("ordinary"));
    assert_eq!(world.cell(0).ask(ordinary, subscribe("t/#", Qos::AtLeastOnce)), [""; 0], "no interest in messages");
}

/// The cells with members of connected clients are preferred, and which they are is told.
#[test]
fn a_message_goes_to_a_connected_member_of_any_cell_and_waits_for_one_if_there_is_none() {
    let mut world = World::joined(1);
    let here = member(&mut world, 0, durable("here"), FILTER);
    let there = member(&mut world, 1, durable("there"), FILTER);
    world.cell(1).lose(there);
    world.settle();
    let publisher = world.cell(2).connect(transient("p"));
    for payload in ["1", "2", "3"] {
        world.cell(2).send(publisher, publish("t/x", payload, Qos::AtLeastOnce, 1));
        world.settle();
    }
    assert_eq!(payloads(&mut world, 0, here), ["1", "2", "3"]);
    (1..=3).for_each(|number| world.cell(0).send(here, puback(number)));
    world.cell(0).lose(here);
    world.settle();
    for payload in ["4", "5"] {
        world.cell(2).send(publisher, publish("t/x", payload, Qos::AtLeastOnce, 1));
        world.settle();
    }
    let [here, there] = [(0, "here"), (1, "there")].map(|(cell, name)| (cell, world.cell(cell).connect(durable(name))));
    let mut received = [here, there].map(|(cell, client)| payloads(&mut world, cell, client)).concat();
    received.sort();
    assert_eq!(received, ["4", "5"]);
}

#[test]
fn strategies_that_hash_choose_the_same_member_from_all_cells() {
    for strategy in [ShareStrategy::HashTopic, ShareStrategy::Sticky, ShareStrategy::HashPublisher] {
        let mut world = World::joined(1);
        for cell in &mut world.cells {
            let settings = Settings { share_strategy: strategy, ..settings() };
            cell.event(0, Event::SettingsChanged(Arc::new(settings)));
        }
        let members = [(0, "a"), (1, "b"), (1, "c"), (2, "d")]
            .map(|(cell, name)| (cell, member(&mut world, cell, durable(name), FILTER)));
        let publishers = [0, 1, 2].map(|cell| (cell, world.cell(cell).connect(transient("p"))));
        let mut receivers: BTreeMap<Option<String>, BTreeSet<usize>> = BTreeMap::new();
        for round in 0..3 {
            for topic in ["t/1", "t/2", "t/3", "t/4", "t/5", "t/6", "t/7", "t/8"] {
                for (cell, publisher) in publishers {
                    world.cell(cell).send(publisher, publish(topic, "x", Qos::AtMostOnce, round));
                    world.settle();
                    let got = members.iter().map(|(cell, client)| payloads(&mut world, *cell, *client).len());
                    let got: Vec<usize> = got.collect();
                    assert_eq!(got.iter().sum::<usize>(), 1, "{got:?}");
                    let of = [
                        (ShareStrategy::HashTopic, topic.to_owned()),
                        (ShareStrategy::HashPublisher, cell.to_string()),
                    ];
                    let of = of.into_iter().find(|(of, _)| *of == strategy).map(|(_, of)| of);
                    receivers.entry(of).or_default().extend(got.iter().position(|count| *count == 1));
                }
            }
        }
        assert!(receivers.values().all(|members| members.len() == 1), "{strategy:?}: {receivers:?}");
        let all: BTreeSet<usize> = receivers.into_values().flatten().collect();
        assert!(strategy != ShareStrategy::HashTopic || all.len() > 1, "{all:?}");
    }
}

/// Passes what is on its way on connections for this, until nothing is.
fn pass_all(world: &mut World, is_passed: impl Fn(&Key) -> bool) {
    loop {
        let keys: Vec<Key> = world.links.keys().copied().filter(&is_passed).collect();
        let ways = keys.into_iter().flat_map(|key| [(key, 0), (key, 1)]);
        if ways.filter(|(key, from)| world.pass(*key, *from)).count() == 0 {
            return;
        }
    }
}

const fn is_control((_, _, role): &Key) -> bool {
    *role == LinkRole::Control as u8
}

fn is_data(key: &Key) -> bool {
    !is_control(key)
}

fn dropped(world: &World) -> u64 {
    let of_cell = world.cells.iter().map(|cell| &cell.shards[0].counters);
    of_cell.map(|counters| counters.dropped[DropReason::SessionEnded as usize]).sum()
}

#[test]
fn a_message_for_a_cell_without_members_goes_on_to_one_that_has_some_also_back() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut world = World::joined(1);
        let [first, second] = [1, 2].map(|cell| member(&mut world, cell, durable("m"), FILTER));
        let publisher = world.cell(0).connect(transient("p"));
        world.cell(0).send(publisher, publish("t/x", "1", qos, 1));
        world.cell(1).send(first, unsubscribe(2, &[FILTER]));
        pass_all(&mut world, is_data);
        assert_eq!((payloads(&mut world, 1, first), payloads(&mut world, 2, second)), (vec![], vec!["1".to_owned()]));

        world.settle();
        world.cell(1).send(first, subscribe(FILTER, Qos::ExactlyOnce));
        world.settle();
        // The first one for cell 1, the second one for cell 2, in which it is the turn of cell 1.
        world.cell(0).send(publisher, publish("t/x", "2", qos, 2));
        world.cell(0).send(publisher, publish("t/x", "3", qos, 3));
        let third = world.cell(0).connect(durable("m"));
        world.cell(0).send(third, subscribe(FILTER, Qos::ExactlyOnce));
        pass_all(&mut world, is_control);
        world.cell(1).send(first, unsubscribe(2, &[FILTER]));
        world.cell(2).send(second, unsubscribe(2, &[FILTER]));
        pass_all(&mut world, is_data);
        let mut received = payloads(&mut world, 0, third);
        received.sort();
        assert_eq!(received, ["2", "3"], "{qos:?}");
        assert_eq!(dropped(&world), 0);

        world.settle();
        world.cell(1).send(first, subscribe(FILTER, Qos::ExactlyOnce));
        world.cell(0).send(third, unsubscribe(2, &[FILTER]));
        world.settle();
        world.cell(0).send(publisher, publish("t/x", "4", qos, 4));
        world.cell(1).send(first, unsubscribe(2, &[FILTER]));
        world.settle();
        assert_eq!(dropped(&world), 1, "no cell has members");
        assert!(world.cells.iter().all(|cell| cell.shards[0].unstable() == 0));
    }
}

/// Each cell believes that the others have members.
#[test]
fn a_message_is_in_few_cells_if_none_has_members() {
    let mut world = World::joined(1);
    let members = [0, 1, 2].map(|cell| (cell, member(&mut world, cell, durable("m"), FILTER)));
    let publisher = world.cell(0).connect(transient("p"));
    for (number, payload) in (1..).zip(["1", "2", "3"]) {
        world.cell(0).send(publisher, publish("t/x", payload, Qos::AtLeastOnce, number));
    }
    for (cell, client) in members {
        world.cell(cell).send(client, unsubscribe(2, &[FILTER]));
    }
    pass_all(&mut world, is_data);
    assert_eq!(dropped(&world), 2);
    let received = members.map(|(cell, client)| payloads(&mut world, cell, client)).concat();
    assert_eq!(received, ["1"], "it was in the queue already");
}

#[test]
fn a_message_goes_to_a_cell_in_which_it_was_only_if_there_is_no_other() {
    let mut world = World::joined(1);
    let members = [0, 1, 2].map(|cell| member(&mut world, cell, durable("m"), FILTER));
    for (cell, client) in [(1, members[1]), (2, members[2])] {
        world.cell(cell).send(client, unsubscribe(2, &[FILTER]));
    }
    let publisher = world.cell(1).connect(transient("p"));
    for _ in 0..8 {
        world.cell(1).send(publisher, publish("t/x", "x", Qos::AtMostOnce, 0));
    }
    pass_all(&mut world, is_data);
    assert_eq!(payloads(&mut world, 0, members[0]).len(), 8);
    // Four go there at once, the others by way of cell 2; from that, two by way of cell 1.
    let received: u64 =
        world.cells.iter().map(|cell| cell.shards[0].counters.messages_received.iter().sum::<u64>()).sum();
    assert_eq!(received, 8 + 4 + 4 * 2 + 2);
}

#[test]
fn mqtt5_4_8_2_messages_of_a_session_that_ends_go_to_members_in_other_cells() {
    for later in [false, true] {
        let mut world = World::joined(1);
        let first = member(&mut world, 1, durable("first"), FILTER);
        let publisher = world.cell(0).connect(transient("p"));
        for (qos, payload) in [(Qos::AtLeastOnce, "1"), (Qos::ExactlyOnce, "2")] {
            world.cell(1).lose(first);
            world.cell(0).send(publisher, publish("t/x", payload, qos, 1));
            world.settle();
        }
        let second = member(&mut world, 2, durable("second"), FILTER);
        if later {
            world.cell(1).seconds(1_001);
        } else {
            let first = world.cell(1).connect(transient("first"));
            world.cell(1).lose(first);
        }
        world.settle();
        assert_eq!(payloads(&mut world, 2, second), ["1", "2"]);
    }
}

/// The owner of the cell to which a message is on its way is gone, and so is the Session of its member.
#[test]
fn a_message_waits_at_a_cell_without_members_until_that_knows_the_other_cells() {
    let mut world = World::joined(1);
    let first = member(&mut world, 1, durable("first"), FILTER);
    let second = member(&mut world, 2, durable("second"), FILTER);
    let publisher = world.cell(0).connect(transient("p"));
    world.cell(0).send(publisher, publish("t/x", "1", Qos::ExactlyOnce, 1));
    world.cell(1).send(first, unsubscribe(2, &[FILTER]));
    world.crash(1);
    world.connect();
    pass_all(&mut world, is_data);
    world.cell(1).seconds(3);
    assert!(!knows_cells(world.cell(1)));
    assert_eq!(payloads(&mut world, 2, second), [""; 0]);
    // The connection ends meanwhile, and the message comes again.
    world.cut((0, 1, LinkRole::Out as u8));
    world.connect();
    pass_all(&mut world, is_data);
    world.settle();
    world.cell(1).seconds(1);
    world.settle();
    assert_eq!(payloads(&mut world, 2, second), ["1"]);
    assert_eq!(dropped(&world), 0);
}

#[test]
fn a_copy_that_does_not_say_for_which_share_it_is_ends_its_connection() {
    let mut world = World::joined(1);
    let key = (0, 1, LinkRole::Out as u8);
    let [_, end] = world.links.remove(&key).unwrap();
    let mut packet = publication(Qos::ExactlyOnce, "x", false);
    Arc::make_mut(&mut packet.message).is_share_copy = true;
    world.cells[1].send(end.client, packet.into());
    assert!(world.cells[1].is_closed(end.client));
}

/// A step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// The publisher of a cell publishes.
    Publish(u8, Qos),
    /// The member of a cell subscribes, or unsubscribes, or ends its Session.
    Subscribe(u8),
    Unsubscribe(u8),
    EndSession(u8),
    /// The member of a cell disconnects; its next Session begins, and ends the one before.
    Disconnect(u8),
    BeginSession(u8),
    /// A connection between two cells passes what was sent in one direction.
    Pass(u8, u8, bool),
    /// It is lost.
    Cut(u8, u8),
    /// All that are not there are opened, and clients connect.
    Connect,
    /// The store of a cell commits what it has.
    Commit(u8),
    /// A second passes in a cell.
    Wait(u8),
    Crash(u8),
    TakeOver(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![1 => Just(Qos::AtMostOnce), 3 => Just(Qos::AtLeastOnce), 5 => Just(Qos::ExactlyOnce)];
    let (cell, other) = (|| 0..CELLS, || 0..3_u8);
    prop_oneof![
        10 => (cell(), qos).prop_map(|(cell, qos)| Step::Publish(cell, qos)),
        4 => cell().prop_map(Step::Subscribe),
        3 => cell().prop_map(Step::Unsubscribe),
        2 => cell().prop_map(Step::EndSession),
        3 => cell().prop_map(Step::Disconnect),
        3 => cell().prop_map(Step::BeginSession),
        30 => (other(), other(), any::<bool>()).prop_map(|(pair, role, way)| Step::Pass(pair, role, way)),
        2 => (other(), other()).prop_map(|(pair, role)| Step::Cut(pair, role)),
        5 => Just(Step::Connect),
        12 => cell().prop_map(Step::Commit),
        2 => cell().prop_map(Step::Wait),
        1 => cell().prop_map(Step::Crash),
        1 => cell().prop_map(Step::TakeOver),
    ]
}

/// What the clients of one cell know.
#[derive(Default)]
struct Clients {
    publisher: Option<Client>,
    member: Option<Client>,
    /// Whether the member has disconnected when it had answered everything.
    has_left: bool,
    /// Whether the member has asked for its subscription, and has SUBACK; `None`: it has not.
    subscribed: Option<bool>,
    /// The message that is not acknowledged.
    unacknowledged: Option<(Qos, String)>,
    /// The Packet Identifiers at QoS 2 that the member has and that are not released.
    unreleased: BTreeSet<u16>,
}

/// A history in which a member exists all the time, and each message above QoS 0 is published until it is acknowledged.
struct History {
    world: World,
    clients: Vec<Clients>,
    published: Vec<String>,
    /// How often members have got a message, without repetitions that the standard permits.
    received: BTreeMap<String, usize>,
    /// Those that may come again at QoS 1: the publisher has sent them again, or an owner is gone with the acknowledgement.
    repeated: BTreeSet<String>,
}

impl History {
    fn new() -> Self {
        let mut world = World::joined(1);
        world.cells.iter_mut().for_each(|cell| cell.store_answers = false);
        let clients = (0..CELLS).map(|_| Clients::default()).collect();
        let (received, repeated) = (BTreeMap::new(), BTreeSet::new());
        let mut history = Self { world, clients, published: Vec::new(), received, repeated };
        history.attend();
        history.perform(&Step::Subscribe(0));
        history.world.cell(0).persist();
        history.world.settle();
        history.world.cells.iter_mut().for_each(|cell| cell.persist());
        history.attend();
        assert_eq!(history.clients[0].subscribed, Some(true));
        history
    }

    /// Connects the clients that are not connected, of the cells that accept clients.
    fn attend(&mut self) {
        for (cell, clients) in (0..).zip(&mut self.clients) {
            let harness = self.world.cell(cell);
            if !knows_cells(harness) {
                continue;
            }
            if clients.publisher.is_none() {
                let publisher = harness.attempt(0, durable(&format!("p{cell}")));
                clients.publisher = Some(publisher);
                if let Some((qos, payload)) = &clients.unacknowledged {
                    self.repeated.insert(payload.clone());
                    harness.send(publisher, publication(*qos, payload, true).into());
                }
            }
            if clients.member.is_none() && !clients.has_left {
                clients.member = Some(harness.attempt(0, durable(&format!("m{cell}"))));
            }
        }
        self.take();
    }

    /// Takes what clients have got.
    fn take(&mut self) {
        for cell in 0..CELLS {
            while self.take_from(cell) {}
        }
    }

    fn take_from(&mut self, cell: u8) -> bool {
        let (harness, clients) = (self.world.cell(cell), &mut self.clients[usize::from(cell)]);
        let mut packets = |client: Option<Client>| client.map(|client| (client, harness.packets(client)));
        let (answers, packets) = (packets(clients.publisher), packets(clients.member));
        let has_some = [&answers, &packets].into_iter().flatten().any(|(_, packets)| !packets.is_empty());
        for (publisher, packet) in
            answers.into_iter().flat_map(|(of, packets)| packets.into_iter().map(move |it| (of, it)))
        {
            if let ServerPacket::Puback(_) | ServerPacket::Pubcomp(_) = packet {
                clients.unacknowledged = None;
            } else if let ServerPacket::Pubrec(_) = packet {
                harness.send(publisher, pubrel(7));
            }
        }
        for (member, packet) in
            packets.into_iter().flat_map(|(of, packets)| packets.into_iter().map(move |it| (of, it)))
        {
            if let ServerPacket::Publish(publish) = packet {
                let number = publish.packet_id.map_or(0, |id| id.number());
                let payload = String::from_utf8(publish.message.payload.to_vec()).unwrap();
                assert!(publish.message.properties.is_empty(), "what cells tell each other is not for clients");
                let is_repeated = match publish.qos {
                    Qos::AtMostOnce => false,
                    Qos::AtLeastOnce => self.repeated.contains(&payload) && self.received.contains_key(&payload),
                    Qos::ExactlyOnce => !clients.unreleased.insert(number),
                };
                if !is_repeated {
                    *self.received.entry(payload).or_default() += 1;
                }
                match publish.qos {
                    Qos::AtMostOnce => {}
                    Qos::AtLeastOnce => harness.send(member, puback(number)),
                    Qos::ExactlyOnce => harness.send(member, pubrec(number)),
                }
            } else if let ServerPacket::Pubrel(ack) = packet {
                clients.unreleased.remove(&ack.packet_id.number());
                harness.send(member, pubcomp(ack.packet_id.number()));
            } else if let ServerPacket::Suback(_) = packet {
                clients.subscribed = clients.subscribed.map(|_| true);
            } else if let ServerPacket::Connack(connack) = packet
                && !connack.session_present
            {
                clients.unreleased.clear();
            }
        }
        has_some
    }

    /// Whether the member of a cell is subscribed, and another one stays.
    fn may_leave(&self, cell: u8) -> bool {
        let stays = |(other, clients): (u8, &Clients)| other != cell && clients.subscribed == Some(true);
        self.clients[usize::from(cell)].subscribed == Some(true) && (0..).zip(&self.clients).any(stays)
    }

    /// The member of a cell, if its packets are read.
    fn heard(&self, cell: u8) -> Option<Client> {
        self.clients[usize::from(cell)].member.filter(|member| !self.world.cells[usize::from(cell)].is_paused(*member))
    }

    fn perform(&mut self, step: &Step) {
        match *step {
            Step::Publish(cell, qos) => {
                let clients = &mut self.clients[usize::from(cell)];
                let Some(publisher) = clients.publisher.filter(|_| clients.unacknowledged.is_none()) else { return };
                let kind = if qos == Qos::AtMostOnce { "at most once " } else { "" };
                let payload = format!("{kind}{}", self.published.len());
                if qos > Qos::AtMostOnce {
                    clients.unacknowledged = Some((qos, payload.clone()));
                }
                self.published.push(payload.clone());
                self.world.cell(cell).send(publisher, publication(qos, &payload, false).into());
            }
            Step::Subscribe(cell) => {
                let clients = &mut self.clients[usize::from(cell)];
                let Some(member) = clients.member.filter(|_| clients.subscribed.is_none()) else { return };
                clients.subscribed = Some(false);
                self.world.cell(cell).send(member, subscribe(FILTER, Qos::ExactlyOnce));
            }
            Step::Unsubscribe(cell) => {
                let Some(member) = self.heard(cell).filter(|_| self.may_leave(cell)) else { return };
                self.clients[usize::from(cell)].subscribed = None;
                self.world.cell(cell).send(member, unsubscribe(2, &[FILTER]));
            }
            Step::EndSession(cell) => {
                let Some(member) = self.heard(cell).filter(|_| self.may_leave(cell)) else { return };
                let clients = &mut self.clients[usize::from(cell)];
                (clients.subscribed, clients.member) = (None, None);
                // What it has is not acknowledged yet as far as the store is concerned.
                self.repeated.extend(self.received.keys().cloned());
                self.world.cell(cell).send(member, end_of_session());
            }
            Step::Disconnect(cell) => {
                let Some(member) = self.heard(cell) else { return };
                self.world.cell(cell).lose(member);
                let clients = &mut self.clients[usize::from(cell)];
                (clients.member, clients.has_left) = (None, true);
            }
            Step::BeginSession(cell) => {
                let serves = knows_cells(self.world.cell(cell));
                let may_end = self.clients[usize::from(cell)].subscribed.is_none() || self.may_leave(cell);
                let clients = &mut self.clients[usize::from(cell)];
                if serves && may_end && std::mem::take(&mut clients.has_left) {
                    let connect = Connect { clean_start: true, ..durable(&format!("m{cell}")) };
                    (clients.member, clients.subscribed) = (Some(self.world.cell(cell).attempt(0, connect)), None);
                }
            }
            Step::Pass(pair, role, way) => _ = self.world.pass(key(pair, role), usize::from(way)),
            Step::Cut(pair, role) => self.world.cut(key(pair, role)),
            Step::Connect => {
                self.world.connect();
                self.attend();
            }
            Step::Commit(cell) => self.world.cell(cell).commit(0),
            Step::Wait(cell) => self.world.cell(cell).seconds(1),
            Step::Crash(cell) | Step::TakeOver(cell) => {
                if let Step::Crash(_) = step {
                    self.world.crash(cell);
                } else {
                    self.world.take_over(cell);
                }
                self.repeated.extend(self.received.keys().cloned());
                let clients = &mut self.clients[usize::from(cell)];
                (clients.publisher, clients.member, clients.has_left) = (None, None, false);
                clients.subscribed = clients.subscribed.filter(|is_acknowledged| *is_acknowledged);
            }
        }
        self.take();
    }

    /// Lets everything come to its end.
    fn finish(mut self) -> Result<(), TestCaseError> {
        let former: Vec<Key> = self.world.links.keys().copied().filter(|(.., role)| *role >= 10).collect();
        former.into_iter().for_each(|key| self.world.cut(key));
        self.clients.iter_mut().for_each(|clients| clients.has_left = false);
        for _ in 0..40 {
            self.world.connect();
            self.world.settle();
            for cell in 0..CELLS {
                self.world.cell(cell).persist();
                self.world.cell(cell).seconds(1);
            }
            self.attend();
        }
        for (cell, clients) in self.clients.iter().enumerate() {
            prop_assert!(knows_cells(&self.world.cells[cell]), "cell {cell} does not serve");
            prop_assert_eq!(&clients.unacknowledged, &None, "at cell {}", cell);
        }
        for payload in &self.published {
            let count = self.received.get(payload).copied().unwrap_or_default();
            let least = usize::from(!payload.starts_with("at most once"));
            prop_assert!((least..=1).contains(&count), "{payload:?} came {count} times");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_delivers_each_message_to_one_member_of_all_cells(steps in prop::collection::vec(step(), 0..300)) {
        let mut history = History::new();
        steps.iter().for_each(|step| history.perform(step));
        history.finish()?;
    }
}
