//! A durable subscriber, and what the standard asks of a receiver that keeps its Session.

use std::collections::BTreeMap;

use crate::client::{Link, Shared, Stage};
use crate::ledger::{Fault, Message, Order, number_in};
use wire::{PUBACK, PUBCOMP, PUBREC, Packet, Publish, SUBACK};

/// The receiver's half of a Session, and its one subscription.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) filter: &'static str,
    pub(crate) share: Option<&'static str>,
    pub(crate) qos: u8,
    pub(crate) habit: Habit,
    /// When the last SUBACK came, if no UNSUBSCRIBE was sent since.
    pub(crate) since: Option<u64>,
    /// When the last UNSUBACK came, if no SUBSCRIBE was sent since.
    until: Option<u64>,
    asks: Asks,
    /// QoS 2 messages that aren't released, by Packet Identifier. Empty ones have no number.
    received: BTreeMap<u16, Option<u64>>,
}

/// How a subscriber lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// It leaves only when the broker does.
    Steady,
    /// It comes and goes.
    Flapping,
    /// It subscribes, leaves, and comes back when all is over.
    Offline,
    /// It unsubscribes and subscribes again.
    Changing,
}

/// What it waits for the answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    Suback,
    Unsuback,
}

impl Subscriber {
    pub(crate) fn new(filter: &'static str, qos: u8, habit: Habit) -> Self {
        let (share, since, until, asks) = (None, None, None, Asks::Nothing);
        Self { filter, share, qos, habit, since, until, asks, received: BTreeMap::new() }
    }

    /// A member of a group.
    pub(crate) fn member(share: &'static str, filter: &'static str, habit: Habit) -> Self {
        Self { share: Some(share), ..Self::new(filter, 2, habit) }
    }

    /// For how many milliseconds it may be away.
    pub(crate) fn away(&self) -> u64 {
        if self.habit == Habit::Flapping { 200 } else { 20 }
    }

    /// Connected: asks again for what was not answered.
    pub(crate) fn resume(&mut self, link: &mut Link, shared: &mut Shared) {
        self.asks = Asks::Nothing;
        if self.since.is_none() && self.until.is_none() {
            self.subscribe(link, shared);
        }
    }

    pub(crate) fn step(&mut self, link: &mut Link, shared: &mut Shared) {
        if self.asks != Asks::Nothing {
            return;
        }
        if self.since.is_none() && (shared.stage != Stage::Load || shared.rng.percent(1)) {
            self.subscribe(link, shared);
            return;
        }
        let changes = self.habit == Habit::Changing && shared.stage == Stage::Load;
        if self.since.is_some() && changes && shared.rng.below(200) == 0 {
            shared.ledger.note(link.client, "sends UNSUBSCRIBE", 0, None);
            self.since = None;
            self.asks = Asks::Unsuback;
            link.send(&link.version.unsubscribe(SUBSCRIBE_ID, &self.whole_filter()));
        }
    }

    fn subscribe(&mut self, link: &mut Link, shared: &mut Shared) {
        shared.ledger.note(link.client, "sends SUBSCRIBE", 0, None);
        self.asks = Asks::Suback;
        self.until = None;
        link.send(&link.version.subscribe(SUBSCRIBE_ID, &self.whole_filter(), self.qos));
    }

    fn whole_filter(&self) -> String {
        self.share.map_or(self.filter.to_owned(), |share| format!("$share/{share}/{}", self.filter))
    }

    pub(crate) fn on_answer(&mut self, packet: &Packet, link: &mut Link, shared: &mut Shared) -> Result<(), Fault> {
        let code = packet.reason_code();
        if packet.kind() == SUBACK && self.asks == Asks::Suback && code == self.qos {
            shared.ledger.note(link.client, "gets SUBACK", 0, None);
            self.since = Some(shared.ledger.now);
        } else if packet.kind() != SUBACK && self.asks == Asks::Unsuback {
            shared.ledger.note(link.client, "gets UNSUBACK", 0, None);
            self.until = Some(shared.ledger.now);
        } else {
            return link.fault(None, format!("did not expect {packet:x?}"));
        }
        self.asks = Asks::Nothing;
        Ok(())
    }

    pub(crate) fn on_publish(&mut self, publish: &Publish, link: &mut Link, shared: &mut Shared) -> Result<(), Fault> {
        let id = publish.packet_id;
        let number = number_in(&publish.payload);
        shared.ledger.note(link.client, if publish.dup { "gets PUBLISH, DUP" } else { "gets PUBLISH" }, id, number);
        let known = self.received.get(&id).copied().filter(|_| publish.qos == 2);
        if let Some(known) = known {
            // [MQTT-4.3.3-10]: the same identifier is the same message until PUBREL.
            if number != known {
                return link.fault(number, format!("identifier {id} is taken by message {known:?}"));
            }
            if !publish.dup {
                return link.fault(number, format!("identifier {id} came again without DUP"));
            }
            link.answer(PUBREC, id, number, shared);
            return Ok(());
        }
        // What is retained is judged by the probe. The subscriber to the values gets them as they are published, too.
        if !publish.retain && !publish.payload.is_empty() {
            let sent_at = number.and_then(|number| shared.ledger.message(number)).map_or(0, |message| message.sent_at);
            let subscribed = self.share.is_none() && self.since.is_some_and(|since| since < sent_at);
            let order = if subscribed { Order::Kept } else { Order::Loose };
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

    /// Whether a message must arrive: it was acknowledged, and sent when the subscription was.
    pub(crate) fn is_owed(&self, message: &Message) -> bool {
        let is_acknowledged = message.owed_since.is_some() && !message.clears && message.qos.min(self.qos) > 0;
        is_acknowledged && self.since.is_some_and(|since| since < message.sent_at) && self.matches(&message.topic)
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
        self.received.is_empty() && self.asks == Asks::Nothing && self.since.is_some()
    }
}

/// Far from those of messages: they share one space. [MQTT-2.2.1-3]
const SUBSCRIBE_ID: u16 = 60_000;
