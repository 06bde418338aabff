//! A stream of a cluster: every node has it, with the same messages and numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use wire::{Connect, Publish, Version};

use crate::client::connected;
use crate::nodes::Nodes;

/// What was acknowledged, and which number each message had when it was read.
#[derive(Default)]
struct Ledger {
    sent: u64,
    acknowledged: Vec<String>,
    numbers: BTreeMap<u64, String>,
}

#[test]
fn a_stream_has_each_acknowledged_message_once_with_the_same_number_at_each_node() {
    if nats_servers::is_missing() {
        return;
    }
    let mut nodes = Nodes::start_with("[[streams]]\nname = \"orders\"\ntopic = \"orders/#\"\nmax_bytes = \"1GiB\"\n");
    let mut ledger = Ledger::default();
    let owner = nodes.owner();
    let [front, other] = nodes.others(owner);
    [front, other].into_iter().for_each(|node| nodes.wait_for_links(node));
    ledger.publish(nodes.address(front), 300);
    ledger.compare(&nodes);

    // The owner dies while messages come.
    let address = nodes.address(front);
    thread::scope(|scope| {
        let publisher = scope.spawn(|| ledger.publish(address, 300));
        thread::sleep(Duration::from_millis(200));
        nodes.kill(owner);
        publisher.join().unwrap();
    });
    let next = nodes.owner();
    ledger.compare(&nodes);

    // The former owner was away, and follows. What it had and no majority is gone.
    nodes.start_node(owner);
    nodes.move_to(next, owner);
    ledger.publish(nodes.address(owner), 100);
    ledger.compare(&nodes);

    // A node without anything fetches a copy from another one, because the log of the cluster does not begin with the first message any more.
    nodes.wait("a log that was trimmed", |nodes| {
        let cluster = nodes.ask(owner, "/cluster");
        (cluster["tail_bytes"].as_u64()? < cluster["sequence"].as_u64()? * 40).then_some(())
    });
    nodes.kill(next);
    nodes.wipe(next);
    nodes.start_node(next);
    ledger.publish(nodes.address(owner), 100);
    nodes.move_to(owner, next);
    assert!(nodes.log_of(next).contains("the copy of the log was fetched from node"), "{}", nodes.log_of(next));
    ledger.publish(nodes.address(next), 100);
    ledger.compare(&nodes);
    assert_eq!(ledger.acknowledged.len(), 900);
    println!("{} of {} messages were acknowledged", ledger.acknowledged.len(), ledger.sent);
}

impl Ledger {
    /// Publishes until so many messages are acknowledged. One that is not is never sent again.
    fn publish(&mut self, address: SocketAddr, count: usize) {
        let connect = || connected(address, &Connect::new(Version::V5, "publisher"));
        let mut client = connect();
        let until = self.acknowledged.len() + count;
        while self.acknowledged.len() < until {
            self.sent += 1;
            let payload = self.sent.to_string();
            let topic = format!("orders/{}", self.sent % 7);
            if client.try_publish(&Publish { qos: 1, ..Publish::new(&topic, payload.clone()) }) {
                self.acknowledged.push(payload);
            } else {
                client = connect();
            }
        }
    }

    /// Reads the stream at its owner.
    fn compare(&mut self, nodes: &Nodes) {
        let lines = nodes.read(nodes.owner(), "orders");
        let numbers: BTreeMap<u64, String> = lines
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(number, payload)| (number.parse().unwrap(), payload.to_owned()))
            .collect();
        assert_eq!(numbers.len(), lines.lines().count(), "a number twice");
        let all: Vec<u64> = numbers.keys().copied().collect();
        assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>(), "a gap");
        for (number, payload) in &self.numbers {
            assert_eq!(numbers.get(number), Some(payload), "{number} is another message");
        }
        for payload in &self.acknowledged {
            assert_eq!(numbers.values().filter(|found| *found == payload).count(), 1, "{payload}");
        }
        self.numbers = numbers;
    }
}
