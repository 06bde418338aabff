//! A process whose broker is a standby, serves the clients, and ends for another server, in turns and with the same sockets.

use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ALL_VERSIONS;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::codec::client::ServerDecoder;
use crate::codec::{Connack, Disconnect};
use crate::config::{ClientCertificate, ListenAddress, Transport};
use crate::server::cells::Gate;
use crate::server::listener::tests::Authority;

/// A broker on a thread of its own.
pub(super) struct Role {
    stopper: Stopper,
    pub(super) addresses: Vec<Option<SocketAddr>>,
    pub(super) status: Arc<Status>,
    pub(super) admission: Arc<Admission>,
    pub(super) gate: Gate,
    pub(super) names: Vec<Arc<str>>,
    pub(super) nodes: Option<NodeStreams>,
    thread: JoinHandle<Result<Ended, ServerError>>,
}

impl Role {
    fn start(config: Config, passed: PassedSockets, standby: Option<Arc<Standby>>) -> Self {
        Self::start_with(config, Start { passed, standby, ..Start::default() })
    }

    pub(super) fn start_with(config: Config, start: Start) -> Self {
        let (started, begun) = mpsc::channel();
        let stopper = Stopper::default();
        let parts = Start { stopper: Some(stopper.clone()), ..start };
        let thread = thread::spawn(move || {
            let server = Server::start_with(config, parts).unwrap();
            let addresses = server.listeners.iter().map(|listener| listener.addresses()[0]).collect();
            let admission = Arc::clone(&server.admission);
            let gate = Gate::new(server.clock, Arc::clone(&admission), Arc::clone(&server.mailboxes));
            let names = server.listeners.iter().map(|listener| Arc::clone(&listener.endpoint().name)).collect();
            started.send((addresses, server.status(), (admission, gate, names), server.node_streams())).unwrap();
            server.run()
        });
        let (addresses, status, (admission, gate, names), nodes) = begun.recv().unwrap();
        Self { stopper, addresses, status, admission, gate, names, nodes, thread }
    }

    /// Where the first listener listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.addresses[0].unwrap()
    }

    pub(super) fn stop(self, why: Why) -> (Why, PassedSockets, Config) {
        self.stopper.stop(why);
        self.ended()
    }

    fn ended(self) -> (Why, PassedSockets, Config) {
        match self.thread.join().unwrap().unwrap() {
            Ended::Told { why, sockets, loaded, .. } => (why, sockets, loaded.config),
            ended @ (Ended::Stopped | Ended::HandedOver | Ended::TakenBack { .. }) => panic!("{ended:?}"),
        }
    }
}

fn referred(connack: &Connack) -> (ReasonCode, Option<&str>) {
    (connack.reason_code, connack.properties.server_reference.as_deref())
}

/// The refusal of a client of 5.0, and the end of its connection.
pub(super) async fn refused(stream: impl AsyncRead + AsyncWrite + Unpin) -> Connack {
    let mut client = Client::new(stream);
    client.send(&ClientPacket::Connect(Box::new(Connect::new(VERSION, "c", true)))).await;
    let Some(ServerPacket::Connack(connack)) = client.receive().await else { panic!("no CONNACK") };
    assert_eq!(client.receive().await, None);
    *connack
}

/// What a client of 3.1.1 reads until the end of its connection.
async fn refused_3_1_1(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Vec<u8> {
    stream.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c").await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    read
}

/// Opens a WebSocket, and sends CONNECT.
pub(super) async fn over_websocket<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    let (mut stream, _) = client_async(request, stream).await.unwrap();
    let connect = encoded(&ClientPacket::Connect(Box::new(Connect::new(VERSION, "", true))));
    stream.send(Message::Binary(connect.freeze())).await.unwrap();
    stream
}

/// The packets until the end of the connection.
async fn packets_over_websocket<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: WebSocketStream<S>,
) -> Vec<ServerPacket> {
    let mut read = Vec::new();
    loop {
        match stream.next().await {
            Some(Ok(Message::Binary(bytes))) => read.extend_from_slice(&bytes),
            Some(Ok(Message::Close(_))) | None => break,
            other => panic!("{other:?}"),
        }
    }
    let (mut decoder, mut bytes) = (ServerDecoder::new(VERSION, u32::MAX, 0), Bytes::from(read));
    std::iter::from_fn(|| decoder.decode(&mut bytes).unwrap()).collect()
}

async fn refused_over_websocket(stream: impl AsyncRead + AsyncWrite + Unpin) -> Connack {
    match &packets_over_websocket(over_websocket(stream).await).await[..] {
        [ServerPacket::Connack(connack)] => Connack::clone(connack),
        other => panic!("{other:?}"),
    }
}

const OTHER: &str = "other.example:1883";

/// A listener for each transport, the first over TCP and the last a Unix socket, and a data directory that does not exist.
pub(super) fn with_all_transports(authority: &Authority, directory: &Path) -> Config {
    let mut config = config(2);
    config.server.durability = Durability::PowerLoss;
    config.server.data = directory.join("data");
    for (transport, has_tls) in [(Transport::Tls, true), (Transport::Ws, false), (Transport::Wss, true)] {
        let mut listener = Listener::new("127.0.0.1:0".parse().unwrap());
        listener.transport = transport;
        listener.tls = has_tls.then(|| authority.tls(ClientCertificate::None));
        config.listeners.push(listener);
    }
    config.listeners.push(Listener::new(ListenAddress::Unix(directory.join("mqtt.sock"))));
    config.security.allow_anonymous = AllowAnonymous::Never;
    config
}

#[test]
fn mqtt5_4_11_a_standby_refers_the_clients_of_each_transport_and_opens_no_store() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    let config = with_all_transports(&authority, directory.path());
    let data = config.server.data.clone();
    let standby = Standby::new(Some(OTHER));
    let role = Role::start(config, PassedSockets::default(), Some(Arc::clone(&standby)));
    run(async {
        let tcp = async |place: usize| TcpStream::connect(role.addresses[place].unwrap()).await.unwrap();
        let tls = async |place: usize| {
            let connector = TlsConnector::from(Arc::new(authority.client(None, ALL_VERSIONS)));
            connector.connect("localhost".try_into().unwrap(), tcp(place).await).await.unwrap()
        };
        let unix = async || UnixStream::connect(directory.path().join("mqtt.sock")).await.unwrap();
        let expected = (ReasonCode::UseAnotherServer, Some(OTHER));
        assert_eq!(referred(&refused(tcp(0).await).await), expected);
        assert_eq!(referred(&refused(tls(1).await).await), expected);
        assert_eq!(referred(&refused_over_websocket(tcp(2).await).await), expected);
        assert_eq!(referred(&refused_over_websocket(tls(3).await).await), expected);
        assert_eq!(referred(&refused(unix().await).await), expected);
        assert_eq!(refused_3_1_1(tcp(0).await).await, [0x20, 2, 0, 3]);
        assert_eq!(refused_3_1_1(unix().await).await, [0x20, 2, 0, 3]);
        assert!(role.status.is_standby() && !role.status.is_ready());
        // Another node has taken over, and then none is known.
        for owner in [Some("third.example:1883"), None] {
            standby.set_owner(owner);
            while referred(&refused(tcp(0).await).await) != (ReasonCode::UseAnotherServer, owner) {
                sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let (why, _, _) = role.stop(Why::Promoted);
    assert_eq!(why, Why::Promoted);
    assert!(!data.exists(), "a standby opens no store");
}

fn with_store(shards: u16, directory: &Path) -> Config {
    let mut config = config(shards);
    config.server.durability = Durability::PowerLoss;
    config.server.data = directory.to_owned();
    config
}

/// A client with a durable Session, and whether it was there.
async fn durable(address: SocketAddr) -> (Client<TcpStream>, bool) {
    durable_at(TcpStream::connect(address).await.unwrap()).await
}

async fn durable_at(stream: TcpStream) -> (Client<TcpStream>, bool) {
    let mut client = Client::new(stream);
    let mut connect = Connect::new(VERSION, "d", false);
    connect.properties.session_expiry_interval = 1_000;
    client.send(&ClientPacket::Connect(Box::new(connect))).await;
    match client.receive().await {
        Some(ServerPacket::Connack(connack)) if connack.reason_code == ReasonCode::Success => {
            (client, connack.session_present)
        }
        other => panic!("{other:?}"),
    }
}

/// Publishes a message, and waits for PUBACK.
async fn publish_durable(client: &mut Client<TcpStream>, payload: &'static str) {
    let topic = TopicName::new("t".into()).unwrap();
    let publish = Publish { qos: Qos::AtLeastOnce, packet_id: PacketId::new(7), ..Publish::new(topic, payload) };
    client.send(&ClientPacket::Publish(publish)).await;
    loop {
        match client.receive().await {
            Some(ServerPacket::Puback(puback)) => {
                return assert_eq!(puback.reason_code, ReasonCode::Success);
            }
            Some(ServerPacket::Publish(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The payload of the next message.
async fn next_payload(client: &mut Client<TcpStream>) -> Bytes {
    client.receive_publish().await.message.payload.clone()
}

async fn farewell(client: &mut Client<TcpStream>) -> Disconnect {
    loop {
        match client.receive().await {
            Some(ServerPacket::Disconnect(disconnect)) => {
                assert_eq!(client.receive().await, None, "nothing follows DISCONNECT");
                return *disconnect;
            }
            Some(ServerPacket::Publish(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn fenced() -> Why {
    Why::Fenced { reason: "epoch 2".to_owned(), owner: Some(OTHER.to_owned()) }
}

/// Roles that follow each other, on the same sockets and the same store.
fn roles(shards: u16) {
    let directory = tempfile::tempdir().unwrap();
    let config = with_store(shards, directory.path());
    let standby = || Some(Standby::new(Some(OTHER)));
    let role = Role::start(config, PassedSockets::default(), standby());
    let address = role.address();
    run(async {
        let connack = refused(TcpStream::connect(address).await.unwrap()).await;
        assert_eq!(referred(&connack), (ReasonCode::UseAnotherServer, Some(OTHER)));
    });
    let (_, sockets, config) = role.stop(Why::Promoted);
    // It waits for what listens next.
    let early = std::net::TcpStream::connect(address).unwrap();
    early.set_nonblocking(true).unwrap();

    let role = Role::start(config, sockets, None);
    assert_eq!(role.address(), address, "the same socket");
    run(async {
        let (mut client, is_present) = durable_at(TcpStream::from_std(early).unwrap()).await;
        assert!(!is_present && role.status.is_ready() && !role.status.is_standby());
        client.subscribe("t", Qos::AtLeastOnce).await;
        publish_durable(&mut client, "one").await;
        role.stopper.stop(fenced());
        let disconnect = farewell(&mut client).await;
        assert_eq!(disconnect.reason_code, ReasonCode::UseAnotherServer);
        assert_eq!(disconnect.server_reference.as_deref(), Some(OTHER));
    });
    let (why, sockets, config) = role.ended();
    assert_eq!(why, fenced());

    let role = Role::start(config, sockets, standby());
    run(async {
        let connack = refused(TcpStream::connect(address).await.unwrap()).await;
        assert_eq!(referred(&connack), (ReasonCode::UseAnotherServer, Some(OTHER)));
    });
    let (_, sockets, config) = role.stop(Why::Promoted);

    let role = Role::start(config, sockets, None);
    run(async {
        let (mut client, is_present) = durable(address).await;
        assert!(is_present, "what was acknowledged is there");
        assert_eq!(next_payload(&mut client).await, "one");
        publish_durable(&mut client, "two").await;
        role.stopper.stop(Why::Moved { owner: None });
        let disconnect = farewell(&mut client).await;
        assert_eq!((disconnect.reason_code, disconnect.server_reference), (ReasonCode::UseAnotherServer, None));
    });
    let (why, sockets, config) = role.ended();
    assert_eq!(why, Why::Moved { owner: None });

    let role = Role::start(config, sockets, None);
    run(async {
        let (mut client, is_present) = durable(address).await;
        assert!(is_present);
        assert_eq!(next_payload(&mut client).await, "one");
        assert_eq!(next_payload(&mut client).await, "two");
    });
    role.stop(Why::Moved { owner: None });
}

#[test]
fn the_same_sockets_and_the_same_store_serve_in_one_role_after_the_other() {
    // A single shard accepts the connections itself.
    roles(1);
    roles(2);
}

#[test]
fn mqtt5_4_11_a_fenced_broker_refers_the_clients_of_each_transport() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    let mut config = with_all_transports(&authority, directory.path());
    config.security.allow_anonymous = AllowAnonymous::Always;
    let role = Role::start(config, PassedSockets::default(), None);
    run(async {
        let tcp = async |place: usize| TcpStream::connect(role.addresses[place].unwrap()).await.unwrap();
        let connector = TlsConnector::from(Arc::new(authority.client(None, ALL_VERSIONS)));
        let stream = connector.connect("localhost".try_into().unwrap(), tcp(1).await).await.unwrap();
        let mut secured = Client::new(stream);
        secured.connect(Connect::new(VERSION, "tls", true)).await.unwrap();
        let web = over_websocket(tcp(2).await).await;
        let mut local = Client::new(UnixStream::connect(directory.path().join("mqtt.sock")).await.unwrap());
        local.connect(Connect::new(VERSION, "unix", true)).await.unwrap();
        let mut old = tcp(0).await;
        old.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c").await.unwrap();
        old.read_exact(&mut [0; 4]).await.unwrap();

        // The client over WebSocket reads its CONNACK later.
        while role.status.shards().iter().map(|shard| shard.counters.sessions_connected).sum::<u64>() < 4 {
            sleep(Duration::from_millis(20)).await;
        }
        role.stopper.stop(fenced());
        let expected = (ReasonCode::UseAnotherServer, Some(OTHER));
        for packet in [secured.receive().await.unwrap(), local.receive().await.unwrap()] {
            assert_eq!(disconnected(&packet), expected);
        }
        assert_eq!((secured.receive().await, local.receive().await), (None, None));
        let packets = packets_over_websocket(web).await;
        let [ServerPacket::Connack(_), packet] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!(disconnected(packet), expected);
        // 3.1.1 has no DISCONNECT of the server. [MQTT-3.14.4-1]
        assert_eq!(old.read(&mut [0; 9]).await.unwrap(), 0);
    });
    assert_eq!(role.ended().0, fenced());
}

fn disconnected(packet: &ServerPacket) -> (ReasonCode, Option<&str>) {
    let ServerPacket::Disconnect(disconnect) = packet else { panic!("{packet:?}") };
    (disconnect.reason_code, disconnect.server_reference.as_deref())
}

#[test]
fn a_fence_before_the_start_or_while_the_broker_moves_ends_it_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let role = Role::start(with_store(2, directory.path()), PassedSockets::default(), None);
    let address = role.address();
    // This one does not read, and does not close.
    let mut lazy = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut lazy, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c").unwrap();
    std::io::Read::read_exact(&mut lazy, &mut [0; 4]).unwrap();
    role.stopper.stop(Why::Moved { owner: None });
    role.stopper.stop(fenced());
    let (why, sockets, config) = role.ended();
    assert_eq!(why, fenced());

    let stopper = Stopper::default();
    stopper.stop(fenced());
    let parts = Start { passed: sockets, stopper: Some(stopper), ..Start::default() };
    let ended = Server::start_with(config, parts).unwrap().run().unwrap();
    assert!(matches!(ended, Ended::Told { why, .. } if why == fenced()));
}

#[test]
fn bans_stay_when_the_role_changes() {
    let stopper = Stopper::default();
    let start = Start { stopper: Some(stopper.clone()), ..Start::default() };
    let server = Server::start_with(config(1), start).unwrap();
    let (subject, now) = (Subject::User("u".into()), server.clock.read().now);
    let ban = Ban { until: now + Duration::from_secs(600), reason: "because".to_owned() };
    server.bans().add(subject.clone(), ban, now).unwrap();
    stopper.stop(Why::Moved { owner: None });
    let Ok(Ended::Told { sockets, bans, .. }) = server.run() else { panic!("it was told to end") };
    let next = Server::start_with(config(1), Start { passed: sockets, bans, ..Start::default() }).unwrap();
    assert!(next.bans().find(&subject, next.clock.read().now).is_some());
}
