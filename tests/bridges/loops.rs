//! Bridges in a ring.

use crate::client::Client;
use crate::node::{Kind, Node};
use crate::passing::bridge;

#[test]
fn two_brokers_that_send_everything_to_each_other_get_each_message_once() {
    let mut brokers = [Node::new(Kind::Oncemq), Node::new(Kind::Oncemq)];
    let all = ["filter = \"#\", direction = \"out\""];
    brokers[0].configure(&bridge(&brokers[1].url(), "client_id = \"from-0\"", &all));
    brokers[1].configure(&bridge(&brokers[0].url(), "client_id = \"from-1\"", &all));
    brokers.iter_mut().for_each(Node::start);
    brokers.iter().for_each(|broker| broker.wait_for_log("bridge_connected"));
    let mut clients = brokers.each_ref().map(|broker| Client::subscribed(broker.address, "watcher", "#"));
    for (number, client) in clients.iter_mut().enumerate() {
        client.publish_now(&format!("from/{number}"), "x", 2, false);
    }
    for client in &mut clients {
        client.expect(&["from/0 x 2", "from/1 x 2"]);
    }
}

#[test]
fn three_brokers_in_a_ring_get_each_message_once() {
    let mut brokers = [(); 3].map(|()| Node::new(Kind::Oncemq));
    for number in 0..3 {
        let url = brokers[(number + 1) % 3].url();
        let settings = format!("client_id = \"from-{number}\"");
        brokers[number].configure(&bridge(&url, &settings, &["filter = \"#\""]));
    }
    brokers.iter_mut().for_each(Node::start);
    brokers.iter().for_each(|broker| broker.wait_for_log("bridge_connected"));
    let mut clients = brokers.each_ref().map(|broker| Client::subscribed(broker.address, "watcher", "#"));
    clients[0].publish_now("a", "x", 1, false);
    for client in &mut clients {
        client.expect(&["a x 1"]);
    }
}

/// The one in the middle has no bridges of its own, and still is named in the way of each message.
#[test]
fn a_ring_through_a_broker_without_bridges_brings_nothing_back_to_it() {
    let mut brokers = [(); 3].map(|()| Node::new(Kind::Oncemq));
    let all = ["filter = \"#\", direction = \"both\""];
    let to_middle = |number| bridge(&brokers[1].url(), &format!("client_id = \"from-{number}\""), &all);
    let across = bridge(&brokers[2].url(), "client_id = \"across\"", &all).replace("name = \"b\"", "name = \"across\"");
    let configurations = [to_middle(0) + &across, String::new(), to_middle(2)];
    for (broker, configuration) in brokers.iter().zip(configurations) {
        broker.configure(&configuration);
    }
    brokers.iter_mut().for_each(Node::start);
    brokers[0].wait_for_log_times("bridge_connected", 2);
    brokers[2].wait_for_log("bridge_connected");
    let mut clients = brokers.each_ref().map(|broker| Client::subscribed(broker.address, "watcher", "#"));
    clients[1].publish_now("a", "x", 1, false);
    for (client, expected) in clients.iter_mut().zip([&["a x 1", "a x 1"][..], &["a x 1"], &["a x 1", "a x 1"]]) {
        client.expect(expected);
    }
}

/// Each message has two ways to the other broker, and none back.
#[test]
fn two_brokers_that_both_bridge_both_ways_do_not_loop() {
    let mut brokers = [Node::new(Kind::Oncemq), Node::new(Kind::Oncemq)];
    let all = ["filter = \"#\", direction = \"both\""];
    brokers[0].configure(&bridge(&brokers[1].url(), "client_id = \"from-0\"", &all));
    brokers[1].configure(&bridge(&brokers[0].url(), "client_id = \"from-1\"", &all));
    brokers.iter_mut().for_each(Node::start);
    brokers.iter().for_each(|broker| broker.wait_for_log("bridge_connected"));
    let mut clients = brokers.each_ref().map(|broker| Client::subscribed(broker.address, "watcher", "#"));
    clients[0].publish_now("a", "x", 2, false);
    clients[0].expect(&["a x 2"]);
    clients[1].expect(&["a x 2", "a x 2"]);
}

#[test]
fn mosquitto_sends_nothing_back_to_a_bridge_in_both_directions() {
    for settings in ["", "protocol_version = \"3.1.1\""] {
        let there = Node::started(Kind::Mosquitto, "");
        let here =
            Node::started(Kind::Oncemq, &bridge(&there.url(), settings, &["filter = \"#\", direction = \"both\""]));
        here.wait_for_log("bridge_connected");
        let mut clients = [&here, &there].map(|broker| Client::subscribed(broker.address, "watcher", "#"));
        clients[0].publish_now("here", "x", 2, false);
        clients[1].publish_now("there", "x", 2, false);
        for client in &mut clients {
            client.expect(&["here x 2", "there x 2"]);
        }
    }
}

/// The bridge is one publisher there, whose `dedup-id` must differ.
#[test]
fn publishers_with_equal_dedup_ids_are_told_apart_behind_a_bridge() {
    use wire::{Connect, Version, Wire, packet, string};
    let there = Node::started(Kind::Oncemq, "");
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), "dedup_id = true", &["filter = \"#\""]));
    here.wait_for_log("bridge_connected");
    let mut at_there = Client::subscribed(there.address, "at-there", "#");
    for name in ["one", "two"] {
        let mut wire = Wire::open(here.address, crate::PATIENCE).unwrap();
        wire.send(&Connect::new(Version::V5, name).bytes());
        let property = [&[0x26][..], &string("dedup-id"), &string("7")].concat();
        let body = [&string(name)[..], &[0, 1, u8::try_from(property.len()).unwrap()], &property, b"x"].concat();
        wire.send(&packet(0x32, &body));
        for _ in 0..2 {
            wire.receive(crate::PATIENCE);
        }
    }
    at_there.expect(&["one x 1", "two x 1"]);
}
