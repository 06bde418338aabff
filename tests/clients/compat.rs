//! Client libraries of other projects, with their default settings. `docs/COMPATIBILITY.md` has the table of what was
//! seen.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::Agent;
use crate::broker::{Broker, Setup, Transport};
use crate::mosquitto::{Message, Subscriber, message, publish};

/// A library, and what it can do.
struct Library {
    name: &'static str,
    program: fn() -> Command,
    versions: &'static [u8],
    /// The transport of everything but the exchanges over TLS and WebSocket.
    plain: Transport,
    qos_max: u8,
    /// The library hands the QoS and RETAIN of a message to the application.
    tells_flags: bool,
    tls: bool,
    websocket: bool,
    /// The library asks for a Session that outlives its connection, and hands over what arrives in it before SUBSCRIBE.
    session: bool,
    /// The library connects again by itself.
    reconnects: bool,
}

/// What most libraries can do.
const ALL: Library = Library {
    name: "",
    program: || unreachable!(),
    versions: &[4, 5],
    plain: Transport::Tcp,
    qos_max: 2,
    tells_flags: true,
    tls: true,
    websocket: true,
    session: true,
    reconnects: true,
};

#[test]
fn paho_python_2() {
    works(&Library { name: "paho", program: || python("paho_agent"), versions: &[3, 4, 5], ..ALL });
}

#[test]
fn paho_python_1_6() {
    let program = || {
        let mut command = python("paho_agent");
        command.env("PYTHONPATH", target("python/paho-1.6")).env("PAHO_VERSION", "1.6.");
        command
    };
    works(&Library { name: "paho-1.6", program, versions: &[3, 4, 5], ..ALL });
}

#[test]
fn aiomqtt() {
    works(&Library { name: "aiomqtt", program: || python("aiomqtt_agent"), reconnects: false, ..ALL });
}

#[test]
fn gmqtt() {
    works(&Library { name: "gmqtt", program: || python("gmqtt_agent"), websocket: false, ..ALL });
}

#[test]
fn amqtt() {
    works(&Library { name: "amqtt", program: || python("amqtt_agent"), versions: &[4], ..ALL });
}

#[test]
fn zmqtt() {
    works(&Library { name: "zmqtt", program: || python("zmqtt_agent"), session: false, websocket: false, ..ALL });
}

#[test]
fn mqttium() {
    works(&Library { name: "mqttium", program: || python("mqttium_agent"), ..ALL });
}

#[test]
fn mqttools() {
    works(&Library {
        name: "mqttools",
        program: || python("mqttools_agent"),
        versions: &[5],
        qos_max: 0,
        session: false,
        tls: false,
        websocket: false,
        reconnects: false,
        ..ALL
    });
}

#[test]
fn minimqtt() {
    works(&Library {
        name: "minimqtt",
        program: || python("minimqtt_agent"),
        versions: &[4],
        qos_max: 1,
        tells_flags: false,
        websocket: false,
        reconnects: false,
        ..ALL
    });
}

#[test]
fn awscrt() {
    works(&Library {
        name: "awscrt",
        program: || python("awscrt_agent"),
        versions: &[5],
        qos_max: 1,
        websocket: false,
        ..ALL
    });
}

#[test]
fn paho_c() {
    works(&Library { name: "paho-c", program: c, versions: &[3, 4, 5], reconnects: false, ..ALL });
}

#[test]
fn paho_js() {
    works(&Library {
        name: "paho-js",
        program: || node("paho_agent"),
        versions: &[3, 4],
        plain: Transport::Ws,
        tls: false,
        ..ALL
    });
}

#[test]
fn async_mqtt() {
    works(&Library { name: "async-mqtt", program: || node("async_mqtt_agent"), versions: &[3, 4, 5], ..ALL });
}

#[test]
fn mqtts() {
    works(&Library {
        name: "mqtts",
        program: || node("mqtts_agent"),
        versions: &[4],
        websocket: false,
        reconnects: false,
        ..ALL
    });
}

#[test]
fn rumqttc() {
    works(&Library { name: "rumqttc", program: rust, tls: false, websocket: false, ..ALL });
}

/// Tries everything that the library can do.
#[track_caller]
fn works(library: &Library) {
    let mut broker = Setup::new([Transport::Tcp, Transport::Tls, Transport::Ws]).start();
    for &version in library.versions {
        println!("{}, protocol level {version}", library.name);
        messages_in_both_directions(library, &broker, version, library.plain);
        retained_message_and_will(library, &broker, version);
        if library.session {
            session_across_a_crash(library, &mut broker, version);
        }
    }
    let version = *library.versions.last().unwrap();
    if library.tls {
        println!("{}, TLS", library.name);
        messages_in_both_directions(library, &broker, version, Transport::Tls);
    }
    if library.websocket {
        println!("{}, WebSocket", library.name);
        messages_in_both_directions(library, &broker, version, Transport::Ws);
    }
    if library.reconnects {
        reconnect_after_restarts(library, &mut broker, version);
    }
}

#[track_caller]
fn messages_in_both_directions(library: &Library, broker: &Broker, version: u8, transport: Transport) {
    let mut watcher = Subscriber::start(broker, &["-t", "out/#", "-q", "2"]);
    let mut client = Agent::start(library.command(broker, "exchange", version, transport));
    client.subscribe("in/#", library.qos_max);
    let long = "x".repeat(20_000);
    for qos in 0..=library.qos_max {
        for payload in ["small", &long] {
            let sent = message("out/x", payload, qos);
            client.publish(&sent);
            assert_eq!(watcher.next(), sent);
            publish(broker, &["-t", "in/x", "-m", payload, "-q", &qos.to_string()]);
            assert_eq!(client.next(), library.as_told(message("in/x", payload, qos)));
        }
    }
    client.disconnect();
}

#[track_caller]
fn retained_message_and_will(library: &Library, broker: &Broker, version: u8) {
    let mut watcher = Subscriber::start(broker, &["-t", "will/#", "-q", "2"]);
    let mut command = library.command(broker, "mortal", version, library.plain);
    command.env("WILL_TOPIC", "will/x");
    let mut client = Agent::start(command);
    let kept = Message { retain: true, ..message("kept/x", "kept", library.qos_max.min(1)) };
    client.publish(&kept);
    client.subscribe("kept/#", 1);
    assert_eq!(client.next(), library.as_told(kept.clone()));
    let mut late = Subscriber::start(broker, &["-t", "kept/#", "-q", "1"]);
    assert_eq!(late.next(), kept);
    client.kill();
    assert_eq!(watcher.next(), message("will/x", "gone", library.qos_max.min(1)));
}

/// The Session, its subscription and its messages outlast `kill -9` of the broker.
#[track_caller]
fn session_across_a_crash(library: &Library, broker: &mut Broker, version: u8) {
    let start = |broker: &Broker| {
        let mut command = library.command(broker, "stored", version, library.plain);
        command.env("STORED_SESSION", "1");
        Agent::start(command)
    };
    let topic = format!("stored/{version}");
    let mut client = start(broker);
    client.subscribe(&topic, 1);
    client.disconnect();
    publish(broker, &["-t", &topic, "-m", "first", "-q", "1"]);
    publish(broker, &["-t", &topic, "-m", "second", "-q", "1"]);
    broker.crash_and_restart();
    let client = start(broker);
    assert_eq!(client.next(), library.as_told(message(&topic, "first", library.qos_max.min(1))));
    assert_eq!(client.next(), library.as_told(message(&topic, "second", library.qos_max.min(1))));
    client.disconnect();
}

/// The library connects again after `kill -9` of the broker, and after its orderly end, which 5.0 clients are told by
/// DISCONNECT; its stored Session is there.
#[track_caller]
fn reconnect_after_restarts(library: &Library, broker: &mut Broker, version: u8) {
    let mut command = library.command(broker, "again", version, library.plain);
    command.env("STORED_SESSION", "1");
    let mut client = Agent::start(command);
    client.subscribe("again", 1);
    let restarts = [("kill -9", Broker::crash_and_restart as fn(&mut Broker)), ("SIGTERM", Broker::stop_and_restart)];
    for (signal, restart) in restarts {
        println!("{}, reconnect after {signal}", library.name);
        restart(broker);
        publish(broker, &["-t", "again", "-m", signal, "-q", "1"]);
        let mut next = client.next();
        // The broker may have ended before it had the PUBACK of the message before.
        if signal == "SIGTERM" && next == library.as_told(message("again", "kill -9", 1)) {
            next = client.next();
        }
        assert_eq!(next, library.as_told(message("again", signal, 1)));
    }
}

impl Library {
    /// The program with the environment for one connection.
    fn command(&self, broker: &Broker, role: &str, version: u8, transport: Transport) -> Command {
        let listener = match transport {
            Transport::Tls => 1,
            Transport::Ws => 2,
            Transport::Tcp | Transport::Wss | Transport::Unix | Transport::Quic => 0,
        };
        let mut command = (self.program)();
        command
            .env("BROKER_PORT", broker.address_of(listener).port().to_string())
            .env("CLIENT_ID", format!("{role}-{version}"))
            .env("MQTT_VERSION", version.to_string());
        if transport == Transport::Tls {
            command.env("BROKER_CA", broker.file("ca.pem"));
        }
        if transport == Transport::Ws {
            command.env("WEBSOCKET", "1");
        }
        command
    }

    /// The message as the application sees it.
    fn as_told(&self, message: Message) -> Message {
        if self.tells_flags { message } else { Message { qos: 0, retain: false, ..message } }
    }
}

fn python(agent: &str) -> Command {
    let mut command = Command::new(target("python/bin/python3"));
    command.arg("-B").arg(source("python/agents").join(format!("{agent}.py")));
    command
}

fn node(agent: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(source("node/agents").join(format!("{agent}.mjs"))).env("NODE_LIBRARIES", target("node/libraries"));
    command
}

/// The program in C, compiled at its first use.
fn c() -> Command {
    static PROGRAM: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("paho_agent");
        let mut compiler = Command::new("cc");
        compiler.arg(source("c").join("paho_agent.c")).arg("-lpaho-mqtt3cs").arg("-o").arg(&program);
        let output = compiler.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        program
    });
    Command::new(program)
}

/// The example of this package, which `cargo test` builds unless it is asked for a single target.
fn rust() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_oncemq")).with_file_name("examples").join("rumqttc_agent");
    assert!(program.exists(), "{} is missing: `cargo build --example rumqttc_agent`", program.display());
    Command::new(program)
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// What `tests/run` installed.
fn target(path: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(path)
}
