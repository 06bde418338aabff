//! What a listener says about the protocol: versions, features and identifiers, over every transport.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::broker::{Broker, Listener, Setup, Transport};
use crate::deadline::{PATIENCE, wait_for};
use crate::listeners::read_head;
use crate::mosquitto::{message, publish_at, try_publish};
use crate::peer;
use crate::raw::{CONNACK, Connect, PUBLISH, Version, Wire};

const V5: Version = Version::V5;

fn with(transport: Transport, extra: &'static str) -> Listener {
    Listener { extra, ..Listener::new(transport) }
}

/// A broker with a plain listener, and one over TCP and one over WebSocket that say the same.
fn start(extra: &'static str) -> Broker {
    let mut setup = Setup::new([Transport::Tcp]);
    setup.listeners.extend([with(Transport::Tcp, extra), with(Transport::Ws, extra)]);
    setup.start()
}

/// The output of `mosquitto_pub` at a listener.
fn output(broker: &Broker, listener: usize, arguments: &[&str]) -> String {
    let output = try_publish(&broker.target_of(listener), &[&["-t", "t", "-m", "x"], arguments].concat(), "");
    String::from_utf8(output.stdout).unwrap()
}

/// The CONNACK to a CONNECT over the WebSocket listener.
fn over_web_socket(broker: &Broker, connect: &Connect) -> Vec<u8> {
    let mut stream = TcpStream::connect(broker.address_of(2)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let rest = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n";
    stream.write_all(format!("GET /mqtt HTTP/1.1\r\n{head}{rest}\r\n").as_bytes()).unwrap();
    assert_eq!(read_head(&mut stream).0, 101);
    // Masked with zeros.
    let packet = connect.bytes();
    let length = u8::try_from(packet.len()).ok().filter(|length| *length < 126).unwrap();
    stream.write_all(&[&[0x82, 0x80 | length, 0, 0, 0, 0], packet.as_slice()].concat()).unwrap();
    let mut header = [0; 2];
    stream.read_exact(&mut header).unwrap();
    let mut answer = vec![0; usize::from(header[1])];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((header[0], answer[0]), (0x82, CONNACK));
    answer
}

#[test]
fn mqtt5_3_1_2_2_other_versions_are_refused_in_their_own_words() {
    if peer::is_chosen() {
        return;
    }
    let broker = start("protocol_versions = [\"5.0\"]");
    for (version, expected) in [("5", "CONNACK (0)"), ("311", "CONNACK (1)"), ("31", "CONNACK (1)")] {
        let text = output(&broker, 1, &["-V", version]);
        assert!(text.contains(expected), "{version}: {text}");
        assert!(output(&broker, 0, &["-V", version]).contains("CONNACK (0)"));
    }
    assert_eq!(over_web_socket(&broker, &Connect::new(Version::V311, "web"))[2..], [0, 1]);
    assert_eq!(over_web_socket(&broker, &Connect::new(V5, "web"))[3], 0);
    let broker = start("protocol_versions = [\"3.1\", \"3.1.1\"]");
    for (version, expected) in [("5", "CONNACK (132)"), ("311", "CONNACK (0)"), ("31", "CONNACK (0)")] {
        let text = output(&broker, 1, &["-V", version]);
        assert!(text.contains(expected), "{version}: {text}");
    }
    assert_eq!(over_web_socket(&broker, &Connect::new(V5, "web"))[3], 0x84);
    wait_for("the line in the log", || {
        broker.log().contains("the listener does not accept this version of MQTT").then_some(())
    });
}

#[test]
fn mqtt5_3_1_3_8_a_client_without_an_identifier_is_refused_or_gets_one_with_the_prefix() {
    if peer::is_chosen() {
        return;
    }
    let broker = start("allow_empty_client_id = false");
    let empty = Connect::new(V5, "");
    let (mut wire, connack) = Wire::connect(broker.address_of(1), &empty);
    assert_eq!(connack.reason_code(), 0x85);
    wire.expect_closed();
    let (_, connack) = Wire::connect(broker.address_of(1), &Connect::new(Version::V311, ""));
    assert_eq!(connack.body, [0, 2], "identifier rejected");
    assert_eq!(over_web_socket(&broker, &empty)[3], 0x85);
    assert!(output(&broker, 1, &["-V", "5", "-i", "named"]).contains("CONNACK (0)"));
    let (_, connack) = Wire::connect(broker.address(), &empty);
    assert!(String::from_utf8_lossy(&connack.body).contains("auto-"), "{connack:x?}");
    let broker = start("assigned_client_id_prefix = \"office-\"");
    let (_, connack) = Wire::connect(broker.address_of(1), &empty);
    assert!(String::from_utf8_lossy(&connack.body).contains("office-"), "{connack:x?}");
    assert!(String::from_utf8_lossy(&over_web_socket(&broker, &empty)).contains("office-"));
}

#[test]
fn mqtt5_3_2_2_11_and_14_features_of_a_listener_are_announced_and_enforced() {
    if peer::is_chosen() {
        return;
    }
    let broker = start("maximum_qos = 1\nretain_available = false\ntopic_alias_maximum = 7\nkeep_alive_max = \"20s\"");
    let (mut wire, connack) = Wire::connect(broker.address_of(1), &Connect::new(V5, "a"));
    for property in [&[0x24, 1][..], &[0x25, 0], &[0x22, 0, 7], &[0x13, 0, 20]] {
        let has = |body: &[u8]| body.windows(property.len()).any(|bytes| bytes == property);
        assert!(has(&connack.body), "{property:x?} in {connack:x?}");
        assert!(has(&over_web_socket(&broker, &Connect::new(V5, "web"))));
    }
    assert_eq!(wire.subscribe(V5, "x", 2), 1, "the granted QoS");
    wire.send(&V5.publish(PUBLISH | 0x04, "x", 1, b""));
    wire.expect_disconnect(V5, 0x9B);
    let mut wire = Wire::connected(broker.address_of(1), &Connect::new(V5, "a"));
    wire.send(&V5.publish(PUBLISH | 0x01, "x", 0, b"x"));
    wire.expect_disconnect(V5, 0x9A);
    assert!(output(&broker, 1, &["-q", "1"]).contains("PUBACK"));
    // The other listener has all of it.
    let mut subscriber = crate::mosquitto::Subscriber::start_at(&broker.target_of(0), &["-t", "t", "-q", "2"]);
    publish_at(&broker.target_of(0), &["-t", "t", "-m", "x", "-q", "2", "-r"]);
    assert_eq!(subscriber.next(), message("t", "x", 2));
}

#[test]
fn a_reload_changes_what_a_listener_accepts_for_the_next_connect() {
    if peer::is_chosen() {
        return;
    }
    let broker = start("protocol_versions = [\"3.1.1\"]");
    let mut before = Wire::connected(broker.address_of(1), &Connect::new(Version::V311, "before"));
    let file = broker.path().join("oncemq.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("protocol_versions = [\"3.1.1\"]", "protocol_versions = [\"5.0\"]")).unwrap();
    broker.signal("HUP");
    let accepted = |version: Version| Wire::connect(broker.address_of(1), &Connect::new(version, "new")).1.body[1] == 0;
    wait_for("the reload", || accepted(V5).then_some(()));
    assert!(!accepted(Version::V311));
    before.ping();
}
