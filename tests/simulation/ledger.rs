//! Published messages and their deliveries.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use oncemq::broker::Ticket;
use oncemq::codec::{MessageProperties, MessageProperty, OutgoingPublish, Qos};
use oncemq::topic::TopicName;

use crate::client::RequestedSubscription;
use crate::refusing::is_ordered;
use crate::world::World;

/// A message that a client published or will publish.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) publisher: usize,
    pub(crate) number: usize,
    pub(crate) topic: TopicName,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// Without payload: it deletes the retained message.
    pub(crate) clears: bool,
    /// Message Expiry Interval in seconds.
    pub(crate) expiry: Option<u32>,
    pub(crate) size: usize,
    /// When and on which connection it was first sent.
    pub(crate) sent_at: Option<(u64, usize)>,
    /// How often the broker read it, and when first.
    pub(crate) read: u32,
    pub(crate) read_at: u64,
    pub(crate) acknowledged: bool,
    /// The publisher was told that it is refused.
    pub(crate) refused: bool,
    /// It could be refused when the broker last read it.
    pub(crate) refusable: bool,
    /// The publisher's Session ended, so the message is not sent again.
    pub(crate) forgotten: bool,
    /// The publisher may repeat it in a new Session without knowing that the Session is new.
    pub(crate) uncertain: bool,
    /// The records that the publisher's acknowledgement waits for.
    pub(crate) records: Vec<(usize, Ticket)>,
    /// The message that is published with it, in a batch of two.
    pub(crate) companion: Option<usize>,
    /// The value of the User Property `key`, by which groups keep its order.
    pub(crate) key: Option<u64>,
    /// It asks for a receipt.
    pub(crate) asks_receipt: bool,
}

impl Message {
    pub(crate) fn new(publisher: usize, number: usize, topic: TopicName, qos: Qos) -> Self {
        Self {
            publisher,
            number,
            topic,
            qos,
            retain: false,
            clears: false,
            expiry: None,
            size: 0,
            sent_at: None,
            read: 0,
            read_at: 0,
            acknowledged: false,
            refused: false,
            refusable: false,
            forgotten: false,
            uncertain: false,
            records: Vec::new(),
            companion: None,
            key: None,
            asks_receipt: false,
        }
    }

    /// The number of times that it may be delivered to a receiver: a publisher at QoS 1 may repeat it.
    pub(crate) fn copies(&self) -> u32 {
        if self.qos == Qos::AtLeastOnce || self.uncertain { self.read } else { 1 }
    }

    /// The User Properties with which it is published.
    fn user_properties(&self) -> impl Iterator<Item = (&'static str, String)> {
        let key = self.key.map(|key| (KEY, key.to_string()));
        key.into_iter().chain(self.asks_receipt.then(|| ("receipt-to", format!("x/{}", self.number))))
    }

    pub(crate) fn properties(&self) -> MessageProperties {
        let user = self.user_properties().map(|(name, value)| MessageProperty::UserProperty(name.into(), value.into()));
        MessageProperties::from_properties(user)
    }

    pub(crate) fn payload(&self) -> Bytes {
        if self.clears {
            return Bytes::new();
        }
        let mut text = format!("m{}|", self.number);
        text.extend(std::iter::repeat_n('x', self.size));
        text.into()
    }
}

/// The copies of a message that a client received.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Received {
    /// Copies sent as published.
    pub(crate) live: u32,
    /// Those without DUP.
    pub(crate) fresh: u32,
    /// Those at QoS 2.
    pub(crate) once: u32,
    /// Copies sent as a retained message.
    pub(crate) replayed: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) messages: Vec<Message>,
    /// By client and message.
    pub(crate) received: BTreeMap<(usize, usize), Received>,
    /// The last message that a client received, by publisher, topic, published QoS and delivered QoS.
    last: BTreeMap<(usize, usize, TopicName, Qos, Qos), usize>,
    /// The client and the message of each copy that was sent at QoS 0, and may not have arrived.
    pub(crate) sent_at_most_once: BTreeSet<(usize, usize)>,
    /// What the broker retains.
    pub(crate) retained: BTreeMap<TopicName, Bytes>,
    /// Alternatives that the broker may retain since a crash.
    pub(crate) retained_candidates: BTreeMap<TopicName, BTreeSet<Option<Bytes>>>,
    /// The previous retained message for each change that may not be stable.
    replaced: Vec<(TopicName, Option<Bytes>)>,
    crashes: u32,
}

/// The effect of reading a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    New,
    Repeat,
    RepeatOrNew,
}

impl Ledger {
    /// Changes a message, and the one that is in the same batch.
    pub(crate) fn change(&mut self, number: usize, change: impl Fn(&mut Message)) {
        let companion = self.messages[number].companion;
        for number in [Some(number), companion].into_iter().flatten() {
            change(&mut self.messages[number]);
        }
    }

    /// The topic and the payload of a PUBLISH with this message: alone, or with the others of its batch.
    pub(crate) fn published(&self, number: usize) -> (TopicName, Bytes) {
        let message = &self.messages[number];
        let Some(companion) = message.companion else { return (message.topic.clone(), message.payload()) };
        let json = [message, &self.messages[companion]].map(|message| {
            let (topic, payload) = (&message.topic, message.payload());
            let payload = std::str::from_utf8(&payload).unwrap();
            let (qos, retain) = (message.qos.level(), message.retain);
            let expiry = message.expiry.map_or("null".to_owned(), |seconds| seconds.to_string());
            let user = message.user_properties().map(|(name, value)| format!(r#"["{name}","{value}"]"#));
            let user = user.collect::<Vec<_>>().join(",");
            format!(
                r#"{{"payload":"{payload}","topic":"{topic}","qos":{qos},"retain":{retain},"message_expiry_interval":{expiry},"user_properties":[{user}]}}"#
            )
        });
        (TopicName::try_from("$batch").unwrap(), format!("[{}]", json.join(",")).into())
    }

    /// `survives`: a crash no longer loses what was written so far. No acknowledgement waits for a retained message at QoS 0, so its record
    /// may be written without a sync, and power loss may take it until a later commit is synced.
    pub(crate) fn on_commit(&mut self, survives: bool) {
        if survives {
            self.replaced.clear();
        }
    }

    /// Tickets restart, and changes of retained messages may be lost.
    pub(crate) fn on_crash(&mut self) {
        self.crashes += 1;
        self.messages.iter_mut().for_each(|message| message.records.clear());
        for (topic, before) in std::mem::take(&mut self.replaced) {
            let current = self.retained.get(&topic).cloned();
            self.retained_candidates.entry(topic).or_default().extend([before, current]);
        }
    }

    /// The broker reads a retained message or its deletion. It may have read the same QoS 2 message before, possibly
    /// from a client whose Session it has discarded since.
    pub(crate) fn retain(&mut self, topic: TopicName, payload: &Bytes, reading: Reading) {
        let new = (!payload.is_empty()).then(|| Bytes::copy_from_slice(payload));
        let before = self.retained.get(&topic).cloned();
        if reading != Reading::New {
            if self.crashes > 0 || reading == Reading::RepeatOrNew {
                // It is unknown whether it was stable before.
                self.retained_candidates.entry(topic).or_default().extend([before, new]);
            }
            return;
        }
        let candidates = self.retained_candidates.remove(&topic).unwrap_or_default();
        self.replaced.extend(candidates.into_iter().chain([before]).map(|before| (topic.clone(), before)));
        match new {
            Some(new) => self.retained.insert(topic, new),
            None => self.retained.remove(&topic),
        };
    }

    /// The number of the message with this payload.
    pub(crate) fn find(&self, payload: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(payload).ok()?;
        text.strip_prefix(BATCH_START).unwrap_or(text).strip_prefix('m')?.split('|').next()?.parse().ok()
    }

    /// First deliveries by publisher, topic and QoS arrive in the order they were sent. [MQTT-4.6.0-5]
    fn check_order(&mut self, client: usize, number: usize, qos: Qos) -> Result<(), String> {
        let message = &self.messages[number];
        let key = (client, message.publisher, message.topic.clone(), message.qos, qos);
        let Some(before) = self.last.insert(key, number) else { return Ok(()) };
        // The order of QoS 0 messages isn't preserved when their publisher moves to another shard.
        let other_connection = self.messages[before].sent_at.map(|sent| sent.1) != message.sent_at.map(|sent| sent.1);
        if before > number && !(qos == Qos::AtMostOnce && other_connection) {
            return Err(format!("message {number} arrived after {before}"));
        }
        Ok(())
    }
}

impl World {
    /// A client received a message, for the first time according to its identifier.
    pub(crate) fn delivered(&mut self, client: usize, publish: &OutgoingPublish) {
        if let Err(text) = self.check_delivery(client, publish) {
            self.fail(Some(client), text);
        }
    }

    fn check_delivery(&mut self, client: usize, publish: &OutgoingPublish) -> Result<(), String> {
        let payload = &publish.message.payload;
        if let Some(will) = payload.strip_prefix(b"w") {
            let number: usize = String::from_utf8_lossy(will).parse().map_err(|_| "a Will of an unknown connection")?;
            let seen = self.checker.wills_seen.entry(number).or_default();
            let is_repeat = *seen > 0 && publish.dup && publish.qos == Qos::AtLeastOnce;
            *seen += u32::from(!is_repeat);
            return if client == 0 { Ok(()) } else { Err("a Will that it has no subscription for".to_owned()) };
        }
        if payload.is_empty() {
            let retained = publish.message.topic.as_str().starts_with("r/") && !publish.retain;
            return if retained { Ok(()) } else { Err("an empty message".to_owned()) };
        }
        let number = self.checker.ledger.find(payload).ok_or("a message that was not published")?;
        if publish.retain && self.mix.streams && self.clients[client].profile.is_v5() {
            self.note_said(number, publish)?;
        }
        let message = &self.checker.ledger.messages[number];
        if message.topic != publish.message.topic || message.payload() != *payload {
            return Err(format!("message {number} was altered"));
        }
        if publish.retain {
            return self.check_replay(client, number, publish);
        }
        self.check_subscriptions(client, number, publish)?;
        let ledger = &mut self.checker.ledger;
        let message = &ledger.messages[number];
        // A message without a record is accepted again if its publisher repeats it after a crash.
        let keeps = ledger.crashes == 0 || self.mix.keeps(&message.topic);
        let most = if keeps { message.copies() } else { message.copies().max(message.read) };
        let is_share = message.topic.as_str().starts_with("s/");
        let received = ledger.received.entry((client, number)).or_default();
        received.live += 1;
        received.fresh += u32::from(!publish.dup);
        received.once += u32::from(publish.qos == Qos::ExactlyOnce);
        let received = *received;
        if received.once > most {
            return Err(format!("message {number} at QoS {} arrived again", publish.qos.level()));
        }
        // At QoS 1, a copy whose acknowledgement was lost may be refused, and then comes as a new PUBLISH.
        let refusals = self.refusals(client, number);
        if !is_share && received.fresh > most + refusals {
            return Err(format!("message {number} arrived again without DUP"));
        }
        Ok(())
    }

    /// A client received a message that it refuses.
    pub(crate) fn arrived(&mut self, client: usize, number: usize, publish: &OutgoingPublish) -> Result<(), String> {
        let message = &self.checker.ledger.messages[number];
        if message.topic != publish.message.topic || message.payload() != publish.message.payload {
            return Err(format!("message {number} was altered"));
        }
        self.check_subscriptions(client, number, publish)?;
        // It has arrived for the first time.
        self.checker.ledger.received.entry((client, number)).or_default();
        Ok(())
    }

    fn check_replay(&mut self, client: usize, number: usize, publish: &OutgoingPublish) -> Result<(), String> {
        let message = &self.checker.ledger.messages[number];
        let mut subscriptions = self.clients[client].subscriptions.iter();
        if !message.retain || publish.qos > message.qos {
            return Err(format!("message {number} was not retained, or at a lower QoS"));
        }
        if !subscriptions.any(|subscription| {
            subscription.filter.share.is_none() && subscription.filter.topic_filter.matches(&message.topic)
        }) {
            return Err(format!("retained message {number}, but no subscription"));
        }
        self.checker.ledger.received.entry((client, number)).or_default().replayed += 1;
        Ok(())
    }

    /// Checks that a subscription matches, and that the QoS is the one it grants.
    fn check_subscriptions(&mut self, client: usize, number: usize, publish: &OutgoingPublish) -> Result<(), String> {
        let message = &self.checker.ledger.messages[number];
        let sent_at = message.sent_at.map_or(u64::MAX, |(at, _)| at);
        let own = message.publisher == client;
        let matching = self.clients[client].subscriptions.iter().filter(|subscription| {
            subscription.requested_at <= self.now
                && subscription.until.is_none_or(|until| until >= sent_at)
                && subscription.filter.topic_filter.matches(&message.topic)
                && !(own && subscription.no_local)
        });
        let matching: Vec<&RequestedSubscription> = matching.collect();
        let Some(granted) = matching.iter().map(|subscription| subscription.qos).max() else {
            return Err(format!("message {number}, but no subscription"));
        };
        let most = granted.min(message.qos);
        let least = matching
            .iter()
            .filter(|subscription| subscription.is_settled(sent_at))
            .map(|subscription| subscription.qos.min(message.qos))
            .max();
        if publish.qos > most || least.is_some_and(|least| publish.qos < least) {
            return Err(format!("message {number} at QoS {:?}, not {least:?} to {most:?}", publish.qos));
        }
        let is_first = !self.checker.ledger.received.contains_key(&(client, number));
        // The first copy of a message published twice may have been dropped or refused.
        let droppable = self.mix.drops()
            || self.mix.refuses()
            || publish.qos == Qos::AtMostOnce
            // The first copy was of a subscription at QoS 0, and this one is of another that was made since.
            || least == Some(Qos::AtMostOnce)
            || message.expiry.is_some()
            || self.checker.ledger.sent_at_most_once.contains(&(client, number));
        let may_lack_first = message.read > 1 && droppable;
        // After a crash, a message that may have been sent does not wait for one that was refused before it.
        let may_overtake = self.mix.crash_every.is_some() && self.clients[client].profile.refuses > 0;
        let may_lack_first = may_lack_first || may_overtake && is_ordered(&message.topic);
        if least.is_some() && is_first && !may_lack_first && !message.topic.as_str().starts_with("s/") {
            self.checker.ledger.check_order(client, number, publish.qos)?;
        }
        Ok(())
    }
}

/// The number of the message whose payload is in these bytes.
pub(crate) fn number_in(bytes: &[u8]) -> Option<usize> {
    let ends = (0..bytes.len()).filter(|end| bytes[*end] == b'|');
    let mut numbers = ends.filter_map(|end| {
        let digits = bytes[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let begin = end - digits;
        let number = std::str::from_utf8(&bytes[begin..end]).ok()?.parse().ok()?;
        (bytes[..begin].last() == Some(&b'm')).then_some(number)
    });
    numbers.next()
}

/// The User Property by which groups keep the order of messages.
pub(crate) const KEY: &str = "key";

/// The start of the payload of a batch, before that of its first message.
const BATCH_START: &str = r#"[{"payload":""#;
