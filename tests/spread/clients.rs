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

/// Each node shows the clients of all cells, and changes them.
pub(crate) fn each_node_answers_for_all(nodes: &Nodes, alive: &[usize]) {
    let mut expected: Vec<String> = (1..CLIENTS).map(|number| format!("client-{number}")).collect();
    expected.sort();
    for node in alive {
        // A cell that another node has adopted answers when its server has started.
        nodes.wait("each cell", |nodes| {
            let page = nodes.ask(*node, "/clients?limit=1000");
            (page["clients"].is_array() && page["missing_cells"].is_null()).then_some(())
        });
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = nodes.ask(*node, &format!("/clients?limit=7&client_id=client-*{cursor}"));
            assert!(page["missing_cells"].is_null(), "{page}");
            let clients = page["clients"].as_array().unwrap();
            assert!(clients.len() <= 7);
            seen.extend(clients.iter().map(|client| client["client_id"].as_str().unwrap().to_owned()));
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        seen.retain(|id| id != "client-0");
        seen.sort();
        assert_eq!(seen, expected, "at node {node}");
        for id in &expected {
            let client = nodes.ask(*node, &format!("/clients/{id}"));
            assert_eq!(client["client_id"], id.as_str());
        }
    }
    // One of them is not at the node that is asked.
    for node in alive {
        let code = |method: &str| nodes.request(*node, &format!("{method} /clients/client-0"), "").unwrap().0;
        let is_there = code("GET") == 200;
        assert_eq!(code("DELETE"), if is_there { 204 } else { 404 });
        assert_eq!(code("GET"), 404);
        let published = nodes.request(*node, "POST /publish", r#"{"topic":"a","qos":1}"#).unwrap();
        assert_eq!(published.0, 200, "{published:?}");
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
