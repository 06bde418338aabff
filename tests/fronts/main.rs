//! Clients of a cluster whose nodes pass them to the owner: three real nodes with three servers of NATS, and clients that use one address each.

#![cfg(test)]

#[expect(dead_code, reason = "the test with cells uses more of it")]
mod client;
mod cost;
mod nodes;
mod streams;

use std::time::Duration;

use wire::{Connect, Publish, Version};

use client::connected;
use nodes::Nodes;

#[test]
fn clients_at_any_node_are_served_also_while_nodes_die() {
    if nats_servers::is_missing() {
        return;
    }
    let mut nodes = Nodes::start();
    let owner = nodes.owner();
    let [one, two] = nodes.others(owner);
    nodes.wait_for_links(one);
    nodes.wait_for_links(two);

    every_kind_of_message_passes(&nodes, [one, two]);
    the_address_is_that_of_the_client(&nodes, owner, one);
    a_slow_client_holds_no_other(&nodes, one);
    nothing_acknowledged_is_lost_when_the_owner_dies(&mut nodes, owner, [one, two]);

    // The node that was killed is a front now, whose death is noticed by the owner.
    nodes.start_node(owner);
    nodes.wait_for_links(owner);
    a_will_is_published_when_a_front_dies(&mut nodes, owner);
}

/// Of both versions, each at another front.
fn every_kind_of_message_passes(nodes: &Nodes, [one, two]: [usize; 2]) {
    let mut subscriber = connected(nodes.address(one), &Connect::new(Version::V5, "watcher"));
    subscriber.subscribe("pumps/#", 2);
    let mut publisher = connected(nodes.address(two), &Connect::new(Version::V311, "pump"));
    for qos in 0..3 {
        let retain = qos == 1;
        publisher.publish(&Publish { qos, retain, ..Publish::new(&format!("pumps/{qos}"), format!("at {qos}")) });
        let found = subscriber.message();
        assert_eq!((found.topic, found.payload, found.qos), (format!("pumps/{qos}"), format!("at {qos}").into(), qos));
    }
    // As large as a packet may be, in both directions.
    let large: Vec<u8> = (0..1_000_000_u32).map(|place| place.to_le_bytes()[0] ^ place.to_le_bytes()[1]).collect();
    publisher.publish(&Publish { qos: 1, ..Publish::new("pumps/large", large.clone()) });
    assert!(subscriber.message().payload == large, "the large message is another one");
    let mut late = connected(nodes.address(two), &Connect::new(Version::V311, "late"));
    late.subscribe("pumps/1", 0);
    let retained = late.message();
    assert!(retained.retain && retained.payload == b"at 1");
    // A normal end.
    subscriber.disconnect();
    assert!(subscriber.is_closed());
}

fn the_address_is_that_of_the_client(nodes: &Nodes, owner: usize, front: usize) {
    let mut client = connected(nodes.address(front), &Connect::new(Version::V5, "who"));
    let address = client.local_address().to_string();
    let answer = nodes.ask(owner, "/clients/who");
    assert!(answer.to_string().contains(&format!("\"{address}\"")), "{address}: {answer}");
    nodes.wait("a tunnel", |nodes| {
        let tunnels = nodes.ask(owner, "/cluster")["tunnels"].clone();
        (tunnels["open"].as_u64() >= Some(1) && tunnels["links"] == 2).then_some(())
    });
    client.disconnect();
}

fn a_slow_client_holds_no_other(nodes: &Nodes, front: usize) {
    let mut slow = connected(nodes.address(front), &Connect::new(Version::V5, "slow"));
    slow.subscribe("flood", 0);
    let mut quick = connected(nodes.address(front), &Connect::new(Version::V5, "quick"));
    quick.subscribe("flood", 0);
    let mut publisher = connected(nodes.address(front), &Connect::new(Version::V5, "source"));
    for number in 0..FLOOD {
        publisher.publish(&Publish::new("flood", [&u32::to_le_bytes(number)[..], &[0; 60_000]].concat()));
        assert_eq!(quick.message().payload[..4], number.to_le_bytes(), "the slow client holds the other");
    }
    // It gets what was kept for it, in order, and is served again.
    let mut last = None;
    slow.subscribe("end", 0);
    publisher.publish(&Publish::new("end", "x"));
    loop {
        let found = slow.message();
        if found.topic == "end" {
            break;
        }
        let number = u32::from_le_bytes(found.payload[..4].try_into().unwrap());
        assert!(last < Some(number), "{number} after {last:?}");
        last = Some(number);
    }
}

/// More than the buffers on the way have.
const FLOOD: u32 = 500;

fn nothing_acknowledged_is_lost_when_the_owner_dies(nodes: &mut Nodes, owner: usize, [one, two]: [usize; 2]) {
    let [reader, writer] = [Connect::durable(Version::V5, "reader"), Connect::durable(Version::V311, "writer")];
    let mut subscriber = connected(nodes.address(one), &reader);
    subscriber.subscribe("numbers", 2);
    let mut publisher = connected(nodes.address(two), &writer);
    let mut received = Vec::new();
    for number in 0..NUMBERS {
        if number == NUMBERS / 2 {
            nodes.kill(owner);
        }
        let publish = Publish { qos: 1, ..Publish::new("numbers", number.to_string()) };
        // A client that does not know what became of its message sends it again.
        while !publisher.try_publish(&publish) {
            publisher.connect_again(&[nodes.address(two)]);
        }
        // Those that were read before the end of the connection.
        received.extend(subscriber.messages_there());
    }
    let deadline = client::now() + client::PATIENCE;
    while received.last().is_none_or(|last: &Publish| last.payload != (NUMBERS - 1).to_string().as_bytes()) {
        assert!(client::now() < deadline, "{} messages came", received.len());
        match subscriber.next_message(Duration::from_secs(1)) {
            Some(message) => received.push(message),
            None if subscriber.is_gone() => subscriber.connect_again(&[nodes.address(one)]),
            None => {}
        }
    }
    for number in 0..NUMBERS {
        let text = number.to_string();
        assert!(received.iter().any(|message| message.payload == text.as_bytes()), "{number} is lost");
    }
    subscriber.disconnect();
}

const NUMBERS: u32 = 40;

fn a_will_is_published_when_a_front_dies(nodes: &mut Nodes, front: usize) {
    let served = nodes.owner();
    let mut watcher = connected(nodes.address(served), &Connect::new(Version::V5, "heir"));
    watcher.subscribe("wills/#", 1);
    let will = Some(Publish { qos: 1, ..Publish::new("wills/pump", "gone") });
    let mut dying = connected(nodes.address(front), &Connect { will, ..Connect::new(Version::V5, "dying") });
    dying.subscribe("nothing", 0);
    nodes.kill(front);
    assert_eq!(watcher.message().payload, b"gone");
}
