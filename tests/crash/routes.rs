//! A server of NATS that does not reach the others, while all brokers are connected to it.

use std::thread;
use std::time::Duration;

use wire::{CONNACK, Connect, Received, Version, Wire};

use crate::broker::Service as _;
use crate::network::Cut;
use crate::nodes::{Harm, Nodes};
use crate::now;

#[test]
fn brokers_leave_a_server_that_does_not_reach_the_others() {
    if nats_servers::is_missing() {
        return;
    }
    let Some(mut nodes) = Nodes::on_machines(1, None, &[]) else { return };
    (0..3).for_each(|number| nodes.start_node(number));
    wait_until("a node serves", &nodes, || serves(&nodes));
    // All connect to the only one that is left, and mostly stay there.
    while nodes.servers.connections(0) < 3 {
        for number in [1, 2] {
            nodes.harm(Harm::KilledServer(number));
        }
        wait_until("all are connected to one server", &nodes, || nodes.servers.connections(0) == 3);
        nodes.heal();
        nodes.wait_until_whole();
    }
    nodes.harm(Harm::Cut(Cut::Routes(0)));
    wait_until("a node serves again", &nodes, || serves(&nodes));
}

/// Whether a node accepts a client, which needs a commit.
fn serves(nodes: &Nodes) -> bool {
    (0..3).any(|number| {
        let Ok(mut wire) = Wire::open(nodes.address(number), PATIENCE) else { return false };
        wire.send(&Connect::new(Version::V5, "c").bytes());
        match wire.receive(Duration::from_secs(1)) {
            Received::Packet(packet) => packet.kind() == CONNACK && packet.reason_code() == 0,
            Received::Nothing | Received::Closed => false,
        }
    })
}

fn wait_until(what: &str, nodes: &Nodes, is_so: impl Fn() -> bool) {
    let deadline = now() + PATIENCE;
    while !is_so() {
        assert!(now() < deadline, "{what}\n{}", nodes.log());
        thread::sleep(Duration::from_millis(100));
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
