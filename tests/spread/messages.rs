//! Messages from clients of some cells to those of others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use oncemq::routing::CellId;
use wire::{Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, Version, acknowledge};

use crate::client::{Client, PATIENCE, connected, now};
use crate::nodes::{CELLS, Nodes};
use crate::shares::Received;

/// A SUBACK comes soon, and a message of another cell after it is not missed. The fastest of three counts, because other tests use the same machine.
pub(crate) fn a_subscription_is_soon_known_to_all_cells(nodes: &Nodes) {
    let mut clients: Vec<Client> = (0..CELLS)
        .map(|cell| connected(nodes.address(cell % 3), &Connect::new(Version::V5, &id_of(cell, "soon"))))
        .collect();
    for cell in 0..CELLS {
        let took = [0, 1, 2].map(|turn| {
            let topic = format!("soon/{cell}/{turn}");
            let begin = now();
            clients[cell].subscribe(&topic, 1);
            let took = now() - begin;
            clients[(cell + 1 + turn) % CELLS].publish(&Publish::new(&topic, "x"));
            assert!(clients[cell].next_message(PATIENCE / 3).is_some(), "cell {cell} misses a message");
            took
        });
        let took = took.into_iter().min().unwrap();
        assert!(took < Duration::from_secs(1), "{took:?} for a SUBACK in cell {cell}");
    }
}

/// One cell of each node has a subscriber and a member of a share, and another one two publishers, each connected to another node. Then a node is killed.
pub(crate) fn none_is_lost_doubled_or_overtaken(nodes: &mut Nodes) {
    let owners = nodes.owners(0);
    let cells_of = |node: usize| {
        let owner = Some(format!("n{node}"));
        let mut cells = (0..CELLS).filter(|cell| owners[*cell] == owner);
        [cells.next().unwrap(), cells.next().unwrap()]
    };
    let cells = [0, 1, 2].map(cells_of);
    // Each in the order in which some clients try them.
    let addresses = [0, 1, 2].map(|first| [0, 1, 2].map(|next| nodes.address((first + next) % 3)));
    let subscribers = [0, 1, 2].map(|node| {
        let connect = Connect::durable(Version::V5, &id_of(cells[node][0], "subscriber"));
        let addresses = addresses[(node + 1) % 3];
        let mut subscriber = connected(addresses[0], &connect);
        subscriber.subscribe("numbers/#", 2);
        (subscriber, addresses)
    });
    let members = [0, 1, 2].map(|node| {
        let connect = Connect::durable(Version::V5, &id_of(cells[node][0], "member"));
        let addresses = addresses[(node + 1) % 3];
        let mut member = connected(addresses[0], &connect);
        member.subscribe("$share/workers/numbers/#", 2);
        (member, addresses)
    });
    let received = Received::default();
    let (acknowledged, acknowledgements) = sync_channel(usize::from(NUMBERS));
    thread::scope(|scope| {
        for (node, [_, cell]) in cells.into_iter().enumerate() {
            for (qos, version) in [(1, Version::V5), (2, Version::V311)] {
                let connect = Connect::durable(version, &id_of(cell, &format!("publisher-{qos}")));
                let (addresses, acknowledged) = (addresses[(node + 2) % 3], acknowledged.clone());
                scope.spawn(move || {
                    publish(&addresses, &connect, (&format!("numbers/{node}/{qos}"), qos), &acknowledged);
                });
            }
        }
        drop(acknowledged);
        for (subscriber, addresses) in subscribers {
            scope.spawn(move || expect_numbers(subscriber, &addresses));
        }
        for (member, addresses) in members {
            let received = &received;
            scope.spawn(move || received.take_from(member, &addresses, usize::from(NUMBERS) * 6));
        }
        let before = acknowledgements.iter().take(usize::from(NUMBERS)).count();
        nodes.kill(1);
        assert_eq!(before + acknowledgements.iter().count(), usize::from(NUMBERS) * 6);
    });
    received.check(6, NUMBERS);
}

/// Publishes numbers. Connects again, and sends again what is not acknowledged, whenever the connection ends.
fn publish(addresses: &[SocketAddr], connect: &Connect, (topic, qos): (&str, u8), acknowledged: &SyncSender<()>) {
    let mut publisher = connected(addresses[0], connect);
    // What to send again, by its Packet Identifier.
    let mut in_flight = BTreeMap::new();
    let mut last = 0;
    while last < NUMBERS || !in_flight.is_empty() {
        while last < NUMBERS && in_flight.len() < IN_FLIGHT {
            last += 1;
            let publish = Publish { qos, packet_id: last, ..Publish::new(topic, last.to_string()) };
            publisher.send(&publish.bytes(connect.version));
            in_flight.insert(last, Publish { dup: true, ..publish }.bytes(connect.version));
        }
        let Some(answer) = publisher.receive(PATIENCE) else {
            assert!(publisher.is_gone(), "{topic} is not acknowledged");
            publisher.connect_again(addresses);
            in_flight.values().for_each(|bytes| publisher.send(bytes));
            continue;
        };
        let packet_id = answer.packet_id();
        match answer.kind() {
            PUBREC => {
                assert_eq!(answer.reason_code(), 0, "{topic} is refused");
                in_flight.insert(packet_id, acknowledge(PUBREL, packet_id));
                publisher.send(&acknowledge(PUBREL, packet_id));
            }
            kind => {
                assert_eq!(kind, if qos == 1 { PUBACK } else { PUBCOMP });
                assert!(qos == 2 || answer.reason_code() == 0, "{topic} has no subscribers");
                assert!(in_flight.remove(&packet_id).is_some(), "{packet_id} of {topic} is acknowledged twice");
                acknowledged.send(()).unwrap();
            }
        }
    }
}

/// Receives all numbers of all publishers; those at QoS 1 perhaps more than once.
fn expect_numbers(mut subscriber: Client, addresses: &[SocketAddr]) {
    let mut received: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    let deadline = now() + PATIENCE;
    loop {
        match subscriber.next_message(Duration::from_secs(1)) {
            Some(message) => {
                let number = String::from_utf8(message.payload).unwrap().parse().unwrap();
                let numbers = received.entry(message.topic).or_default();
                if message.qos == 2 || !numbers.contains(&number) {
                    numbers.push(number);
                }
            }
            None if subscriber.is_gone() => subscriber.connect_again(addresses),
            // None comes behind the last ones.
            None if received.values().filter(|numbers| numbers.last() == Some(&NUMBERS)).count() == 6 => break,
            None => assert!(now() < deadline, "numbers are missing: {received:?}"),
        }
    }
    for (topic, numbers) in received {
        assert!(numbers.iter().copied().eq(1..=NUMBERS), "{topic}: {numbers:?}");
    }
}

/// Whoever subscribes behind the acknowledgement gets it, in whatever cell, and what cleared it.
pub(crate) fn a_retained_message_is_in_all_cells_when_it_is_acknowledged(nodes: &Nodes, round: &str) {
    for (cell, qos) in (0..CELLS).zip([1, 2].into_iter().cycle()) {
        let topic = format!("state/{round}/{cell}");
        let connect = Connect::new(Version::V5, &id_of(cell, &format!("{round}-publisher")));
        let mut publisher = connected(nodes.address(0), &connect);
        for payload in ["first", "", "last"] {
            publisher.publish(&Publish { qos, retain: true, ..Publish::new(&topic, payload) });
            for other in 0..CELLS {
                let connect = Connect::new(Version::V5, &id_of(other, &format!("{round}-{cell}-{payload}")));
                let mut subscriber = connected(nodes.address(2 * (other % 2)), &connect);
                subscriber.subscribe(&topic, 2);
                let expected = (!payload.is_empty()).then(|| (payload.as_bytes().to_vec(), true));
                let wait = if expected.is_some() { PATIENCE } else { Duration::ZERO };
                let received = subscriber.next_message(wait).map(|message| (message.payload, message.retain));
                assert_eq!(received, expected, "{topic} in cell {other}");
            }
        }
    }
}

/// The retained messages of a time when another node was alive are there.
pub(crate) fn retained_messages_are_there(nodes: &Nodes, round: &str) {
    for cell in 0..CELLS {
        let mut subscriber = connected(nodes.address(0), &Connect::new(Version::V5, &id_of(cell, "late")));
        subscriber.subscribe(&format!("state/{round}/+"), 1);
        let topics: BTreeSet<_> = (0..CELLS).map(|_| subscriber.message().topic).collect();
        assert_eq!(topics.len(), CELLS);
    }
}

/// Node 1 does not run.
pub(crate) fn a_will_gets_to_another_cell(nodes: &Nodes) {
    let mut heir = connected(nodes.address(0), &Connect::new(Version::V5, &id_of(0, "heir")));
    heir.subscribe("wills/#", 1);
    let will = Some(Publish { qos: 1, ..Publish::new("wills/pump", "gone") });
    let connect = Connect { will, ..Connect::new(Version::V5, &id_of(1, "dying")) };
    connected(nodes.address(2), &connect).cut();
    assert_eq!(heir.message().payload, b"gone");
}

/// A Client Identifier that begins like this, and belongs to this cell.
pub(crate) fn id_of(cell: usize, begin: &str) -> String {
    let mut ids = (0..).map(|number| format!("{begin}-{number}"));
    ids.find(|id| usize::from(CellId::of_client(id, 6).0) == cell).unwrap()
}

/// Of each publisher.
const NUMBERS: u16 = 150;

/// How many messages a publisher sends before the first of them is acknowledged.
const IN_FLIGHT: usize = 20;
