//! Listeners and what comes before MQTT: addresses, PROXY headers, health checks, HTTP requests, and other protocols.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use wire::free_port;

use crate::broker::{Broker, Listener, Setup, Transport};
use crate::deadline::{PATIENCE, wait_for};
use crate::peer;
use crate::raw::{CONNACK, Connect, Version, Wire};

/// Metrics over HTTP and the API over the Unix socket, for a setup with [`with_admin`].
pub(crate) struct Admin {
    address: SocketAddr,
    /// It has the data directory, which the broker creates.
    data: TempDir,
}

/// Adds an admin listener, and a data directory that is known before the start.
pub(crate) fn with_admin(setup: Setup) -> (Setup, Admin) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let data = tempfile::tempdir().unwrap();
    let setup = setup.set("admin.enabled", "true").set("admin.required", "true");
    let place = data.path().join("data").display().to_string();
    let setup = setup.set("server.data", &format!("{place:?}"));
    (setup.set("admin.address", &format!("\"{address}\"")), Admin { address, data })
}

impl Admin {
    /// Its address.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The broker's data directory.
    pub(crate) fn data(&self) -> String {
        self.data.path().join("data").display().to_string()
    }

    /// The sum of a metric's series.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let text =
            http(stream_to(self.address), "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let is_series = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values =
            text.lines().filter(is_series).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        values.sum()
    }

    /// The response to a GET request.
    pub(crate) fn get(&self, path: &str) -> String {
        self.request("GET", path, "")
    }

    /// The response to a PUT request.
    pub(crate) fn put(&self, path: &str, body: &str) -> String {
        self.request("PUT", path, body)
    }

    /// The response to a request over the socket in the data directory.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> String {
        let length = body.len();
        let stream =
            wait_for("the admin socket", || UnixStream::connect(self.data.path().join("data/admin.sock")).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        http(
            stream,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ),
        )
    }

    /// Waits for a value: the shards publish their figures once a second.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, value: u64) {
        wait_for(&format!("{name} {value}"), || (self.figure(name) >= value).then_some(()));
        assert_eq!(self.figure(name), value, "{name}");
    }
}

fn stream_to(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes and returns everything until the end of the connection.
fn http(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A setup with a listener of each kind, and their settings.
fn every_kind() -> Setup {
    let proxied = |transport| Listener { extra: "proxy_protocol = \"any\"", ..Listener::new(transport) };
    let mut setup = Setup::new([Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]);
    setup.listeners.extend([Transport::Tcp, Transport::Tls, Transport::Ws].map(proxied));
    setup
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[test]
fn a_tcp_health_check_is_counted_apart_and_warns_of_nothing() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(every_kind().set("log.level", "\"debug\""));
    let broker = setup.start();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let mut probes = 0;
    for listener in 0..7 {
        for pause in [0, 20] {
            let connect = || {
                let stream = TcpStream::connect(broker.address_of(listener)).unwrap();
                thread::sleep(Duration::from_millis(pause));
                stream
            };
            drop(connect());
            reset(connect());
            connect().shutdown(Shutdown::Write).unwrap();
            probes += 3;
            // A LOCAL header and nothing else, as HAProxy checks with send-proxy-v2.
            if listener >= 4 {
                connect().write_all(local).unwrap();
                probes += 1;
            }
        }
    }
    admin.wait_for("oncemq_probes_total", probes);
    for name in ["oncemq_connects_refused_total", "oncemq_handshakes_failed_total", "oncemq_protocol_errors_total"] {
        assert_eq!(admin.figure(name), 0, "{name}");
    }
    let log = broker.log();
    assert!(!log.contains("WARN") && !log.contains("refused"), "{log}");
    wait_for("a debug line", || broker.log().contains("before it sent anything").then_some(()));
    // One byte is not a health check.
    TcpStream::connect(broker.address()).unwrap().write_all(b"\x10").unwrap();
    admin.wait_for("oncemq_connects_refused_total", 1);
    wait_for("the warning", || broker.log().contains("WARN").then_some(()));
    TcpStream::connect(broker.address_of(1)).unwrap().write_all(b"\x16").unwrap();
    TcpStream::connect(broker.address_of(2)).unwrap().write_all(b"G").unwrap();
    TcpStream::connect(broker.address_of(4)).unwrap().write_all(b"P").unwrap();
    admin.wait_for("oncemq_handshakes_failed_total", 3);
    assert_eq!(admin.figure("oncemq_probes_total"), probes);
}

#[test]
fn what_is_not_mqtt_is_named_with_the_setting_that_the_listener_needs() {
    if peer::is_chosen() {
        return;
    }
    let broker = every_kind().start();
    let mqtt = Connect::new(Version::V5, "astray").bytes();
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let ssh = b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec();
    let proxy = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec();
    let second = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    let twice = [proxy.as_slice(), &second].concat();
    for (listener, bytes, words) in [
        (0, &tls, "this looks like TLS; TLS needs a listener with transport = \"tls\""),
        (0, &get, "this looks like HTTP; WebSocket needs a listener with transport = \"ws\""),
        (0, &ssh, "this looks like SSH; the client has the wrong port"),
        (0, &proxy, "this looks like a PROXY header; a PROXY header needs a listener with proxy_protocol"),
        (0, &second, "this looks like a PROXY header"),
        (1, &mqtt, "this looks like MQTT without TLS; plain MQTT needs a listener with transport = \"tcp\""),
        (1, &get, "this looks like HTTP without TLS"),
        (1, &ssh, "this looks like SSH"),
        (1, &proxy, "this looks like a PROXY header"),
        (2, &mqtt, "this looks like MQTT; plain MQTT needs a listener with transport = \"tcp\""),
        (2, &tls, "this looks like TLS; TLS needs a listener with transport = \"wss\""),
        (2, &ssh, "this looks like SSH"),
        (2, &proxy, "this looks like a PROXY header"),
        (3, &mqtt, "this looks like MQTT without TLS"),
        (3, &get, "this looks like HTTP without TLS; WebSocket needs a listener with transport = \"ws\""),
        (4, &mqtt, "no PROXY header of an accepted version: this looks like MQTT"),
        (4, &get, "no PROXY header of an accepted version: this looks like HTTP"),
        (5, &tls, "no PROXY header of an accepted version: this looks like TLS"),
        (6, &get, "no PROXY header of an accepted version: this looks like HTTP"),
        (4, &twice, "and is sent only once"),
    ] {
        let mut stream = TcpStream::connect(broker.address_of(listener)).unwrap();
        let from = stream.local_addr().unwrap();
        stream.write_all(bytes).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A reset ends the connection too.
        let mut answer = Vec::new();
        let closed =
            stream.read_to_end(&mut answer).map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true);
        assert!(closed && answer.is_empty(), "listener {listener}: {words}");
        let from = if words.contains("only once") { "192.0.2.1:1 ".to_owned() } else { format!("{from} ") };
        wait_for(words, || broker.log().lines().any(|line| line.contains(words) && line.contains(&from)).then_some(()));
    }
}

#[test]
fn a_malformed_proxy_header_ends_the_connection_before_any_byte_of_mqtt() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = Setup::default();
    setup.listeners[0].extra = "proxy_protocol = \"any\"";
    let broker = setup.start();
    let v2 = |rest: &[u8]| [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), rest].concat();
    for header in [
        b"PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 nonsense 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n".to_vec(),
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        b"PROXY TCP4 \r\n".to_vec(),
        b"PROXY TCP4 \x10".to_vec(),
        v2(b"\x21\x41"),
        v2(b"\x21\xf1"),
        v2(b"\x21\x13"),
        v2(b"\x21\x11\0\x0b"),
    ] {
        let mut wire = Wire::open(broker.address());
        wire.send(&header);
        wire.expect_closed();
    }
    let line = "malformed PROXY header: destination address";
    wait_for(line, || broker.log().contains(line).then_some(()));
}

/// A broker that was started with these listeners, and the port that replaces `PORT` in them.
fn listen(listeners: &[&str], further: &[&str]) -> (Broker, u16) {
    let port = free_port();
    let listeners: Vec<String> = listeners.iter().map(|listener| listener.replace("PORT", &port.to_string())).collect();
    let mut arguments = vec!["--admin", "off"];
    listeners.iter().for_each(|listener| arguments.extend(["--listen", listener]));
    arguments.extend(further);
    let broker = Broker::start_with_arguments(&arguments);
    wait_for("the listeners", || broker.log().contains("Try it:").then_some(()));
    (broker, port)
}

fn connected(host: &str, port: u16) -> Wire {
    let address = format!("{host}:{port}").parse().unwrap();
    Wire::connected(address, &Connect::new(Version::V5, "here"))
}

#[test]
fn a_port_stands_for_all_addresses_and_a_name_for_its_own() {
    if peer::is_chosen() {
        return;
    }
    for listeners in [
        &["[::]:PORT"][..],
        &["PORT"],
        &[":PORT"],
        &["localhost:PORT"],
        &["0.0.0.0:PORT", "[::]:PORT"],
        &["[::]:PORT", "0.0.0.0:PORT"],
    ] {
        // Anonymous clients are accepted from loopback addresses only: an IPv4-mapped one is a loopback address too.
        let (broker, port) = listen(listeners, &[]);
        let addresses = match listeners[0] {
            "localhost:PORT" => ("localhost", port).to_socket_addrs().unwrap().collect(),
            _ => ["127.0.0.1", "[::1]"].map(|host| format!("{host}:{port}").parse().unwrap()).to_vec(),
        };
        for address in &addresses {
            drop(Wire::connected(*address, &Connect::new(Version::V5, "here")));
            let from = format!("from {}:", address.to_string().strip_suffix(&format!(":{port}")).unwrap());
            wait_for(&from, || broker.log().contains(&from).then_some(()));
        }
        assert!(!broker.log().contains("::ffff"), "{}", broker.log());
    }
}

#[test]
fn an_ipv4_mapped_address_counts_as_ipv4_in_the_limit_per_address() {
    if peer::is_chosen() {
        return;
    }
    let (broker, port) = listen(&["[::]:PORT", "127.0.0.1:0"], &["--set", "limits.connections_per_address_max=1"]);
    let first = connected("127.0.0.1", port);
    let log = broker.log();
    let other = log.lines().filter_map(|line| line.trim().strip_prefix("mqtt://127.0.0.1:")).next().unwrap();
    Wire::open(format!("127.0.0.1:{other}").parse().unwrap()).expect_closed();
    drop(connected("[::1]", port));
    drop(first);
    let line = "connection from 127.0.0.1 at 127.0.0.1:0 closed: limits.connections_per_address_max";
    wait_for(line, || broker.log().contains(line).then_some(()));
}

#[test]
fn an_ipv4_mapped_address_in_a_proxy_header_is_shown_as_ipv4_and_not_as_one_of_this_machine() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = Setup::default().set("security.allow_anonymous", "\"loopback\"");
    setup.listeners[0].extra = "proxy_protocol = \"any\"";
    let broker = setup.start();
    let v2 = |octets: [u8; 4]| {
        let mapped = [&[0; 10][..], &[0xFF, 0xFF], &octets].concat();
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24", mapped.as_slice(), &mapped, &[0x10, 0, 0x07, 0x5B]].concat()
    };
    for (header, address) in [
        (b"PROXY TCP6 ::ffff:127.0.0.9 ::1 4096 1883\r\n".to_vec(), "from 127.0.0.9:4096"),
        (b"PROXY TCP6 ::ffff:7f00:8 ::1 4096 1883\r\n".to_vec(), "from 127.0.0.8:4096"),
        (v2([127, 0, 0, 7]), "from 127.0.0.7:4096"),
        (v2([203, 0, 113, 7]), "from 203.0.113.7:4096"),
    ] {
        let mut wire = Wire::open(broker.address());
        wire.send(&[header, Connect::new(Version::V5, "mapped").bytes()].concat());
        assert_eq!(wire.expect(CONNACK).reason_code(), 0x87, "{address}");
        wait_for(address, || broker.log().contains(address).then_some(()));
    }
}

#[test]
fn an_address_that_cannot_be_used_is_named_with_the_cause() {
    if peer::is_chosen() {
        return;
    }
    for (listener, code, words) in [
        ("127.0.0.1", 2, "`127.0.0.1` is not a listener address: the port is missing"),
        ("::1:1883", 2, "an IPv6 address must be in brackets"),
        ("127.0.0.1:99999", 2, "the port must be a number up to 65535"),
        ("no-such-host.invalid:1883", 3, "cannot listen at no-such-host.invalid:1883"),
        ("192.0.2.77:1883", 3, "cannot listen at 192.0.2.77:1883"),
        ("[fe80::1%no-such-if]:1883", 3, "cannot listen at [fe80::1%no-such-if]:1883"),
    ] {
        let mut broker = Broker::start_with_arguments(&["--admin", "off", "--listen", listener]);
        assert_eq!(broker.end().code(), Some(code), "{listener}");
        assert!(broker.log().contains(words), "{}", broker.log());
    }
}

const UPGRADE: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                       dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Requests; the status and words of the answer; and words of the log line.
fn requests() -> Vec<(String, u16, &'static str, &'static str)> {
    let mqtt = "Sec-WebSocket-Protocol: mqtt\r\n";
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200));
    vec![
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 426, "This is an MQTT broker", ""),
        ("GET /health HTTP/1.0\r\n\r\n".to_owned(), 426, "This is an MQTT broker", ""),
        ("GET /health HTTP/1.0\nHost: x\n\n".to_owned(), 426, "This is an MQTT broker", ""),
        ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 426, "Content-Length: ", ""),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            405,
            "Allow: GET, HEAD",
            "POST \"/\"",
        ),
        (
            "OPTIONS / HTTP/1.0\r\n\r\n".to_owned(),
            405,
            "Allow: GET, HEAD",
            "OPTIONS \"/\", no subprotocol, answered 405",
        ),
        (
            format!("GET /x HTTP/1.1\r\n{UPGRADE}{mqtt}\r\n"),
            404,
            "must be /, /mqtt or /ws",
            "GET \"/x\", subprotocol \"mqtt\", answered 404",
        ),
        (
            format!("GET / HTTP/1.1\r\n{UPGRADE}\r\n"),
            400,
            "subprotocol mqtt",
            "GET \"/\", no subprotocol, answered 400",
        ),
        (
            format!("GET / HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Protocol: chat\r\n\r\n"),
            400,
            "subprotocol mqtt",
            "GET \"/\", subprotocol \"chat\", answered 400",
        ),
        (
            format!("GET /mqtt HTTP/1.1\r\n{}{mqtt}\r\n", UPGRADE.replace("Upgrade: websocket\r\n", "")),
            426,
            "Upgrade: websocket",
            "no Upgrade header: a proxy in between must pass on Upgrade and Connection",
        ),
        (
            format!("GET /mqtt HTTP/1.1\r\n{}{mqtt}\r\n", UPGRADE.replace("Version: 13", "Version: 8")),
            426,
            "Sec-WebSocket-Version: 13",
            "answered 426",
        ),
        (format!("GET /mqtt HTTP/1.0\r\n{UPGRADE}{mqtt}\r\n"), 400, "broker", "answered 400"),
        (large, 431, "16 KiB", "answered 431"),
        (many, 431, "100 headers", "answered 431"),
        ("nonsense\r\n\r\n".to_owned(), 400, "not an HTTP request", "not an HTTP request"),
        ("\u{1}\u{2}".to_owned(), 400, "not an HTTP request", "not an HTTP request"),
    ]
}

#[test]
fn http_requests_to_a_websocket_listener_are_answered_and_refusals_are_logged() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::new([Transport::Ws]).start();
    for (request, status, words, line) in requests() {
        let answer = http(stream_to(broker.address()), &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60}: {answer}");
        assert!(answer.contains(words), "{request:.60}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        if request.starts_with("HEAD") {
            assert_eq!(body, "");
        } else {
            assert_eq!(length, body.len().to_string());
            assert_eq!(body.lines().count(), 1, "{body}");
        }
        wait_for(line, || broker.log().contains(line).then_some(()));
    }
    assert!(!broker.log().contains("\"/health\""), "a plain request is told at level debug");
}

#[test]
fn the_first_offered_subprotocol_that_stands_for_mqtt_is_chosen() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = Setup::new([Transport::Ws, Transport::Ws]);
    setup.listeners[1].extra = "websocket_subprotocol = \"optional\"";
    let broker = setup.start();
    for (listener, offer, answer) in [
        (0, Some("mqtt"), Ok(Some("mqtt"))),
        (0, Some("mqttv3.1"), Ok(Some("mqttv3.1"))),
        (0, Some("mqttv3.1.1"), Ok(Some("mqttv3.1.1"))),
        (0, Some("mqttv5"), Ok(Some("mqttv5"))),
        (0, Some("chat, mqttv3.1,mqtt"), Ok(Some("mqttv3.1"))),
        (0, Some("MQTT"), Err(400)),
        (0, Some(""), Err(400)),
        (0, None, Err(400)),
        (1, None, Ok(None)),
        (1, Some(""), Ok(None)),
        (1, Some("mqtt"), Ok(Some("mqtt"))),
        (1, Some("chat"), Err(400)),
    ] {
        let offers = offer.map(|offer| format!("Sec-WebSocket-Protocol: {offer}\r\n")).unwrap_or_default();
        let mut stream = TcpStream::connect(broker.address_of(listener)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("GET / HTTP/1.1\r\n{UPGRADE}{offers}\r\n").as_bytes()).unwrap();
        let (status, head) = read_head(&mut stream);
        let chosen = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        if status == 101 {
            // Small clients look for the names as the standard spells them.
            for line in
                ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
            {
                assert!(head.lines().any(|other| other == line), "{head}");
            }
        }
        assert_eq!(if status == 101 { Ok(chosen) } else { Err(status) }, answer, "{offer:?}");
    }
}

/// Reads the head of an HTTP response, and no byte after it. Returns its status code and its text.
pub(crate) fn read_head(stream: &mut TcpStream) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
}
