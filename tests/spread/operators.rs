//! What operators ask any node is about all of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use wire::{Connect, PUBACK, PUBLISH, Publish, Received, Version, Wire, packet};

use crate::client::{PATIENCE, connected};
use crate::messages::id_of;
use crate::nodes::{CELLS, Nodes};

/// A ban that is set at one node holds at all when the answer comes, and its end, too.
pub(crate) fn a_ban_holds_at_all_nodes(nodes: &Nodes) {
    assert_eq!(nodes.request(0, "POST /bans", r#"{"user":"mallory","seconds":600}"#).unwrap().0, 204);
    assert_eq!(nodes.request(1, "POST /bans", r#"{"address":"127.0.0.1","seconds":600}"#).unwrap().0, 204);
    for node in 0..3 {
        assert_eq!(banned(nodes, node), ["127.0.0.1", "mallory"], "at node {node}");
        assert!(!accepts(nodes, node, "banned"));
    }
    assert!(nodes.command(2, &["bans", "--remove", "127.0.0.1"]).success());
    for node in 0..3 {
        assert_eq!(banned(nodes, node), ["mallory"], "at node {node}");
        assert!(accepts(nodes, node, "free"));
    }
    // A client of whatever cell, at another node than the one that is asked.
    for cell in 0..CELLS {
        let id = id_of(cell, "kicked");
        let mut client = connected(nodes.address(cell % 3), &Connect::new(Version::V5, &id));
        let kick = format!("DELETE /clients/{id}/connection?ban=600");
        assert_eq!(nodes.request((cell + 1) % 3, &kick, "").unwrap().0, 204, "{id}");
        assert_eq!(client.receive(PATIENCE).unwrap().reason_code(), 0x98);
        for node in 0..3 {
            assert!(!accepts(nodes, node, &id), "at node {node}");
        }
        assert_eq!(nodes.request(cell % 3, "DELETE /bans/address/127.0.0.1", "").unwrap().0, 204);
    }
}

/// A node that begins anew is told the bans that hold.
pub(crate) fn a_node_that_comes_back_learns_the_bans(nodes: &Nodes, node: usize) {
    nodes.wait("the bans", |nodes| (banned(nodes, node) == ["mallory"]).then_some(()));
}

fn banned(nodes: &Nodes, node: usize) -> Vec<String> {
    let bans = nodes.ask(node, "/bans");
    let name = |ban: &Value| ban["address"].as_str().or(ban["user"].as_str()).unwrap().to_owned();
    bans["bans"].as_array().into_iter().flatten().map(name).collect()
}

/// Whether a node accepts a client.
fn accepts(nodes: &Nodes, node: usize, id: &str) -> bool {
    let mut wire = Wire::open(nodes.address(node), PATIENCE).unwrap();
    wire.send(&Connect::new(Version::V5, id).bytes());
    match wire.receive(PATIENCE) {
        Received::Packet(answer) => answer.body[1] == 0,
        Received::Closed => false,
        Received::Nothing => panic!("{id} has no answer"),
    }
}

/// The dead letters, refusals and steps of messages of all cells are there at each node, and are changed there.
pub(crate) fn what_happened_in_any_cell_is_there_at_each_node(nodes: &Nodes) {
    let mut receivers: Vec<Wire> = (0..CELLS).map(|cell| receiver(nodes, cell)).collect();
    let published = nodes.request(0, "POST /publish", r#"{"topic":"letters/a","qos":1}"#).unwrap().1;
    for receiver in &mut receivers {
        let Received::Packet(message) = receiver.receive(PATIENCE) else { panic!("no message") };
        assert_eq!(message.kind(), PUBLISH);
        let refusal = [&Publish::parse(Version::V5, &message).unwrap().packet_id.to_be_bytes()[..], &[0x80]].concat();
        receiver.send(&packet(PUBACK, &refusal));
    }
    for node in 0..3 {
        let letters = nodes.wait("the dead letters", |nodes| {
            let page = nodes.ask(node, "/dead-letters?filter=letters/%23");
            let letters = page["dead_letters"].as_array()?.clone();
            (letters.len() == CELLS).then_some(letters)
        });
        for (cell, letter) in letters.iter().enumerate() {
            assert_eq!(letter["client_id"], id_of(cell, "receiver"));
            // It is shown when it is stored.
            let one = nodes.wait("a dead letter", |nodes| {
                let asked = nodes.request(node, &format!("GET /dead-letters/{}", letter["number"]), "");
                asked.filter(|(code, _)| *code == 200)
            });
            assert_eq!((&one.1["client_id"], &one.1["topic"]), (&letter["client_id"], &letter["topic"]));
        }
        let journey = nodes.ask(node, &format!("/messages/{}", published["message_id"].as_str().unwrap()));
        assert_eq!((&journey["topic"], &journey["complete"]), (&"letters/a".into(), &true.into()), "{journey}");
        let unknown = nodes.request(node, "GET /messages/0000000000000000-0000000000000007", "").unwrap();
        assert_eq!(unknown.0, 404);
        let question = r#"{"client_id":"a","action":"publish","topic":"b"}"#;
        assert_eq!(nodes.request(node, "POST /acl/explain", question).unwrap().1["allowed"], true);
        // It is gone from all.
        let gone = letters[node]["number"].as_u64().unwrap();
        assert_eq!(nodes.request(node, &format!("POST /dead-letters/{gone}/redrive"), "").unwrap().0, 204);
        assert_eq!(nodes.request(2 - node, &format!("DELETE /dead-letters/{gone}"), "").unwrap().0, 404);
        let Received::Packet(message) = receivers[node].receive(PATIENCE) else { panic!("no message") };
        assert_eq!(Publish::parse(Version::V5, &message).unwrap().topic, "letters/a");
        // The next node sees as many as this one.
        let refusal = [&Publish::parse(Version::V5, &message).unwrap().packet_id.to_be_bytes()[..], &[0x80]].concat();
        receivers[node].send(&packet(PUBACK, &refusal));
    }
    let refused = |limit: usize, node: usize| {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = nodes.ask(node, &format!("/refusals?limit={limit}{cursor}"));
            assert!(page["missing_cells"].is_null() && page["refusals"].as_array().unwrap().len() <= limit, "{page}");
            let topics = page["refusals"].as_array().unwrap().iter().map(|refusal| refusal["topic"].clone());
            all.splice(0..0, topics);
            let Some(next) = page["cursor"].as_str() else { return all };
            cursor = format!("&cursor={next}");
        }
    };
    // One after the other, so that their order is that of time, in a cell of another node each time.
    let topics: Vec<Value> = (0..CELLS).map(|cell| format!("$SYS/refused/{cell}").into()).collect();
    for (cell, topic) in topics.iter().enumerate() {
        let mut client = connected(nodes.address(0), &Connect::new(Version::V5, &id_of(cell, "refused")));
        client.publish(&Publish { qos: 1, ..Publish::new(topic.as_str().unwrap(), "x") });
    }
    for (node, limit) in [(0, 1), (1, 4), (2, 100)] {
        let mut all = refused(limit, node);
        all.retain(|topic| topic.is_string());
        assert_eq!(all, topics, "at node {node}");
    }
}

/// A durable client of a cell that subscribes to all that is refused.
fn receiver(nodes: &Nodes, cell: usize) -> Wire {
    let mut wire = Wire::open(nodes.address((cell + 1) % 3), PATIENCE).unwrap();
    wire.send(&Connect::durable(Version::V5, &id_of(cell, "receiver")).bytes());
    assert!(matches!(wire.receive(PATIENCE), Received::Packet(_)));
    wire.send(&Version::V5.subscribe(1, "letters/#", 1));
    assert!(matches!(wire.receive(PATIENCE), Received::Packet(_)));
    wire
}

/// A trace shows what happens in all cells, in the order of time.
pub(crate) fn a_trace_shows_all_cells(nodes: &Nodes) {
    let mut trace = UnixStream::connect(nodes.data(2).join("admin.sock")).unwrap();
    trace.set_read_timeout(Some(PATIENCE)).unwrap();
    trace.write_all(b"GET /api/v1/trace?topic=traced/%23&duration=600 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(trace).lines().map(|line| line.unwrap()).filter(|line| line.starts_with('{'));
    let first: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!((&first["left_out"], &first["missing_nodes"]), (&0.into(), &Value::Null));
    let mut clients: Vec<_> = (0..CELLS)
        .map(|cell| connected(nodes.address(cell % 3), &Connect::new(Version::V5, &id_of(cell, "traced"))))
        .collect();
    let topics: Vec<String> = (0..2 * CELLS).map(|turn| format!("traced/{turn}")).collect();
    for (turn, topic) in topics.iter().enumerate() {
        clients[turn % CELLS].publish(&Publish { qos: 1, ..Publish::new(topic, "x") });
    }
    let (mut published, mut times) = (Vec::new(), Vec::new());
    while published.len() < topics.len() {
        let line: Value = serde_json::from_str(&lines.next().expect("a line")).unwrap();
        times.extend(line["at"].as_str().map(str::to_owned));
        if line["event"] == "published" {
            published.push(line["topic"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(published, topics);
    assert!(times.is_sorted(), "{times:?}");
}

/// The figures of all nodes are those of one broker, and each node is there by itself. `gone`: one that does not run.
pub(crate) fn each_node_has_the_figures_of_all(nodes: &Nodes, gone: Option<usize>) {
    let alive: Vec<usize> = (0..3).filter(|node| Some(*node) != gone).collect();
    let named = |node: usize| format!("n{node}");
    for node in &alive {
        nodes.wait("the figures of all nodes", |nodes| {
            let all = nodes.ask(*node, "/overview");
            let parts = all["nodes"].as_array()?;
            let sum: u64 = parts.iter().map(|part| part["sessions"].as_u64().unwrap()).sum();
            assert_eq!(all["sessions"], sum, "{all}");
            let missing = all["missing_nodes"].as_array().into_iter().flatten();
            let missing: Vec<_> = missing.map(|missing| missing["node"].as_str().unwrap().to_owned()).collect();
            let names: Vec<_> = parts.iter().map(|part| part["node"].as_str().unwrap().to_owned()).collect();
            let is_so = names == alive.iter().copied().map(named).collect::<Vec<_>>()
                && missing == gone.map(named).into_iter().collect::<Vec<_>>()
                && sum > 0;
            is_so.then_some(())
        });
        for other in 0..3 {
            let (code, one) = nodes.request(*node, &format!("GET /overview?node=n{other}"), "").unwrap();
            assert_eq!(code, if Some(other) == gone { 503 } else { 200 }, "{one}");
            assert!(one["nodes"].is_null());
        }
    }
    assert_eq!(nodes.request(0, "GET /overview?node=nobody", "").unwrap().0, 404);
}
