//! Clients whose place in a stream the broker keeps: the members of a group, some of which refuse messages, and those with a durable position. A client
//! that reads all that a stream with keys has, again and again. And the clients that get the receipts and the dead letters of the group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;

use crate::client::{Link, Shared, Stage};
use crate::ledger::{Fault, number_in};
use crate::reader::{STREAM, user_property};
use wire::{PUBACK, Packet, Publish, SUBACK, Version};

/// A client with one subscription.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) kind: Kind,
    qos: u8,
    /// SUBSCRIBE is not answered.
    asks: bool,
    /// When SUBACK was received.
    pub(crate) since: Option<u64>,
    leave_at: Option<Instant>,
    /// Whether it leaves and comes back.
    leaves: bool,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Member(Member),
    Kept(Kept),
    Keyed(Keyed),
    Receipts,
    /// It gets the dead letters of the group.
    Letters,
}

/// A member of the group.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// The last sequence on this connection, by topic.
    last: BTreeMap<String, u64>,
}

/// A consumer with a durable position.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// How often it subscribed with an offset.
    begins: u32,
    /// How often it received each sequence, not counting repetitions with DUP.
    pub(crate) received: BTreeMap<u64, u32>,
    /// The messages that it received, if it does not see sequences.
    pub(crate) numbers: BTreeSet<u64>,
    /// The last sequence at QoS 0, and at QoS 1.
    last: [u64; 2],
    /// How often an earlier one came than the last one of the same QoS.
    descents: [u32; 2],
}

/// A reader of a stream that keeps the last message of each topic. It begins with the oldest message on each connection.
#[derive(Debug, Default)]
pub(crate) struct Keyed {
    /// The sequences of this subscription.
    seen: BTreeSet<u64>,
    asked_in: Option<Stage>,
}

/// What the consumers share.
#[derive(Debug, Default)]
pub(crate) struct Consumed {
    /// The messages that a member has accepted, and those that are dead letters.
    pub(crate) by_group: BTreeSet<u64>,
    /// The number of dead letters in the whole run.
    pub(crate) letters: usize,
    /// The stream with keys: message and topic by sequence.
    pub(crate) states: BTreeMap<u64, (u64, String)>,
    /// The messages that ask for a receipt.
    pub(crate) asked: BTreeSet<u64>,
    /// How often receivers have acknowledged, and refused, each message.
    answers: BTreeMap<u64, (u64, u64)>,
    /// What the receipts of each message tell, by the identity of the message.
    pub(crate) told: BTreeMap<u64, BTreeMap<String, Told>>,
}

/// What a receipt tells: the receivers, and how many have acknowledged and refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) receivers: u64,
    acknowledged: u64,
    refused: u64,
}

impl Consumed {
    /// A receiver is about to send its last answer.
    pub(crate) fn answered(&mut self, message: u64, refuses: bool) {
        let (acknowledged, refused) = self.answers.entry(message).or_default();
        *(if refuses { refused } else { acknowledged }) += 1;
    }

    /// All has arrived.
    pub(crate) fn forget(&mut self) {
        (self.by_group, self.asked) = Default::default();
        (self.answers, self.told) = Default::default();
    }
}

impl Consumer {
    pub(crate) const fn new(kind: Kind, qos: u8, leaves: bool) -> Self {
        Self { kind, qos, asks: false, since: None, leave_at: None, leaves }
    }

    /// The connection has begun.
    pub(crate) fn resume(&mut self, link: &mut Link, shared: &mut Shared, is_present: bool) {
        (self.asks, self.leave_at) = (false, None);
        if !is_present {
            self.since = None;
        }
        if self.since.is_some() {
            if let Kind::Member(member) = &mut self.kind {
                member.last.clear();
            }
            return;
        }
        let filter = match &mut self.kind {
            Kind::Member(member) => {
                member.last.clear();
                format!("$share/workers/$stream/{STREAM}@earliest")
            }
            Kind::Kept(kept) => {
                kept.begins += 1;
                format!("$stream/{STREAM}@earliest")
            }
            Kind::Keyed(keyed) => {
                keyed.seen.clear();
                keyed.asked_in = Some(shared.stage);
                format!("$stream/{STATES}@earliest")
            }
            Kind::Receipts => "x/#".to_owned(),
            Kind::Letters => LETTERS.to_owned(),
        };
        self.asks = true;
        shared.ledger.note(link.client, "sends SUBSCRIBE", 0, None);
        link.send(&link.version.subscribe(SUBSCRIBE_ID, &filter, self.qos));
    }

    /// Whether it ends its connection now, and comes back.
    pub(crate) fn wants_to_leave(&mut self, shared: &mut Shared) -> bool {
        if shared.stage == Stage::Settling && self.is_subscribed() && !self.is_settled() {
            return true;
        }
        let is_due = self.leaves && shared.stage == Stage::Load;
        let now = shared.now;
        is_due && *self.leave_at.get_or_insert_with(|| shared.within(600)) < now
    }

    pub(crate) fn on_packet(&mut self, packet: &Packet, link: &mut Link, shared: &mut Shared) -> Result<(), Fault> {
        if packet.kind() == SUBACK {
            if packet.reason_code() != self.qos || !std::mem::take(&mut self.asks) {
                return link.fault(None, format!("did not expect {packet:x?}"));
            }
            shared.ledger.note(link.client, "gets SUBACK", 0, None);
            self.since = Some(shared.ledger.now);
            return Ok(());
        }
        let Some(publish) = Publish::parse(link.version, packet) else {
            return link.fault(None, format!("{packet:x?} is malformed"));
        };
        let number = number_in(&publish.payload);
        let what = if publish.dup { "gets PUBLISH as a consumer, DUP" } else { "gets PUBLISH as a consumer" };
        shared.ledger.note(link.client, what, publish.packet_id, number);
        let is_refusable = matches!(self.kind, Kind::Member(_)) && link.version == Version::V5 && publish.qos > 0;
        let refuses = is_refusable && shared.stage == Stage::Load && shared.rng.percent(REFUSED_PERCENT);
        let result = match (&mut self.kind, number) {
            (Kind::Receipts, _) => {
                shared.consumed.on_receipt(&publish, |number| Some(shared.ledger.message(number)?.qos))
            }
            (_, None) => Err("a payload that was not sent".to_owned()),
            (Kind::Member(member), Some(number)) => member.on_publish(packet, (&publish, number), link, shared),
            (Kind::Letters, Some(number)) => shared.consumed.on_letter(packet, number),
            (Kind::Kept(kept), Some(number)) => kept.on_publish(packet, (&publish, number), link, shared),
            (Kind::Keyed(keyed), Some(number)) => keyed.on_publish(packet, (&publish, number), shared),
        };
        if let Err(text) = result {
            return link.fault(number, format!("{text}: {publish:?}"));
        }
        if refuses {
            link.refuse(PUBACK, publish.packet_id, number, shared);
            return Ok(());
        }
        if let (Kind::Member(_), Some(number)) = (&self.kind, number) {
            shared.consumed.by_group.insert(number);
        }
        if publish.qos > 0 {
            link.answer(PUBACK, publish.packet_id, None, shared);
        }
        Ok(())
    }

    pub(crate) const fn is_subscribed(&self) -> bool {
        self.since.is_some()
    }

    /// Whether it has asked for all that there is when nothing was published any more, if it asks for that.
    pub(crate) fn is_settled(&self) -> bool {
        let is_old = matches!(&self.kind, Kind::Keyed(keyed) if keyed.asked_in != Some(Stage::Settling));
        self.is_subscribed() && !is_old
    }
}

impl Member {
    fn on_publish(
        &mut self,
        packet: &Packet,
        (publish, number): (&Publish, u64),
        link: &Link,
        shared: &mut Shared,
    ) -> Result<(), String> {
        if publish.dup || publish.retain {
            return Err("a message of a group has a flag".to_owned());
        }
        if link.version != Version::V5 {
            return Ok(());
        }
        let sequence = property(packet, "stream-sequence")?;
        shared.content.note(sequence, number, &publish.topic)?;
        // A message that was refused may come behind later ones that were sent before that.
        let is_again = user_property(packet, "delivery-attempt").is_some();
        let last = self.last.entry(publish.topic.clone()).or_default();
        if sequence <= *last && !is_again {
            return Err(format!("{sequence} comes after {last} of its key"));
        }
        *last = sequence.max(*last);
        Ok(())
    }
}

impl Kept {
    fn on_publish(
        &mut self,
        packet: &Packet,
        (publish, number): (&Publish, u64),
        link: &Link,
        shared: &mut Shared,
    ) -> Result<(), String> {
        self.numbers.insert(number);
        if link.version != Version::V5 {
            return Ok(());
        }
        let sequence = property(packet, "stream-sequence")?;
        shared.content.note(sequence, number, &publish.topic)?;
        let times = self.received.entry(sequence).or_default();
        if publish.dup && *times > 0 {
            return Ok(()); // a repetition
        }
        *times += 1;
        if *times > self.begins {
            return Err(format!("{sequence} came {times} times"));
        }
        let level = usize::from(publish.qos > 0);
        let last = &mut self.last[level];
        self.descents[level] += u32::from(sequence < *last);
        if self.descents[level] >= self.begins {
            return Err(format!("{sequence} comes after {last}"));
        }
        *last = sequence;
        let previous = property(packet, "stream-previous").unwrap_or_default();
        if previous != sequence - 1 {
            return Err(format!("{sequence} is said to come after {previous}"));
        }
        let is_queued = shared.content.number_at(previous).and_then(|number| shared.ledger.message(number));
        let is_queued = publish.qos > 0 && is_queued.is_some_and(|message| message.qos > 0);
        if is_queued && !self.received.contains_key(&previous) {
            return Err(format!("{sequence} comes before {previous}"));
        }
        Ok(())
    }
}

impl Keyed {
    fn on_publish(
        &mut self,
        packet: &Packet,
        (publish, number): (&Publish, u64),
        shared: &mut Shared,
    ) -> Result<(), String> {
        let sequence = property(packet, "stream-sequence")?;
        if self.seen.last().is_some_and(|last| *last >= sequence) {
            return Err(format!("{sequence} comes after {:?}", self.seen.last()));
        }
        self.seen.insert(sequence);
        let is = (number, publish.topic.clone());
        let was = shared.consumed.states.entry(sequence).or_insert_with(|| is.clone());
        if *was == is { Ok(()) } else { Err(format!("{sequence} was {was:?}")) }
    }

    /// The newest message of a key that a subscription from the oldest message on did not get; `None`: it has got all.
    pub(crate) fn missing(&self, consumed: &Consumed) -> Option<(u64, u64)> {
        let newest: BTreeMap<&str, (u64, u64)> =
            consumed.states.iter().map(|(sequence, (number, topic))| (topic.as_str(), (*sequence, *number))).collect();
        newest.into_values().find(|(sequence, _)| !self.seen.contains(sequence))
    }

    /// How many sequences were removed, because there are later ones with their keys.
    pub(crate) fn removed(&self, consumed: &Consumed) -> usize {
        consumed.states.keys().filter(|sequence| !self.seen.contains(sequence)).count()
    }
}

impl Consumed {
    /// A dead letter of the group has arrived.
    fn on_letter(&mut self, packet: &Packet, number: u64) -> Result<(), String> {
        if property(packet, "attempts")? != ATTEMPTS {
            return Err("a dead letter before the last attempt".to_owned());
        }
        self.letters += 1;
        self.by_group.insert(number);
        Ok(())
    }

    /// A receipt has arrived. `qos_of`: the QoS of a message since the last settled state.
    fn on_receipt(&mut self, publish: &Publish, qos_of: impl Fn(u64) -> Option<u8>) -> Result<(), String> {
        let number = publish.topic.strip_prefix("x/").and_then(|number| number.parse().ok());
        let number: u64 = number.ok_or("it is no receipt")?;
        let Some(qos) = qos_of(number) else { return Ok(()) }; // of a repetition after the settled state
        let receipt: Value = serde_json::from_slice(&publish.payload).map_err(|_| "no JSON")?;
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        let outcomes = receipt["outcomes"].as_object().ok_or("no outcomes")?;
        let outcome = |name: &str| outcomes.get(name).map_or(0, count);
        let told = Told {
            receivers: count(&receipt["receivers"]),
            acknowledged: outcome("acknowledged"),
            refused: outcome("refused") + outcome("dead_letter"),
        };
        if !self.asked.contains(&number) || qos == 0 {
            return Err("nobody has asked for it".to_owned());
        }
        if told.acknowledged + told.refused != told.receivers || count(&receipt["outstanding"]) > 0 {
            return Err("another outcome than those of the receivers".to_owned());
        }
        let of_message = self.told.entry(number).or_default();
        of_message.insert(receipt["message_id"].as_str().ok_or("no identity")?.to_owned(), told);
        if qos == 2 && of_message.len() > 1 {
            return Err("a second receipt of a message at QoS 2".to_owned());
        }
        let sum = |of: fn(&Told) -> u64| of_message.values().map(of).sum::<u64>();
        let is = (sum(|told| told.acknowledged), sum(|told| told.refused));
        let sent = self.answers.get(&number).copied().unwrap_or_default();
        if is.0 > sent.0 || is.1 > sent.1 {
            return Err(format!("the receipts tell of {is:?} answers, and {sent:?} were sent"));
        }
        Ok(())
    }
}

/// A User Property that is a number.
fn property(packet: &Packet, name: &str) -> Result<u64, String> {
    let text = user_property(packet, name).ok_or(format!("there is no {name}"))?;
    text.parse().map_err(|_| format!("{name} is {text}"))
}

/// The stream that keeps the last message of each topic below `s/`.
pub(crate) const STATES: &str = "states";
/// The topic of the dead letters of the group.
pub(crate) const LETTERS: &str = "l";
/// How often a message is sent to members that refuse it.
pub(crate) const ATTEMPTS: u64 = 2;
/// How many messages a member refuses.
const REFUSED_PERCENT: u64 = 20;
const SUBSCRIBE_ID: u16 = 60_000;
