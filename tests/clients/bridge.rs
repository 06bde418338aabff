//! The real mosquitto as a bridge to the broker, through a relay that records every packet.
//!
//! mosquitto 2.0.11 sends a QoS 2 message again after PUBCOMP when its connection breaks, and loses what it acknowledged when it is killed. So
//! messages are judged by the record: what mosquitto sent as a new message is one, and what it acknowledged has arrived.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;
use wire::free_port;

use crate::broker::{Broker, Setup};
use crate::deadline::{PATIENCE, SILENCE, wait_for, wait_for_end};
use crate::mosquitto::{Message, Subscriber, message, publish, publish_at};
use crate::peer;
use crate::raw::{
    CONNACK, CONNECT, Connect, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet, Publish, Received,
    SUBACK, Version, Wire, acknowledge,
};

#[test]
fn bridge_with_default_settings_connects_at_once_and_its_state_is_retained() {
    for (setting, level) in
        [("", 0x84), ("bridge_protocol_version mqttv31", 0x83), ("bridge_protocol_version mqttv50", 5)]
    {
        let broker = Setup::default().start();
        let relay = Relay::start(broker.address());
        let bridge = Bridge::start(&format!("connection b\naddress {}\ntopic # out 1\n{setting}\n", relay.address));
        let state = format!("$SYS/broker/connection/{}/state", relay.client_id());
        relay.wait_until("the answer to the state", |record| {
            record.iter().any(|entry| entry.sender == Sender::Broker && entry.packet.kind() == PUBACK)
        });
        assert_eq!(relay.levels(), [level], "the first CONNECT is accepted");
        let retained = |payload: &str| Message { retain: true, ..message(&state, payload, 1) };
        let mut watcher = Subscriber::start(&broker, &["-t", "$SYS/broker/connection/#", "-q", "1"]);
        assert_eq!(watcher.next(), retained("1"));
        let mut everything = Subscriber::start(&broker, &["-t", "#", "-q", "1"]);
        publish_at(&bridge.target(), &["-t", "a/b", "-m", "over", "-q", "1"]);
        assert_eq!(everything.next(), message("a/b", "over", 1));
        drop(bridge);
        assert_eq!(watcher.next(), message(&state, "0", 1), "the Will");
        let mut late = Subscriber::start(&broker, &["-t", &state, "-q", "1"]);
        assert_eq!(late.next(), retained("0"));
        assert_eq!(everything.messages().len(), 1, "# does not match $SYS");
    }
}

#[test]
fn bridge_in_both_directions_gets_no_echo_and_keeps_retained_messages() {
    for (version, setting) in [(Version::V311, ""), (Version::V311, "mqttv31"), (Version::V5, "mqttv50")] {
        let broker = Setup::default().start();
        let relay = Relay::start(broker.address());
        let mut config = format!("connection b\naddress {}\ntopic both/# both 1\n", relay.address);
        if !setting.is_empty() {
            writeln!(config, "bridge_protocol_version {setting}").unwrap();
        }
        let bridge = Bridge::start(&config);
        relay.wait_for_subscription(1);
        let mut here = Subscriber::start(&broker, &["-t", "both/#", "-q", "1"]);
        let mut there = Subscriber::start_at(&bridge.target(), &["-t", "both/#", "-q", "1"]);
        publish(&broker, &["-t", "both/here", "-m", "here", "-q", "1", "-r"]);
        publish_at(&bridge.target(), &["-t", "both/there", "-m", "there", "-q", "1", "-r"]);
        for subscriber in [&mut here, &mut there] {
            let mut received = [subscriber.next(), subscriber.next()].map(|message| message.payload);
            received.sort();
            assert_eq!(received, ["here", "there"], "{setting}");
        }
        for target in [broker.target(), bridge.target()] {
            let mut late = Subscriber::start_at(&target, &["-t", "both/#", "-q", "1"]);
            let mut retained = [late.next(), late.next()];
            retained.sort();
            assert!(retained.iter().all(|message| message.retain), "{setting}: {retained:?}");
            assert_eq!(retained.map(|message| message.payload), ["here", "there"], "{setting}");
        }
        thread::sleep(SILENCE);
        assert_eq!((here.messages().len(), there.messages().len()), (2, 2), "{setting}: an echo");
        let returned =
            |sender| relay.publishes(version, sender).iter().map(|publish| publish.payload.clone()).collect();
        let (sent, received): (Vec<_>, Vec<_>) = (returned(Sender::Broker), returned(Sender::Bridge));
        assert!(!sent.contains(&b"there".to_vec()) && !received.contains(&b"here".to_vec()), "{setting}: an echo");
    }
}

#[test]
fn bridge_whose_rules_do_not_name_its_state_connects_without_it() {
    if peer::is_chosen() {
        return; // it drops the state without a line in the log
    }
    for (setting, level) in [("", 0x84), ("bridge_protocol_version mqttv50", 5)] {
        let broker = Setup::default().access("topic readwrite #\ntopic read $SYS/#\n").start();
        let relay = Relay::start(broker.address());
        let bridge = Bridge::start(&format!("connection b\naddress {}\ntopic # out 1\n{setting}\n", relay.address));
        let mut everything = Subscriber::start(&broker, &["-t", "#", "-t", "$SYS/broker/connection/#", "-q", "1"]);
        relay.client_id();
        publish_at(&bridge.target(), &["-t", "a", "-m", "over", "-q", "1"]);
        assert_eq!(everything.next(), message("a", "over", 1));
        drop(bridge);
        wait_for("the log line of the Will", || broker.log().contains("denied: Will").then_some(()));
        assert_eq!(everything.messages().len(), 1, "{:?}", everything.messages());
        assert_eq!(relay.levels(), [level]);
    }
}

#[test]
fn bridge_of_3_1_1_loses_and_doubles_nothing_when_either_side_ends() {
    lose_and_double_nothing(Version::V311);
}

#[test]
fn bridge_of_5_0_loses_and_doubles_nothing_when_either_side_ends() {
    lose_and_double_nothing(Version::V5);
}

/// Ends the broker and mosquitto in turn, each by a signal and by `kill -9`, while messages of QoS 1 and 2 are on their way in both directions.
fn lose_and_double_nothing(version: Version) {
    if peer::is_chosen() {
        return; // it loses messages at `kill -9`
    }
    let mut broker = Setup::default().set("limits.queued_messages_max", "100000").start();
    let mut collector = Wire::connected(broker.address(), &Connect::durable(Version::V5, "collector"));
    assert_eq!(collector.subscribe(Version::V5, "out/#", 2), 2);
    drop(collector);
    let relay = Relay::start(broker.address());
    let protocol = if version == Version::V5 { "mqttv50" } else { "mqttv311" };
    let mut bridge = Bridge::start(&format!(
        "connection b\naddress {}\nbridge_protocol_version {protocol}\nrestart_timeout 1\n\
         topic out/# out 2\ntopic in/# in 2\n",
        relay.address
    ));
    relay.wait_for_subscription(1);
    let (mut to_bridge, mut to_broker) = (BTreeSet::new(), BTreeSet::new());
    for (phase, (signal, ends_broker)) in
        [("KILL", true), ("TERM", true), ("KILL", true), ("TERM", false), ("KILL", false)].into_iter().enumerate()
    {
        let (here, there) = (broker.address(), bridge.address);
        if version == Version::V5 {
            // mosquitto's bridges of 5.0 send no Session Expiry Interval: their Session ends with the connection, and its messages with it.
            to_bridge.extend(burst(here, "in", phase, BURST));
            relay.wait_until("the messages to mosquitto are complete", |record| {
                to_bridge.is_subset(&Inwards::of(record, version).completed)
            });
        }
        let before = relay.publishes(version, Sender::Bridge).len();
        let outwards = thread::spawn(move || burst(there, "out", phase, 4 * BURST));
        if version == Version::V311 {
            to_bridge.extend(burst(here, "in", phase, BURST));
        }
        relay.wait_until("messages of mosquitto", |record| {
            let packets = record.iter().filter(|entry| entry.sender == Sender::Bridge).map(|entry| &entry.packet);
            packets.filter(|packet| packet.kind() == PUBLISH).count() > before + usize::from(BURST)
        });
        if ends_broker {
            broker.restart(signal);
            to_broker.extend(outwards.join().unwrap());
        } else {
            outwards.join().unwrap();
            bridge.restart(signal);
        }
        relay.wait_for_subscription(phase + 2);
        relay.wait_until("all messages to mosquitto are complete", |record| {
            to_bridge.is_subset(&Inwards::of(record, version).completed)
        });
        if ends_broker {
            relay.wait_until("all messages of mosquitto are acknowledged", |record| {
                to_broker.is_subset(&Outwards::of(record, version).acknowledged)
            });
        }
    }
    let last = burst(bridge.address, "out", 9, BURST);
    relay.wait_until("the last messages of mosquitto are acknowledged", |record| {
        let Outwards { acknowledged, mistaken, .. } = Outwards::of(record, version);
        last.iter().all(|payload| acknowledged.contains(payload) || mistaken.contains(payload))
    });
    drop(bridge);
    let delivered = collect(&broker);
    let record = relay.record.lock().unwrap();
    let is_repeat = |entry: &Entry| entry.sender == Sender::Bridge && entry.packet.first & 0xF8 == PUBLISH | 0x08;
    assert!(record.iter().any(is_repeat), "no restart came while messages were on their way");
    Outwards::of(&record, version).check(&delivered, &to_broker);
}

/// Publishes messages at QoS 1 and 2 and waits until all are acknowledged. Returns their payloads.
fn burst(address: SocketAddr, topic: &str, phase: usize, messages: u16) -> BTreeSet<String> {
    let version = Version::V311;
    let mut wire = Wire::connected(address, &Connect::new(version, &format!("publisher-{topic}")));
    let mut payloads = BTreeSet::new();
    for window in 0..messages / WINDOW {
        for place in 1..=WINDOW {
            let qos = if place % 2 == 0 { 2 } else { 1 };
            let payload = format!("{topic} {phase} {:04} q{qos}", window * WINDOW + place);
            wire.send(&version.publish(PUBLISH | qos << 1, &format!("{topic}/{qos}"), place, payload.as_bytes()));
            payloads.insert(payload);
        }
        let mut missing = WINDOW;
        while missing > 0 {
            let packet = wire.expect_any();
            match packet.kind() {
                PUBREC => wire.send(&acknowledge(PUBREL, packet.packet_id())),
                PUBACK | PUBCOMP => missing -= 1,
                other => panic!("packet type {other:#04x}"),
            }
        }
    }
    payloads
}

/// The number of messages with each payload in the queue of the Session `collector`.
fn collect(broker: &Broker) -> BTreeMap<String, usize> {
    let version = Version::V5;
    let mut wire = Wire::connected(broker.address(), &Connect::durable(version, "collector"));
    let mut delivered = BTreeMap::new();
    publish(broker, &["-t", "out/end", "-m", "end", "-q", "1"]);
    loop {
        let packet = match wire.receive(PATIENCE) {
            Received::Packet(packet) => packet,
            nothing @ (Received::Nothing | Received::Closed) => panic!("expected a message: {nothing:?}"),
        };
        match packet.kind() {
            PUBLISH => {
                let publish = Publish::parse(version, &packet).unwrap();
                let answer = if publish.qos == 2 { PUBREC } else { PUBACK };
                wire.send(&acknowledge(answer, publish.packet_id));
                if publish.payload == b"end" {
                    return delivered;
                }
                *delivered.entry(String::from_utf8(publish.payload).unwrap()).or_default() += 1;
            }
            PUBREL_KIND => wire.send(&acknowledge(PUBCOMP, packet.packet_id())),
            other => panic!("packet type {other:#04x}"),
        }
    }
}

/// The messages that mosquitto sent.
#[derive(Debug, Default)]
struct Outwards {
    /// How often each was sent, whether as a new message or again.
    sent: BTreeMap<String, usize>,
    /// How often each QoS 2 message was sent as a new one: with a Packet Identifier that was not in use. [MQTT-4.3.3-2]
    new: BTreeMap<String, usize>,
    /// Those that the broker acknowledged with PUBACK or PUBREC.
    acknowledged: BTreeSet<String>,
    /// Those with the Packet Identifier of another QoS 2 message that is not released: mosquitto was killed and forgot that message. To the
    /// broker they are that message once more.
    mistaken: BTreeSet<String>,
}

impl Outwards {
    fn of(record: &[Entry], version: Version) -> Self {
        let mut seen = Self::default();
        let mut in_use: HashMap<u16, String> = HashMap::new();
        let mut at_qos1: HashMap<u16, String> = HashMap::new();
        for Entry { sender, packet, .. } in record {
            let packet_id = packet.packet_id();
            match (sender, packet.kind()) {
                (Sender::Bridge, PUBLISH) => {
                    let publish = Publish::parse(version, packet).unwrap();
                    if !publish.topic.starts_with("out/") {
                        continue; // the state of the bridge
                    }
                    let payload = String::from_utf8(publish.payload).unwrap();
                    *seen.sent.entry(payload.clone()).or_default() += 1;
                    if publish.qos == 1 {
                        at_qos1.insert(publish.packet_id, payload);
                        continue;
                    }
                    match in_use.get(&publish.packet_id) {
                        Some(earlier) if *earlier == payload => {}
                        Some(_) => _ = seen.mistaken.insert(payload),
                        None => {
                            *seen.new.entry(payload.clone()).or_default() += 1;
                            in_use.insert(publish.packet_id, payload);
                        }
                    }
                }
                (Sender::Bridge, PUBREL_KIND) => _ = in_use.remove(&packet_id),
                (Sender::Broker, CONNACK) if packet.body[0] == 0 => in_use.clear(), // a new Session
                (Sender::Broker, PUBACK) => seen.acknowledged.extend(at_qos1.remove(&packet_id)),
                (Sender::Broker, PUBREC) => seen.acknowledged.extend(in_use.get(&packet_id).cloned()),
                _ => {}
            }
        }
        seen
    }

    /// Compares with what a subscriber received.
    #[track_caller]
    fn check(&self, delivered: &BTreeMap<String, usize>, expected: &BTreeSet<String>) {
        for payload in self.acknowledged.iter().chain(expected) {
            assert!(delivered.contains_key(payload), "{payload:?} was acknowledged and is lost");
        }
        for (payload, times) in delivered {
            let sent = if payload.ends_with("q2") { &self.new } else { &self.sent };
            let sent = sent.get(payload).copied().unwrap_or_default();
            assert!(*times <= sent, "{payload:?} was delivered {times} times, and sent {sent} times");
        }
    }
}

/// The messages that the broker sent to mosquitto. [`of`](Self::of) fails if one is sent again where the standard forbids it.
#[derive(Debug, Default)]
struct Inwards {
    /// Those for which mosquitto sent PUBACK or PUBCOMP.
    completed: BTreeSet<String>,
}

impl Inwards {
    #[track_caller]
    fn of(record: &[Entry], version: Version) -> Self {
        let mut seen = Self::default();
        let mut sent: HashMap<String, u16> = HashMap::new();
        let mut released: BTreeSet<String> = BTreeSet::new();
        let mut in_use: HashMap<u16, String> = HashMap::new();
        for Entry { sender, packet, .. } in record {
            let packet_id = packet.packet_id();
            match (sender, packet.kind()) {
                (Sender::Broker, PUBLISH) => {
                    let publish = Publish::parse(version, packet).unwrap();
                    let payload = String::from_utf8(publish.payload).unwrap();
                    if let Some(before) = sent.insert(payload.clone(), publish.packet_id) {
                        assert_eq!((before, true), (publish.packet_id, publish.dup), "{payload:?} sent again");
                        assert!(!released.contains(&payload), "{payload:?} was sent again after its PUBREL");
                    }
                    in_use.insert(publish.packet_id, payload);
                }
                (Sender::Broker, PUBREL_KIND) => released.extend(in_use.get(&packet_id).cloned()),
                (Sender::Bridge, PUBACK | PUBCOMP) => seen.completed.extend(in_use.get(&packet_id).cloned()),
                _ => {}
            }
        }
        seen
    }
}

/// Who sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Bridge,
    Broker,
}

/// A packet that the relay has forwarded.
#[derive(Debug, Clone)]
struct Entry {
    sender: Sender,
    packet: Packet,
}

/// Forwards connections to the broker, and records each packet before it is forwarded.
struct Relay {
    address: SocketAddr,
    record: Arc<Mutex<Vec<Entry>>>,
}

impl Relay {
    fn start(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Mutex::new(Vec::new()));
        let relay = Self { address, record: Arc::clone(&record) };
        thread::spawn(move || {
            for bridge in listener.incoming().map_while(Result::ok) {
                // While the broker is down, the bridge waits: it would connect again only after some seconds.
                let broker = (0..500).find_map(|_| {
                    let stream = TcpStream::connect(broker).ok();
                    if stream.is_none() {
                        thread::sleep(SILENCE / 10);
                    }
                    stream
                });
                let Some(broker) = broker else { continue };
                for (sender, from, to) in [(Sender::Bridge, &bridge, &broker), (Sender::Broker, &broker, &bridge)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let record = Arc::clone(&record);
                    thread::spawn(move || forward(sender, from, to, &record));
                }
            }
        });
        relay
    }

    /// Waits until the record fulfils a condition.
    #[track_caller]
    fn wait_until(&self, what: &str, condition: impl Fn(&[Entry]) -> bool) {
        wait_for(what, || condition(&self.record.lock().unwrap()).then_some(()));
    }

    /// Waits until the bridge has subscribed this many times: once on each connection.
    #[track_caller]
    fn wait_for_subscription(&self, times: usize) {
        self.wait_until("SUBACK", |record| {
            record.iter().filter(|entry| entry.packet.kind() == SUBACK).count() >= times
        });
    }

    /// Waits until the bridge is connected, and returns its Client Identifier.
    #[track_caller]
    fn client_id(&self) -> String {
        self.wait_until("CONNACK", |record| record.iter().any(|entry| entry.packet.kind() == CONNACK));
        let record = self.record.lock().unwrap();
        let body = &record.first().unwrap().packet.body;
        let level = usize::from(body[1]) + 2;
        // Behind the level: flags, Keep Alive, and in 5.0 the properties.
        let properties = if body[level] == 5 { 1 + usize::from(body[level + 4]) } else { 0 };
        let (length, rest) = body[level + 4 + properties..].split_first_chunk().unwrap();
        String::from_utf8(rest[..usize::from(u16::from_be_bytes(*length))].to_vec()).unwrap()
    }

    /// The protocol level of each CONNECT.
    fn levels(&self) -> Vec<u8> {
        let record = self.record.lock().unwrap();
        let connects = record.iter().filter(|entry| entry.packet.kind() == CONNECT);
        connects.map(|entry| entry.packet.body[usize::from(entry.packet.body[1]) + 2]).collect()
    }

    /// The messages of one side.
    fn publishes(&self, version: Version, by: Sender) -> Vec<Publish> {
        let record = self.record.lock().unwrap();
        let packets = record.iter().filter(|entry| entry.sender == by).map(|entry| &entry.packet);
        packets
            .filter(|packet| packet.kind() == PUBLISH)
            .map(|packet| Publish::parse(version, packet).unwrap())
            .collect()
    }
}

/// Forwards one direction of a connection until either side closes.
fn forward(sender: Sender, mut from: TcpStream, mut to: TcpStream, record: &Mutex<Vec<Entry>>) {
    let (mut chunk, mut received) = ([0; 16_384], Vec::new());
    while let Ok(size @ 1..) = from.read(&mut chunk) {
        received.extend(&chunk[..size]);
        let packets = std::iter::from_fn(|| Packet::take(&mut received));
        record.lock().unwrap().extend(packets.map(|packet| Entry { sender, packet }));
        if to.write_all(&chunk[..size]).is_err() {
            break;
        }
    }
    // Either may be closed already.
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}

/// A mosquitto that bridges to the broker. Dropping it kills the process, and prints its log if the test has failed.
struct Bridge {
    directory: TempDir,
    child: Child,
    address: SocketAddr,
}

impl Bridge {
    /// Starts it with these lines at the end of its configuration.
    #[track_caller]
    fn start(connection: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = directory.path();
        let config = format!(
            "user root\nlistener {} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 100000\n\
             persistence true\npersistence_location {}/\n{connection}",
            address.port(),
            path.display()
        );
        fs::write(path.join("mosquitto.conf"), config).unwrap();
        let child = Self::spawn(&directory);
        let bridge = Self { directory, child, address };
        bridge.wait_until_it_listens();
        bridge
    }

    fn spawn(directory: &TempDir) -> Child {
        let log = File::options().create(true).append(true).open(directory.path().join("log")).unwrap();
        let file = directory.path().join("mosquitto.conf");
        // Debian's place, which is not in the PATH of every user.
        let installed = Path::new("/usr/sbin/mosquitto");
        let mut command = Command::new(if installed.exists() { installed } else { Path::new("mosquitto") });
        command.arg("-v").arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("mosquitto runs: `bash tests/run` installs it")
    }

    #[track_caller]
    fn wait_until_it_listens(&self) {
        wait_for("mosquitto", || TcpStream::connect(self.address).ok());
    }

    /// Ends it by a signal and starts it again.
    #[track_caller]
    fn restart(&mut self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{signal}");
        wait_for_end("mosquitto", &mut self.child);
        self.child = Self::spawn(&self.directory);
        self.wait_until_it_listens();
    }

    /// The arguments that connect mosquitto's clients to it.
    fn target(&self) -> Vec<String> {
        ["-h", "127.0.0.1", "-p", &self.address.port().to_string()].map(str::to_owned).into()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("the end of mosquitto's log:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// Messages of a burst, half of them at QoS 1 and half at QoS 2.
const BURST: u16 = 100;
/// Unacknowledged messages of a burst.
const WINDOW: u16 = 20;
