//! A client with a durable Session that follows the standard and outlives every crash of its broker.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::{
    CONNACK, Connect, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet, Publish, Received, SUBACK,
    Version, Wire, acknowledge,
};

use crate::{PATIENCE, now};

pub(crate) struct Client {
    address: SocketAddr,
    client_id: String,
    filter: Option<(String, u8)>,
    connection: Option<Connection>,
    /// Messages to publish.
    waiting: VecDeque<Publish>,
    /// By Packet Identifier, and whether PUBREC has come.
    in_flight: BTreeMap<u16, (Publish, bool)>,
    next_id: u16,
    /// Packet Identifiers of QoS 2 that were received and not released.
    received: BTreeSet<u16>,
    /// All messages that were delivered, in order.
    pub(crate) messages: Vec<Publish>,
}

struct Connection {
    wire: Wire,
    is_accepted: bool,
    is_subscribed: bool,
    opened: Instant,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, client_id: &str) -> Self {
        Self {
            address,
            client_id: client_id.to_owned(),
            filter: None,
            connection: None,
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
            next_id: 1,
            received: BTreeSet::new(),
            messages: Vec::new(),
        }
    }

    /// One that has subscribed.
    #[track_caller]
    pub(crate) fn subscribed(address: SocketAddr, client_id: &str, filter: &str) -> Self {
        let mut client = Self::new(address, client_id);
        client.filter = Some((filter.to_owned(), 2));
        client.run_until("the subscription", |client| {
            client.connection.as_ref().is_some_and(|connection| connection.is_subscribed)
        });
        client
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) {
        self.waiting.push_back(Publish { qos, retain, ..Publish::new(topic, payload) });
    }

    /// Publishes a message and waits until it is acknowledged.
    #[track_caller]
    pub(crate) fn publish_now(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) {
        self.publish(topic, payload, qos, retain);
        self.run_until("the acknowledgement", Self::is_idle);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Payloads with QoS and RETAIN, by topic.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |publish: &Publish| {
            let retained = if publish.retain { " retained" } else { "" };
            format!("{} {} {}{retained}", publish.topic, String::from_utf8_lossy(&publish.payload), publish.qos)
        };
        self.messages.iter().map(text).collect()
    }

    #[track_caller]
    pub(crate) fn run_until(&mut self, what: &str, is_done: impl Fn(&Self) -> bool) {
        let deadline = now() + PATIENCE;
        while !is_done(self) {
            assert!(now() < deadline, "timeout while {} waits for {what}: {:?}", self.client_id, self.texts());
            self.step();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for so many messages in all, and a while for more.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[&str]) {
        self.run_until(&format!("{expected:?}"), |client| client.messages.len() >= expected.len());
        self.run_for(crate::SILENCE);
        let (mut found, mut expected) = (self.texts(), expected.to_vec());
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = now() + time;
        while now() < end {
            self.step();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Does what can be done without waiting.
    pub(crate) fn step(&mut self) {
        if self.connection.is_none() {
            self.connect();
        }
        for _ in 0..100 {
            let Some(connection) = &mut self.connection else { return };
            match connection.wire.receive(Duration::ZERO) {
                Received::Packet(packet) => self.handle(&packet),
                Received::Nothing => break,
                Received::Closed => self.connection = None,
            }
        }
        let Some(connection) = &mut self.connection else { return };
        if !connection.is_accepted {
            if now() > connection.opened + Duration::from_secs(5) {
                self.connection = None;
            }
            return;
        }
        while self.in_flight.len() < WINDOW
            && let Some(mut publish) = self.waiting.pop_front()
        {
            publish.packet_id = if publish.qos == 0 { 0 } else { self.next_id };
            connection.wire.send(&publish.bytes(VERSION));
            if publish.qos > 0 {
                self.in_flight.insert(self.next_id, (publish, false));
                self.next_id = self.next_id % u16::MAX + 1;
            }
        }
    }

    fn connect(&mut self) {
        let Ok(mut wire) = Wire::open_nonblocking(self.address) else { return };
        wire.send(&Connect::durable(VERSION, &self.client_id).bytes());
        let is_subscribed = self.filter.is_none();
        self.connection = Some(Connection { wire, is_accepted: false, is_subscribed, opened: now() });
    }

    fn handle(&mut self, packet: &Packet) {
        let Some(connection) = &mut self.connection else { return };
        let wire = &mut connection.wire;
        let id = packet.packet_id();
        match packet.kind() {
            CONNACK => {
                assert_eq!(packet.reason_code(), 0, "{} is refused", self.client_id);
                connection.is_accepted = true;
                if let Some((filter, qos)) = &self.filter {
                    wire.send(&VERSION.subscribe(u16::MAX, filter, qos | RETAIN_AS_PUBLISHED | SEND_IF_NEW));
                }
                for (publish, is_released) in self.in_flight.values() {
                    match is_released {
                        true => wire.send(&acknowledge(PUBREL, publish.packet_id)),
                        false => wire.send(&Publish { dup: true, ..publish.clone() }.bytes(VERSION)),
                    }
                }
            }
            SUBACK => connection.is_subscribed = true,
            PUBLISH => {
                let publish = Publish::parse(VERSION, packet).unwrap();
                let (qos, id) = (publish.qos, publish.packet_id);
                if qos < 2 || self.received.insert(id) {
                    self.messages.push(publish);
                }
                match qos {
                    0 => {}
                    1 => wire.send(&acknowledge(PUBACK, id)),
                    _ => wire.send(&acknowledge(PUBREC, id)),
                }
            }
            PUBREL_KIND => {
                self.received.remove(&id);
                wire.send(&acknowledge(PUBCOMP, id));
            }
            PUBACK => {
                assert!(packet.reason_code() < 0x80, "refused: {packet:?}");
                self.in_flight.remove(&id);
            }
            PUBREC => {
                assert!(packet.reason_code() < 0x80, "refused: {packet:?}");
                if let Some((_, is_released)) = self.in_flight.get_mut(&id) {
                    *is_released = true;
                }
                wire.send(&acknowledge(PUBREL, id));
            }
            PUBCOMP => drop(self.in_flight.remove(&id)),
            _ => {}
        }
    }
}

const VERSION: Version = Version::V5;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const SEND_IF_NEW: u8 = 0x10;
const WINDOW: usize = 8;
