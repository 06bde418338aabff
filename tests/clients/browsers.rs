//! Pages of websites, and HTTP proxies: who may open a WebSocket, and who counts as a client of this machine.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::broker::{Broker, Listener, Setup, Transport};
use crate::deadline::{PATIENCE, wait_for};
use crate::listeners::read_head;
use crate::peer;
use crate::raw::{CONNACK, Connect, Version, Wire};

const HEAD: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n";

/// What a client gets that opens a WebSocket and connects without a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The status of HTTP, if no WebSocket is opened.
    Status(u16),
    /// The Reason Code of CONNACK.
    Connack(u8),
}

const ACCEPTED: Outcome = Outcome::Connack(0);
const NOT_AUTHORIZED: Outcome = Outcome::Connack(0x87);

/// A connection from this address of the loopback network.
fn open(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Opens a WebSocket with these headers, and sends CONNECT.
fn web_socket(stream: &mut TcpStream, headers: &str, client_id: &str) -> Outcome {
    stream.write_all(format!("GET /mqtt HTTP/1.1\r\n{HEAD}{headers}\r\n").as_bytes()).unwrap();
    let (status, _) = read_head(stream);
    if status != 101 {
        let mut body = String::new();
        stream.read_to_string(&mut body).unwrap();
        assert_eq!(body.lines().count(), 1, "{body}");
        return Outcome::Status(status);
    }
    // Masked with zeros.
    let connect = Connect::new(Version::V5, client_id).bytes();
    let length = u8::try_from(connect.len()).ok().filter(|length| *length < 126).unwrap();
    stream.write_all(&[&[0x82, 0x80 | length, 0, 0, 0, 0], connect.as_slice()].concat()).unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((answer[0], answer[2]), (0x82, CONNACK), "{answer:x?}");
    Outcome::Connack(answer[5])
}

fn connect(broker: &Broker, listener: usize, headers: &str) -> Outcome {
    let mut stream = open(Ipv4Addr::LOCALHOST, broker.address_of(listener));
    web_socket(&mut stream, headers, "page")
}

/// A listener for WebSocket with further settings.
fn listener(extra: &'static str) -> Listener {
    Listener { extra, ..Listener::new(Transport::Ws) }
}

/// Clients of this machine alone need no password.
fn setup(listeners: impl IntoIterator<Item = Listener>) -> Setup {
    let mut setup = Setup::new([]).set("security.allow_anonymous", "\"loopback\"");
    setup.listeners = listeners.into_iter().collect();
    setup
}

#[test]
fn a_page_of_another_website_gets_403_and_is_named_in_the_log() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup([listener("")]).start();
    let host = format!("Host: {}\r\n", broker.address());
    for (headers, expected) in [
        ("", ACCEPTED),
        ("Origin: http://localhost:3000\r\n", ACCEPTED),
        ("Origin: http://127.0.0.1\r\n", ACCEPTED),
        ("Origin: http://[::1]:8080\r\n", ACCEPTED),
        ("Origin: https://evil.example\r\n", Outcome::Status(403)),
        ("Origin: http://localhost.evil.example\r\n", Outcome::Status(403)),
        ("Origin: null\r\n", Outcome::Status(403)),
        ("Origin: file://\r\n", Outcome::Status(403)),
        ("Origin: \r\n", Outcome::Status(403)),
        ("Origin: http://localhost\r\nOrigin: http://evil.example\r\n", Outcome::Status(403)),
    ] {
        assert_eq!(connect(&broker, 0, &format!("{host}{headers}")), expected, "{headers}");
    }
    let line =
        "origin \"https://evil.example\", answered 403: pages of this origin are not accepted (see websocket_origins)";
    wait_for(line, || broker.log().contains(line).then_some(()));
}

#[test]
fn a_page_after_dns_rebinding_is_no_client_of_this_machine() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup([listener("")]).start();
    // The website's name stands for 127.0.0.1 in the browser of somebody on this machine, so Host and Origin are equal.
    let rebound = "Host: evil.example:8083\r\nOrigin: http://evil.example:8083\r\n";
    assert_eq!(connect(&broker, 0, rebound), NOT_AUTHORIZED);
    assert_eq!(connect(&broker, 0, "Host: evil.example:8083\r\nOrigin: http://localhost\r\n"), Outcome::Status(403));
}

#[test]
fn the_configured_origins_are_accepted_and_are_no_clients_of_this_machine() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup([
        listener("websocket_origins = [\"https://app.example.com\", \"http://localhost:3000\", \"null\"]"),
        listener("websocket_origins = [\"*\"]"),
        listener("websocket_origins = [\"https://app.example.com\"]\nallow_anonymous = true"),
    ])
    .start();
    for (listener, origin, expected) in [
        (0, "https://app.example.com", NOT_AUTHORIZED),
        (0, "http://app.example.com", Outcome::Status(403)),
        (0, "http://localhost:3000", ACCEPTED),
        (0, "http://localhost:3001", Outcome::Status(403)),
        (0, "null", NOT_AUTHORIZED),
        (1, "https://evil.example", NOT_AUTHORIZED),
        (1, "null", NOT_AUTHORIZED),
        (1, "http://localhost:1", ACCEPTED),
        (2, "https://app.example.com", ACCEPTED),
        (2, "https://evil.example", Outcome::Status(403)),
    ] {
        let headers = format!("Host: 127.0.0.1\r\nOrigin: {origin}\r\n");
        assert_eq!(connect(&broker, listener, &headers), expected, "{listener} {origin}");
    }
    assert_eq!(connect(&broker, 0, "Host: 127.0.0.1\r\n"), ACCEPTED, "no browser");
}

#[test]
fn a_forwarded_request_is_no_client_of_this_machine_and_forged_headers_change_nothing_else() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup([listener("")]).start();
    assert_eq!(connect(&broker, 0, "Host: localhost\r\n"), ACCEPTED);
    for header in [
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-For: 203.0.113.7",
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 proxy",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: localhost",
        "X-Real-IP: 127.0.0.1",
        "CF-Connecting-IP: 127.0.0.1",
    ] {
        assert_eq!(connect(&broker, 0, &format!("Host: localhost\r\n{header}\r\n")), NOT_AUTHORIZED, "{header}");
    }
    assert!(!broker.log().contains("203.0.113.7"), "{}", broker.log());
}

#[test]
fn a_trusted_proxy_names_the_client_for_the_log_and_the_limits() {
    if peer::is_chosen() {
        return;
    }
    let setup = setup([
        listener("trusted_proxies = [\"127.0.0.2\", \"10.0.0.0/8\"]\nallow_anonymous = true"),
        listener("trusted_proxies = [\"127.0.0.2\"]"),
    ]);
    let broker = setup.set("limits.connections_per_address_max", "3").start();
    let proxy = Ipv4Addr::new(127, 0, 0, 2);
    let host = "Host: localhost\r\n";
    let mut held = Vec::new();
    let mut forwarded = |listener: usize, headers: &str, client_id: &str| {
        let mut stream = open(proxy, broker.address_of(listener));
        let outcome = web_socket(&mut stream, &format!("{host}{headers}\r\n"), client_id);
        held.push(stream);
        outcome
    };
    for (headers, client_id, address) in [
        ("X-Forwarded-For: 203.0.113.1", "one", "203.0.113.1:0"),
        ("X-Forwarded-For: 127.0.0.1, 203.0.113.2:4711, 10.1.2.3", "two", "203.0.113.2:4711"),
        ("Forwarded: for=127.0.0.1, for=\"[2001:db8::3]:4711\";proto=https", "three", "[2001:db8::3]:4711"),
        ("X-Forwarded-For: 203.0.113.4\r\nForwarded: for=203.0.113.4", "four", "203.0.113.4:0"),
        ("X-Forwarded-For: 203.0.113.1", "again", "203.0.113.1:0"),
        ("X-Forwarded-For: 203.0.113.1", "once-more", "203.0.113.1:0"),
    ] {
        assert_eq!(forwarded(0, headers, client_id), ACCEPTED, "{headers}");
        let line = |log: &str| log.lines().any(|line| line.contains(client_id) && line.contains(address));
        wait_for(address, || line(&broker.log()).then_some(()));
    }
    assert_eq!(forwarded(0, "X-Forwarded-For: 203.0.113.5\r\nForwarded: for=203.0.113.6", "x"), Outcome::Status(400));
    // A fourth connection of the same client, through the same proxy as all others.
    let mut fourth = open(proxy, broker.address());
    fourth
        .write_all(format!("GET /mqtt HTTP/1.1\r\n{HEAD}{host}X-Forwarded-For: 203.0.113.1\r\n\r\n").as_bytes())
        .unwrap();
    let mut rest = Vec::new();
    drop(fourth.read_to_end(&mut rest));
    wait_for("the limit", || broker.log().contains("limits.connections_per_address_max is reached").then_some(()));
    // No client of this machine, whatever the proxy says, and also if it says nothing.
    for (headers, client_id) in [("X-Forwarded-For: 127.0.0.1", "local"), ("X-Other: y", "silent")] {
        assert_eq!(forwarded(1, headers, client_id), NOT_AUTHORIZED, "{headers}");
    }
    // A client that is no proxy.
    assert_eq!(connect(&broker, 1, host), ACCEPTED);
    assert_eq!(connect(&broker, 1, &format!("{host}X-Forwarded-For: 203.0.113.99\r\n")), NOT_AUTHORIZED);
    assert!(!broker.log().contains("203.0.113.99"), "{}", broker.log());
}

#[test]
fn a_client_behind_the_proxy_protocol_is_no_client_of_this_machine() {
    if peer::is_chosen() {
        return;
    }
    let proxied = |extra| Listener { extra, ..Listener::new(Transport::Tcp) };
    let setup = setup([
        proxied("proxy_protocol = \"any\""),
        proxied("proxy_protocol = \"any\"\ntrusted_proxies = [\"127.0.0.2\"]"),
    ]);
    let broker = setup.start();
    let v2 = |command: u8, family: u8, body: &[u8]| {
        [b"\r\n\r\n\0\r\nQUIT\n", [command, family, 0, u8::try_from(body.len()).unwrap()].as_slice(), body].concat()
    };
    let loopback = [127, 0, 0, 1, 127, 0, 0, 1, 0, 1, 0, 2];
    for (header, code) in [
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n".to_vec(), 0x87),
        (b"PROXY TCP6 ::1 ::1 1 2\r\n".to_vec(), 0x87),
        (b"PROXY UNKNOWN\r\n".to_vec(), 0x87),
        (v2(0x21, 0x11, &loopback), 0x87),
        (v2(0x21, 0x00, &[]), 0x87),
        // The proxy itself, on this machine.
        (v2(0x20, 0x00, &[]), 0),
    ] {
        let mut wire = Wire::open(broker.address());
        wire.send(&[header.as_slice(), &Connect::new(Version::V5, "proxied").bytes()].concat());
        assert_eq!(wire.expect(CONNACK).reason_code(), code, "{header:?}");
    }
    let mut wire = Wire::open(broker.address_of(1));
    wire.send(&[b"PROXY UNKNOWN\r\n", Connect::new(Version::V5, "stranger").bytes().as_slice()].concat());
    wire.expect_closed();
    let line = "the address is not one of trusted_proxies";
    wait_for(line, || broker.log().contains(line).then_some(()));
}
