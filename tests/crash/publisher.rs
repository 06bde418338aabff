//! Publishes at every QoS, following the standard's rules for a sender with a persistent Session.

use std::time::{Duration, Instant};

use crate::client::{Link, Shared, Stage};
use crate::ledger::{Fault, payload};
use wire::{PUBACK, PUBLISH, PUBREC, PUBREL, Packet, Publish, Version, acknowledge, packet, string};

/// The sender's part of a Session.
#[derive(Debug)]
pub(crate) struct Publisher {
    topics: Topics,
    /// Messages in flight, in the order they were sent.
    outgoing: Vec<Outgoing>,
    publish_at: Option<Instant>,
    /// Whether some of its messages are batches.
    batches: bool,
    /// Whether some of its messages ask for a receipt, if its version has properties.
    receipts: bool,
}

/// The topics it publishes to.
#[derive(Debug)]
pub(crate) enum Topics {
    /// Any of these, at any QoS.
    Events(Vec<String>),
    /// A retained value, always at one QoS: a QoS 1 retransmission could restore a value that a QoS 2 message replaced.
    Value(String, u8),
    /// Any of these, whose last message a stream keeps: large ones, at one QoS for the same reason.
    States(Vec<String>, u8),
}

/// A message in flight.
#[derive(Debug)]
struct Outgoing {
    message: u64,
    publish: Publish,
    awaiting: Awaiting,
}

/// The packet that the sender of a message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaiting {
    Puback,
    Pubrec,
    Pubcomp,
}

impl Publisher {
    pub(crate) fn new(topics: Topics) -> Self {
        Self { topics, outgoing: Vec::new(), publish_at: None, batches: false, receipts: false }
    }

    /// Publishes batches, too.
    pub(crate) fn with_batches(topics: Topics) -> Self {
        Self { batches: true, ..Self::new(topics) }
    }

    /// Asks for receipts, too.
    pub(crate) fn with_receipts(topics: Topics) -> Self {
        Self { receipts: true, ..Self::with_batches(topics) }
    }

    /// Publishes when it is due.
    pub(crate) fn step(&mut self, link: &mut Link, shared: &mut Shared) {
        let is_due = self.publish_at.is_none_or(|at| at <= shared.now);
        if shared.stage != Stage::Load || !is_due {
            return;
        }
        self.publish_at = Some(shared.within(PAUSE_MAX));
        for _ in 0..shared.rng.between(1, 3) {
            if self.outgoing.len() < WINDOW {
                self.publish(link, shared);
            }
        }
    }

    fn publish(&mut self, link: &mut Link, shared: &mut Shared) {
        let rng = &mut shared.rng;
        let (topic, qos, retain, clears) = match &self.topics {
            Topics::Events(topics) => (topics[rng.index(topics.len())].clone(), rng.pick(&QOS), false, false),
            Topics::Value(topic, qos) => (topic.clone(), *qos, true, rng.percent(10)),
            Topics::States(topics, qos) => (topics[rng.index(topics.len())].clone(), *qos, false, false),
        };
        if self.batches && qos > 0 && rng.percent(30) {
            return self.publish_batch(qos, link, shared);
        }
        let ballast = match self.topics {
            Topics::States(..) => rng.index(4_000),
            Topics::Events(_) | Topics::Value(..) if rng.percent(2) => 20_000,
            Topics::Events(_) | Topics::Value(..) => rng.index(200),
        };
        let packet_id = if qos == 0 { 0 } else { self.free_id(shared) };
        let message = shared.ledger.send(link.client, &topic, qos, clears);
        let payload = if clears { Vec::new() } else { payload(message, ballast) };
        let publish = Publish { topic, payload, qos, retain, dup: false, packet_id };
        shared.ledger.note(link.client, "sends PUBLISH", packet_id, Some(message));
        if self.receipts && qos > 0 && link.version == Version::V5 && shared.rng.percent(50) {
            shared.consumed.asked.insert(message);
        }
        link.send(&encoded(&publish, message, link, shared));
        let awaiting = if qos == 1 { Awaiting::Puback } else { Awaiting::Pubrec };
        if qos > 0 {
            self.outgoing.push(Outgoing { message, publish: Publish { dup: true, ..publish }, awaiting });
        }
    }

    /// Publishes two or three messages in one PUBLISH.
    fn publish_batch(&mut self, qos: u8, link: &mut Link, shared: &mut Shared) {
        let Topics::Events(known) = &self.topics else { return };
        let topics: Vec<String> =
            (0..shared.rng.between(2, 3)).map(|_| known[shared.rng.index(known.len())].clone()).collect();
        let packet_id = self.free_id(shared);
        let message = shared.ledger.send_batch(link.client, &topics, qos);
        let json: Vec<String> = (message..)
            .zip(&topics)
            .map(|(number, topic)| {
                let payload = String::from_utf8(payload(number, shared.rng.index(60))).unwrap();
                format!(r#"{{"topic":"{topic}","payload":"{payload}"}}"#)
            })
            .collect();
        let payload = format!("[{}]", json.join(",")).into_bytes();
        let publish = Publish { topic: "$batch".to_owned(), payload, qos, retain: false, dup: false, packet_id };
        shared.ledger.note(link.client, "sends a batch", packet_id, Some(message));
        link.send(&publish.bytes(link.version));
        let awaiting = if qos == 1 { Awaiting::Puback } else { Awaiting::Pubrec };
        self.outgoing.push(Outgoing { message, publish: Publish { dup: true, ..publish }, awaiting });
    }

    /// One of few identifiers, so that each is reused often.
    fn free_id(&self, shared: &mut Shared) -> u16 {
        let is_free = |id: &u16| self.outgoing.iter().all(|outgoing| outgoing.publish.packet_id != *id);
        let free: Vec<u16> = (1..=IDS).filter(is_free).collect();
        shared.rng.pick(&free)
    }

    /// Sends unacknowledged messages again, in order, after the Session is resumed. [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    pub(crate) fn resend(&mut self, link: &mut Link, shared: &mut Shared) {
        self.publish_at = Some(shared.now + Duration::from_millis(shared.rng.below(PAUSE_MAX)));
        for Outgoing { message, publish, awaiting } in &self.outgoing {
            let (id, message) = (publish.packet_id, Some(*message));
            if *awaiting == Awaiting::Pubcomp {
                shared.ledger.note(link.client, "repeats PUBREL", id, message);
                link.send(&acknowledge(PUBREL, id));
            } else {
                shared.ledger.note(link.client, "repeats PUBLISH", id, message);
                link.send(&encoded(publish, message.unwrap_or_default(), link, shared));
            }
        }
    }

    pub(crate) fn on_acknowledgement(
        &mut self,
        packet: &Packet,
        link: &mut Link,
        shared: &mut Shared,
    ) -> Result<(), Fault> {
        let (kind, id) = (packet.kind(), packet.packet_id());
        let Some(place) = self.outgoing.iter().position(|outgoing| outgoing.publish.packet_id == id) else {
            return link.fault(None, format!("{packet:x?} acknowledges nothing"));
        };
        let outgoing = &mut self.outgoing[place];
        let message = outgoing.message;
        let (what, next) = match (kind, outgoing.awaiting) {
            (PUBACK, Awaiting::Puback) => ("gets PUBACK", None),
            (PUBREC, Awaiting::Pubrec) => ("gets PUBREC", Some(Awaiting::Pubcomp)),
            (PUBREC | PUBACK, _) | (_, Awaiting::Puback | Awaiting::Pubrec) => {
                return link.fault(Some(message), format!("{packet:x?} came while it awaits {:?}", outgoing.awaiting));
            }
            (_, Awaiting::Pubcomp) => ("gets PUBCOMP", None),
        };
        shared.ledger.note(link.client, what, id, Some(message));
        if (kind == PUBACK || kind == PUBREC) && packet.reason_code() == QUOTA_EXCEEDED && shared.may_refuse {
            self.outgoing.remove(place);
            return Ok(());
        }
        if (kind == PUBACK || kind == PUBREC) && packet.reason_code() >= 0x80 {
            return link.fault(Some(message), format!("{packet:x?} refuses it"));
        }
        shared.ledger.owe_batch(message);
        match next {
            Some(next) => {
                outgoing.awaiting = next;
                link.answer(PUBREL, id, Some(message), shared);
            }
            None => drop(self.outgoing.remove(place)),
        }
        Ok(())
    }

    /// Its Session has ended.
    pub(crate) fn forget(&mut self) {
        self.outgoing.clear();
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.outgoing.is_empty()
    }
}

/// The PUBLISH of a message, with the property by which it asks for a receipt.
fn encoded(publish: &Publish, number: u64, link: &Link, shared: &Shared) -> Vec<u8> {
    if !shared.consumed.asked.contains(&number) {
        return publish.bytes(link.version);
    }
    let property = [&[USER_PROPERTY][..], &string("receipt-to"), &string(format!("x/{number}"))].concat();
    let mut body = string(&publish.topic);
    body.extend(publish.packet_id.to_be_bytes());
    body.push(u8::try_from(property.len()).unwrap());
    body.extend(property);
    body.extend(&publish.payload);
    packet(PUBLISH | u8::from(publish.dup) << 3 | publish.qos << 1, &body)
}

pub(crate) const QUOTA_EXCEEDED: u8 = 0x97;
const USER_PROPERTY: u8 = 0x26;
/// The frequency of each QoS.
const QOS: [u8; 10] = [0, 1, 1, 1, 1, 2, 2, 2, 2, 2];
/// Messages in flight of one publisher.
const WINDOW: usize = 16;
const IDS: u16 = 24;
/// Maximum milliseconds between two messages of a publisher.
const PAUSE_MAX: u64 = 40;
