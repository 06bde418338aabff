//! The memory of the real binary under clients that want all of it, with `limits.memory_max`. A pair of clients that behaves well exchanges durable
//! QoS 1 messages all the time.
//!
//! `ONCEMQ_TEST_BINARY` names another binary to measure, and `ONCEMQ_TEST_WITHOUT_BUDGET` leaves `limits.memory_max` out: then the tests print
//! how much it uses.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]
#![expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
#![expect(clippy::print_stdout, reason = "the figures, with --nocapture")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use wire::{CONNACK, Connect, PUBACK, PUBLISH, Packet, Publish, Received, Version, Wire, acknowledge};

const V5: Version = Version::V5;
/// The budget.
const MEMORY_MAX: u64 = 96 << 20;
/// What the resident memory may be: 1.15 times the budget, and the pages of the binary and of thread stacks in a debug build.
const RESIDENT_MAX: u64 = MEMORY_MAX + MEMORY_MAX * 15 / 100 + (8 << 20);
/// The time limit for anything.
const PATIENCE: Duration = Duration::from_secs(20);

struct Broker {
    process: Child,
    directory: TempDir,
    address: SocketAddr,
}

impl Broker {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let binary = std::env::var("ONCEMQ_TEST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_oncemq").to_owned());
        let mut command = Command::new(binary);
        command.args(["--listen", "127.0.0.1:0", "--set", "admin.enabled=false", "--set", "log.level=warn"]);
        command.args(["--set", "limits.connections_per_second_max=100000"]);
        if std::env::var_os("ONCEMQ_TEST_WITHOUT_BUDGET").is_none() {
            command.args(["--set", &format!("limits.memory_max={MEMORY_MAX}")]);
        }
        command.current_dir(directory.path()).stdin(Stdio::null());
        command.stdout(File::create(directory.path().join("stdout")).unwrap());
        command.stderr(File::create(directory.path().join("stderr")).unwrap());
        let mut process = command.spawn().unwrap();
        let address = wait_for("the address", || {
            assert!(process.try_wait().unwrap().is_none(), "the broker ended at its start");
            let text = fs::read_to_string(directory.path().join("stdout")).unwrap();
            text.split_once("mqtt://")?.1.lines().next()?.trim().parse().ok()
        });
        Self { process, directory, address }
    }

    /// A figure of its memory in bytes.
    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap()
    }

    /// Prints and checks the greatest memory so far.
    fn check(&self, attack: &str) {
        let (peak, now) = (self.memory("VmHWM:"), self.memory("VmRSS:"));
        println!("{attack}: at most {} MiB, now {} MiB", peak >> 20, now >> 20);
        if std::env::var_os("ONCEMQ_TEST_WITHOUT_BUDGET").is_none() {
            assert!(peak <= RESIDENT_MAX, "{attack}: {} MiB of {} MiB", peak >> 20, RESIDENT_MAX >> 20);
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("{}", lines.get(lines.len().saturating_sub(30)..).unwrap().join("\n"));
        }
    }
}

/// A publisher and a durable subscriber that exchange QoS 1 messages until they are stopped.
struct Pair {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Duration)>,
}

impl Pair {
    fn start(address: SocketAddr) -> Self {
        let mut subscriber = connected(address, &Connect::durable(V5, "good-subscriber"));
        subscriber.send(&V5.subscribe(1, "good/#", 1));
        expect(&mut subscriber);
        let mut publisher = connected(address, &Connect::new(V5, "good-publisher"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let payload = format!("message {count}");
                publisher.send(&V5.publish(PUBLISH | 0x02, "good/topic", 1, payload.as_bytes()));
                let answer = expect(&mut publisher);
                assert_eq!((answer.kind(), answer.reason_code()), (PUBACK, 0), "message {count}");
                let publish = Publish::parse(V5, &expect(&mut subscriber)).unwrap();
                assert_eq!(publish.payload, payload.as_bytes());
                subscriber.send(&acknowledge(PUBACK, publish.packet_id));
                slowest = slowest.max(begin.elapsed());
                count += 1;
                sleep(Duration::from_millis(20));
            }
            (count, slowest)
        });
        Self { stop, thread }
    }

    /// Every message was acknowledged and delivered, during the attack and after it.
    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (count, slowest) = self.thread.join().unwrap();
        println!("  the pair exchanged {count} messages, the slowest in {} ms", slowest.as_millis());
        assert!(count > 3);
    }
}

fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "timeout while waiting for {what}");
        sleep(Duration::from_millis(5));
    }
}

fn expect(wire: &mut Wire) -> Packet {
    match wire.receive(PATIENCE) {
        Received::Packet(packet) => packet,
        nothing @ (Received::Nothing | Received::Closed) => panic!("expected a packet: {nothing:?}"),
    }
}

fn connected(address: SocketAddr, connect: &Connect) -> Wire {
    let mut wire = Wire::open(address, PATIENCE).unwrap();
    wire.send(&connect.bytes());
    let connack = expect(&mut wire);
    assert_eq!((connack.kind(), connack.reason_code()), (CONNACK, 0));
    wire
}

/// A connection of an attacker, whose every step may be refused. Its operating system buffers little.
fn attacker(address: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).ok()?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    Some(stream)
}

/// Reads one packet of an attacker: its first byte and its body.
fn read_packet(stream: &mut TcpStream) -> Option<Packet> {
    let mut received = Vec::new();
    loop {
        if let Some(packet) = Packet::take(&mut received) {
            return Some(packet);
        }
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        received.extend(byte);
    }
}

/// Connects an attacker, if the broker accepts it.
fn attacker_with(address: SocketAddr, connect: &Connect) -> Option<TcpStream> {
    let mut stream = attacker(address)?;
    stream.write_all(&connect.bytes()).ok()?;
    read_packet(&mut stream).filter(|packet| packet.reason_code() == 0).map(|_| stream)
}

/// Publishes as an attacker, and reads acknowledgements as they come. Ends when the connection does. Returns how many messages were sent.
fn flood(stream: &mut TcpStream, messages: impl Iterator<Item = Vec<u8>>) -> usize {
    let mut unread = [0; 65_536];
    let mut sent = 0;
    for (number, message) in messages.enumerate() {
        if stream.write_all(&message).is_err() {
            return sent;
        }
        sent += 1;
        if number % 64 == 63 {
            stream.set_nonblocking(true).unwrap();
            let result = stream.read(&mut unread);
            stream.set_nonblocking(false).unwrap();
            if !matches!(result, Ok(1..)) && !result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                return sent;
            }
        }
    }
    sleep(Duration::from_millis(100));
    sent
}

#[test]
fn huge_packets_that_never_end() {
    let broker = Broker::start();
    let pair = Pair::start(broker.address);
    let part = vec![b'x'; 1 << 20];
    let mut attackers = Vec::new();
    for number in 0..48 {
        let Some(mut stream) = attacker_with(broker.address, &Connect::new(V5, &format!("giant-{number}"))) else {
            continue;
        };
        // A PUBLISH of nearly 16 MiB at QoS 0 to the topic "t".
        let mut header = vec![PUBLISH, 0xF0, 0xFF, 0xFF, 0x07, 0, 1, b't', 0];
        header.extend(&part);
        let sent = stream.write_all(&header).and_then(|()| (0..12).try_for_each(|_| stream.write_all(&part)));
        attackers.push((stream, sent));
    }
    sleep(Duration::from_millis(300));
    broker.check("48 clients that send 13 MiB of a 16 MiB packet");
    drop(attackers);
    // The memory is free again: a large packet of a client that behaves is accepted.
    let payload = vec![b'y'; 4 << 20];
    wait_for("the acceptance of a large packet", || {
        let mut wire = Wire::open(broker.address, PATIENCE).ok()?;
        wire.send(&Connect::new(V5, "large").bytes());
        wire.send(&V5.publish(PUBLISH | 0x02, "large", 1, &payload));
        let packet = |wire: &mut Wire| match wire.receive(PATIENCE) {
            Received::Packet(packet) => Some(packet),
            Received::Nothing | Received::Closed => None,
        };
        packet(&mut wire).filter(|connack| connack.reason_code() == 0)?;
        packet(&mut wire).filter(|puback| puback.kind() == PUBACK)
    });
    pair.finish();
}

/// A few seconds after the attackers are gone, a new client is accepted, and may subscribe.
fn expect_recovery(broker: &Broker) {
    let begin = Instant::now();
    wait_for("the acceptance of a new client", || {
        let mut stream = attacker_with(broker.address, &Connect::new(V5, "new"))?;
        stream.write_all(&V5.subscribe(1, "new", 1)).ok()?;
        read_packet(&mut stream).filter(|suback| suback.reason_code() == 1)
    });
    println!("  after {} ms, {} MiB are used", begin.elapsed().as_millis(), broker.memory("VmRSS:") >> 20);
}

/// Subscribers that never read get a flood of messages.
fn unread(name: &str, subscribers: usize, qos: u8, (messages, bytes): (usize, usize)) {
    let broker = Broker::start();
    let pair = Pair::start(broker.address);
    let mut attackers = Vec::new();
    for number in 0..subscribers {
        let connect = Connect::new(V5, &format!("silent-{number}"));
        let Some(mut stream) = attacker_with(broker.address, &connect) else { continue };
        stream.write_all(&V5.subscribe(1, "flood/#", qos)).unwrap();
        attackers.push(stream);
    }
    let mut publisher = attacker_with(broker.address, &Connect::new(V5, "flood")).unwrap();
    let payload = vec![b'x'; bytes];
    let message = |number: usize| V5.publish(PUBLISH | qos << 1, &format!("flood/{number}"), 1, &payload);
    let sent = flood(&mut publisher, (0..messages).map(message));
    println!("  {sent} of {messages} messages were sent to {} subscribers", attackers.len());
    broker.check(name);
    drop(attackers);
    expect_recovery(&broker);
    pair.finish();
}

#[test]
fn subscribers_that_never_read_at_qos_0() {
    unread("300 silent subscribers, QoS 0, 4 KB", 300, 0, (1_200, 4_000));
}

#[test]
fn subscribers_that_never_read_at_qos_1() {
    unread("300 silent subscribers, QoS 1, 4 KB", 300, 1, (1_200, 4_000));
}

#[test]
fn large_messages_to_subscribers_that_never_read() {
    unread("200 silent subscribers, QoS 1, 1 MiB", 200, 1, (300, 1 << 20));
    unread("200 silent subscribers, QoS 0, 1 MiB", 200, 0, (300, 1 << 20));
}

#[test]
fn retained_messages() {
    let broker = Broker::start();
    let pair = Pair::start(broker.address);
    let mut publisher = attacker_with(broker.address, &Connect::new(V5, "hoarder")).unwrap();
    let payload = vec![b'x'; 48 << 10];
    let message = |number: usize| V5.publish(PUBLISH | 0x01, &format!("retained/{number}"), 0, &payload);
    flood(&mut publisher, (0..5_000).map(message));
    broker.check("5,000 retained messages of 48 KiB");
    pair.finish();
}

#[test]
fn wills() {
    let broker = Broker::start();
    let pair = Pair::start(broker.address);
    let mut attackers = Vec::new();
    let mut refused = 0;
    for number in 0..3_000 {
        let mut connect = Connect::new(V5, &format!("will-{number}"));
        connect.will = Some(Publish::new("will", vec![b'x'; 65_000]));
        match attacker_with(broker.address, &connect) {
            Some(stream) => attackers.push(stream),
            None => refused += 1,
        }
    }
    broker.check("3,000 Wills of 64 KiB");
    println!("  {refused} of the 3,000 connections were refused");
    drop(attackers);
    expect_recovery(&broker);
    pair.finish();
}

#[test]
fn subscriptions() {
    let broker = Broker::start();
    let pair = Pair::start(broker.address);
    let mut attackers = Vec::new();
    let long = "x".repeat(1_000);
    for number in 0..40 {
        let connect = Connect::new(V5, &format!("hoarder-{number}"));
        let Some(mut stream) = attacker_with(broker.address, &connect) else { continue };
        let filter = |place: usize| V5.subscribe(1, &format!("{number}/{place}/{long}"), 1);
        flood(&mut stream, (0..5_000).map(filter));
        attackers.push(stream);
    }
    broker.check("40 clients with 5,000 subscriptions of 1 KiB");
    drop(attackers);
    expect_recovery(&broker);
    pair.finish();
}
