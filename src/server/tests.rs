//! The whole server in one process: listeners, shard threads, reload and drain.

use std::fs;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{sleep, timeout};

use super::test_client::{Client, VERSION, encoded, publish};
use super::watchdog::Watchdog;
use super::*;
use crate::auth::{Existing, set_password};
use crate::codec::{ClientPacket, Connect, PacketId, Publish, Qos, ReasonCode, ServerPacket};
use crate::config::{AllowAnonymous, Durability, Listener};
use crate::topic::TopicName;

mod cell_fronts;
mod cells;
mod fronts;
mod roles;

struct Running {
    server: Server,
    address: SocketAddr,
    accepting: Option<listener::Acceptor>,
}

impl Running {
    fn start(config: Config) -> Self {
        let mut server = Server::start(config).unwrap();
        let address = server.listeners[0].addresses()[0].unwrap();
        let accepting = server.start_accepting().unwrap();
        Self { server, address, accepting }
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    async fn client(&self, name: &str) -> Client<TcpStream> {
        let mut client = self.connect().await;
        client.connect(Connect::new(VERSION, name.to_owned(), true)).await.unwrap();
        client
    }

    async fn drain(mut self) {
        drop(self.accepting);
        let watchdog = Watchdog::start(self.server.status(), None);
        self.server.drain(pending(), watchdog).await.unwrap();
    }
}

fn config(shards: u16) -> Config {
    let listeners = vec![Listener::new("127.0.0.1:0".parse().unwrap())];
    let mut config = Config { listeners, ..Config::default() };
    config.server.durability = Durability::None;
    config.server.shards = shards;
    config
}

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(60), test).await.expect("in time") });
}

#[test]
fn messages_between_shards_arrive_in_order_when_mailboxes_are_full() {
    run(async {
        let running = Running::start(config(2));
        // Connections are assigned to shards round robin, so these are on different shards.
        let mut subscribers = [running.client("s0").await, running.client("s1").await];
        for subscriber in &mut subscribers {
            subscriber.subscribe("flood/#", Qos::AtMostOnce).await;
        }
        let mut publishers = [running.client("p0").await, running.client("p1").await];
        let [first, second] = &mut publishers;
        let flood = async |publisher: &mut Client<TcpStream>, topic: &str| {
            for batch in 0..MESSAGES / 1_000 {
                let numbers = batch * 1_000..(batch + 1) * 1_000;
                let bytes = numbers.flat_map(|number: u32| encoded(&publish(topic, number.to_be_bytes().to_vec())));
                tokio::io::AsyncWriteExt::write_all(&mut publisher.stream, &bytes.collect::<Vec<_>>()).await.unwrap();
            }
        };
        let read = async |subscriber: &mut Client<TcpStream>| {
            let mut next = [0_u32; 2];
            while next != [MESSAGES; 2] {
                let message = subscriber.receive_publish().await.message;
                let next = &mut next[usize::from(message.topic.as_str() == "flood/1")];
                assert_eq!(message.payload, next.to_be_bytes().as_slice());
                *next += 1;
            }
        };
        let [reader, other] = &mut subscribers;
        tokio::join!(flood(first, "flood/0"), flood(second, "flood/1"), read(reader), read(other));
        running.drain().await;
    });
}

const MESSAGES: u32 = 30_000;

#[test]
fn mqtt5_4_13_1_a_drain_disconnects_every_client_and_ends_before_its_timeout() {
    // A single shard accepts the connections itself.
    run(drain(1));
    run(drain(2));
}

async fn drain(shards: u16) {
    let running = Running::start(config(shards));
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(running.client(&format!("c{number}")).await);
    }
    let status = running.server.status();
    let disconnects = async {
        for mut client in clients {
            let Some(ServerPacket::Disconnect(disconnect)) = client.receive().await else { panic!("no DISCONNECT") };
            assert_eq!(disconnect.reason_code, ReasonCode::ServerShuttingDown);
            assert_eq!(client.receive().await, None);
        }
    };
    let address = running.address;
    let both = async { tokio::join!(running.drain(), disconnects) };
    timeout(Duration::from_secs(4), both).await.expect("before the drain timeout");
    assert!(TcpStream::connect(address).await.is_err());
    let closed = status.shards().iter().map(|shard| shard.traffic.connections_closed).sum::<u64>();
    assert_eq!(closed, 20);
}

#[test]
fn passwords_are_verified_and_a_reload_changes_the_access_rights_of_a_connected_client() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let passwords = directory.path().join("passwords");
        let acl = directory.path().join("acl");
        set_password(&passwords, Existing::Forbidden, "sensor", b"secret").unwrap();
        fs::write(&acl, "user sensor\ntopic read other\n").unwrap();
        let mut config = config(1);
        config.security.allow_anonymous = AllowAnonymous::Never;
        config.security.password_file = Some(passwords.clone());
        config.security.acl_file = Some(acl.clone());
        let mut running = Running::start(config);

        let connect = |password: &'static [u8]| {
            let mut connect = Connect::new(VERSION, "c", true);
            connect.user_name = Some("sensor".into());
            connect.password = Some(password.into());
            connect
        };
        let refused = running.connect().await.connect(connect(b"wrong")).await;
        assert_eq!(refused, Err(ReasonCode::BadUserNameOrPassword));
        let anonymous = running.connect().await.connect(Connect::new(VERSION, "c", true)).await;
        assert_eq!(anonymous, Err(ReasonCode::NotAuthorized));
        let mut client = running.connect().await;
        client.connect(connect(b"secret")).await.unwrap();

        let mut may_publish = async || {
            let topic = TopicName::new("t".into()).unwrap();
            let packet_id = PacketId::new(1);
            let publish = Publish { qos: Qos::AtLeastOnce, packet_id, ..Publish::new(topic, "") };
            client.send(&ClientPacket::Publish(publish)).await;
            let Some(ServerPacket::Puback(puback)) = client.receive().await else { panic!("no PUBACK") };
            puback.reason_code != ReasonCode::NotAuthorized
        };
        assert!(!may_publish().await);
        fs::write(&acl, "user sensor\ntopic readwrite t\n").unwrap();
        running.server.reload(&Scope::Everything, &mut running.accepting).await;
        while !may_publish().await {
            sleep(Duration::from_millis(10)).await;
        }
        fs::write(&acl, "nonsense\n").unwrap();
        running.server.reload(&Scope::Everything, &mut running.accepting).await;
        sleep(Duration::from_millis(50)).await;
        assert!(may_publish().await);
        drop(client);
        running.drain().await;
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    run(async {
        let mut config = config(1);
        config.limits.connections_per_address_max = 2;
        let running = Running::start(config);
        let first = running.client("a").await;
        let _second = running.client("b").await;
        assert_eq!(running.connect().await.receive().await, None);
        drop(first);
        // The connection counts until the broker has noticed its end.
        while running.server.admission.counts().connections > 1 {
            sleep(Duration::from_millis(5)).await;
        }
        let _third = running.client("c").await;
        assert_eq!(running.server.admission.counts().refused_address, 1);
    });
}

#[test]
fn the_error_for_an_address_in_use_names_the_listener_and_the_address() {
    let first = Server::start(config(1)).unwrap();
    let address = first.listeners[0].addresses()[0].unwrap();
    let mut config = config(1);
    let mut taken = Listener::new(address.to_string().parse().unwrap());
    taken.name = Some("sensors".to_owned());
    config.listeners.push(taken);
    let error = Server::start(config).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("listener sensors: cannot listen at {address}: Address already in use")),
        "{text}"
    );
}
