//! Messages with a `dedup-id` of one user, who has a client in each cell.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use wire::{CONNACK, Connect, PUBACK, Publish, Received, Version, Wire, packet};

use crate::client::{Client, PATIENCE, connected, now};
use crate::messages::id_of;
use crate::nodes::{CELLS, Nodes, USER};

/// A subscriber to these messages, in a cell that this node does not own.
pub(crate) fn subscribed(nodes: &Nodes, not_of: usize) -> Client {
    let owners = nodes.owners(0);
    let cell = owners.iter().position(|owner| *owner != Some(format!("n{not_of}"))).unwrap();
    let id = id_of(cell, "deduplicated");
    let mut subscriber = connected(nodes.address(0), &Connect::durable(Version::V5, &id));
    subscriber.subscribe("once/#", 1);
    subscriber
}

/// Each message is published by all clients of the user, one after the other. `new`: how many of them were not published before.
pub(crate) fn only_the_first_is_published(nodes: &Nodes, alive: &[usize], (numbers, new): (Range<usize>, usize)) {
    let mut accepted = 0;
    for number in numbers {
        for cell in 0..CELLS {
            let node = alive[(number + cell) % alive.len()];
            accepted += usize::from(!publish(nodes, node, (cell, number)));
        }
    }
    assert_eq!(accepted, new);
}

/// The messages have come to the subscriber once. Its cell may have gone to another node.
pub(crate) fn each_came_once(nodes: &Nodes, subscriber: &mut Client, expected: Range<usize>) {
    let mut received = BTreeSet::new();
    let deadline = now() + PATIENCE;
    while received.len() < expected.len() && now() < deadline {
        match subscriber.next_message(Duration::from_secs(1)) {
            // At QoS 1 it comes again if its acknowledgement was lost with the connection.
            Some(Publish { payload, dup, .. }) => {
                assert!(received.insert(payload.clone()) || dup, "{payload:?} came twice");
            }
            None if subscriber.is_gone() => subscriber.connect_again(&[nodes.address(0), nodes.address(2)]),
            None => {}
        }
    }
    assert!(subscriber.next_message(Duration::from_secs(1)).is_none());
    assert_eq!(received, expected.map(|number| number.to_string().into_bytes()).collect());
}

/// The client of the user in a cell publishes until it is acknowledged. Returns whether the message is called a duplicate.
fn publish(nodes: &Nodes, node: usize, (cell, number): (usize, usize)) -> bool {
    let user = Some((USER.to_owned(), USER.to_owned()));
    let connect = Connect { user, ..Connect::new(Version::V5, &id_of(cell, "publisher-of-user")) };
    let text = |text: &str| [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let payload = number.to_string();
    let property = [&[0x26][..], &text("dedup-id"), &text(&payload)].concat();
    let head = [&text("once/x")[..], &[0, 1, u8::try_from(property.len()).unwrap()]].concat();
    let publish = packet(0x32, &[&head[..], &property, payload.as_bytes()].concat());
    nodes.wait("an acknowledgement", |nodes| {
        let mut wire = Wire::open(nodes.address(node), Duration::from_secs(10)).ok()?;
        let mut ask = |bytes: &[u8], kind: u8| {
            wire.send(bytes);
            let Received::Packet(answer) = wire.receive(Duration::from_secs(10)) else { return None };
            (answer.kind() == kind).then_some(answer)
        };
        ask(&connect.bytes(), CONNACK).filter(|answer| answer.reason_code() == 0)?;
        let answer = ask(&publish, PUBACK)?;
        Some(answer.body.windows(b"duplicate".len()).any(|part| part == b"duplicate"))
    })
}
