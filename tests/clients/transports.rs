//! Transports other than plain TCP.

use crate::broker::{Setup, Transport};
use crate::deadline::wait_for;
use crate::mosquitto::{Subscriber, message, publish_at};
use crate::peer;
use crate::python;
use crate::raw::{CONNACK, Connect, Version, Wire};

#[test]
fn a_unix_socket_carries_messages() {
    let broker = Setup::new([Transport::Unix]).start();
    for version in ["311", "5"] {
        let mut subscriber = Subscriber::start(&broker, &["-V", version, "-t", "unix", "-q", "2"]);
        publish_at(&broker.target(), &["-V", version, "-t", "unix", "-m", "local", "-q", "2"]);
        assert_eq!(subscriber.next(), message("unix", "local", 2));
    }
}

#[test]
fn ipv6_carries_messages() {
    let mut setup = Setup::default();
    setup.listeners[0].ipv6 = true;
    let broker = setup.start();
    let mut subscriber = Subscriber::start(&broker, &["-t", "six", "-q", "1"]);
    publish_at(&broker.target(), &["-t", "six", "-m", "::1", "-q", "1"]);
    assert_eq!(subscriber.next(), message("six", "::1", 1));
}

#[test]
fn listeners_of_all_transports_share_one_broker() {
    let broker = Setup::new([Transport::Tcp, Transport::Unix, Transport::Ws, Transport::Tls]).start();
    let mut subscriber = Subscriber::start_at(&broker.target_of(1), &["-t", "one", "-q", "1"]);
    publish_at(&broker.target_of(0), &["-t", "one", "-m", "over TCP", "-q", "1"]);
    assert_eq!(subscriber.next(), message("one", "over TCP", 1));
    let mut target = broker.target_of(3);
    target.extend(["--cafile".to_owned(), broker.file("ca.pem")]);
    publish_at(&target, &["-t", "one", "-m", "over TLS", "-q", "1"]);
    assert_eq!(subscriber.next(), message("one", "over TLS", 1));
}

#[test]
fn mqtt5_6_websocket_carries_messages() {
    let broker = Setup::new([Transport::Ws]).start();
    python::run(&broker, "test_websocket", &[]);
}

#[test]
fn websocket_over_tls_carries_messages() {
    let broker = Setup::new([Transport::Wss]).start();
    python::run(&broker, "test_websocket", &[("BROKER_CA", &broker.file("ca.pem")), ("BROKER_HOST", "localhost")]);
}

#[test]
fn the_proxy_protocol_provides_the_address_of_the_client() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = Setup::default();
    setup.listeners[0].extra = "proxy_protocol = \"any\"";
    let broker = setup.start();
    let mut version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0C".to_vec();
    version_2.extend([203, 0, 113, 8, 127, 0, 0, 1, 0xD4, 0x31, 0x07, 0x5B]);
    for (client, header) in [
        ("203.0.113.7:54320", b"PROXY TCP4 203.0.113.7 127.0.0.1 54320 1883\r\n".to_vec()),
        ("[2001:db8::7]:54322", b"PROXY TCP6 2001:db8::7 ::1 54322 1883\r\n".to_vec()),
        ("203.0.113.8:54321", version_2),
    ] {
        let mut wire = Wire::open(broker.address());
        wire.send(&[header, Connect::new(Version::V5, "proxied").bytes()].concat());
        assert_eq!(wire.expect(CONNACK).reason_code(), 0);
        wait_for(client, || broker.log().contains(client).then_some(()));
    }
    for header in [&b"PROXY TCP4 nonsense\r\n"[..], b""] {
        let mut wire = Wire::open(broker.address());
        wire.send(&[header, &Connect::new(Version::V5, "direct").bytes()].concat());
        wire.expect_closed();
    }
}
