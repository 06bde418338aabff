use std::future::pending;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::timeout;

use super::*;
use crate::auth::{Existing, set_password};
use crate::codec::{ClientPacket, Connect, PacketId, Publish, Qos, ReasonCode, ServerPacket};
use crate::config::{Config, Durability, Listener};
use crate::server::packet_link::{PacketLink, Reading};
use crate::server::test_client::{Client, VERSION};
use crate::server::watchdog::Watchdog;
use crate::topic::TopicName;

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(60), test).await.expect("in time") });
}

fn config() -> Config {
    let mut config = Config { listeners: vec![Listener::new("127.0.0.1:0".parse().unwrap())], ..Config::default() };
    config.server.durability = Durability::None;
    config.server.shards = 2;
    config
}

async fn receive(link: &mut PacketLink<UnixStream>) -> ServerPacket {
    loop {
        if let Some(packet) = link.next_packet().unwrap() {
            return packet;
        }
        link.step(Reading::On).await.unwrap();
    }
}

/// Connects the bridge `b`, and tells whether its Session was present.
async fn connect(clients: &OwnClients, user: &str) -> (PacketLink<UnixStream>, bool) {
    let mut link = PacketLink::new(clients.connect(Kind::Bridge, "b", user).unwrap(), VERSION, u32::MAX);
    link.send(&ClientPacket::Connect(Box::new(Kind::Bridge.connect_packet("b"))));
    let ServerPacket::Connack(connack) = receive(&mut link).await else { panic!("no CONNACK") };
    assert_eq!(connack.reason_code, ReasonCode::Success);
    (link, connack.session_present)
}

async fn puback_of(link: &mut PacketLink<UnixStream>, topic: &str) -> ReasonCode {
    let topic = TopicName::new(topic.to_owned().into()).unwrap();
    let packet_id = PacketId::new(1);
    link.send(&ClientPacket::Publish(Publish { qos: Qos::AtLeastOnce, packet_id, ..Publish::new(topic, "") }));
    let ServerPacket::Puback(puback) = receive(link).await else { panic!("no PUBACK") };
    puback.reason_code
}

#[test]
fn an_own_client_connects_without_password_where_nobody_else_can_and_resumes_its_session() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let (passwords, acl) = (directory.path().join("passwords"), directory.path().join("acl"));
        set_password(&passwords, Existing::Forbidden, "cloud", b"secret").unwrap();
        std::fs::write(&acl, "user cloud\ntopic a/#\n").unwrap();
        let mut config = config();
        config.security.password_file = Some(passwords);
        config.security.acl_file = Some(acl);
        // The connections of the broker's own clients count against no limit.
        config.limits.connections_max = 1;
        let mut server = Server::start(config).unwrap();
        let accepting = server.start_accepting().unwrap();
        let address = server.listeners[0].addresses()[0].unwrap();
        let clients = server.own_clients();

        for client_id in ["$bridge/b", "$sink/x", "$bridge/", "$link/to-1"] {
            let mut connect = Connect::new(VERSION, client_id, false);
            (connect.user_name, connect.password) = (Some("cloud".into()), Some("secret".into()));
            let mut client = Client::new(TcpStream::connect(address).await.unwrap());
            assert_eq!(client.connect(connect).await, Err(ReasonCode::ClientIdentifierNotValid), "{client_id}");
            drop(client);
            while server.admission.counts().connections > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let (mut link, is_present) = connect(&clients, "cloud").await;
        assert!(!is_present);
        assert_eq!(puback_of(&mut link, "a/x").await, ReasonCode::NoMatchingSubscribers);
        assert_eq!(puback_of(&mut link, "b").await, ReasonCode::NotAuthorized);
        drop(link);
        let (mut link, is_present) = connect(&clients, "cloud").await;
        assert!(is_present);
        assert_eq!(server.admission.counts().connections, 0);

        drop(accepting);
        let watchdog = Watchdog::start(server.status(), None);
        let leaving = async {
            let ServerPacket::Disconnect(end) = receive(&mut link).await else { panic!("no DISCONNECT") };
            assert_eq!(end.reason_code, ReasonCode::ServerShuttingDown);
            drop(link);
        };
        let (drained, ()) = tokio::join!(server.drain(pending(), watchdog), leaving);
        drained.unwrap();
    });
}

#[test]
fn many_short_connections_of_an_own_client_are_neither_delayed_nor_banned() {
    run(async {
        let mut server = Server::start(config()).unwrap();
        let clients = server.own_clients();
        for _ in 0..200 {
            drop(connect(&clients, "cloud").await);
        }
        let begun = tokio::time::Instant::now();
        let _link = connect(&clients, "cloud").await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(server.bans().list(crate::timestamp::Timestamp(0)).is_empty());
    });
}
