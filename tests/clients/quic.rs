//! MQTT over QUIC: through tunnels, so that clients of TCP show it, and with a QUIC client of its own for what they can't do.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::broker::{Broker, Setup, Transport};
use crate::certificates::CLIENT_NAME;
use crate::deadline::{now, wait_for, wait_for_end};
use crate::listeners::with_admin;
use crate::mosquitto::{Subscriber, message, publish_at};
use crate::peer;
use crate::python;
use crate::raw::{Connect, DISCONNECT, PUBACK, PUBLISH, Publish, Version, Wire, packet};
use crate::tunnel::{Identity, Tunnel};

/// A broker with a listener for QUIC, and one for TCP.
fn setup() -> Setup {
    Setup::new([Transport::Quic, Transport::Tcp]).set("log.level", "\"debug\"")
}

fn tunnel(broker: &Broker) -> Tunnel {
    Tunnel::open(broker.address(), Identity::new(broker.path()))
}

fn memory(broker: &Broker, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

/// A subscriber with a Will, and a watcher of the Will over TCP.
fn with_will(broker: &Broker, connect: &mut Connect) -> Wire {
    connect.will = Some(Publish::new("wills", "gone"));
    let mut watcher = Wire::connected(broker.address_of(1), &Connect::new(Version::V5, "watcher"));
    assert_eq!(watcher.subscribe(Version::V5, "wills", 0), 0);
    watcher
}

#[test]
fn messages_of_every_qos_and_size_cross() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup().start();
    let tunnel = tunnel(&broker);
    for version in ["311", "5"] {
        for qos in 0..=2_u8 {
            let (topic, level) = (format!("{version}/{qos}"), qos.to_string());
            let mut subscriber = Subscriber::start_at(&tunnel.target(), &["-V", version, "-t", &topic, "-q", &level]);
            publish_at(&tunnel.target(), &["-V", version, "-t", &topic, "-m", "over QUIC", "-q", &level]);
            assert_eq!(subscriber.next(), message(&topic, "over QUIC", qos));
        }
    }
    // Much more than what may be on its way at a time.
    let large = "x".repeat(3 << 20);
    let mut wire = Wire::connected(tunnel.address, &Connect::new(Version::V5, "large"));
    assert_eq!(wire.subscribe(Version::V5, "large", 1), 1);
    for round in 0..3 {
        wire.send(&Version::V5.publish(PUBLISH | 0x02, "large", round + 1, large.as_bytes()));
        let (first, second) = (wire.expect_any(), wire.expect_any());
        let (puback, publish) = if first.kind() == PUBACK { (first, second) } else { (second, first) };
        assert_eq!((puback.kind(), puback.reason_code()), (PUBACK, 0));
        let publish = Publish::parse(Version::V5, &publish).unwrap();
        assert!(publish.payload == large.as_bytes());
        wire.send(&crate::raw::acknowledge(PUBACK, publish.packet_id));
    }
    assert_eq!(tunnel.errors(), Vec::<String>::new());
}

#[test]
fn what_paho_expects_of_a_broker_holds_over_quic() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup().start();
    let tunnel = tunnel(&broker);
    python::run(&broker, "test_publish", &[("BROKER_PORT", &tunnel.address.port().to_string())]);
}

#[test]
fn the_client_certificate_is_the_user_and_a_revoked_one_ends_the_connection() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = setup();
    setup.allow_anonymous = false;
    (setup.listeners[0].client_certificates, setup.listeners[0].revocation_list) = (true, true);
    let broker = setup.start();
    let open = |certificate| {
        let identity = Identity { certificate, ..Identity::new(broker.path()) };
        Tunnel::open(broker.address(), identity)
    };
    let tunnel = open(Some("client"));
    let mut wire = Wire::connected(tunnel.address, &Connect::new(Version::V5, "certified"));
    wait_for("the user in the log", || broker.log().contains(CLIENT_NAME).then_some(()));
    for certificate in [None, Some("stranger")] {
        let tunnel = open(certificate);
        let mut wire = Wire::open(tunnel.address);
        wire.send(&Connect::new(Version::V5, "uncertified").bytes());
        wire.expect_closed();
    }
    wait_for("no certificate", || broker.log().contains("QUIC: the cryptographic handshake failed").then_some(()));
    assert!(!broker.log().contains("uncertified"));
    wire.ping();
    fs::copy(broker.path().join("revoked.crl"), broker.path().join("client.crl")).unwrap();
    broker.signal("HUP");
    wire.expect_disconnect(Version::V5, 0x87);
    let mut wire = Wire::open(tunnel.address);
    wire.send(&Connect::new(Version::V5, "revoked").bytes());
    wire.expect_closed();
    assert!(!broker.log().contains("revoked.from"));
}

#[test]
fn only_the_protocol_mqtt_and_one_stream_are_accepted() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(setup());
    let broker = setup.start();
    let other = Tunnel::open(broker.address(), Identity { protocol: "h3", ..Identity::new(broker.path()) });
    // Alert 120 is no_application_protocol.
    let error = other.connect().unwrap_err().to_string();
    assert!(error.contains("120"), "{error}");

    let tunnel = tunnel(&broker);
    let connection = tunnel.connect().unwrap();
    let (mut send, mut receive) = tunnel.block_on(connection.open_bi()).unwrap();
    tunnel.block_on(send.write_all(&Connect::new(Version::V5, "one stream").bytes())).unwrap();
    assert!(tunnel.block_on(receive.read_chunk(1_000, true)).unwrap().is_some());
    let second = async { tokio::time::timeout(Duration::from_millis(300), connection.open_bi()).await };
    assert!(tunnel.block_on(second).is_err(), "a second stream was opened");
    let uni = async { tokio::time::timeout(Duration::from_millis(100), connection.open_uni()).await };
    assert!(tunnel.block_on(uni).is_err(), "a stream of one direction was opened");
    assert_eq!(connection.max_datagram_size(), None);
    connection.close(0_u32.into(), b"");

    // A client that opens no stream has the time of CONNECT, and one that leaves before is a probe.
    let probe = tunnel.connect().unwrap();
    probe.close(0_u32.into(), b"");
    admin.wait_for("oncemq_probes_total", 1);
}

#[test]
fn a_client_moves_to_another_address() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup().start();
    let tunnel = tunnel(&broker);
    let mut wire = Wire::connected(tunnel.address, &Connect::new(Version::V5, "traveller"));
    assert_eq!(wire.subscribe(Version::V5, "moved", 1), 1);
    let mut other = Wire::connected(broker.address_of(1), &Connect::new(Version::V5, "other"));
    for round in 0..3 {
        tunnel.move_to_another_port();
        wire.ping();
        assert_eq!(other.publish(Version::V5, "moved", &round.to_string()), 0);
        let publish = wire.expect_publish(Version::V5);
        assert_eq!(publish.payload, round.to_string().as_bytes());
        wire.send(&crate::raw::acknowledge(PUBACK, publish.packet_id));
    }
    // It did not connect again: the connection of the tunnel is the same.
    assert_eq!(tunnel.errors(), Vec::<String>::new());
}

#[test]
fn a_will_is_published_when_the_client_ends_without_disconnect() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup().start();
    let tunnel = tunnel(&broker);
    let mut connect = Connect::new(Version::V5, "mortal");
    let mut watcher = with_will(&broker, &mut connect);
    // The end of the stream.
    Wire::connected(tunnel.address, &connect).cut();
    assert_eq!(watcher.expect_publish(Version::V5).payload, b"gone");
    // DISCONNECT first.
    let mut wire = Wire::connected(tunnel.address, &connect);
    wire.send(&packet(DISCONNECT, &[]));
    wire.expect_closed();
    // The end of the connection, with what was sent before it.
    let connection = tunnel.connect().unwrap();
    let (mut send, _receive) = tunnel.block_on(connection.open_bi()).unwrap();
    connect.client_id = "abrupt".to_owned();
    tunnel.block_on(send.write_all(&connect.bytes())).unwrap();
    wait_for("the client", || broker.log().contains("abrupt").then_some(()));
    connection.close(7_u32.into(), b"forged\ntext");
    assert_eq!(watcher.expect_publish(Version::V5).payload, b"gone");
    wait_for("the code", || broker.log().contains("the client closed the connection with code 7").then_some(()));
    assert!(!broker.log().contains("forged"));
    // Silence: Keep Alive decides.
    (connect.client_id, connect.keep_alive) = ("silent".to_owned(), 2);
    let silent = self::tunnel(&broker);
    let _wire = Wire::connected(silent.address, &connect);
    let begin = now();
    drop(silent);
    assert_eq!(watcher.expect_publish(Version::V5).payload, b"gone");
    assert!(begin.elapsed() >= Duration::from_millis(2_500), "{:?}", begin.elapsed());
}

#[test]
fn a_client_that_does_not_read_takes_little_memory_and_delays_nobody() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup().set("limits.outgoing_bytes_max", "1000000").start();
    let tunnel = tunnel(&broker);
    let connection = tunnel.connect().unwrap();
    let (mut send, _receive) = tunnel.block_on(connection.open_bi()).unwrap();
    let version = Version::V5;
    let hello = [Connect::new(version, "sleeper").bytes(), version.subscribe(1, "flood", 0)].concat();
    tunnel.block_on(send.write_all(&hello)).unwrap();
    wait_for("the subscriber", || broker.log().contains("sleeper").then_some(()));
    let mut publisher = Wire::connected(tunnel.address, &Connect::new(version, "publisher"));
    let before = memory(&broker, "VmRSS:");
    let payload = [b'x'; 64 << 10];
    for number in 0..1_500_u16 {
        publisher.send(&version.publish(PUBLISH | 0x02, "flood", number + 1, &payload));
        assert_eq!(publisher.expect_any().kind(), PUBACK);
    }
    let growth = memory(&broker, "VmHWM:").saturating_sub(before);
    assert!(growth < 24 << 20, "{} MiB for 94 MiB", growth >> 20);
}

#[test]
fn what_the_broker_does_not_read_stays_with_the_client() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup().set("limits.client_bytes_per_second_max", "100000").start();
    let tunnel = tunnel(&broker);
    let connection = tunnel.connect().unwrap();
    let (mut send, _receive) = tunnel.block_on(connection.open_bi()).unwrap();
    // What the library of the client keeps itself.
    connection.set_send_window(64 << 10);
    tunnel.block_on(send.write_all(&Connect::new(Version::V5, "fast").bytes())).unwrap();
    let publish = Version::V5.publish(PUBLISH, "x", 0, &[b'x'; 10_000]);
    let mut written = 0;
    let write = async {
        loop {
            send.write_all(&publish).await.unwrap();
            written += publish.len();
        }
    };
    let _timeout = tunnel.block_on(async { tokio::time::timeout(Duration::from_secs(2), write).await });
    assert!(written > 100_000, "{written}");
    assert!(written < 1 << 20, "{written} bytes were taken at 100 kB per second");
}

#[test]
fn a_flood_of_handshakes_must_prove_its_address_and_keeps_nobody_out() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(setup());
    let broker = setup.start();
    let before = memory(&broker, "VmRSS:");
    let flood = tunnel(&broker);
    let retries = flood.begin_many(2_000);
    assert!(retries >= 1_000, "{retries}");
    let growth = memory(&broker, "VmHWM:").saturating_sub(before);
    assert!(growth < 32 << 20, "{} MiB", growth >> 20);
    let tunnel = tunnel(&broker);
    let begin = now();
    Wire::connected(tunnel.address, &Connect::new(Version::V5, "genuine")).ping();
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(admin.figure("oncemq_connections") <= 70, "only so many are kept");
}

#[test]
fn limits_and_bans_refuse_before_the_handshake() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = setup();
    setup.listeners[0].extra = "connections_max = 1";
    let (setup, admin) = with_admin(setup);
    let broker = setup.start();
    let tunnel = tunnel(&broker);
    let mut wire = Wire::connected(tunnel.address, &Connect::new(Version::V5, "the only one"));
    let error = tunnel.connect().unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    wait_for("the reason", || broker.log().contains("the listener's connections_max is reached").then_some(()));
    wire.ping();
    let ban = "{\"address\":\"127.0.0.1\",\"seconds\":600,\"reason\":\"test\"}";
    let answer = admin.request("POST", "/api/v1/bans", ban);
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    drop(wire);
    wait_for("a refusal of the address", || {
        assert!(tunnel.connect().is_err());
        broker.log().contains("the address is banned").then_some(())
    });
    assert_eq!(admin.figure("oncemq_handshakes_failed_total"), 0, "none was begun");
}

#[test]
fn a_removed_listener_and_a_stop_disconnect_in_order() {
    if peer::is_chosen() {
        return;
    }
    let mut broker = setup().start();
    let tunnel = tunnel(&broker);
    let mut wire = Wire::connected(tunnel.address, &Connect::new(Version::V5, "leaves"));
    let file = broker.path().join("oncemq.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (first, rest) = text.split_once("[[listeners]]").unwrap();
    let (_, second) = rest.split_once("[[listeners]]").unwrap();
    fs::write(&file, format!("{first}[[listeners]]{second}")).unwrap();
    broker.signal("HUP");
    wire.expect_disconnect(Version::V5, 0x98);
    wait_for("the end of the listener", || broker.log().contains("is closed, and").then_some(()));
    fs::write(&file, text).unwrap();
    wait_for("the port", || {
        broker.signal("HUP");
        std::thread::sleep(Duration::from_millis(200));
        (broker.log().matches("listens at mqtt-quic").count() >= 1).then_some(())
    });
    let tunnel = self::tunnel(&broker);
    let mut wire = Wire::connected(tunnel.address, &Connect::new(Version::V5, "stays"));
    wire.ping();
    let begin = now();
    broker.signal("TERM");
    wire.expect_disconnect(Version::V5, 0x8B);
    assert!(broker.end().success());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn another_process_takes_over_the_udp_socket() {
    if peer::is_chosen() {
        return;
    }
    let mut broker = setup().start();
    let tunnel = tunnel(&broker);
    let mut wire = Wire::connected(tunnel.address, &Connect::new(Version::V5, "handed over"));
    assert_eq!(wire.publish(Version::V5, "kept", "before"), 0x10);
    let mut next = Command::new(env!("CARGO_BIN_EXE_oncemq"))
        .arg("--config")
        .arg(broker.path().join("oncemq.toml"))
        .arg("--take-over")
        .stdout(Stdio::null())
        .stderr(fs::File::create(broker.path().join("next")).unwrap())
        .spawn()
        .unwrap();
    wire.expect_disconnect(Version::V5, 0x8B);
    assert!(broker.end().success());
    let log = || fs::read_to_string(broker.path().join("next")).unwrap();
    wait_for("the new process", || log().contains("took over from process").then_some(()));
    let again = self::tunnel(&broker);
    let mut wire = Wire::connected(again.address, &Connect::new(Version::V5, "again"));
    wire.ping();
    assert!(Command::new("kill").arg(next.id().to_string()).status().unwrap().success());
    assert!(wait_for_end("the new process", &mut next).success());
}

/// A tunnel of aioquic in its own process, which is a QUIC client that shares no code with the broker's library.
struct OtherTunnel {
    child: Child,
    port: String,
}

impl OtherTunnel {
    #[track_caller]
    fn start(broker: &Broker, certificate: Option<&str>) -> Self {
        let mut command = Command::new(python::interpreter());
        command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/quic_tunnel.py"));
        command.arg(broker.address().port().to_string()).arg(broker.file("ca.pem"));
        if let Some(name) = certificate {
            command.args([broker.file(&format!("{name}.pem")), broker.file(&format!("{name}.key"))]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        assert!(!port.is_empty(), "the tunnel does not start (if aioquic is missing: `bash tests/run` installs it)");
        Self { child, port: port.trim().to_owned() }
    }

    fn target(&self) -> Vec<String> {
        ["-h", "127.0.0.1", "-p", &self.port].map(str::to_owned).into()
    }
}

impl Drop for OtherTunnel {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn clients_over_the_quic_of_aioquic_are_served() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup().start();
    let tunnel = OtherTunnel::start(&broker, None);
    for version in ["311", "5"] {
        for qos in 0..=2_u8 {
            let (topic, level) = (format!("{version}/{qos}"), qos.to_string());
            let mut subscriber = Subscriber::start_at(&tunnel.target(), &["-V", version, "-t", &topic, "-q", &level]);
            publish_at(&tunnel.target(), &["-V", version, "-t", &topic, "-m", "over QUIC", "-q", &level]);
            assert_eq!(subscriber.next(), message(&topic, "over QUIC", qos));
        }
    }
    python::run(&broker, "test_publish", &[("BROKER_PORT", &tunnel.port)]);
    // kill -9: nothing is sent, and Keep Alive ends the connection.
    let mut connect = Connect::new(Version::V5, "killed");
    connect.keep_alive = 1;
    let mut watcher = with_will(&broker, &mut connect);
    let address = ([127, 0, 0, 1], tunnel.port.parse().unwrap()).into();
    let _wire = Wire::connected(address, &connect);
    drop(tunnel);
    assert_eq!(watcher.expect_publish(Version::V5).payload, b"gone");
}

#[test]
fn aioquic_presents_a_certificate() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = setup();
    setup.allow_anonymous = false;
    setup.listeners[0].client_certificates = true;
    let broker = setup.start();
    let tunnel = OtherTunnel::start(&broker, Some("client"));
    publish_at(&tunnel.target(), &["-t", "x", "-m", "y", "-q", "1"]);
    wait_for("the user in the log", || broker.log().contains(CLIENT_NAME).then_some(()));
}

#[test]
fn an_expired_certificate_is_accepted_by_setting_until_a_reload_says_otherwise() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = setup();
    setup.allow_anonymous = false;
    setup.listeners[0].client_certificates = true;
    let broker = setup.start();
    let identity = Identity { certificate: Some("expired"), ..Identity::new(broker.path()) };
    let tunnel = Tunnel::open(broker.address(), identity);
    let connect = Connect::new(Version::V5, "outdated");
    let refused = || {
        let mut wire = Wire::open(tunnel.address);
        wire.send(&connect.bytes());
        wire.expect_closed();
    };
    let reload = |text: &str| {
        let before = broker.log().len();
        fs::write(broker.path().join("oncemq.toml"), text).unwrap();
        broker.signal("HUP");
        let has_settings = || broker.log()[before..].contains("has other settings").then_some(());
        wait_for("the reload", has_settings);
    };
    refused();
    let checked = fs::read_to_string(broker.path().join("oncemq.toml")).unwrap();
    let required = "client_certificate = \"required\"";
    reload(&checked.replace(required, &format!("{required}\nclient_certificate_dates = \"ignored\"")));
    let mut wire = Wire::connected(tunnel.address, &connect);
    wait_for("the warning", || broker.log().contains("client_certificate_dates` is \"ignored\"").then_some(()));
    reload(&checked);
    wire.expect_disconnect(Version::V5, 0x87);
    refused();
}
