//! CONNECT and CONNACK, Sessions, Keep Alive, Wills.

use std::time::Duration;

use oncemq::codec::{ClientPacket, Disconnect, Qos, ReasonCode, ServerPacket, Will};
use oncemq::topic::TopicName;

use super::bench::{Bench, Statement, V3, V5, ensure};
use crate::verify::client::{Client, Outcome, Session};
use crate::verify::link::Link;

pub(super) const STATEMENTS: &[Statement] = &[
    Statement { id: "MQTT-3.1.0-1", version: V5, what: "the first packet is a CONNECT", check: first_packet },
    Statement { id: "MQTT-3.1.0-2", version: V5, what: "a second CONNECT ends the connection", check: second_connect },
    Statement {
        id: "MQTT-3.1.2-2",
        version: V5,
        what: "an unknown version is refused with 0x84",
        check: unknown_version,
    },
    Statement {
        id: "MQTT-3.1.2-2",
        version: V3,
        what: "an unknown level is refused with 0x01",
        check: unknown_version,
    },
    Statement {
        id: "MQTT-3.1.3-8",
        version: V3,
        what: "no Client Identifier for a kept Session is refused",
        check: no_name_3,
    },
    Statement { id: "MQTT-3.1.3-7", version: V5, what: "a missing Client Identifier is assigned", check: no_name_5 },
    Statement {
        id: "MQTT-3.1.4-2",
        version: V3,
        what: "a client with the same identifier takes over",
        check: take_over,
    },
    Statement {
        id: "MQTT-3.1.4-3",
        version: V5,
        what: "a client with the same identifier takes over, with 0x8E",
        check: take_over,
    },
    Statement { id: "MQTT-3.1.2-6", version: V3, what: "Clean Session discards the Session", check: clean },
    Statement { id: "MQTT-3.1.2-4", version: V5, what: "Clean Start discards the Session", check: clean },
    Statement { id: "MQTT-3.1.2-4", version: V3, what: "a Session is resumed with its messages", check: resumed },
    Statement { id: "MQTT-3.1.2-5", version: V5, what: "a Session is resumed with its messages", check: resumed },
    Statement {
        id: "MQTT-3.1.2-24",
        version: V3,
        what: "silence of one and a half Keep Alives ends the connection",
        check: silence,
    },
    Statement { id: "MQTT-3.12.4-1", version: V5, what: "PINGREQ is answered", check: ping },
    Statement { id: "MQTT-3.1.2-8", version: V3, what: "a lost connection publishes the Will", check: will },
    Statement { id: "MQTT-3.1.2-8", version: V5, what: "a lost connection publishes the Will", check: will },
    Statement { id: "MQTT-3.14.4-3", version: V5, what: "DISCONNECT discards the Will", check: no_will },
];

fn first_packet(bench: &Bench) -> Outcome {
    let link = Link::open(bench.address, bench.version, 0).map_err(|error| error.to_string())?;
    raw(link, &[0xC0, 0])?.expect_close().map(drop)
}

/// A client of a connection without CONNACK, after these bytes.
fn raw(mut link: Link, bytes: &[u8]) -> Outcome<Client> {
    link.send_bytes(bytes);
    link.flush().map_err(|error| error.to_string())?;
    Ok(Client::without_connack(link))
}

fn second_connect(bench: &Bench) -> Outcome {
    let mut client = bench.client("client")?;
    client.send(&ClientPacket::Connect(Box::new(bench.connect("client", Session::Transient))))?;
    let reason_code = client.expect_close()?;
    ensure(reason_code.is_none_or(|code| code == ReasonCode::ProtocolError), || format!("closed with {reason_code:?}"))
}

fn unknown_version(bench: &Bench) -> Outcome {
    let link = Link::open(bench.address, V3, 0).map_err(|error| error.to_string())?;
    let properties: &[u8] = if bench.version == V5 { &[0] } else { &[] };
    let level = if bench.version == V5 { 6 } else { 3 };
    let remaining = 12 + properties.len();
    let head = [0x10, u8::try_from(remaining).unwrap_or_default(), 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0];
    let mut client = raw(link, &[&head, properties, &[0, 0]].concat())?;
    // A client of an unknown version may get either answer, or none.
    match client.link.receive(tokio::time::Instant::now() + crate::verify::link::PATIENCE) {
        Ok(Some(ServerPacket::Connack(connack))) => {
            ensure(connack.reason_code == ReasonCode::UnsupportedProtocolVersion, || {
                format!("refused with {}", connack.reason_code)
            })?;
            client.expect_close().map(drop)
        }
        Ok(Some(other)) => Err(format!("{other:?} came")),
        Ok(None) => Err("the connection was not closed".to_owned()),
        // A CONNACK of 5.0 is none of 3.1.1.
        Err(_) => Ok(()),
    }
}

fn no_name_3(bench: &Bench) -> Outcome {
    let mut connect = bench.connect("client", Session::Resumed);
    connect.client_id = Default::default();
    let mut client = Client::open(bench.address, &connect)?;
    let reason_code = client.connack.reason_code;
    ensure(reason_code == ReasonCode::ClientIdentifierNotValid, || format!("answered with {reason_code}"))?;
    client.expect_close().map(drop)
}

fn no_name_5(bench: &Bench) -> Outcome {
    let mut connect = bench.connect("client", Session::Transient);
    connect.client_id = Default::default();
    let first = Client::accepted(bench.address, &connect)?.connack.properties.assigned_client_identifier;
    let second = Client::accepted(bench.address, &connect)?.connack.properties.assigned_client_identifier;
    ensure(first.is_some() && first != second, || format!("{first:?} and {second:?} were assigned"))
}

fn take_over(bench: &Bench) -> Outcome {
    let mut first = bench.client("client")?;
    let mut second = bench.client("client")?;
    let reason_code = first.expect_close()?;
    let expected = (bench.version == V5).then_some(ReasonCode::SessionTakenOver);
    ensure(reason_code == expected, || format!("closed with {reason_code:?}"))?;
    ping_of(&mut second)
}

fn clean(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    let mut first = bench.kept("client")?;
    first.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    drop(first);
    let mut second = Client::accepted(bench.address, &bench.connect("client", Session::New))?;
    ensure(!second.connack.session_present, || "Session Present is 1".to_owned())?;
    bench.client("publisher")?.put(&topic, "lost", Qos::AtLeastOnce)?;
    second.expect_nothing()
}

fn resumed(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    let mut first = bench.kept("client")?;
    ensure(!first.connack.session_present, || "Session Present is 1 for a new Session".to_owned())?;
    first.subscribe(&[(&topic, Qos::ExactlyOnce)])?;
    drop(first);
    let mut publisher = bench.client("publisher")?;
    publisher.put(&topic, "one", Qos::AtLeastOnce)?;
    publisher.put(&topic, "two", Qos::ExactlyOnce)?;
    let mut second = bench.kept("client")?;
    ensure(second.connack.session_present, || "Session Present is 0".to_owned())?;
    second.message("one")?;
    second.message("two").map(drop)
}

fn silence(bench: &Bench) -> Outcome {
    let mut connect = bench.connect("client", Session::Transient);
    connect.keep_alive = 1;
    let mut client = Client::accepted(bench.address, &connect)?;
    let started = tokio::time::Instant::now();
    client.expect_close_within(Duration::from_secs(4))?;
    ensure(started.elapsed() > Duration::from_millis(1_300), || format!("closed after {:?}", started.elapsed()))
}

fn ping(bench: &Bench) -> Outcome {
    ping_of(&mut bench.client("client")?)
}

fn ping_of(client: &mut Client) -> Outcome {
    client.send(&ClientPacket::Pingreq)?;
    client.expect("PINGRESP", |packet| *packet == ServerPacket::Pingresp).map(drop)
}

/// A client with a Will.
fn willed(bench: &Bench, topic: &str) -> Outcome<Client> {
    let mut connect = bench.connect("willed", Session::Transient);
    connect.will = Some(Will {
        topic: TopicName::try_from(topic).map_err(|error| error.to_string())?,
        payload: "will".into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        will_delay_interval: 0,
        message_expiry_interval: None,
        properties: Default::default(),
    });
    Client::accepted(bench.address, &connect)
}

fn will(bench: &Bench) -> Outcome {
    let topic = bench.topic("will");
    let mut watcher = bench.client("watcher")?;
    watcher.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    drop(willed(bench, &topic)?);
    watcher.message("will").map(drop)
}

fn no_will(bench: &Bench) -> Outcome {
    let topic = bench.topic("will");
    let mut watcher = bench.client("watcher")?;
    watcher.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    let mut client = willed(bench, &topic)?;
    client.send(&ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection))))?;
    client.expect_close()?;
    watcher.expect_nothing()
}
