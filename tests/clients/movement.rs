//! Sessions that move between shards under load: no loss, no duplicates at QoS 2, no reordering.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Setup;
use crate::deadline::{self, PATIENCE};
use crate::raw::{
    CONNACK, Connect, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Publish, Received, Version,
    Wire, acknowledge, packet,
};

/// A message as the subscriber's application received it: publisher and number.
type Delivery = (usize, usize);

#[test]
fn sessions_that_reconnect_under_load_lose_no_message_and_keep_the_order() {
    // A window that most connections can complete, because each reconnect repeats the messages in flight.
    let broker = Setup::default().set("server.shards", "4").set("limits.inflight_messages_max", "20").start();
    let address = broker.address();
    let subscribed = Barrier::new(SUBSCRIBERS + PUBLISHERS);
    let received: Vec<Vec<Delivery>> = thread::scope(|scope| {
        let subscribed = &subscribed;
        for number in 0..PUBLISHERS {
            scope.spawn(move || Publisher::new(address, number).run(subscribed));
        }
        let subscribers: Vec<_> = (0..SUBSCRIBERS)
            .map(|number| scope.spawn(move || Subscriber::new(address, number).run(subscribed)))
            .collect();
        subscribers.into_iter().map(|subscriber| subscriber.join().unwrap()).collect()
    });
    for (number, deliveries) in received.iter().enumerate() {
        check(qos_of(number), deliveries, &format!("subscriber {number}"));
    }
}

/// Checks deliveries against the published messages and their QoS.
fn check(subscribed_qos: u8, deliveries: &[Delivery], subscriber: &str) {
    let mut by_publisher: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (publisher, number) in deliveries {
        by_publisher.entry(*publisher).or_default().push(*number);
    }
    for publisher in 0..PUBLISHERS {
        let numbers = by_publisher.remove(&publisher).unwrap_or_default();
        let mut seen = HashSet::new();
        let firsts: Vec<usize> = numbers.iter().copied().filter(|number| seen.insert(*number)).collect();
        let missing: Vec<usize> = (0..MESSAGES).filter(|number| !seen.contains(number)).collect();
        assert!(missing.is_empty(), "{subscriber} misses {missing:?} of publisher {publisher}");
        assert!(firsts.is_sorted(), "{subscriber} got publisher {publisher} out of order: {firsts:?}");
        if subscribed_qos == 2 && qos_of(publisher) == 2 {
            assert_eq!(firsts.len(), numbers.len(), "{subscriber} got publisher {publisher} twice: {numbers:?}");
        }
    }
    assert!(by_publisher.is_empty(), "{subscriber} got messages that were not published");
}

/// A durable session and its client, which reconnects repeatedly.
struct Link {
    address: SocketAddr,
    connect: Connect,
    wire: Wire,
    /// The previous connection, left open until the next one took over its session.
    older: Option<Wire>,
    /// Number of packets until the next reconnect.
    left: u64,
    random: u64,
}

impl Link {
    fn new(address: SocketAddr, connect: Connect, seed: usize) -> Self {
        let (wire, connack) = Wire::connect(address, &connect);
        assert_eq!(connack.body[..2], [0, 0], "{}", connect.client_id);
        let random = 0x9E37_79B9_7F4A_7C15 ^ u64::try_from(seed).unwrap();
        Self { address, connect, wire, older: None, left: 10, random }
    }

    fn version(&self) -> Version {
        self.connect.version
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    /// Ends the connection in one of three ways and opens the next. The session must be present.
    fn reconnect(&mut self) {
        match self.below(3) {
            0 => self.wire.cut(),
            1 => self.wire.send(&packet(DISCONNECT, &[])),
            _ => {}
        }
        let mut next = Wire::open(self.address);
        next.send(&self.connect.bytes());
        let connack = next.expect(CONNACK);
        assert_eq!(connack.body[..2], [1, 0], "the session of {} is gone", self.connect.client_id);
        self.older = Some(std::mem::replace(&mut self.wire, next));
        // Some connections last for one packet, most until their acknowledgements arrive, because a cut connection may
        // lose packets.
        self.left = 1 + self.below(8) * self.below(60);
    }

    /// The next packet; `None` if the client reconnected instead.
    fn receive(&mut self) -> Option<Received> {
        if self.left == 0 {
            self.reconnect();
            return None;
        }
        self.left -= 1;
        match self.wire.receive(Duration::from_millis(50)) {
            Received::Closed => panic!("the broker closed the connection of {}", self.connect.client_id),
            Received::Packet(packet) if packet.kind() == DISCONNECT => {
                panic!("{} was disconnected: {:#04x}", self.connect.client_id, packet.reason_code())
            }
            received @ (Received::Packet(_) | Received::Nothing) => Some(received),
        }
    }
}

/// Publishes [`MESSAGES`] numbered messages, following the standard through every reconnect.
struct Publisher {
    link: Link,
    number: usize,
    in_flight: VecDeque<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    payload: String,
    /// PUBREC was received, so PUBREL is sent instead of PUBLISH.
    released: bool,
}

impl Publisher {
    fn new(address: SocketAddr, number: usize) -> Self {
        let connect = Connect::durable(version_of(number), &format!("publisher-{number}"));
        Self { link: Link::new(address, connect, 100 + number), number, in_flight: VecDeque::new() }
    }

    fn run(mut self, subscribed: &Barrier) {
        subscribed.wait();
        let deadline = deadline::now() + PATIENCE;
        let mut next = 0;
        while next < MESSAGES || !self.in_flight.is_empty() {
            assert!(deadline::now() < deadline, "publisher {} was not acknowledged: {:?}", self.number, self.in_flight);
            while next < MESSAGES && self.in_flight.len() < WINDOW {
                let payload = format!("{}/{next}", self.number);
                let packet_id = u16::try_from(next % 65_535 + 1).unwrap();
                self.in_flight.push_back(InFlight { packet_id, payload, released: false });
                self.send(self.in_flight.len() - 1, 0);
                next += 1;
            }
            match self.link.receive() {
                None => (0..self.in_flight.len()).for_each(|index| self.send(index, DUP)),
                Some(Received::Packet(packet)) => {
                    // 0x92 is the response to a repeated PUBREL whose PUBCOMP was lost, so it isn't an error.
                    let is_done = packet.kind() == PUBCOMP && packet.reason_code() == 0x92;
                    assert!(packet.reason_code() < 0x80 || is_done, "publisher {}: {packet:x?}", self.number);
                    self.on_acknowledgement(packet.kind(), packet.packet_id());
                }
                Some(_) => {}
            }
        }
    }

    fn send(&mut self, index: usize, dup: u8) {
        let message = &self.in_flight[index];
        let bytes = if message.released {
            acknowledge(PUBREL, message.packet_id)
        } else {
            let first = PUBLISH | dup | qos_of(self.number) << 1;
            let topic = format!("move/{}", self.number);
            self.link.version().publish(first, &topic, message.packet_id, message.payload.as_bytes())
        };
        self.link.wire.send(&bytes);
    }

    fn on_acknowledgement(&mut self, kind: u8, packet_id: u16) {
        let index = self.in_flight.iter().position(|message| message.packet_id == packet_id);
        match (kind, index) {
            (PUBACK | PUBCOMP, Some(index)) => drop(self.in_flight.remove(index)),
            (PUBREC, Some(index)) => {
                self.in_flight[index].released = true;
                self.send(index, 0);
            }
            // The response to a retransmission of a message that was acknowledged meanwhile.
            (PUBACK | PUBCOMP, None) => {}
            (PUBREC, None) => self.link.wire.send(&acknowledge(PUBREL, packet_id)),
            other => panic!("publisher {} got {other:x?}", self.number),
        }
    }
}

/// Receives until it has all messages, following the standard through every reconnect.
struct Subscriber {
    link: Link,
    /// QoS 2 messages received without PUBREL.
    awaiting_pubrel: HashSet<u16>,
    deliveries: Vec<Delivery>,
    distinct: HashSet<Delivery>,
}

impl Subscriber {
    fn new(address: SocketAddr, number: usize) -> Self {
        let connect = Connect::durable(version_of(number), &format!("subscriber-{number}"));
        let mut link = Link::new(address, connect, number);
        let version = link.version();
        assert_eq!(link.wire.subscribe(version, "move/+", qos_of(number)), qos_of(number));
        Self { link, awaiting_pubrel: HashSet::new(), deliveries: Vec::new(), distinct: HashSet::new() }
    }

    fn run(mut self, subscribed: &Barrier) -> Vec<Delivery> {
        subscribed.wait();
        let deadline = deadline::now() + PATIENCE;
        let mut quiet_since: Option<Instant> = None;
        while deadline::now() < deadline {
            match self.link.receive() {
                Some(Received::Packet(packet)) => {
                    self.on_packet(&packet);
                    quiet_since = None;
                }
                _ if self.distinct.len() < PUBLISHERS * MESSAGES => {}
                // Duplicates could still arrive.
                _ => {
                    let since = *quiet_since.get_or_insert_with(deadline::now);
                    if since.elapsed() > deadline::SILENCE {
                        break;
                    }
                }
            }
        }
        self.deliveries
    }

    fn on_packet(&mut self, packet: &crate::raw::Packet) {
        match packet.kind() {
            PUBLISH => {
                let publish = Publish::parse(self.link.version(), packet).unwrap();
                if publish.qos == 1 {
                    self.deliver(&publish.payload);
                    self.link.wire.send(&acknowledge(PUBACK, publish.packet_id));
                } else {
                    if self.awaiting_pubrel.insert(publish.packet_id) {
                        self.deliver(&publish.payload);
                    }
                    self.link.wire.send(&acknowledge(PUBREC, publish.packet_id));
                }
            }
            PUBREL_KIND => {
                self.awaiting_pubrel.remove(&packet.packet_id());
                self.link.wire.send(&acknowledge(PUBCOMP, packet.packet_id()));
            }
            other => panic!("{} got {other:#04x}", self.link.connect.client_id),
        }
    }

    fn deliver(&mut self, payload: &[u8]) {
        let (publisher, number) = std::str::from_utf8(payload).unwrap().split_once('/').unwrap();
        let delivery = (publisher.parse().unwrap(), number.parse().unwrap());
        self.deliveries.push(delivery);
        self.distinct.insert(delivery);
    }
}

/// QoS 1 and 2 alternate; versions vary independently.
fn qos_of(number: usize) -> u8 {
    if number.is_multiple_of(2) { 2 } else { 1 }
}

fn version_of(number: usize) -> Version {
    if (number / 2).is_multiple_of(2) { Version::V5 } else { Version::V311 }
}

const SUBSCRIBERS: usize = 16;
const PUBLISHERS: usize = 8;
const MESSAGES: usize = 300;
const WINDOW: usize = 10;
const DUP: u8 = 0x08;
