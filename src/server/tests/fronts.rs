//! A standby that passes its clients to an owner, each in a thread of its own, with wires in memory between them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ALL_VERSIONS;
use tokio_tungstenite::tungstenite::Message;

use super::roles::{Role, over_websocket, refused, with_all_transports};
use super::*;
use crate::cluster::{Arrived, Bus, EngineError, Pending, Way};
use crate::server::listener::tests::Authority;

/// The wires between nodes, by the name of the receiver.
#[derive(Debug, Default)]
pub(super) struct Wires(Mutex<HashMap<String, mpsc::Sender<Arrived>>>);

/// The end of one node.
struct End {
    node: &'static str,
    wires: Arc<Wires>,
}

impl Bus for End {
    fn send(&self, node: &str, way: Way, frame: Bytes) -> Pending<Result<(), EngineError>> {
        let to = self.wires.0.lock().unwrap().get(node).cloned();
        let from = self.node.to_owned();
        Box::pin(async move {
            if let Some(to) = to {
                // A node that has ended gets nothing.
                let _ = to.send(Arrived { node: from, way, frame }).await;
            }
            Ok(())
        })
    }

    fn frames(&self) -> Pending<Result<mpsc::Receiver<Arrived>, EngineError>> {
        let (sender, receiver) = mpsc::channel(64);
        self.wires.0.lock().unwrap().insert(self.node.to_owned(), sender);
        Box::pin(async move { Ok(receiver) })
    }

    fn flush(&self) -> Pending<()> {
        Box::pin(async {})
    }
}

/// What connects a node to the others.
pub(super) fn bus(node: &'static str, wires: &Arc<Wires>) -> TunnelBus {
    let wires = Arc::clone(wires);
    let connect = move || -> Connecting {
        let end: Arc<dyn Bus> = Arc::new(End { node, wires: Arc::clone(&wires) });
        Box::pin(async move { Ok(end) })
    };
    TunnelBus { connect: Box::new(connect) }
}

fn node(name: &'static str, wires: &Arc<Wires>, config: &Config, standby: Option<&Arc<Standby>>) -> Role {
    let (standby, tunnels) = (standby.cloned(), Some(bus(name, wires)));
    Role::start_with(config.clone(), Start { standby, tunnels, ..Start::default() })
}

/// The same listeners at other addresses, with the names that they have in common.
pub(super) fn listeners(authority: &Authority, directory: &Path) -> Config {
    std::fs::create_dir_all(directory).unwrap();
    let mut config = with_all_transports(authority, directory);
    for (listener, name) in config.listeners.iter_mut().zip(["tcp", "tls", "ws", "wss", "unix"]) {
        listener.name = Some(name.to_owned());
    }
    config.server.durability = Durability::None;
    config.security.allow_anonymous = Config::default().security.allow_anonymous;
    config
}

pub(super) async fn accepted(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut client = Client::new(stream);
    assert_eq!(client.connect(Connect::new(VERSION, "c", true)).await, Ok(()));
    client.subscribe("t", Qos::AtMostOnce).await;
    client.send(&publish("t", vec![7; 300_000])).await;
    assert_eq!(client.receive_publish().await.message.payload, vec![7; 300_000]);
}

/// The first message has CONNACK.
pub(super) async fn accepted_over_websocket(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Some(Ok(Message::Binary(connack))) = over_websocket(stream).await.next().await else { panic!("no CONNACK") };
    assert_eq!(connack[..1], [0x20]);
    assert_eq!(connack[3], 0, "accepted");
}

async fn until_linked(role: &Role) {
    while role.status.tunnels().is_none_or(|tunnels| tunnels.links == 0) {
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_client_over_each_transport_is_served_by_the_owner_and_one_of_a_listener_that_this_lacks_is_not() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    let (at_owner, at_front) = (directory.path().join("owner"), directory.path().join("front"));
    let owner_config = listeners(&authority, &at_owner);
    let mut front_config = listeners(&authority, &at_front);
    let mut unknown = Listener::new("127.0.0.1:0".parse().unwrap());
    unknown.name = Some("unknown".to_owned());
    front_config.listeners.push(unknown);
    let (wires, standby) = (Arc::default(), Standby::new(None));
    standby.set_node(Some("a"));
    let owner = node("a", &wires, &owner_config, None);
    let front = node("b", &wires, &front_config, Some(&standby));
    run(async {
        until_linked(&front).await;
        let tcp = async |place: usize| TcpStream::connect(front.addresses[place].unwrap()).await.unwrap();
        let tls = async |place: usize| {
            let connector = TlsConnector::from(Arc::new(authority.client(None, ALL_VERSIONS)));
            connector.connect("localhost".try_into().unwrap(), tcp(place).await).await.unwrap()
        };
        accepted(tcp(0).await).await;
        accepted(tls(1).await).await;
        accepted_over_websocket(tcp(2).await).await;
        accepted_over_websocket(tls(3).await).await;
        accepted(UnixStream::connect(at_front.join("mqtt.sock")).await.unwrap()).await;
        let mut lost = Client::new(tcp(5).await);
        lost.send(&ClientPacket::Connect(Box::new(Connect::new(VERSION, "c", true)))).await;
        assert_eq!(lost.receive().await, None, "the owner has no such listener");
        // All that is left of them are figures.
        let gone = |role: &Role| role.status.tunnels().is_some_and(|tunnels| tunnels.open == 0 && tunnels.opened == 6);
        while !gone(&owner) || !gone(&front) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    front.stop(Why::Promoted);
    owner.stop(Why::Promoted);
}

#[test]
fn the_owner_limits_the_connections_of_a_client_of_a_front_by_its_address() {
    let (wires, standby) = (Arc::default(), Standby::new(None));
    let mut limited = config(1);
    limited.listeners[0].name = Some("tcp".to_owned());
    let front_config = limited.clone();
    limited.limits.connections_per_address_max = 1;
    standby.set_node(Some("a"));
    let owner = node("a", &wires, &limited, None);
    let front = node("b", &wires, &front_config, Some(&standby));
    run(async {
        until_linked(&front).await;
        let connect = async || TcpStream::connect(front.address()).await.unwrap();
        let mut first = Client::new(connect().await);
        assert_eq!(first.connect(Connect::new(VERSION, "c", true)).await, Ok(()));
        let second = async || {
            let mut second = Client::new(connect().await);
            second.send(&ClientPacket::Connect(Box::new(Connect::new(VERSION, "d", true)))).await;
            second.receive().await
        };
        assert_eq!(second().await, None);
        drop(first);
        // The owner hears of its end.
        while second().await.is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    front.stop(Why::Promoted);
    owner.stop(Why::Promoted);
}

#[test]
fn clients_of_a_front_follow_the_owner_and_are_referred_while_there_is_none() {
    let (wires, standby) = (Arc::default(), Standby::new(Some("other.example:1883")));
    let mut config = config(2);
    config.listeners[0].name = Some("tcp".to_owned());
    let front = node("front", &wires, &config, Some(&standby));
    let first = node("first", &wires, &config, None);
    run(async {
        let connect = async || TcpStream::connect(front.address()).await.unwrap();
        // It is held for a while before.
        assert_eq!(refused(connect().await).await.reason_code, ReasonCode::UseAnotherServer);
        standby.set_node(Some("first"));
        let mut client = Client::new(connect().await);
        assert_eq!(client.connect(Connect::new(VERSION, "c", true)).await, Ok(()));
        let (why, _, _) = first.stop(Why::Moved { owner: None });
        assert!(matches!(why, Why::Moved { .. }));
        assert!(matches!(client.receive().await, Some(ServerPacket::Disconnect(_))), "it is told so");
        assert_eq!(client.receive().await, None);
        while front.status.tunnels().is_some_and(|tunnels| tunnels.links > 0) {
            sleep(Duration::from_millis(5)).await;
        }
        // One that comes meanwhile waits for the next owner.
        let mut early = Client::new(connect().await);
        let waits = early.connect(Connect::new(VERSION, "d", true));
        let second = async {
            let second = node("second", &wires, &config, None);
            standby.set_node(Some("second"));
            second
        };
        let (answer, second) = tokio::join!(waits, second);
        assert_eq!(answer, Ok(()));
        // The owner is gone without a word.
        wires.0.lock().unwrap().remove("front");
        assert_eq!(early.receive().await, None);
        drop(second.stop(Why::Promoted));
    });
    front.stop(Why::Promoted);
}

#[test]
fn a_client_that_does_not_read_is_closed_too_when_its_owner_is_gone() {
    let (wires, standby) = (Arc::default(), Standby::new(None));
    let mut config = config(1);
    config.listeners[0].name = Some("tcp".to_owned());
    standby.set_node(Some("a"));
    let owner = node("a", &wires, &config, None);
    let front = node("b", &wires, &config, Some(&standby));
    run(async {
        until_linked(&front).await;
        let mut slow = Client::new(TcpStream::connect(front.address()).await.unwrap());
        assert_eq!(slow.connect(Connect::new(VERSION, "slow", true)).await, Ok(()));
        slow.subscribe("t", Qos::AtMostOnce).await;
        let mut source = Client::new(TcpStream::connect(owner.address()).await.unwrap());
        assert_eq!(source.connect(Connect::new(VERSION, "source", true)).await, Ok(()));
        // More than all sockets on the way have room for: nothing moves any more.
        let (mut passed, mut still) = (0, 0);
        while still < 5 {
            for _ in 0..20 {
                source.send(&publish("t", vec![7; 500_000])).await;
            }
            sleep(Duration::from_millis(300)).await;
            let now = front.status.tunnels().unwrap().bytes_received;
            still = if now == passed && now > 0 { still + 1 } else { 0 };
            passed = now;
        }
        standby.set_node(Some("nobody"));
        while front.status.listeners().connections > 0 {
            sleep(Duration::from_millis(20)).await;
        }
        drop(slow);
    });
    front.stop(Why::Promoted);
    owner.stop(Why::Promoted);
}
