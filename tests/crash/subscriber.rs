//! A durable subscriber, following the standard's rules for a receiver with a persistent Session.

use std::collections::BTreeMap;

use crate::client::{Link, Shared, Stage};
use crate::ledger::{Fault, Message, Order, number_in};
use wire::{PUBACK, PUBCOMP, PUBREC, Packet, Publish, SUBACK};

/// The receiver's part of a Session, with its subscription.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) filter: &'static str,
    pub(crate) share: Option<&'static str>,
    pub(crate) qos: u8,
    pub(crate) behaviour: Behaviour,
    /// When the last SUBACK was received, if no UNSUBSCRIBE was sent since.
    pub(crate) since: Option<u64>,
    /// When the last UNSUBACK was received, if no SUBSCRIBE was sent since.
    until: Option<u64>,
    asks: Pending,
    /// Percent of the messages that it refuses.
    refuses: u64,
    /// QoS 2 messages without PUBREL, by Packet Identifier. Empty ones have no number.
    received: BTreeMap<u16, Option<u64>>,
}

/// The behaviour of a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// It disconnects only when the broker ends.
    Steady,
    /// It disconnects and reconnects repeatedly.
    Flapping,
    /// It subscribes, disconnects, and reconnects at the end.
    Offline,
    /// It unsubscribes and subscribes repeatedly.
    Changing,
}

/// The request that it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Nothing,
    Suback,
    Unsuback,
}

impl Subscriber {
    pub(crate) fn new(filter: &'static str, qos: u8, behaviour: Behaviour) -> Self {
        let (share, since, until, asks) = (None, None, None, Pending::Nothing);
        Self { filter, share, qos, behaviour, since, until, asks, refuses: 0, received: BTreeMap::new() }
    }

    /// A member of a group.
    pub(crate) fn member(share: &'static str, filter: &'static str, behaviour: Behaviour) -> Self {
        Self { share: Some(share), ..Self::new(filter, 2, behaviour) }
    }

    /// It refuses some messages.
    pub(crate) fn refusing(filter: &'static str, qos: u8, behaviour: Behaviour) -> Self {
        Self { refuses: 40, ..Self::new(filter, qos, behaviour) }
    }

    /// Maximum time offline in milliseconds.
    pub(crate) fn away(&self) -> u64 {
        if self.behaviour == Behaviour::Flapping { 200 } else { 20 }
    }

    /// Repeats an unanswered request after connecting.
    pub(crate) fn resume(&mut self, link: &mut Link, shared: &mut Shared) {
        self.asks = Pending::Nothing;
        if self.since.is_none() && self.until.is_none() {
            self.subscribe(link, shared);
        }
    }

    pub(crate) fn step(&mut self, link: &mut Link, shared: &mut Shared) {
        if self.asks != Pending::Nothing {
            return;
        }
        if self.since.is_none() && (shared.stage != Stage::Load || shared.rng.percent(1)) {
            self.subscribe(link, shared);
            return;
        }
        let changes = self.behaviour == Behaviour::Changing && shared.stage == Stage::Load;
        if self.since.is_some() && changes && shared.rng.below(200) == 0 {
            shared.ledger.note(link.client, "sends UNSUBSCRIBE", 0, None);
            self.since = None;
            self.asks = Pending::Unsuback;
            link.send(&link.version.unsubscribe(SUBSCRIBE_ID, &self.whole_filter()));
        }
    }

    fn subscribe(&mut self, link: &mut Link, shared: &mut Shared) {
        shared.ledger.note(link.client, "sends SUBSCRIBE", 0, None);
        self.asks = Pending::Suback;
        self.until = None;
        link.send(&link.version.subscribe(SUBSCRIBE_ID, &self.whole_filter(), self.qos));
    }

    fn whole_filter(&self) -> String {
        self.share.map_or(self.filter.to_owned(), |share| format!("$share/{share}/{}", self.filter))
    }

    pub(crate) fn on_answer(&mut self, packet: &Packet, link: &mut Link, shared: &mut Shared) -> Result<(), Fault> {
        let code = packet.reason_code();
        if packet.kind() == SUBACK && self.asks == Pending::Suback && code == self.qos {
            shared.ledger.note(link.client, "gets SUBACK", 0, None);
            self.since = Some(shared.ledger.now);
        } else if packet.kind() != SUBACK && self.asks == Pending::Unsuback {
            shared.ledger.note(link.client, "gets UNSUBACK", 0, None);
            self.until = Some(shared.ledger.now);
        } else {
            return link.fault(None, format!("did not expect {packet:x?}"));
        }
        self.asks = Pending::Nothing;
        Ok(())
    }

    pub(crate) fn on_publish(&mut self, publish: &Publish, link: &mut Link, shared: &mut Shared) -> Result<(), Fault> {
        let id = publish.packet_id;
        let number = number_in(&publish.payload);
        shared.ledger.note(link.client, if publish.dup { "gets PUBLISH, DUP" } else { "gets PUBLISH" }, id, number);
        let known = self.received.get(&id).copied().filter(|_| publish.qos == 2);
        if let Some(known) = known {
            // [MQTT-4.3.3-10]: until PUBREL, the same identifier means the same message.
            if number != known {
                return link.fault(number, format!("identifier {id} is in use by message {known:?}"));
            }
            if !publish.dup {
                return link.fault(number, format!("identifier {id} arrived again without DUP"));
            }
            link.answer(PUBREC, id, number, shared);
            return Ok(());
        }
        if publish.qos > 0 && shared.stage == Stage::Load && shared.rng.percent(self.refuses) {
            let kind = if publish.qos == 1 { PUBACK } else { PUBREC };
            link.refuse(kind, id, number, shared);
            return Ok(());
        }
        // The probe checks retained messages. The subscriber to the values gets them as they are published, too.
        if !publish.retain && !publish.payload.is_empty() {
            let sent_at = number.and_then(|number| shared.ledger.message(number)).map_or(0, |message| message.sent_at);
            let subscribed = self.share.is_none() && self.since.is_some_and(|since| since < sent_at);
            let order = match subscribed {
                // The ends of two connections, whose brokers may be different ones, have no order.
                _ if shared.may_disconnect && publish.topic.starts_with("w/") => Order::Any,
                _ if self.refuses > 0 => Order::Any,
                true => Order::Kept,
                false => Order::Loose,
            };
            let number = shared.ledger.receive(link.client, publish, self.qos, order)?;
            if self.until.is_some_and(|until| until < sent_at) {
                return link.fault(Some(number), "was sent when the subscription had ended".to_owned());
            }
        }
        match publish.qos {
            0 => {}
            1 => link.answer(PUBACK, id, number, shared),
            _ => {
                self.received.insert(id, number);
                link.answer(PUBREC, id, number, shared);
            }
        }
        Ok(())
    }

    pub(crate) fn on_pubrel(&mut self, packet_id: u16, link: &mut Link, shared: &mut Shared) {
        let message = self.received.remove(&packet_id).flatten();
        shared.ledger.note(link.client, "gets PUBREL", packet_id, message);
        link.answer(PUBCOMP, packet_id, message, shared);
    }

    /// Whether a message must arrive: it was acknowledged, and sent while the subscription existed.
    pub(crate) fn is_owed(&self, message: &Message) -> bool {
        let is_acknowledged = message.owed_since.is_some() && !message.clears && message.qos.min(self.qos) > 0;
        is_acknowledged && self.since.is_some_and(|since| since < message.sent_at) && self.matches(&message.topic)
    }

    /// Whether a message has a copy in its queue.
    pub(crate) fn is_receiver_of(&self, message: &Message) -> bool {
        let is_queued = message.qos.min(self.qos) > 0 && self.matches(&message.topic);
        is_queued && self.since.is_some_and(|since| since < message.sent_at)
    }

    fn matches(&self, topic: &str) -> bool {
        let mut levels = topic.split('/');
        for level in self.filter.split('/') {
            match (level, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (level, Some(other)) if level == other => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.received.is_empty() && self.asks == Pending::Nothing && self.since.is_some()
    }
}

/// Far from the identifiers of messages, because they share one space. [MQTT-2.2.1-3]
const SUBSCRIBE_ID: u16 = 60_000;
