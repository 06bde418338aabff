//! Moves the state of the real mosquitto: clients that stop at every step of a delivery, its mosquitto.db, `oncemq import mosquitto-db`, and the
//! same clients again, message by message.
//!
//! `ONCEMQ_MOVING_STATE="100000 1000 1000" cargo test --test moving_state -- --nocapture` does it with as many retained messages, sessions and
//! messages for each of them, and says how long the import took. `ONCEMQ_MOSQUITTO` names another mosquitto, and `ONCEMQ_MOSQUITTO_PLUGIN` its
//! persist-sqlite plugin, for a binary with the feature `mosquitto-sqlite`.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "what is tested here is processes in real time")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use wire::{
    CONNACK, Connect, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet, Publish,
    Received, SUBACK, Version, Wire, acknowledge, free_address, packet,
};

/// How much there is.
#[derive(Debug, Clone, Copy)]
struct Size {
    retained: usize,
    sessions: usize,
    /// Messages for each session.
    messages: usize,
}

impl Size {
    fn chosen() -> Self {
        let Ok(text) = std::env::var("ONCEMQ_MOVING_STATE") else {
            return Self { retained: 1_000, sessions: 20, messages: 60 };
        };
        let numbers: Vec<usize> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        Self { retained: numbers[0], sessions: numbers[1], messages: numbers[2] }
    }
}

/// A process that listens. Dropping it kills it.
struct Broker {
    child: Child,
    address: SocketAddr,
    output: PathBuf,
}

impl Broker {
    fn start(mut command: Command, address: SocketAddr, output: &Path) -> Self {
        let log = File::create(output).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let broker = Self { child, address, output: output.to_owned() };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the broker does not start");
            thread::sleep(Duration::from_millis(20));
        }
        broker
    }

    /// SIGTERM, and the end of the process.
    fn stop(&mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            let log = fs::read_to_string(&self.output).unwrap_or_default();
            println!("{}", log.lines().rev().take(30).collect::<Vec<_>>().join("\n"));
        }
    }
}

fn mosquitto(directory: &Path) -> Broker {
    let address = free_address();
    let file = directory.join("mosquitto.conf");
    // As root, mosquitto would become a user who can't write here.
    let store = match plugin() {
        Some(plugin) => format!("plugin {plugin}\nplugin_opt_flush_period 1"),
        None => "persistence true\nautosave_interval 0".to_owned(),
    };
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence_location {}/\n{store}\n\
         max_queued_messages 0\nset_tcp_nodelay true\nuser root\nlog_type error\n",
        address.port(),
        directory.display()
    );
    fs::write(&file, text).unwrap();
    let named = std::env::var("ONCEMQ_MOSQUITTO").ok();
    let usual = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
    let mut command = Command::new(named.as_deref().unwrap_or(usual));
    command.arg("-c").arg(file);
    Broker::start(command, address, &directory.join("mosquitto.txt"))
}

/// The plugin that saves the state in a database.
fn plugin() -> Option<String> {
    std::env::var("ONCEMQ_MOSQUITTO_PLUGIN").ok()
}

/// What a client does with messages, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// It is not connected while they are published.
    Away,
    /// It acknowledges nothing.
    Silent,
    /// It sends PUBREC, and nothing else.
    Halfway,
    /// It completes the first seven messages.
    Early,
    /// It has a subscription at QoS 1, and acknowledges every other message of the first ten.
    Gaps,
}

/// How far a message has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Sent,
    Released,
    Complete,
}

struct Client {
    number: usize,
    version: Version,
    habit: Habit,
    wire: Option<Wire>,
    /// The messages that it was sent: identifier, QoS and step, by number of the message.
    seen: BTreeMap<usize, (u16, u8, Step)>,
    /// The message of each identifier.
    by_id: BTreeMap<u16, usize>,
}

/// What a client is sent when it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Again {
    /// A PUBLISH that it was sent before.
    Publish {
        id: u16,
        qos: u8,
        message: usize,
    },
    Pubrel {
        id: u16,
    },
    New {
        qos: u8,
        message: usize,
    },
}

impl Client {
    fn new(number: usize) -> Self {
        let habits = [Habit::Away, Habit::Silent, Habit::Halfway, Habit::Early, Habit::Gaps];
        let version = if (number / 5).is_multiple_of(2) { Version::V311 } else { Version::V5 };
        let habit = habits[number % 5];
        Self { number, version, habit, wire: None, seen: BTreeMap::new(), by_id: BTreeMap::new() }
    }

    fn name(&self) -> String {
        format!("session-{}", self.number)
    }

    fn qos_of(&self, message: usize) -> u8 {
        if self.habit == Habit::Gaps { 1 } else { published_qos(message) }
    }

    fn subscribe(&mut self, address: SocketAddr) {
        let mut wire = connect(address, self.version, &self.name(), false);
        let qos = if self.habit == Habit::Gaps { 1 } else { 2 };
        wire.send(&self.version.subscribe(1, "queue/#", qos));
        expect(&mut wire, SUBACK);
        if self.habit == Habit::Away {
            wire.send(&packet(0xE0, &[]));
        } else {
            self.wire = Some(wire);
        }
    }

    /// Reads what has come and answers by habit, until nothing more comes.
    fn follow(&mut self) {
        let Some(mut wire) = self.wire.take() else { return };
        loop {
            let mut count = 0;
            wire.send(&packet(PINGREQ, &[]));
            loop {
                let packet = expect_any(&mut wire);
                match packet.kind() {
                    PINGRESP => break,
                    PUBLISH => {
                        let publish = Publish::parse(self.version, &packet).unwrap();
                        self.on_publish(&publish, &mut wire);
                    }
                    PUBREL_KIND => self.on_pubrel(packet.packet_id(), &mut wire),
                    _ => panic!("{packet:?}"),
                }
                count += 1;
            }
            if count == 0 {
                break;
            }
        }
        self.wire = Some(wire);
    }

    fn on_publish(&mut self, publish: &Publish, wire: &mut Wire) {
        let message = number_of(publish);
        let id = publish.packet_id;
        let order = self.seen.len();
        assert_eq!(publish.qos, self.qos_of(message));
        let step = match (self.habit, publish.qos) {
            (Habit::Early, 1) if order < 7 => {
                wire.send(&acknowledge(PUBACK, id));
                Step::Complete
            }
            (Habit::Gaps, 1) if order < 10 && order % 2 == 1 => {
                wire.send(&acknowledge(PUBACK, id));
                Step::Complete
            }
            (Habit::Early, 2) if order < 7 => {
                wire.send(&acknowledge(PUBREC, id));
                Step::Released
            }
            (Habit::Halfway, 2) => {
                wire.send(&acknowledge(PUBREC, id));
                Step::Released
            }
            _ => Step::Sent,
        };
        self.by_id.insert(id, message);
        assert!(self.seen.insert(message, (id, publish.qos, step)).is_none());
    }

    fn on_pubrel(&mut self, id: u16, wire: &mut Wire) {
        if self.habit == Habit::Early {
            wire.send(&acknowledge(PUBCOMP, id));
            self.seen.get_mut(&self.by_id[&id]).unwrap().2 = Step::Complete;
        }
    }

    /// A QoS 2 message that waits for PUBREL.
    fn begin_publish(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        let publish = incoming(self.number, false);
        wire.send(&publish.bytes(self.version));
        expect(wire, PUBREC);
    }

    /// What it must be sent after the move, of so many messages.
    fn expected(&self, messages: usize) -> Vec<Again> {
        let sent = self.seen.iter().filter_map(|(message, (id, qos, step))| match step {
            Step::Sent => Some(Again::Publish { id: *id, qos: *qos, message: *message }),
            Step::Released => Some(Again::Pubrel { id: *id }),
            Step::Complete => None,
        });
        let new = (0..messages).filter(|message| !self.seen.contains_key(message));
        sent.chain(new.map(|message| Again::New { qos: self.qos_of(message), message })).collect()
    }

    /// Connects again, answers everything, and returns what came.
    fn come_back(&self, address: SocketAddr, expected: usize) -> Vec<Again> {
        let mut wire = connect(address, self.version, &self.name(), true);
        let mut answered = BTreeMap::new();
        let mut came = Vec::new();
        // The rest of its own QoS 2 message: half of the clients send PUBLISH again, as if they had got no PUBREC.
        let mut pending = usize::from(self.habit != Habit::Away);
        if pending > 0 {
            match self.number % 2 {
                0 => wire.send(&acknowledge(PUBREL, OWN_ID)),
                _ => wire.send(&incoming(self.number, true).bytes(self.version)),
            }
        }
        while came.len() < expected || pending > 0 || !answered.is_empty() {
            let packet = expect_any(&mut wire);
            let id = packet.packet_id();
            match packet.kind() {
                PUBLISH => {
                    let publish = Publish::parse(self.version, &packet).unwrap();
                    let (id, qos, message) = (publish.packet_id, publish.qos, number_of(&publish));
                    assert!(!publish.retain);
                    came.push(if publish.dup {
                        Again::Publish { id, qos, message }
                    } else {
                        Again::New { qos, message }
                    });
                    let answer = if qos == 2 { PUBREC } else { PUBACK };
                    if qos == 2 {
                        assert!(answered.insert(id, ()).is_none());
                    }
                    wire.send(&acknowledge(answer, id));
                }
                PUBREL_KIND => {
                    if answered.remove(&id).is_none() {
                        came.push(Again::Pubrel { id });
                    }
                    wire.send(&acknowledge(PUBCOMP, id));
                }
                PUBREC => wire.send(&acknowledge(PUBREL, id)),
                PUBCOMP => pending -= 1,
                _ => panic!("{packet:?}"),
            }
        }
        wire.send(&packet(PINGREQ, &[]));
        expect(&mut wire, PINGRESP);
        came
    }
}

const fn published_qos(message: usize) -> u8 {
    if message.is_multiple_of(3) { 1 } else { 2 }
}

fn number_of(publish: &Publish) -> usize {
    assert_eq!(publish.topic, "queue/all");
    String::from_utf8_lossy(&publish.payload).parse().unwrap()
}

fn incoming(number: usize, dup: bool) -> Publish {
    let topic = format!("in/{number}");
    Publish { qos: 2, packet_id: OWN_ID, dup, ..Publish::new(&topic, format!("from {number}")) }
}

fn connect(address: SocketAddr, version: Version, name: &str, is_present: bool) -> Wire {
    let mut wire = Wire::open(address, PATIENCE).unwrap();
    let connect = Connect { properties: vec![0x11, 0xFF, 0xFF, 0xFF, 0xFF], ..Connect::durable(version, name) };
    wire.send(&Connect { keep_alive: 0, ..connect }.bytes());
    let connack = expect(&mut wire, CONNACK);
    assert_eq!((connack.reason_code(), connack.body[0] == 1), (0, is_present), "{name}: session present");
    wire
}

fn expect_any(wire: &mut Wire) -> Packet {
    match wire.receive(PATIENCE) {
        Received::Packet(packet) => packet,
        nothing @ (Received::Nothing | Received::Closed) => panic!("expected a packet: {nothing:?}"),
    }
}

fn expect(wire: &mut Wire, kind: u8) -> Packet {
    let packet = expect_any(wire);
    assert_eq!(packet.kind(), kind, "{packet:?}");
    packet
}

/// Publishes and completes messages, as many at a time. mosquitto takes a QoS 2 message when PUBREL comes, so only one at a time keeps the order.
fn publish_all(address: SocketAddr, (name, at_once): (&str, usize), messages: impl Iterator<Item = Publish>) {
    let mut wire = connect(address, Version::V311, name, false);
    let messages: Vec<_> = messages.collect();
    for few in messages.chunks(at_once) {
        let mut pending = 0;
        for (id, publish) in (1..).zip(few) {
            wire.send(&Publish { packet_id: id, ..publish.clone() }.bytes(Version::V311));
            pending += 1;
        }
        while pending > 0 {
            let packet = expect_any(&mut wire);
            match packet.kind() {
                PUBREC => wire.send(&acknowledge(PUBREL, packet.packet_id())),
                _ => pending -= 1,
            }
        }
    }
    wire.send(&packet(0xE0, &[]));
}

fn retained(number: usize) -> Publish {
    let payload = format!("value {number} {}", "x".repeat(number % 90));
    let qos = u8::try_from(number % 3).unwrap().max(1);
    Publish { qos, retain: true, ..Publish::new(&format!("retained/{}/{number}", number % 17), payload) }
}

/// Fills mosquitto, and stops it while the clients are connected.
fn fill(directory: &Path, size: Size) -> Vec<Client> {
    let mut broker = mosquitto(directory);
    let mut clients: Vec<_> = (0..size.sessions).map(Client::new).collect();
    clients.iter_mut().for_each(|client| client.subscribe(broker.address));
    let mut watcher = connect(broker.address, Version::V311, "watcher", false);
    watcher.send(&Version::V311.subscribe(1, "in/#", 2));
    expect(&mut watcher, SUBACK);
    watcher.send(&packet(0xE0, &[]));
    publish_all(broker.address, ("publisher of states", 10), (0..size.retained).map(retained));
    let queue = |number: usize| Publish { qos: published_qos(number), ..Publish::new("queue/all", number.to_string()) };
    publish_all(broker.address, ("publisher of events", 1), (0..size.messages).map(queue));
    for client in &mut clients {
        client.follow();
        client.begin_publish();
    }
    broker.stop();
    clients
}

/// What the watcher gets: the messages whose PUBREL was missing, each once.
fn watch(address: SocketAddr, expected: usize) -> Vec<String> {
    let mut wire = connect(address, Version::V311, "watcher", true);
    let mut topics = Vec::new();
    while topics.len() < expected {
        let packet = expect_any(&mut wire);
        if packet.kind() == PUBLISH {
            let publish = Publish::parse(Version::V311, &packet).unwrap();
            wire.send(&acknowledge(PUBREC, publish.packet_id));
            topics.push(publish.topic);
        } else {
            assert_eq!(packet.kind(), PUBREL_KIND);
            wire.send(&acknowledge(PUBCOMP, packet.packet_id()));
        }
    }
    topics.sort();
    topics
}

fn check_retained(address: SocketAddr, count: usize) {
    let mut wire = connect(address, Version::V5, "reader", false);
    wire.send(&Version::V5.subscribe(1, "retained/#", 2));
    let mut expected: BTreeMap<_, _> = (0..count).map(retained).map(|one| (one.topic.clone(), one)).collect();
    while !expected.is_empty() {
        let packet = expect_any(&mut wire);
        match packet.kind() {
            PUBLISH => {
                let publish = Publish::parse(Version::V5, &packet).unwrap();
                let one = expected.remove(&publish.topic).unwrap_or_else(|| panic!("{publish:?}"));
                assert_eq!(Publish { packet_id: 0, ..publish.clone() }, one);
                wire.send(&acknowledge(if publish.qos == 2 { PUBREC } else { PUBACK }, publish.packet_id));
            }
            PUBREL_KIND => wire.send(&acknowledge(PUBCOMP, packet.packet_id())),
            _ => assert_eq!(packet.kind(), SUBACK),
        }
    }
}

#[test]
fn clients_of_mosquitto_continue_where_they_were() {
    let (size, directory) = (Size::chosen(), tempfile::tempdir().unwrap());
    let clients = fill(directory.path(), size);
    let name = if plugin().is_some() { "mosquitto.sqlite3" } else { "mosquitto.db" };
    let (file, data) = (directory.path().join(name), directory.path().join("data"));
    let before = fs::read(&file).unwrap();
    let begun = Instant::now();
    let mut import = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    import.args(["import", "mosquitto-db"]).arg(&file).arg("--data").arg(&data);
    let done = import.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    println!("{:?} for {} bytes\n{text}", begun.elapsed(), before.len());
    assert!(done.status.success(), "{done:?}");
    assert_eq!(fs::read(&file).unwrap(), before, "the file is not changed");
    let count = |text_of: &str| {
        let line = text.lines().find(|line| line.ends_with(text_of)).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap()
    };
    let expected: Vec<_> = clients.iter().map(|client| client.expected(size.messages)).collect();
    let incoming = clients.iter().filter(|client| client.habit != Habit::Away).count();
    assert_eq!(count("retained messages"), size.retained);
    assert_eq!(count(" sessions"), size.sessions + 3, "with the publishers and the watcher");
    assert_eq!(count("queued messages"), expected.iter().map(Vec::len).sum::<usize>());
    assert_eq!(count("when the broker starts"), incoming);

    let address = free_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.args(["--listen", &address.to_string(), "--admin", "off", "--data"]).arg(&data);
    let broker = Broker::start(command, address, &directory.path().join("oncemq.txt"));
    check_retained(address, size.retained);
    for (client, expected) in clients.iter().zip(&expected) {
        let came = client.come_back(address, expected.len());
        assert_eq!(&came, expected, "{} {:?} {:?}", client.number, client.version, client.habit);
    }
    let mut topics: Vec<_> = clients
        .iter()
        .filter(|client| client.habit != Habit::Away)
        .map(|client| format!("in/{}", client.number))
        .collect();
    topics.sort();
    assert_eq!(watch(address, incoming), topics);
    // A second visit brings nothing.
    for client in &clients {
        let mut wire = connect(address, client.version, &client.name(), true);
        wire.send(&packet(PINGREQ, &[]));
        expect(&mut wire, PINGRESP);
    }
    let mut wire = connect(address, Version::V311, "watcher", true);
    wire.send(&packet(PINGREQ, &[]));
    let next = expect_any(&mut wire);
    assert!(matches!(next.kind(), PINGRESP | PUBREL_KIND), "{next:?}");
    drop(broker);
}

const PATIENCE: Duration = Duration::from_secs(30);
/// The Packet Identifier of a client's own message.
const OWN_ID: u16 = 1_000;
