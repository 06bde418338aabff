//! What a message costs through a front: the processor time of all nodes and servers of NATS, beside that of clients that are at the owner.

use std::thread;
use std::time::Duration;

use wire::{Connect, Publish, Version};

use crate::client::{PATIENCE, connected, now};
use crate::nodes::Nodes;

/// Prints the cost at QoS 0 for 1, 10 and 100 connections, each at the front and at the owner. With `ONCEMQ_FRONT_MESSAGES` messages each.
#[test]
#[ignore = "it is a measurement: docs/PROOFS.md"]
#[expect(clippy::disallowed_methods, reason = "it is told how much to do")]
fn what_a_message_costs_at_a_front_and_at_the_owner() {
    if nats_servers::is_missing() {
        return;
    }
    let messages = std::env::var("ONCEMQ_FRONT_MESSAGES").map_or(20_000, |text| text.parse().unwrap());
    let nodes = Nodes::start();
    let owner = nodes.owner();
    let [front, other] = nodes.others(owner);
    nodes.wait_for_links(front);
    nodes.wait_for_links(other);
    let idle = nodes.processor_time();
    thread::sleep(Duration::from_secs(5));
    let idle = (nodes.processor_time() - idle) / 5.0;
    println!("idle: {:.1} ms of processor time a second", idle * 1e3);
    for connections in [1, 10, 100] {
        for (at, node) in [("owner", owner), ("front", front)] {
            let (seconds, used, received) = run(&nodes, node, (connections, messages));
            let cost = (used - idle * seconds) / f64::from(messages) * 1e6;
            println!(
                "{connections:>3} connections at the {at}: {cost:6.1} µs a message, {received} of {messages} came, {:.0} a second",
                f64::from(messages) / seconds
            );
        }
    }
}

/// Publishes through `connections` connections, to one subscriber. Returns the time that it took, the processor time, and how many messages came.
fn run(nodes: &Nodes, node: usize, (connections, messages): (u32, u32)) -> (f64, f64, u32) {
    let address = nodes.address(node);
    let mut subscriber = connected(address, &Connect::new(Version::V5, "cost-subscriber"));
    subscriber.subscribe("cost", 0);
    let connect = |number| connected(address, &Connect::new(Version::V5, &format!("cost-{number}")));
    let mut publishers: Vec<_> = (0..connections).map(connect).collect();
    let (begin, before) = (now(), nodes.processor_time());
    let reader = thread::spawn(move || {
        let mut received = 0;
        while received < messages && subscriber.next_message(PATIENCE / 30).is_some() {
            received += 1;
        }
        received
    });
    let publish = Publish::new("cost", [7; 64]);
    for turn in 0..messages.div_ceil(PER_TURN) {
        for number in 0..PER_TURN.min(messages - turn * PER_TURN) {
            let place = (turn * PER_TURN + number) % connections;
            publishers[usize::try_from(place).unwrap()].publish(&publish);
        }
        thread::sleep((begin + PERIOD * (turn + 1)).saturating_duration_since(now()));
    }
    let received = reader.join().unwrap();
    ((now() - begin).as_secs_f64(), nodes.processor_time() - before, received)
}

/// 5,000 messages a second.
const PER_TURN: u32 = 50;
const PERIOD: Duration = Duration::from_millis(10);
