//! The log of one broker is split, and its clients go on in the cells, with what they were owed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use nats_servers::{Servers, Setup};
use oncemq::routing::CellId;
use wire::{
    CONNACK, Connect, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet, Publish, Received, Version, Wire,
    acknowledge,
};

use crate::client::{Client, PATIENCE, connected, now};
use crate::nodes::Nodes;

#[test]
fn clients_of_one_broker_go_on_in_cells_with_what_they_were_owed() {
    if nats_servers::is_missing() {
        return;
    }
    let mut nodes = Nodes::places(Servers::start(&Setup { servers: 1, ..Setup::default() }), 2);
    nodes.start_node(0, 0);
    let before = nodes.address(0);
    let mut subscribers = [0, 1, 2].map(|cell| durable(before, cell, "subscriber", "queue/#"));
    let mut members = [0, 1, 2].map(|cell| durable(before, cell, "member", "$share/workers/jobs/#"));
    for client in subscribers.iter_mut().chain(&mut members) {
        client.disconnect();
        assert!(client.is_closed());
    }
    publish(before);
    half_published(before);
    let packet_id = half_received(before);
    assert_eq!(nodes.command(0, SPLIT).code(), Some(5), "the broker is running");
    assert!(nodes.terminate(0).success());

    split_in_the_end(&nodes);
    nodes.start_node(0, CELLS);
    nodes.wait_for_shares(&[(0, CELLS)]);
    // It gets copies of the logs, and one of the cells.
    nodes.start_node(1, CELLS);
    nodes.wait_for_shares(&[(0, CELLS - 1), (1, 1)]);

    let addresses = [nodes.address(0), nodes.address(1)];
    the_rest_is_published(addresses[0]);
    the_rest_is_received(addresses[1], packet_id);
    for (subscriber, address) in subscribers.iter_mut().zip(addresses.iter().cycle()) {
        subscriber.connect_again(&[*address]);
        let topics: Vec<_> = (0..MESSAGES + 2).map(|_| subscriber.message()).map(|message| message.topic).collect();
        let queued = (0..MESSAGES).map(|number| format!("queue/{number}"));
        let expected: Vec<_> = queued.chain(["queue/half".to_owned(), "queue/late".to_owned()]).collect();
        assert_eq!(topics, expected);
    }
    members_get_each_job_once(&mut members, addresses[1]);
    retained_messages_are_in_all_cells(&addresses);
    for mut client in subscribers.into_iter().chain(members) {
        assert!(client.messages_there().is_empty(), "more than it was owed");
    }
}

/// A client of a cell, with a Session that stays.
fn durable(address: SocketAddr, cell: usize, begin: &str, filter: &str) -> Client {
    let mut client = connected(address, &Connect::durable(Version::V5, &id_of(cell, begin)));
    client.subscribe(filter, 2);
    client
}

/// Messages for queues, and retained ones.
fn publish(address: SocketAddr) {
    let mut publisher = connected(address, &Connect::new(Version::V5, "publisher"));
    for number in 0..MESSAGES {
        for topic in ["queue", "jobs"] {
            let qos = 1 + u8::try_from(number % 2).unwrap();
            publisher.publish(&Publish { qos, ..Publish::new(&format!("{topic}/{number}"), "x") });
        }
    }
    publisher.publish(&Publish { qos: 1, ..Publish::new("$delayed/4/queue/late", "x") });
    for (topic, payload) in [("state/a", "first"), ("state/b", "first"), ("state/c", "first"), ("state/b", "")] {
        publisher.publish(&Publish { qos: 1, retain: true, ..Publish::new(topic, payload) });
    }
}

/// A message at QoS 2 that is received, and not released.
fn half_published(address: SocketAddr) {
    let mut publisher = connected(address, &Connect::durable(Version::V5, &id_of(2, "half-publisher")));
    publisher.send(&half().bytes(Version::V5));
    assert_eq!(publisher.receive(PATIENCE).map(|packet| packet.kind()), Some(PUBREC));
    publisher.cut();
}

/// It is sent again, and released.
fn the_rest_is_published(address: SocketAddr) {
    let connect = Connect::durable(Version::V5, &id_of(2, "half-publisher"));
    let mut wire = open(address, &connect, true);
    wire.send(&Publish { dup: true, ..half() }.bytes(Version::V5));
    assert_eq!(next(&mut wire, PUBREC).reason_code(), 0);
    wire.send(&acknowledge(PUBREL, HALF));
    assert_eq!(next(&mut wire, PUBCOMP).reason_code(), 0, "the Packet Identifier is known");
}

fn half() -> Publish {
    Publish { qos: 2, packet_id: HALF, ..Publish::new("queue/half", "x") }
}

/// A receiver that has sent PUBREC, and no PUBCOMP. Returns the Packet Identifier.
fn half_received(address: SocketAddr) -> u16 {
    let mut wire = open(address, &Connect::durable(Version::V5, &id_of(1, "half-receiver")), false);
    wire.send(&Version::V5.subscribe(1, "half/received", 2));
    connected(address, &Connect::new(Version::V5, "other"))
        .publish(&Publish { qos: 2, ..Publish::new("half/received", "x") });
    let message = Publish::parse(Version::V5, &next(&mut wire, PUBLISH)).unwrap();
    wire.send(&acknowledge(PUBREC, message.packet_id));
    assert_eq!(next(&mut wire, PUBREL_KIND).packet_id(), message.packet_id);
    wire.cut();
    message.packet_id
}

/// It gets PUBREL again, and no message.
fn the_rest_is_received(address: SocketAddr, packet_id: u16) {
    let mut wire = open(address, &Connect::durable(Version::V5, &id_of(1, "half-receiver")), true);
    let packet = received(&mut wire);
    assert_eq!((packet.kind(), packet.packet_id()), (PUBREL_KIND, packet_id));
    wire.send(&acknowledge(PUBCOMP, packet_id));
    wire.send(&Publish { qos: 1, packet_id: 5, ..Publish::new("half/received", "next") }.bytes(Version::V5));
    let mut kinds = [received(&mut wire), received(&mut wire)].map(|packet| packet.kind());
    kinds.sort_unstable();
    assert_eq!(kinds, [PUBLISH, PUBACK], "the next message");
}

/// Connects, and says whether the client has a Session.
#[track_caller]
fn open(address: SocketAddr, connect: &Connect, is_present: bool) -> Wire {
    let mut wire = Wire::open(address, PATIENCE).unwrap();
    wire.send(&connect.bytes());
    let answer = next(&mut wire, CONNACK);
    assert_eq!((answer.reason_code(), answer.body[0]), (0, u8::from(is_present)));
    wire
}

/// The next packet of this kind.
#[track_caller]
fn next(wire: &mut Wire, kind: u8) -> Packet {
    loop {
        let packet = received(wire);
        if packet.kind() == kind {
            return packet;
        }
    }
}

#[track_caller]
fn received(wire: &mut Wire) -> Packet {
    match wire.receive(PATIENCE) {
        Received::Packet(packet) => packet,
        Received::Nothing | Received::Closed => panic!("no packet"),
    }
}

/// The command is killed again and again, and at last it is not.
fn split_in_the_end(nodes: &Nodes) {
    let data = nodes.data(0);
    for pause in [1, 3, 5, 8, 12, 20, 40] {
        let mut command = nodes.begin_command(0, SPLIT);
        thread::sleep(Duration::from_millis(pause));
        command.kill().unwrap();
        command.wait().unwrap();
        let (is_split, is_there) = (data.join("cells/number").exists(), data.join("log").exists());
        assert!(is_split || is_there, "neither the log nor those of the cells");
    }
    if data.join("log").exists() {
        assert!(nodes.command(0, SPLIT).success());
    }
    assert!(data.join("cells/number").exists() && data.join("log.before-split").exists() && !data.join("log").exists());
    assert_eq!(nodes.command(0, SPLIT).code(), Some(5), "it is split");
}

fn members_get_each_job_once(members: &mut [Client; 3], address: SocketAddr) {
    members.iter_mut().for_each(|member| member.connect_again(&[address]));
    let (mut jobs, deadline) = (Vec::new(), now() + PATIENCE);
    while jobs.len() < MESSAGES {
        assert!(now() < deadline, "{jobs:?} came alone");
        jobs.extend(members.iter_mut().flat_map(Client::messages_there).map(|message| message.topic));
    }
    jobs.sort();
    assert_eq!(jobs, (0..MESSAGES).map(|number| format!("jobs/{number}")).collect::<Vec<_>>());
}

fn retained_messages_are_in_all_cells(addresses: &[SocketAddr; 2]) {
    let seen = |cell: usize, round: &str| {
        let connect = Connect::new(Version::V5, &id_of(cell, round));
        let mut client = connected(addresses[cell % 2], &connect);
        client.subscribe("state/#", 1);
        let found = [client.message(), client.message()].map(|found| (found.topic, found.payload));
        assert!(client.next_message(QUIET).is_none(), "no more retained messages");
        BTreeSet::from(found)
    };
    let of = |topic: &str, payload: &str| (topic.to_owned(), payload.as_bytes().to_vec());
    let first = BTreeSet::from([of("state/a", "first"), of("state/c", "first")]);
    (0..CELLS).for_each(|cell| assert_eq!(seen(cell, "first"), first));
    // A change comes behind those before, whatever the cell.
    for cell in 0..CELLS {
        let mut publisher = connected(addresses[0], &Connect::new(Version::V5, &id_of(cell, "changes")));
        publisher.publish(&Publish { qos: 1, retain: true, ..Publish::new("state/a", cell.to_string()) });
        let changed = BTreeSet::from([of("state/a", &cell.to_string()), of("state/c", "first")]);
        (0..CELLS).for_each(|other| assert_eq!(seen(other, &format!("{cell}")), changed, "cell {other}"));
    }
}

/// A Client Identifier that begins like this, and belongs to this cell.
fn id_of(cell: usize, begin: &str) -> String {
    let mut ids = (0..).map(|number| format!("{begin}-{number}"));
    ids.find(|id| usize::from(CellId::of_client(id, 3).0) == cell).unwrap()
}

const CELLS: usize = 3;
const SPLIT: &[&str] = &["store", "split", "--cells", "3"];
/// To each of some topics.
const MESSAGES: usize = 6;
/// The Packet Identifier of a message that is published by halves.
const HALF: u16 = 77;
/// How long to wait for what must not come.
const QUIET: Duration = Duration::from_millis(100);
