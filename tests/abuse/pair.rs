//! A publisher and a subscriber that behave well, in one thread.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wire::{CONNACK, Connect, PINGREQ, PUBACK, PUBLISH, Publish, Received, SUBACK, Version, Wire, acknowledge, packet};

use crate::deadline::{self, PATIENCE};

/// The Session of the pair's subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// It ends with its connection, and its queue is in memory: while memory is short, it takes 16 messages.
    Transient,
    /// It is stored, and so is its queue.
    Durable,
}

/// The running pair.
pub(crate) struct Pair {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Experience>,
}

/// What the pair experienced.
#[derive(Debug, Default)]
pub(crate) struct Experience {
    /// The messages sent.
    pub(crate) sent: usize,
    /// Those that were acknowledged or sent, and not received within [`PATIENCE`] after the last.
    pub(crate) lost: usize,
    /// Why the pair could not go on.
    pub(crate) failure: Option<String>,
    latencies: Vec<Duration>,
}

impl Pair {
    /// Connects both clients.
    pub(crate) fn start(address: SocketAddr, lifetime: Lifetime) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut run = Run::connect(address, lifetime);
        let thread = thread::spawn(move || {
            run.until(&stopped);
            run.experience
        });
        Self { stop, thread }
    }

    /// Waits until all messages have been received, or [`PATIENCE`] has passed.
    pub(crate) fn end(self) -> Experience {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

impl Experience {
    /// The latency that this percentage of the messages did not exceed.
    pub(crate) fn latency(&self, percentage: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let place = sorted.len() * percentage / 100;
        sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

struct Run {
    publisher: Wire,
    subscriber: Wire,
    sent_at: Vec<Instant>,
    awaited: BTreeSet<usize>,
    unacknowledged: usize,
    experience: Experience,
}

impl Run {
    fn connect(address: SocketAddr, lifetime: Lifetime) -> Self {
        let subscriber = match lifetime {
            Lifetime::Transient => Connect::new(VERSION, "pair-subscriber"),
            Lifetime::Durable => Connect::durable(VERSION, "pair-subscriber"),
        };
        let [publisher, mut subscriber] = [Connect::new(VERSION, "pair-publisher"), subscriber].map(|connect| {
            let mut wire = Wire::open_nonblocking(address).unwrap();
            wire.send(&connect.bytes());
            expect(&mut wire, CONNACK);
            wire
        });
        subscriber.send(&VERSION.subscribe(1, "pair", 1));
        expect(&mut subscriber, SUBACK);
        let (sent_at, awaited) = (Vec::new(), BTreeSet::new());
        Self { publisher, subscriber, sent_at, awaited, unacknowledged: 0, experience: Experience::default() }
    }

    fn until(&mut self, stop: &AtomicBool) {
        let (mut next, mut last_ping) = (deadline::now(), deadline::now());
        let mut end = None;
        while self.experience.failure.is_none() {
            let now = deadline::now();
            if stop.load(Ordering::Relaxed) {
                let end = *end.get_or_insert(now + PATIENCE);
                if (self.awaited.is_empty() && self.unacknowledged == 0) || now >= end {
                    break;
                }
            } else if now >= next && self.unacknowledged < IN_FLIGHT_MAX {
                next = now + INTERVAL;
                self.publish(now);
            }
            if now.duration_since(last_ping) > Duration::from_secs(10) {
                last_ping = now;
                self.subscriber.send(&packet(PINGREQ, &[]));
            }
            self.receive();
            thread::sleep(Duration::from_millis(1));
        }
        self.experience.sent = self.sent_at.len();
        self.experience.lost = self.awaited.len();
    }

    fn publish(&mut self, now: Instant) {
        let number = self.sent_at.len();
        let packet_id = u16::try_from(number % 60_000 + 1).unwrap();
        self.publisher.send(&VERSION.publish(PUBLISH | 0x02, "pair", packet_id, number.to_string().as_bytes()));
        self.sent_at.push(now);
        self.awaited.insert(number);
        self.unacknowledged += 1;
    }

    fn receive(&mut self) {
        loop {
            match self.publisher.receive(Duration::ZERO) {
                Received::Packet(packet) if packet.kind() == PUBACK && packet.reason_code() < 0x80 => {
                    self.unacknowledged -= 1;
                }
                Received::Packet(packet) => self.fail(&format!("the publisher got {packet:x?}")),
                Received::Nothing => break,
                Received::Closed => return self.fail("the publisher was disconnected"),
            }
        }
        loop {
            match self.subscriber.receive(Duration::ZERO) {
                Received::Packet(packet) if packet.kind() == PUBLISH => {
                    let publish = Publish::parse(VERSION, &packet).unwrap();
                    self.subscriber.send(&acknowledge(PUBACK, publish.packet_id));
                    let number: usize = String::from_utf8(publish.payload).unwrap().parse().unwrap();
                    if self.awaited.remove(&number) {
                        self.experience.latencies.push(self.sent_at[number].elapsed());
                    }
                }
                Received::Packet(_) => {}
                Received::Nothing => break,
                Received::Closed => return self.fail("the subscriber was disconnected"),
            }
        }
    }

    fn fail(&mut self, cause: &str) {
        self.experience.failure.get_or_insert_with(|| cause.to_owned());
    }
}

#[track_caller]
fn expect(wire: &mut Wire, kind: u8) {
    let packet = deadline::wait_for("an answer to the pair", || match wire.receive(Duration::ZERO) {
        Received::Packet(packet) => Some(packet),
        Received::Nothing => None,
        Received::Closed => panic!("the pair is refused"),
    });
    assert_eq!((packet.kind(), packet.reason_code() < 0x80), (kind, true), "{packet:x?}");
}

const VERSION: Version = Version::V5;
/// Between two messages.
const INTERVAL: Duration = Duration::from_millis(5);
const IN_FLIGHT_MAX: usize = 100;
