//! Clients that are spread over cells, and the links between cells: two nodes in one process, with wires in memory between them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ALL_VERSIONS;

use super::fronts::{Wires, accepted_over_websocket, bus, listeners};
use super::roles::Role;
use super::*;
use crate::broker::{LinkPeer, LinkRole};
use crate::config::Limits;
use crate::routing::CellId;
use crate::server::cells::{Cells, Gate, Place};
use crate::server::listener::tests::Authority;
use crate::server::listener::{Arrival, Established, receive};
use crate::server::shard::mailbox::{Mail, Mailbox};
use crate::timestamp::Timestamp;

/// The front of a node, and what it knows of the cells.
struct Node {
    front: Role,
    cells: Arc<Cells>,
}

impl Node {
    fn start(name: &'static str, wires: &Arc<Wires>, config: &Config, cells: u16) -> Self {
        let cells = Cells::new(cells);
        let (standby, tunnels) = (Some(Standby::new(None)), Some(bus(name, wires)));
        let start = Start { standby, tunnels, front_of: Some(Arc::clone(&cells)), ..Start::default() };
        Self { front: Role::start_with(config.clone(), start), cells }
    }

    fn here(&self, cell: u8, gate: &Gate) {
        self.cells.set(CellId(cell), Place::Here(gate.clone()));
    }

    fn at(&self, cell: u8, node: &str) {
        self.cells.set(CellId(cell), Place::Node(node.into()));
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.front.address()).await.unwrap())
    }

    fn stop(self) {
        self.front.stop(Why::Promoted);
    }
}

/// A Client Identifier of this one of four cells, and a new one each time.
fn id_of(cell: u8) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut ids = std::iter::repeat_with(|| format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    ids.find(|id| CellId::of_client(id, 4) == CellId(cell)).unwrap()
}

/// A server of a cell. The listener that it has is not used.
fn cell_server() -> Role {
    Role::start_with(config(2), Start::default())
}

fn connect(id: &str) -> Connect {
    Connect::new(VERSION, id.to_owned(), true)
}

/// The numbers of connections that each has accepted.
fn accepted_by(cells: &[Role]) -> Vec<u64> {
    cells.iter().map(|cell| cell.admission.counts().accepted).collect()
}

/// Four cells, of which the even ones are at node `a` and the odd ones at node `b`.
fn two_nodes(config: &Config, other: &Config) -> ([Node; 2], Vec<Role>) {
    let wires = Arc::default();
    let nodes = [Node::start("a", &wires, config, 4), Node::start("b", &wires, other, 4)];
    let cells: Vec<Role> = (0..4).map(|_| cell_server()).collect();
    for (cell, role) in (0..4).zip(&cells) {
        let (own, other) = if cell % 2 == 0 { (0, 1) } else { (1, 0) };
        nodes[own].here(cell, &role.gate);
        nodes[other].at(cell, ["a", "b"][own]);
    }
    (nodes, cells)
}

fn with_a_name() -> Config {
    let mut config = config(2);
    config.listeners[0].name = Some("tcp".to_owned());
    config
}

fn stop_all(nodes: impl IntoIterator<Item = Node>, cells: Vec<Role>) {
    cells.into_iter().for_each(|cell| drop(cell.stop(Why::Promoted)));
    nodes.into_iter().for_each(Node::stop);
}

/// A connection that works, over this stream.
async fn served(stream: impl AsyncRead + AsyncWrite + Unpin, id: &str) {
    let mut client = Client::new(stream);
    assert_eq!(client.connect(connect(id)).await, Ok(()), "{id}");
    client.subscribe("t", Qos::AtMostOnce).await;
    client.send(&publish("t", vec![7; 300_000])).await;
    assert_eq!(client.receive_publish().await.message.payload, vec![7; 300_000]);
}

#[test]
fn a_client_over_each_transport_is_served_by_the_cell_of_its_client_identifier() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    let at = ["a", "b"].map(|name| directory.path().join(name));
    let [own, other] = at.each_ref().map(|at| listeners(&authority, at));
    let (nodes, cells) = two_nodes(&own, &other);
    run(async {
        let front = &nodes[0].front;
        let tcp = async |place: usize| TcpStream::connect(front.addresses[place].unwrap()).await.unwrap();
        let tls = async |place: usize| {
            let connector = TlsConnector::from(Arc::new(authority.client(None, ALL_VERSIONS)));
            connector.connect("localhost".try_into().unwrap(), tcp(place).await).await.unwrap()
        };
        for cell in 0..4 {
            let (mut expected, id) = (accepted_by(&cells), || id_of(cell));
            served(tcp(0).await, &id()).await;
            served(tls(1).await, &id()).await;
            served(UnixStream::connect(at[0].join("mqtt.sock")).await.unwrap(), &id()).await;
            // A long CONNECT is read, and not only looked at.
            let mut long = Client::new(tcp(0).await);
            long.stream.write_all(&long_connect(&id())).await.unwrap();
            assert!(is_accepted(long.receive().await));
            expected[usize::from(cell)] += 4;
            assert_eq!(accepted_by(&cells), expected, "cell {cell}");
        }
        // Without a Client Identifier, any cell of this node.
        let before = accepted_by(&cells);
        accepted_over_websocket(tcp(2).await).await;
        accepted_over_websocket(tls(3).await).await;
        served(tcp(0).await, "").await;
        let after: Vec<u64> = accepted_by(&cells).iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!((after[0] + after[2], after[1] + after[3]), (3, 0));
        // The sockets themselves are with the cell, and no thread of the front has to do with them.
        while front.admission.counts().connections > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let mut plain = Client::new(tcp(0).await);
        plain.connect(connect(&id_of(2))).await.unwrap();
        assert_eq!((front.admission.counts().connections, cells[2].admission.counts().connections), (0, 1));
        assert_eq!(front.status.listeners().connections, 0);
    });
    stop_all(nodes, cells);
}

/// A CONNECT whose Client Identifier is not among the first bytes.
fn long_connect(id: &str) -> Vec<u8> {
    let value = "x".repeat(9_000);
    let property = [&b"\x26\0\x01a\x23\x28"[..], value.as_bytes()].concat();
    assert_eq!(property.len(), 9_006);
    let id = [&u16::try_from(id.len()).unwrap().to_be_bytes()[..], id.as_bytes()].concat();
    let body = [&b"\0\x04MQTT\x05\x02\0\0\xAE\x46"[..], &property, &id].concat();
    let length = [body.len() % 128 + 128, body.len() / 128].map(|byte| u8::try_from(byte).unwrap());
    [&[0x10], &length[..], &body].concat()
}

fn is_accepted(packet: Option<ServerPacket>) -> bool {
    matches!(packet, Some(ServerPacket::Connack(connack)) if connack.reason_code == ReasonCode::Success)
}

#[test]
fn a_connect_may_come_byte_by_byte_and_one_that_does_not_end_is_given_up() {
    let mut config = with_a_name();
    config.limits.connect_timeout = Duration::from_secs(2);
    let (nodes, cells) = two_nodes(&config, &config);
    run(async {
        for cell in 0..4 {
            let mut expected = accepted_by(&cells);
            expected[usize::from(cell)] += 1;
            let mut client = nodes[0].connect().await;
            client.stream.set_nodelay(true).unwrap();
            for byte in encoded(&ClientPacket::Connect(Box::new(connect(&id_of(cell))))) {
                client.stream.write_all(&[byte]).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
            assert!(is_accepted(client.receive().await));
            assert_eq!(accepted_by(&cells), expected);
        }
        let before = accepted_by(&cells);
        let frame = encoded(&ClientPacket::Connect(Box::new(connect(&id_of(1)))));
        for half in [&frame[..0], &frame[..9], b"\x10\xE0\x7F\0\x04MQTT\x05\x02\0\0"] {
            let mut client = nodes[0].connect().await;
            client.stream.write_all(half).await.unwrap();
            assert_eq!(client.stream.read(&mut [0; 9]).await.unwrap_or(0), 0, "it is closed");
        }
        assert_eq!(accepted_by(&cells), before, "no cell has heard of them");
        // What is none, or ends in its middle, gets the answer of a broker.
        for (bytes, is_answered) in [(&b"\x10\x0a\0\x04MQTT\x05\x02\0\0"[..], true), (&frame[..9], false)] {
            let mut client = nodes[0].connect().await;
            client.stream.write_all(bytes).await.unwrap();
            client.stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.stream.read_to_end(&mut answer).await.unwrap_or(0);
            assert_eq!(answer.first() == Some(&0x20), is_answered, "{answer:02x?}");
        }
        let all = |accepted: Vec<u64>| accepted.iter().sum::<u64>();
        assert_eq!(all(accepted_by(&cells)), all(before) + 2);
    });
    stop_all(nodes, cells);
}

#[test]
fn a_cell_that_moves_ends_its_clients_alone_and_those_that_come_meanwhile_wait_for_it() {
    let config = with_a_name();
    let (nodes, cells) = two_nodes(&config, &config);
    run(async {
        let mut clients = BTreeMap::new();
        for cell in 0..4 {
            let mut client = nodes[0].connect().await;
            client.connect(connect(&id_of(cell))).await.unwrap();
            clients.insert(cell, client);
        }
        nodes.iter().for_each(|node| node.cells.set(CellId(1), Place::Unknown));
        let id = id_of(1);
        let mut gone = nodes[0].connect().await;
        gone.send(&ClientPacket::Connect(Box::new(connect(&id)))).await;
        drop(gone);
        let mut waiting = nodes[0].connect().await;
        let mut fresh = clients.remove(&1).unwrap();
        fresh.subscribe("t", Qos::AtMostOnce).await;
        let wait = waiting.connect(connect(&id));
        let next = cell_server();
        let moves = async {
            nodes[1].at(1, "a");
            nodes[0].here(1, &next.gate);
        };
        assert_eq!(tokio::join!(wait, moves).0, Ok(()));
        assert_eq!(next.admission.counts().accepted, 1, "one that has given up is let in");
        assert_eq!(fresh.receive().await, None, "the one of the cell before");
        for (cell, client) in &mut clients {
            client.subscribe("t", Qos::AtMostOnce).await;
            assert_eq!(cells[usize::from(*cell)].admission.counts().connections, 1);
        }
        // Node `a` believes in vain that the other one has it.
        nodes[1].cells.set(CellId(3), Place::Unknown);
        let mut lost = nodes[0].connect().await;
        lost.send(&ClientPacket::Connect(Box::new(connect(&id_of(3))))).await;
        assert_eq!(lost.receive().await, None);
        // A cell whose server has ended accepts no client, and no other server has the cell.
        cells[2].gate.close();
        let mut gated = nodes[0].connect().await;
        gated.send(&ClientPacket::Connect(Box::new(connect(&id_of(2))))).await;
        let Some(ServerPacket::Connack(connack)) = gated.receive().await else { panic!("no CONNACK") };
        assert_eq!(connack.reason_code, ReasonCode::UseAnotherServer);
        drop(clients);
        next.stop(Why::Promoted);
    });
    stop_all(nodes, cells);
}

#[test]
fn a_removed_listener_ends_its_clients_at_each_cell() {
    let mut config = with_a_name();
    let mut second = Listener::new("127.0.0.1:0".parse().unwrap());
    second.name = Some("second".to_owned());
    config.listeners.push(second);
    let (nodes, cells) = two_nodes(&config, &config);
    run(async {
        let mut clients = Vec::new();
        for (place, cell) in [(0, 0), (1, 0), (0, 2), (1, 2)] {
            let mut client = Client::new(TcpStream::connect(nodes[0].front.addresses[place].unwrap()).await.unwrap());
            client.connect(connect(&id_of(cell))).await.unwrap();
            clients.push(client);
        }
        nodes[0].cells.listeners_removed(&nodes[0].front.names[1..]);
        for (number, client) in clients.iter_mut().enumerate() {
            match number % 2 {
                0 => client.subscribe("t", Qos::AtMostOnce).await,
                _ => assert!(matches!(client.receive().await, Some(ServerPacket::Disconnect(_)))),
            }
        }
    });
    stop_all(nodes, cells);
}

/// The server of a cell that does nothing.
struct Stub {
    gate: Gate,
    mailboxes: Arc<[Mailbox]>,
    /// Links that have come, and that the test has not taken yet.
    links: RefCell<Vec<Established>>,
}

impl Stub {
    fn new() -> Self {
        let mailboxes: Arc<[Mailbox]> = (0..3).map(|_| Mailbox::new(100)).collect();
        let admission = Arc::new(Admission::new(&Limits { connections_max: 0, ..Limits::default() }));
        let gate = Gate::new(Clock::start(Timestamp(0)), admission, Arc::clone(&mailboxes));
        Self { gate, mailboxes, links: RefCell::default() }
    }

    /// The next link to the cell `other` with this role.
    async fn link(&self, other: u8, role: LinkRole) -> Established {
        let wanted = Some(LinkPeer { cell: CellId(other), role });
        loop {
            let mut mail = Vec::new();
            self.mailboxes[usize::from(other)].take(1, &mut mail);
            for mail in mail {
                let Mail::Accepted(accepted) = mail else { panic!("{mail:?}") };
                let Ok(Arrival::Established(established)) = receive(*accepted) else { panic!("a handshake") };
                self.links.borrow_mut().push(established);
            }
            let place = self.links.borrow().iter().position(|link| link.peer.link == wanted);
            match place {
                Some(place) => return self.links.borrow_mut().remove(place),
                None => sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

/// What one end writes arrives at the other one, and nothing was there before.
async fn joined(one: &mut Established, other: &mut Established) {
    let text = b"frames of a link";
    for (from, to) in [(0, 1), (1, 0)] {
        let ends = [&mut *one, &mut *other];
        ends[from].stream.write_all(text).await.unwrap();
        let mut received = [0; 16];
        ends[to].stream.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, text);
    }
}

#[test]
fn each_two_cells_have_one_stream_between_their_servers_and_get_another_when_it_ends() {
    let (wires, mut config) = (Arc::default(), with_a_name());
    // It is that of clients.
    config.limits.connections_max = 1;
    let nodes = [Node::start("a", &wires, &config, 3), Node::start("b", &wires, &config, 3)];
    let stubs = [(); 3].map(|()| Stub::new());
    run(async {
        // Cells 0 and 2 are at one node.
        nodes[0].here(0, &stubs[0].gate);
        nodes[0].here(2, &stubs[2].gate);
        nodes[0].at(1, "b");
        nodes[1].here(1, &stubs[1].gate);
        nodes[1].at(0, "a");
        nodes[1].at(2, "a");
        let mut links = Vec::new();
        for (from, to) in [(0_u8, 1_u8), (0, 2), (1, 2)] {
            let (one, other) = (&stubs[usize::from(from)], &stubs[usize::from(to)]);
            let (mut first, mut second) = tokio::join!(one.link(to, LinkRole::Out), other.link(from, LinkRole::In));
            joined(&mut first, &mut second).await;
            // Either end closes it.
            let (closed, mut left) = if from == 0 { (first, second) } else { (second, first) };
            drop(closed);
            assert_eq!(left.stream.read(&mut [0; 9]).await.unwrap(), 0);
            drop(left);
            links.extend([one.link(to, LinkRole::Out).await, other.link(from, LinkRole::In).await]);
        }
        // The end of the others.
        for number in [0, 2, 4] {
            let (ones, others) = links.split_at_mut(number + 1);
            joined(&mut ones[number], &mut others[0]).await;
        }
        assert!(stubs.iter().flat_map(|stub| &*stub.mailboxes).all(|mailbox| mailbox.weight() == 0), "one for each");
        assert_eq!(nodes[0].front.status.tunnels().unwrap().open, 0, "they are no clients");
        // Cell 2 moves: its streams end, and the one between 0 and 1 stays.
        let next = Stub::new();
        nodes[0].at(2, "b");
        nodes[1].here(2, &next.gate);
        links.drain(2..);
        let [zero, one] = &mut links[..] else { panic!("two ends") };
        joined(zero, one).await;
        let (mut from_zero, mut to_zero) = tokio::join!(next.link(0, LinkRole::In), stubs[0].link(2, LinkRole::Out));
        joined(&mut from_zero, &mut to_zero).await;
        let (mut from_one, mut to_one) = tokio::join!(next.link(1, LinkRole::In), stubs[1].link(2, LinkRole::Out));
        joined(&mut from_one, &mut to_one).await;
        joined(zero, one).await;
    });
    nodes.into_iter().for_each(Node::stop);
}

#[test]
fn the_processes_of_two_nodes_have_streams_that_stay_while_cells_move() {
    let (wires, config) = (Arc::default(), with_a_name());
    let nodes = [Node::start("a", &wires, &config, 3), Node::start("b", &wires, &config, 3)];
    let streams = nodes.each_ref().map(|node| node.front.nodes.clone().unwrap());
    run(async {
        nodes[0].at(1, "b");
        nodes[0].at(2, "b");
        let echo = async || {
            let (opened, mut accepted) = tokio::join!(streams[0].open("b".into()), streams[1].accept());
            let mut opened = opened.unwrap();
            let text = vec![7; 300_000];
            let answer = async {
                let mut received = Vec::new();
                accepted.read_to_end(&mut received).await.unwrap();
                accepted.write_all(&received).await.unwrap();
                drop(accepted);
            };
            let ask = async {
                opened.write_all(&text).await.unwrap();
                // It is none of a cell that goes.
                nodes[0].cells.set(CellId(2), Place::Unknown);
                nodes[0].at(2, "c");
                opened.shutdown().await.unwrap();
                let mut back = Vec::new();
                opened.read_to_end(&mut back).await.unwrap();
                assert!(back == text);
            };
            tokio::join!(ask, answer);
        };
        echo().await;
        echo().await;
        assert_eq!(nodes[1].front.status.tunnels().unwrap().open, 0, "they are no clients");
        // None of these streams is accepted. Those that exceed the limit are closed.
        let mut all = Vec::new();
        for _ in 0..17 {
            all.push(streams[0].open("b".into()).await.unwrap());
        }
        let mut last = all.pop().unwrap();
        assert_eq!(last.read(&mut [0; 9]).await.unwrap_or(0), 0);
        drop(all);
        // There is no link to a node that does not answer.
        assert!(timeout(Duration::from_millis(300), streams[0].open("c".into())).await.is_err());
    });
    nodes.into_iter().for_each(Node::stop);
}
