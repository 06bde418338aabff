//! Messages with a `dedup-id` of one user, whose clients are in several cells.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::cells::{CELLS, Key, World, key, knows_cells, messages};
use super::harness::Client;
use super::packets::{durable, message, puback, pubcomp, pubrec, pubrel, subscribe, transient, user_property};
use crate::broker::LinkRole;
use crate::codec::{ClientPacket, Connect, MessageProperties, Publish, Qos, ServerPacket};
use crate::routing::CellId;

/// A user whose home is this cell.
fn user_of(home: u8) -> String {
    let mut users = (0..).map(|number| format!("u{number}"));
    users.find(|user| CellId::of_client(&format!("user/{user}"), CELLS.into()) == CellId(home)).unwrap()
}

fn of_user(mut connect: Connect, user: &str) -> Connect {
    connect.user_name = Some(user.to_owned().into());
    connect
}

/// A message whose payload is its `dedup-id`.
fn once(number: usize, qos: Qos, dup: bool) -> ClientPacket {
    let text = NAMES[number];
    let properties = MessageProperties::from_properties([user_property("dedup-id", text)]);
    ClientPacket::Publish(Publish { dup, ..message("t/x", text, qos, 7) }.with_properties(properties))
}

/// As many as a window has in these tests.
const NAMES: [&str; 3] = ["first", "second", "third"];

fn joined(shards: usize) -> World {
    let mut world = World::joined(shards);
    world.cells.iter_mut().for_each(|cell| cell.verifies = true);
    world
}

/// Passes everything, with what is done after a while.
fn settle(world: &mut World) {
    for _ in 0..8 {
        world.settle();
        pass_time(world, 30);
    }
    world.settle();
}

fn pass_time(world: &mut World, millis: u64) {
    world.cells.iter_mut().for_each(|cell| cell.advance(Duration::from_millis(millis)));
}

/// Whether each acknowledgement says that the message is a duplicate.
fn duplicates(packets: Vec<ServerPacket>) -> Vec<bool> {
    let is_duplicate = |packet: ServerPacket| {
        let (ServerPacket::Puback(ack) | ServerPacket::Pubrec(ack)) = packet else { panic!("{packet:?}") };
        assert!(!ack.reason_code.is_error(), "{}", ack.reason_code.number());
        let properties = ack.details.map(|details| details.user_properties).unwrap_or_default();
        properties == [("duplicate".into(), "true".into())]
    };
    packets.into_iter().map(is_duplicate).collect()
}

#[test]
fn a_message_that_another_client_of_the_user_sends_again_in_another_cell_is_acknowledged_and_not_published() {
    for (home, shards) in [(0, 1), (1, 2), (2, 3)] {
        let (mut world, user) = (joined(shards), user_of(home));
        let subscriber = world.cell(2).connect(durable("s"));
        world.cell(2).send(subscriber, subscribe("t/+", Qos::ExactlyOnce));
        world.settle();
        for (round, qos) in [Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().enumerate() {
            let said: Vec<_> = [0, 1, 0, 2]
                .into_iter()
                .map(|cell| {
                    let name = format!("p{cell}-{round}");
                    let client = world.cell(cell).connect_to(shards - 1, of_user(transient(&name), &user));
                    world.cell(cell).send(client, once(round, qos, false));
                    settle(&mut world);
                    let said = duplicates(world.cell(cell).packets(client));
                    world.cell(cell).lose(client);
                    said
                })
                .collect();
            assert_eq!(said, [vec![false], vec![true], vec![true], vec![true]], "home {home}, {qos:?}");
            assert_eq!(messages(&world.cell(2).packets(subscriber)), [(qos.level(), NAMES[round].to_owned())]);
        }
    }
}

#[test]
fn clients_without_a_user_and_other_users_are_other_publishers() {
    let mut world = joined(1);
    let subscriber = world.cell(2).connect(durable("s"));
    world.cell(2).send(subscriber, subscribe("t/+", Qos::AtLeastOnce));
    world.settle();
    let connects = [
        (0, transient("a")),
        (1, transient("b")),
        (0, of_user(transient("c"), &user_of(1))),
        (1, of_user(transient("d"), &user_of(2))),
    ];
    for (cell, connect) in connects {
        let client = world.cell(cell).connect(connect);
        world.cell(cell).send(client, once(0, Qos::AtLeastOnce, false));
        settle(&mut world);
        assert_eq!(duplicates(world.cell(cell).packets(client)), [false]);
    }
    assert_eq!(messages(&world.cell(2).packets(subscriber)).len(), 4);
}

#[test]
fn a_message_waits_for_the_home_and_a_later_one_of_its_publisher_stays_behind_it() {
    let mut world = joined(1);
    let subscriber = world.cell(1).connect(durable("s"));
    world.cell(1).send(subscriber, subscribe("t/+", Qos::AtLeastOnce));
    world.settle();
    world.cut((0, 2, LinkRole::Control as u8));
    let client = world.cell(0).connect(of_user(transient("p"), &user_of(2)));
    world.cell(0).send(client, once(0, Qos::AtLeastOnce, false));
    world.cell(0).send(client, ClientPacket::Publish(message("t/x", "behind", Qos::AtLeastOnce, 8)));
    settle(&mut world);
    assert!(world.cell(0).packets(client).is_empty() && world.cell(0).is_paused(client));
    world.connect();
    settle(&mut world);
    assert_eq!(duplicates(world.cell(0).packets(client)), [false, false]);
    let received: Vec<_> = messages(&world.cell(1).packets(subscriber)).into_iter().map(|(_, text)| text).collect();
    assert_eq!(received, ["first", "behind"]);
}

#[test]
fn the_permit_of_a_cell_that_died_before_it_used_it_goes_to_another_one() {
    let (mut world, user) = (joined(1), user_of(2));
    let subscriber = world.cell(2).connect(durable("s"));
    world.cell(2).send(subscriber, subscribe("t/+", Qos::AtLeastOnce));
    world.settle();
    world.cell(0).store_answers = false;
    let first = world.cell(0).connect(of_user(transient("p"), &user));
    world.cell(0).send(first, once(0, Qos::AtLeastOnce, false));
    settle(&mut world);
    assert!(world.cell(0).packets(first).is_empty(), "it is accepted, and the record is not stable");
    let second = world.cell(1).connect(of_user(transient("q"), &user));
    world.cell(1).send(second, once(0, Qos::AtLeastOnce, false));
    settle(&mut world);
    assert!(world.cell(1).packets(second).is_empty(), "the cell with the permit does not know yet");
    world.crash(0);
    world.cell(0).store_answers = true;
    world.connect();
    settle(&mut world);
    for _ in 0..40 {
        settle(&mut world);
    }
    assert_eq!(duplicates(world.cell(1).packets(second)), [false]);
    assert_eq!(messages(&world.cell(2).packets(subscriber)).len(), 1);
}

#[test]
fn a_former_owner_does_not_say_that_it_has_not_used_its_permit() {
    let (mut world, user) = (joined(1), user_of(2));
    let first = world.cell(0).connect(of_user(transient("p"), &user));
    world.cell(0).send(first, once(0, Qos::AtLeastOnce, false));
    world.cell(0).lose(first);
    settle(&mut world);
    // Its successor may have used it.
    world.cell(0).store_answers = false;
    world.take_over(0);
    world.cell(0).store_answers = true;
    let second = world.cell(1).connect(of_user(transient("q"), &user));
    world.cell(1).send(second, once(0, Qos::AtLeastOnce, false));
    for _ in 0..8 {
        settle(&mut world);
    }
    assert!(world.cell(1).packets(second).is_empty());
    world.connect();
    for _ in 0..8 {
        settle(&mut world);
    }
    assert_eq!(duplicates(world.cell(1).packets(second)), [false]);
}

/// A step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// The client of the user in a cell publishes a message, which others may have published before.
    Publish(u8, usize, Qos),
    Pass(u8, u8, bool),
    PassFormer(usize),
    PassTime,
    Cut(u8, u8),
    Connect,
    Commit(u8),
    Crash(u8),
    TakeOver(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (cell, other) = (|| 0..CELLS, || 0..3_u8);
    let qos = prop_oneof![Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)];
    prop_oneof![
        8 => (cell(), 0..NAMES.len(), qos).prop_map(|(cell, number, qos)| Step::Publish(cell, number, qos)),
        20 => (other(), other(), any::<bool>()).prop_map(|(pair, role, way)| Step::Pass(pair, role, way)),
        20 => (other(), any::<bool>()).prop_map(|(pair, way)| Step::Pass(pair, LinkRole::Control as u8, way)),
        6 => (0..32_usize).prop_map(Step::PassFormer),
        6 => Just(Step::PassTime),
        2 => (other(), other()).prop_map(|(pair, role)| Step::Cut(pair, role)),
        5 => Just(Step::Connect),
        12 => cell().prop_map(Step::Commit),
        1 => cell().prop_map(Step::Crash),
        1 => cell().prop_map(Step::TakeOver),
    ]
}

/// What the clients of one cell know.
#[derive(Default)]
struct Clients {
    publisher: Option<Client>,
    subscriber: Option<Client>,
    unacknowledged: Option<(usize, Qos)>,
    received: Vec<String>,
    unreleased: BTreeSet<u16>,
}

/// All clients that publish are of one user, and send a message again until it is acknowledged.
struct History {
    world: World,
    user: String,
    clients: Vec<Clients>,
    /// The messages that were acknowledged.
    acknowledged: BTreeSet<usize>,
}

impl History {
    fn new(home: u8) -> Self {
        let mut world = joined(1);
        for cell in 0..CELLS {
            let subscriber = world.cell(cell).connect(durable(&format!("s{cell}")));
            world.cell(cell).send(subscriber, subscribe("t/#", Qos::ExactlyOnce));
            world.settle();
            world.cell(cell).lose(subscriber);
        }
        world.cells.iter_mut().for_each(|cell| cell.store_answers = false);
        let clients = (0..CELLS).map(|_| Clients::default()).collect();
        Self { world, user: user_of(home), clients, acknowledged: BTreeSet::new() }
    }

    /// Connects the clients of a cell that are not connected, if the cell accepts clients.
    fn attend(&mut self, cell: u8) {
        let harness = self.world.cell(cell);
        if !knows_cells(harness) {
            return;
        }
        let clients = &mut self.clients[usize::from(cell)];
        if clients.subscriber.is_none() {
            clients.subscriber = Some(harness.attempt(0, durable(&format!("s{cell}"))));
        }
        if clients.publisher.is_none() {
            let publisher = harness.attempt(0, of_user(durable(&format!("p{cell}")), &self.user));
            clients.publisher = Some(publisher);
            if let Some((number, qos)) = clients.unacknowledged {
                harness.send(publisher, once(number, qos, true));
            }
        }
        self.take(cell);
    }

    /// Takes what the clients of a cell have got.
    fn take(&mut self, cell: u8) {
        let (clients, harness) = (&mut self.clients[usize::from(cell)], self.world.cell(cell));
        let (Some(publisher), Some(subscriber)) = (clients.publisher, clients.subscriber) else { return };
        loop {
            let (answers, packets) = (harness.packets(publisher), harness.packets(subscriber));
            if answers.is_empty() && packets.is_empty() {
                return;
            }
            for packet in answers {
                if let ServerPacket::Puback(_) | ServerPacket::Pubcomp(_) = packet {
                    self.acknowledged.extend(clients.unacknowledged.take().map(|(number, _)| number));
                } else if let ServerPacket::Pubrec(_) = packet {
                    harness.send(publisher, pubrel(7));
                }
            }
            for packet in packets {
                if let ServerPacket::Publish(publish) = packet {
                    let number = publish.packet_id.map_or(0, |id| id.number());
                    let payload = String::from_utf8(publish.message.payload.to_vec()).unwrap();
                    let is_repeated = match publish.qos {
                        // The cell may have sent it twice, which it says.
                        Qos::AtMostOnce | Qos::AtLeastOnce => publish.dup && clients.received.contains(&payload),
                        Qos::ExactlyOnce => !clients.unreleased.insert(number),
                    };
                    if !is_repeated {
                        clients.received.push(payload);
                    }
                    let answer = if publish.qos == Qos::ExactlyOnce { pubrec(number) } else { puback(number) };
                    harness.send(subscriber, answer);
                } else if let ServerPacket::Pubrel(ack) = packet {
                    clients.unreleased.remove(&ack.packet_id.number());
                    harness.send(subscriber, pubcomp(ack.packet_id.number()));
                }
            }
        }
    }

    fn take_all(&mut self) {
        (0..CELLS).for_each(|cell| self.take(cell));
    }

    fn perform(&mut self, step: &Step) {
        match *step {
            Step::Publish(cell, number, qos) => {
                let clients = &mut self.clients[usize::from(cell)];
                let Some(publisher) = clients.publisher.filter(|_| clients.unacknowledged.is_none()) else { return };
                clients.unacknowledged = Some((number, qos));
                self.world.cell(cell).send(publisher, once(number, qos, false));
            }
            Step::Pass(pair, role, way) => _ = self.world.pass(key(pair, role), usize::from(way)),
            Step::PassFormer(place) => {
                let keys: Vec<Key> = self.world.links.keys().copied().filter(|(.., role)| *role >= 10).collect();
                if let Some(key) = keys.get(place / 2 % keys.len().max(1)) {
                    self.world.pass(*key, place % 2);
                }
            }
            Step::PassTime => pass_time(&mut self.world, 30),
            Step::Cut(pair, role) => self.world.cut(key(pair, role)),
            Step::Connect => {
                self.world.connect();
                (0..CELLS).for_each(|cell| self.attend(cell));
            }
            Step::Commit(cell) => {
                self.world.cell(cell).commit(0);
                self.attend(cell);
            }
            Step::Crash(cell) | Step::TakeOver(cell) => {
                if let Step::Crash(_) = step {
                    self.world.crash(cell);
                } else {
                    self.world.take_over(cell);
                }
                let clients = &mut self.clients[usize::from(cell)];
                (clients.publisher, clients.subscriber) = (None, None);
            }
        }
        self.take_all();
    }

    /// Lets everything come to its end.
    fn finish(mut self) -> Result<(), TestCaseError> {
        let former: Vec<Key> = self.world.links.keys().copied().filter(|(.., role)| *role >= 10).collect();
        former.into_iter().for_each(|key| self.world.cut(key));
        for _ in 0..60 {
            self.world.connect();
            self.world.settle();
            for cell in 0..CELLS {
                self.world.cell(cell).persist();
                self.attend(cell);
            }
            pass_time(&mut self.world, 250);
            self.take_all();
        }
        for (cell, clients) in self.clients.iter().enumerate() {
            prop_assert_eq!(clients.unacknowledged, None, "at cell {}", cell);
            for (place, payload) in clients.received.iter().enumerate() {
                prop_assert!(!clients.received[..place].contains(payload), "{payload} came twice to cell {cell}");
            }
            let expected: BTreeSet<String> = self.acknowledged.iter().map(|number| NAMES[*number].to_owned()).collect();
            prop_assert_eq!(&clients.received.iter().cloned().collect::<BTreeSet<_>>(), &expected, "at cell {}", cell);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn in_any_history_a_message_of_one_user_is_published_once_whichever_clients_send_it(
        home in 0..CELLS,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut history = History::new(home);
        (0..CELLS).for_each(|cell| history.attend(cell));
        steps.iter().for_each(|step| history.perform(step));
        history.finish()?;
    }
}
