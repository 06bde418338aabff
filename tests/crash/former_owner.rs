//! A broker that was stopped, and goes on when another one has become the owner of the log: it answers clients with nothing that its successor has
//! changed, though they have sent their packets before it can know of the successor.

use std::net::SocketAddr;
use std::time::Duration;

use wire::{
    CONNACK, Connect, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL_KIND, Packet, Publish, Received, SUBACK,
    Version, Wire, acknowledge, packet,
};

use crate::broker::Service as _;
use crate::nodes::{Harm, Nodes};
use crate::now;

const V5: Version = Version::V5;

#[test]
fn a_former_owner_answers_nothing_that_its_successor_has_changed() {
    if nats_servers::is_missing() {
        return;
    }
    let mut nodes = Nodes::new(1);
    (0..3).for_each(|number| nodes.start_node(number));
    let former = until_owner(&nodes, None);
    let address = nodes.address(former);
    let mut publisher = connect(address, &Connect::new(V5, "p"));
    let mut reader = connect(address, &Connect::durable(V5, "reader"));
    reader.send(&V5.subscribe(1, "q", 2));
    wait_for(&mut reader, SUBACK);
    publish(&mut publisher, &Publish { retain: true, ..message("r", "former", 1) }, PUBACK);
    publish(&mut publisher, &message("q", "once", 2), PUBREC);
    wait_for(&mut reader, PUBLISH);
    nodes.harm(Harm::StoppedNode(former));

    let successor = nodes.address(until_owner(&nodes, Some(former)));
    let mut publisher = connect(successor, &Connect::new(V5, "p"));
    publish(&mut publisher, &Publish { retain: true, ..message("r", "newer", 1) }, PUBACK);
    let mut reader = connect(successor, &Connect::durable(V5, "reader"));
    let once = Publish::parse(V5, &wait_for(&mut reader, PUBLISH)).unwrap();
    reader.send(&acknowledge(PUBREC, once.packet_id));
    wait_for(&mut reader, PUBREL_KIND);
    reader.send(&acknowledge(PUBCOMP, once.packet_id));
    reader.send(&packet(DISCONNECT, &[]));
    while reader.receive(PATIENCE) != Received::Closed {}

    // What the former owner finds in its sockets when it goes on.
    let opened = |connect: Connect, packet: &[u8]| {
        let mut wire = Wire::open(address, PATIENCE).unwrap();
        wire.send(&[&connect.bytes(), packet].concat());
        wire
    };
    let waiting = [
        opened(Connect::new(V5, "t"), &V5.subscribe(1, "r", 0)),
        opened(Connect::durable(V5, "reader"), &[]),
        opened(Connect::new(V5, "p"), &message("q", "lost", 1).bytes(V5)),
    ];
    nodes.heal();
    for mut wire in waiting {
        // It ends all connections when it knows that it is not the owner any more.
        let mut received = Vec::new();
        loop {
            match wire.receive(PATIENCE) {
                Received::Packet(packet) => received.push(packet),
                Received::Nothing => panic!("the connection stays: {received:x?}"),
                Received::Closed => break,
            }
        }
        let promises = |packet: &Packet| match packet.kind() {
            CONNACK => packet.reason_code() == 0, // not the refusal of a standby
            kind => [SUBACK, PUBLISH, PUBACK].contains(&kind),
        };
        assert!(!received.iter().any(promises), "{received:x?}\n{}", nodes.log());
    }
}

/// The node that serves, and is not `other`.
fn until_owner(nodes: &Nodes, other: Option<usize>) -> usize {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(owner) = nodes.owner().filter(|owner| Some(*owner) != other) {
            return owner;
        }
        assert!(now() < deadline, "no node serves\n{}", nodes.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn connect(address: SocketAddr, connect: &Connect) -> Wire {
    let mut wire = Wire::open(address, PATIENCE).unwrap();
    wire.send(&connect.bytes());
    assert_eq!(wait_for(&mut wire, CONNACK).reason_code(), 0);
    wire
}

fn message(topic: &str, payload: &str, qos: u8) -> Publish {
    Publish { qos, packet_id: 1, ..Publish::new(topic, payload) }
}

fn publish(wire: &mut Wire, publish: &Publish, answer: u8) {
    wire.send(&publish.bytes(V5));
    wait_for(wire, answer);
}

/// The next packet of this kind.
fn wait_for(wire: &mut Wire, kind: u8) -> Packet {
    loop {
        match wire.receive(PATIENCE) {
            Received::Packet(packet) if packet.kind() == kind => return packet,
            Received::Packet(_) => {}
            end @ (Received::Nothing | Received::Closed) => panic!("{end:?} instead of {kind:x}"),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
