//! Clients of a cluster with cells.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::nodes::Nodes;

/// Clients whose Sessions stay find them whatever node they connect to.
pub(crate) fn sessions_are_found_from_each_node(nodes: &Nodes) {
    for number in 0..CLIENTS {
        let id = format!("client-{number}");
        for (round, was_present) in [(0, 0), (1, 1), (2, 1)] {
            let node = (number + round) % 3;
            let answer = nodes.wait(&id, |nodes| connect(nodes, node, &id));
            assert_eq!(answer, [0x20, 2, was_present, 0], "{id} at node {node}");
        }
    }
}

/// Sends CONNECT of 3.1.1, without Clean Session, and returns the answer.
fn connect(nodes: &Nodes, node: usize, id: &str) -> Option<[u8; 4]> {
    let mut stream = TcpStream::connect(nodes.address(node)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let length = u8::try_from(id.len()).unwrap();
    let head = [&[0x10, 12 + length], &b"\0\x04MQTT\x04\0\0\x3C\0"[..], &[length]].concat();
    stream.write_all(&[&head, id.as_bytes()].concat()).ok()?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).ok()?;
    // DISCONNECT.
    stream.write_all(b"\xE0\0").ok()?;
    Some(answer)
}

/// More than there are cells, so that each has some.
const CLIENTS: usize = 30;
