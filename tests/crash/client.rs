//! A client that follows the standard through every crash of the broker: its connections and its role.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::consumers::{Consumed, Consumer};
use crate::content::Content;
use crate::ledger::{Fault, Ledger, payload};
use crate::probe::Probe;
use crate::publisher::Publisher;
use crate::reader::Reader;
use crate::rng::Rng;
use crate::subscriber::{Behaviour, Subscriber};
use wire::{
    CONNACK, Connect, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet, Publish, Received,
    SUBACK, UNSUBACK, Version, Wire, acknowledge, packet,
};

/// State that all clients share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    pub(crate) content: Content,
    pub(crate) consumed: Consumed,
    pub(crate) rng: Rng,
    /// Where a broker may answer: the first one is tried.
    pub(crate) addresses: VecDeque<SocketAddr>,
    pub(crate) now: Instant,
    pub(crate) stage: Stage,
    /// Whether the broker may refuse what needs space.
    pub(crate) may_refuse: bool,
    /// Whether the broker may end connections by itself.
    pub(crate) may_disconnect: bool,
}

/// The stage of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Clients connect and subscribe.
    Connecting,
    /// Messages are published.
    Load,
    /// No message is published; all clients connect and receive all messages.
    Settling,
}

/// The client of one Client Identifier.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) durable: bool,
    pub(crate) role: Role,
    pub(crate) link: Link,
    /// The broker acknowledged the Session, so it must be present from now on.
    has_session: bool,
    connect_at: Option<Instant>,
    leave_at: Option<Instant>,
    /// When the connection is given up, if CONNACK has not come.
    give_up_at: Option<Instant>,
}

/// The purpose of a client.
#[derive(Debug)]
pub(crate) enum Role {
    Publisher(Publisher),
    Subscriber(Subscriber),
    /// Its connection has a Will Message.
    Willed {
        topic: String,
        qos: u8,
        will: Option<u64>,
    },
    Probe(Probe),
    /// It reads a stream.
    Reader(Reader),
    /// It has one subscription, which is not an ordinary one.
    Consumer(Consumer),
}

/// A connection, and packets that are sent with a delay.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: usize,
    pub(crate) version: Version,
    wire: Option<Wire>,
    address: Option<SocketAddr>,
    /// CONNACK was received.
    pub(crate) is_connected: bool,
    /// Whether receipts tell of its answers.
    is_receiver: bool,
    answers: VecDeque<Answer>,
}

#[derive(Debug)]
struct Answer {
    due: Instant,
    kind: u8,
    packet_id: u16,
    message: Option<u64>,
    /// The client refuses the message.
    refuses: bool,
}

impl Shared {
    /// A random time within this many milliseconds.
    pub(crate) fn within(&mut self, millis: u64) -> Instant {
        self.now + Duration::from_micros(self.rng.below(millis * 1_000 + 1))
    }

    /// The broker at this address does not serve: another one may.
    fn try_another(&mut self, address: SocketAddr) {
        if self.addresses.front() == Some(&address) {
            self.addresses.rotate_left(1);
        }
    }
}

impl Client {
    pub(crate) fn new(number: usize, name: &str, durable: bool, role: Role) -> Self {
        let version = if number.is_multiple_of(2) { Version::V5 } else { Version::V311 };
        let name = format!("{name}-{number}-{version:?}").to_lowercase();
        let link = Link {
            client: number,
            version,
            wire: None,
            address: None,
            is_connected: false,
            is_receiver: matches!(role, Role::Subscriber(_)),
            answers: VecDeque::new(),
        };
        Self {
            number,
            name,
            durable,
            role,
            link,
            has_session: false,
            connect_at: None,
            leave_at: None,
            give_up_at: None,
        }
    }

    /// Makes progress without blocking.
    pub(crate) fn step(&mut self, shared: &mut Shared) -> Result<(), Fault> {
        if self.link.wire.is_none() {
            return self.connect(shared);
        }
        self.receive(shared)?;
        if !self.link.is_connected {
            if self.give_up_at.is_some_and(|at| at <= shared.now) && self.link.wire.is_some() {
                self.turn_away("waits in vain for CONNACK", shared);
            }
            return Ok(());
        }
        self.link.answer_due(shared);
        match &mut self.role {
            Role::Publisher(publisher) => publisher.step(&mut self.link, shared),
            Role::Subscriber(subscriber) => subscriber.step(&mut self.link, shared),
            Role::Probe(probe) => probe.step(&mut self.link, shared)?,
            Role::Willed { .. } | Role::Reader(_) | Role::Consumer(_) => {}
        }
        if self.wants_to_leave(shared) {
            self.leave(shared);
        }
        Ok(())
    }

    /// Handles received packets.
    fn receive(&mut self, shared: &mut Shared) -> Result<(), Fault> {
        while let Some(wire) = &mut self.link.wire {
            match wire.receive(Duration::ZERO) {
                Received::Packet(packet) => self.take(&packet, shared)?,
                Received::Nothing => return Ok(()),
                Received::Closed => self.lose("loses its connection", shared),
            }
        }
        Ok(())
    }

    /// Handles a kill of the broker: reads pending packets, or loses them as a network does.
    pub(crate) fn on_broker_killed(&mut self, shared: &mut Shared) -> Result<(), Fault> {
        if shared.rng.percent(60) {
            self.receive(shared)?;
        }
        if self.link.wire.is_some() {
            self.lose("loses its connection", shared);
        }
        Ok(())
    }

    /// Its broker may be replaced by another one, which knows nothing of the connection.
    pub(crate) fn on_broker_harmed(&self, shared: &mut Shared) {
        if let Role::Willed { will: Some(will), .. } = self.role {
            shared.ledger.withhold(will, false);
        }
    }

    /// Closes the connection without DISCONNECT.
    pub(crate) fn lose(&mut self, what: &'static str, shared: &mut Shared) {
        let was_connected = self.link.is_connected;
        self.part(what, shared);
        if let Role::Willed { will: Some(will), .. } = self.role {
            shared.ledger.withhold(will, false);
            if was_connected {
                shared.ledger.owe(will);
            }
        }
    }

    /// Ends the connection, and all state that doesn't outlive it.
    fn part(&mut self, what: &'static str, shared: &mut Shared) {
        shared.ledger.note(self.number, what, 0, None);
        if let Some(wire) = self.link.wire.take() {
            wire.cut();
        }
        self.link.answers.clear();
        self.link.is_connected = false;
        self.leave_at = None;
        let away = match &self.role {
            Role::Subscriber(subscriber) => subscriber.away(),
            Role::Publisher(_) | Role::Willed { .. } | Role::Probe(_) | Role::Reader(_) | Role::Consumer(_) => 20,
        };
        self.connect_at = Some(shared.within(away));
        match &mut self.role {
            Role::Publisher(publisher) if !self.durable => publisher.forget(),
            Role::Probe(probe) => probe.forget(),
            Role::Publisher(_) | Role::Subscriber(_) | Role::Willed { .. } | Role::Reader(_) | Role::Consumer(_) => {}
        }
    }

    /// Tries another broker.
    fn turn_away(&mut self, what: &'static str, shared: &mut Shared) {
        if let Some(address) = self.link.address {
            shared.try_another(address);
        }
        self.lose(what, shared);
        self.connect_at = Some(shared.within(100));
    }

    fn wants_to_leave(&mut self, shared: &mut Shared) -> bool {
        let behaviour = match &mut self.role {
            Role::Subscriber(subscriber) => subscriber.behaviour,
            Role::Probe(probe) => return probe.is_done(),
            Role::Reader(reader) => return reader.wants_to_leave(shared),
            Role::Consumer(consumer) => return consumer.wants_to_leave(shared),
            Role::Publisher(_) | Role::Willed { .. } => return false,
        };
        if shared.stage != Stage::Load {
            self.leave_at = None;
            return false;
        }
        match behaviour {
            Behaviour::Steady | Behaviour::Changing => false,
            Behaviour::Offline => self.is_subscribed(),
            Behaviour::Flapping => {
                let now = shared.now;
                *self.leave_at.get_or_insert_with(|| shared.within(400)) < now
            }
        }
    }

    fn leave(&mut self, shared: &mut Shared) {
        if shared.rng.percent(50) {
            self.link.send(&packet(DISCONNECT, &[]));
            self.part("sends DISCONNECT", shared);
        } else {
            self.lose("cuts its connection", shared);
        }
    }

    /// Whether an offline client stays disconnected.
    fn stays_away(&self, shared: &Shared) -> bool {
        let is_offline =
            matches!(&self.role, Role::Subscriber(subscriber) if subscriber.behaviour == Behaviour::Offline);
        let load = shared.stage == Stage::Load;
        match self.role {
            Role::Willed { .. } => shared.stage == Stage::Settling,
            Role::Subscriber(_) => is_offline && load && self.is_subscribed(),
            Role::Publisher(_) | Role::Probe(_) | Role::Reader(_) | Role::Consumer(_) => false,
        }
    }

    pub(crate) fn is_subscribed(&self) -> bool {
        !matches!(&self.role, Role::Subscriber(subscriber) if subscriber.since.is_none())
    }

    fn connect(&mut self, shared: &mut Shared) -> Result<(), Fault> {
        let is_due = self.connect_at.is_none_or(|at| at <= shared.now || shared.stage == Stage::Settling);
        if !is_due || self.stays_away(shared) {
            return Ok(());
        }
        let Some(&address) = shared.addresses.front() else { return Ok(()) };
        let Ok(wire) = Wire::open_nonblocking(address) else {
            shared.try_another(address);
            self.connect_at = Some(shared.within(10));
            return Ok(());
        };
        self.link.wire = Some(wire);
        self.link.address = Some(address);
        self.give_up_at = (shared.addresses.len() > 1).then(|| shared.now + CONNACK_PATIENCE);
        shared.ledger.note(self.number, "sends CONNECT", 0, None);
        let will = match &mut self.role {
            Role::Willed { topic, qos, will } => {
                let number = shared.ledger.send(self.number, topic, *qos, false);
                shared.ledger.note(self.number, "sends CONNECT with Will", 0, Some(number));
                shared.ledger.withhold(number, !shared.may_disconnect);
                *will = Some(number);
                Some(Publish { qos: *qos, ..Publish::new(topic, payload(number, 0)) })
            }
            Role::Publisher(_) | Role::Subscriber(_) | Role::Probe(_) | Role::Reader(_) | Role::Consumer(_) => None,
        };
        let receive_maximum = if self.number.is_multiple_of(3) { 5 } else { 100 };
        let connect = self.connect_bytes(receive_maximum, will);
        self.link.send(&connect);
        Ok(())
    }

    fn connect_bytes(&self, receive_maximum: u16, will: Option<Publish>) -> Vec<u8> {
        let mut properties = [&[0x21][..], &receive_maximum.to_be_bytes()].concat();
        if self.durable {
            properties.extend([0x11, 0, 1, 0x51, 0x80]);
        }
        // [MQTT-3.1.2-4] of 5.0: a transient session starts anew. In 3.1.1 Clean Session is both its beginning and its end.
        let connect = Connect::new(self.link.version, &self.name);
        Connect { clean_start: !self.durable, keep_alive: 0, properties, will, ..connect }.bytes()
    }

    fn take(&mut self, packet: &Packet, shared: &mut Shared) -> Result<(), Fault> {
        let kind = packet.kind();
        match (&mut self.role, kind) {
            (_, CONNACK) => return self.on_connack(packet, shared),
            (_, DISCONNECT) if shared.addresses.len() > 1 => {
                self.lose("is disconnected", shared);
                return Ok(());
            }
            (Role::Publisher(publisher), PUBACK | PUBREC | PUBCOMP) => {
                return publisher.on_acknowledgement(packet, &mut self.link, shared);
            }
            (Role::Subscriber(subscriber), PUBLISH) => {
                let Some(publish) = Publish::parse(self.link.version, packet) else {
                    return self.link.fault(None, format!("{packet:x?} is malformed"));
                };
                return subscriber.on_publish(&publish, &mut self.link, shared);
            }
            (Role::Subscriber(subscriber), PUBREL_KIND) => {
                subscriber.on_pubrel(packet.packet_id(), &mut self.link, shared);
                return Ok(());
            }
            (Role::Subscriber(subscriber), SUBACK | UNSUBACK) => {
                return subscriber.on_answer(packet, &mut self.link, shared);
            }
            (Role::Reader(reader), SUBACK | PUBLISH) => {
                if let Some((id, message)) = reader.on_packet(packet, &mut self.link, shared)? {
                    self.link.answer(PUBACK, id, Some(message), shared);
                }
                return Ok(());
            }
            (Role::Consumer(consumer), SUBACK | PUBLISH) => {
                return consumer.on_packet(packet, &mut self.link, shared);
            }
            (Role::Probe(probe), SUBACK | PUBLISH) => return probe.on_packet(packet, &mut self.link, shared),
            _ => {}
        }
        self.link.fault(None, format!("did not expect {packet:x?}"))
    }

    fn on_connack(&mut self, packet: &Packet, shared: &mut Shared) -> Result<(), Fault> {
        let present = packet.body[0] == 1;
        if shared.addresses.len() > 1 && ELSEWHERE.contains(&packet.reason_code()) && !self.link.is_connected {
            self.turn_away("is sent to another broker", shared);
            return Ok(());
        }
        if packet.reason_code() != 0 || self.link.is_connected {
            return self.link.fault(None, format!("did not expect {packet:x?}"));
        }
        shared.ledger.note(
            self.number,
            if present { "gets CONNACK, session present" } else { "gets CONNACK" },
            0,
            None,
        );
        if self.durable && self.has_session && !present {
            return self.link.fault(None, "its Session is lost".to_owned());
        }
        if !self.durable && present {
            return self.link.fault(None, "a Session that was to end is present".to_owned());
        }
        self.link.is_connected = true;
        self.has_session = true;
        match &mut self.role {
            Role::Publisher(publisher) => publisher.resend(&mut self.link, shared),
            Role::Subscriber(subscriber) => subscriber.resume(&mut self.link, shared),
            Role::Probe(probe) => probe.ask(&mut self.link, shared),
            Role::Reader(reader) => reader.resume(&mut self.link, shared),
            Role::Consumer(consumer) => consumer.resume(&mut self.link, shared, present),
            Role::Willed { .. } => {}
        }
        Ok(())
    }

    /// Prepares for a settled state: a Will Message is published now.
    pub(crate) fn settle(&mut self, shared: &mut Shared) {
        if matches!(self.role, Role::Willed { .. }) && self.link.wire.is_some() {
            self.lose("cuts its connection", shared);
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        if let Role::Consumer(consumer) = &self.role {
            return self.link.is_connected && consumer.is_subscribed();
        }
        let is_transient = matches!(self.role, Role::Probe(_) | Role::Reader(_));
        is_transient || self.link.is_connected && self.is_subscribed()
    }

    /// Whether no exchange is in progress.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.role {
            Role::Publisher(publisher) => self.link.is_idle() && publisher.is_settled(),
            Role::Subscriber(subscriber) => self.link.is_idle() && subscriber.is_settled(),
            Role::Willed { .. } => self.link.wire.is_none(),
            Role::Probe(probe) => probe.is_satisfied(),
            Role::Reader(_) => self.link.is_idle(),
            Role::Consumer(consumer) => self.link.is_idle() && consumer.is_settled(),
        }
    }
}

impl Link {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Some(wire) = &mut self.wire {
            wire.send(bytes);
        }
    }

    /// Acknowledges in order, often with a delay.
    pub(crate) fn answer(&mut self, kind: u8, packet_id: u16, message: Option<u64>, shared: &mut Shared) {
        self.answer_or_refuse((kind, false), packet_id, message, shared);
    }

    /// Refuses a message, in the order of the acknowledgements.
    pub(crate) fn refuse(&mut self, kind: u8, packet_id: u16, message: Option<u64>, shared: &mut Shared) {
        self.answer_or_refuse((kind, true), packet_id, message, shared);
    }

    fn answer_or_refuse(
        &mut self,
        (kind, refuses): (u8, bool),
        packet_id: u16,
        message: Option<u64>,
        shared: &mut Shared,
    ) {
        // From now on it may be sent, and a receipt may tell of it.
        if let Some(message) = message.filter(|_| self.is_receiver && (refuses || matches!(kind, PUBACK | PUBCOMP))) {
            shared.consumed.answered(message, refuses);
        }
        let due = if shared.rng.percent(30) { shared.within(15) } else { shared.now };
        let due = self.answers.back().map_or(due, |last| last.due.max(due));
        self.answers.push_back(Answer { due, kind, packet_id, message, refuses });
    }

    fn answer_due(&mut self, shared: &mut Shared) {
        while let Some(answer) = self.answers.pop_front_if(|answer| answer.due <= shared.now) {
            let what = match answer.kind {
                _ if answer.refuses => "refuses it",
                PUBACK => "sends PUBACK",
                PUBREC => "sends PUBREC",
                PUBREL => "sends PUBREL",
                _ => "sends PUBCOMP",
            };
            shared.ledger.note(self.client, what, answer.packet_id, answer.message);
            if answer.refuses {
                let body = [&answer.packet_id.to_be_bytes()[..], &[REFUSED]].concat();
                self.send(&packet(answer.kind, &body));
            } else {
                self.send(&acknowledge(answer.kind, answer.packet_id));
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.is_connected && self.answers.is_empty()
    }

    pub(crate) fn fault<T>(&self, message: Option<u64>, text: String) -> Result<T, Fault> {
        Err(Fault { client: self.client, message, text })
    }
}

/// How long a client waits for CONNACK where another broker may answer.
const CONNACK_PATIENCE: Duration = Duration::from_secs(3);
/// The answers of a broker that does not serve: Server unavailable of 3.1.1, and Server unavailable, Use another server and Server shutting down of 5.0.
const ELSEWHERE: [u8; 4] = [0x03, 0x88, 0x9C, 0x8B];
/// Implementation specific error.
const REFUSED: u8 = 0x83;
