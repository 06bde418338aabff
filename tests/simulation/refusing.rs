//! Clients that refuse messages, the dead letters that these become, and an operator who redrives and discards them. Each message has one fate:
//! it was accepted, or is a dead letter, or was discarded.

use std::collections::BTreeMap;
use std::time::Duration;

use oncemq::broker::{
    Answer, Backoff, DeadLetterAnswer, DeadLetterFailure, DeadLetterLimits, DeadLetterQuery, Event, Query, QueryId,
    RedeliveryRule, RedeliveryRules,
};
use oncemq::codec::{Ack, ClientPacket, OutgoingPublish, PacketId, Qos, ReasonCode};
use oncemq::topic::{TopicFilter, TopicName};

use crate::ledger::Message;
use crate::reader::user_properties;
use crate::world::{Phase, World};

/// What became of the messages that clients refused, by client and message.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    fates: BTreeMap<(usize, usize), Fate>,
    /// The dead letters whose content was shown since the last start, by number.
    letters: BTreeMap<u64, (usize, usize)>,
    /// Dead letters that were listed and not shown yet.
    listed: Vec<u64>,
    /// Requests without an answer.
    asked: BTreeMap<u64, Asked>,
}

/// What was done with one message for one client.
#[derive(Debug, Default, Clone, Copy)]
struct Fate {
    /// How often the client refused it.
    refusals: u32,
    /// How often an operator was told that it is in its queue again.
    redriven: u32,
    /// How often an operator was told that it was discarded.
    discarded: u32,
    /// How often a crash left it open whether it was redriven or discarded.
    open: u32,
    /// The dead letters at the end.
    letters: u32,
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    List,
    Show(u64),
    Redrive(usize, usize),
    Discard(usize, usize),
}

/// The topics, attempts and order of the rules.
const RULES: [(&str, u16, bool); 2] = [("t/0", 3, false), ("t/1", 2, true)];

/// The attempts that a rule gives the messages of a topic.
pub(crate) fn attempts_of(topic: &TopicName) -> Option<u32> {
    RULES.iter().find(|(name, ..)| *name == topic.as_str()).map(|(_, attempts, _)| u32::from(*attempts))
}

/// Whether a rule says what becomes of the refused messages of a topic.
pub(crate) fn has_rule(topic: &TopicName) -> bool {
    attempts_of(topic).is_some()
}

/// Whether the messages of a topic wait for a refused one.
pub(crate) fn is_ordered(topic: &TopicName) -> bool {
    RULES.iter().any(|(name, _, keeps_order)| *name == topic.as_str() && *keeps_order)
}

/// The least time between a refusal of this attempt and the next one, in milliseconds.
pub(crate) fn pause_after(attempt: u32) -> u64 {
    (BACKOFF_FIRST * BACKOFF_FACTOR.pow(attempt - 1)).min(BACKOFF_MOST) * (100 - JITTER) / 100
}

/// The rules of a run in which clients refuse messages. `publishes`: whether dead letters are published, too.
pub(crate) fn redelivery_rules(publishes: bool) -> RedeliveryRules {
    let backoff = Backoff {
        first: Duration::from_millis(BACKOFF_FIRST),
        factor: u32::try_from(BACKOFF_FACTOR).unwrap(),
        most: Duration::from_millis(BACKOFF_MOST),
        jitter: u8::try_from(JITTER).unwrap(),
    };
    RedeliveryRules::new(RULES.into_iter().map(|(topic, attempts, keeps_order)| RedeliveryRule {
        topic_filter: TopicFilter::new(topic.into()).unwrap(),
        attempts,
        backoff,
        dead_letter_topic: publishes.then(|| TopicName::try_from(LETTERS).unwrap()),
        keeps_order,
    }))
}

/// Bounds that no run reaches.
pub(crate) const KEPT: DeadLetterLimits =
    DeadLetterLimits { messages_max: 10_000, bytes_max: 100_000_000, age_max: Duration::from_secs(100_000) };

impl World {
    /// Whether the client refuses this copy. Returns true if it did.
    pub(crate) fn refuse(&mut self, number: usize, connection: usize, publish: &OutgoingPublish) -> bool {
        let client = &self.clients[number];
        let is_repeat = publish.packet_id.is_some_and(|id| client.received.contains_key(&id.number()));
        let refuses = client.profile.refuses;
        if refuses == 0 || is_repeat || publish.retain || !publish.message.topic.as_str().starts_with("t/") {
            return false;
        }
        let (Some(id), Some(message)) = (publish.packet_id, self.checker.ledger.find(&publish.message.payload)) else {
            return false;
        };
        if let Err(text) = self.check_attempt(number, message, publish) {
            self.fail(Some(number), text);
        }
        if self.phase != Phase::Busy || !self.rng.percent(refuses) {
            return false;
        }
        if let Err(text) = self.arrived(number, message, publish) {
            self.fail(Some(number), text);
        }
        self.checker.refused.fates.entry((number, message)).or_default().refusals += 1;
        let code = self.rng.pick(&ERRORS);
        self.answer_with(connection, publish.qos, id, code);
        true
    }

    fn answer_with(&mut self, connection: usize, qos: Qos, id: PacketId, code: ReasonCode) {
        let ack = Ack::new(id, code);
        let packet = if qos == Qos::AtLeastOnce { ClientPacket::Puback(ack) } else { ClientPacket::Pubrec(ack) };
        self.send_up(connection, &packet);
    }

    /// A new PUBLISH of a message that was refused says which attempt it is.
    fn check_attempt(&self, number: usize, message: usize, publish: &OutgoingPublish) -> Result<(), String> {
        let attempt = user_properties(&publish.message.properties).find(|(name, _)| name == "delivery-attempt");
        let fate = self.checker.refused.fates.get(&(number, message)).copied().unwrap_or_default();
        let Some((_, attempt)) = attempt else { return Ok(()) };
        let attempt: u32 = attempt.parse().map_err(|_| format!("message {message}: attempt {attempt}"))?;
        let most = attempts_of(&publish.message.topic).unwrap_or(0);
        if !(2..=most).contains(&attempt) || attempt > fate.refusals + 1 {
            let refusals = fate.refusals;
            return Err(format!("message {message}: attempt {attempt} of {most} after {refusals} refusals"));
        }
        Ok(())
    }

    /// The refusals of a message by a client.
    pub(crate) fn refusals(&self, client: usize, message: usize) -> u32 {
        self.checker.refused.fates.get(&(client, message)).map_or(0, |fate| fate.refusals)
    }

    /// Whether a message that a client did not accept is accounted for: without a rule, a refused message is gone.
    pub(crate) fn is_laid_aside(&self, client: usize, message: &Message) -> bool {
        let Some(fate) = self.checker.refused.fates.get(&(client, message.number)) else { return false };
        let is_gone = attempts_of(&message.topic).is_none() && fate.refusals > 0;
        is_gone || fate.letters + fate.discarded + fate.open > 0
    }

    /// The fates of refused messages.
    pub(crate) fn check_fates(&self) -> Result<(), (Option<usize>, String)> {
        for (&(client, message), fate) in &self.checker.refused.fates {
            let message = &self.checker.ledger.messages[message];
            let fault = |text: &str| {
                let (number, read) = (message.number, message.read);
                Err((Some(client), format!("message {number}, read {read} times: {text}: {fate:?}")))
            };
            let Some(attempts) = attempts_of(&message.topic) else {
                if fate.letters > 0 {
                    return fault("a dead letter without a rule");
                }
                continue;
            };
            let laid_aside = fate.letters + fate.discarded + fate.redriven;
            if fate.refusals < attempts * laid_aside.min(1) || fate.refusals < fate.letters * attempts {
                return fault("a dead letter before the last attempt");
            }
            let received = self.checker.ledger.received.get(&(client, message.number)).copied().unwrap_or_default();
            let is_once = message.qos == Qos::ExactlyOnce && received.live == received.once;
            if is_once && received.once + fate.letters + fate.discarded > message.copies() {
                return fault(&format!("in two places, {received:?}"));
            }
            let is_calm = self.mix.crash_every.is_none() && self.mix.losses == 0;
            if is_calm && fate.refusals > attempts * (1 + fate.redriven) * message.copies() {
                return fault("too many attempts");
            }
        }
        Ok(())
    }

    /// The operator looks at the dead letters, redrives some and discards some.
    pub(crate) fn operate_letters(&mut self) {
        if self.restarting.is_some() {
            return;
        }
        let refused = &mut self.checker.refused;
        if let Some(number) = refused.listed.pop() {
            return self.ask_letters(Asked::Show(number), DeadLetterQuery::Show(number), 0);
        }
        let chosen: Vec<(u64, (usize, usize))> = refused.letters.iter().map(|(number, of)| (*number, *of)).collect();
        if chosen.is_empty() || self.phase != Phase::Busy || self.rng.percent(40) {
            let query = DeadLetterQuery::List { after: 0, limit: LISTED_MAX, filter: None };
            return self.ask_letters(Asked::List, query, 0);
        }
        let (number, (client, message)) = self.rng.pick(&chosen);
        let holder = self.shared.shard_of(&format!("c{client}").as_str().into());
        let shard = match holder {
            Some(holder) if self.rng.percent(90) => usize::from(holder.0),
            _ => self.rng.index(self.shards.len()),
        };
        if self.rng.percent(30) {
            self.ask_letters(Asked::Discard(client, message), DeadLetterQuery::Discard(number), shard);
        } else {
            self.ask_letters(Asked::Redrive(client, message), DeadLetterQuery::Redrive(number), shard);
        }
    }

    fn ask_letters(&mut self, asked: Asked, query: DeadLetterQuery, shard: usize) {
        let id = self.operator.next_request();
        self.checker.refused.asked.insert(id, asked);
        self.trace.note(self.now, None, || format!("operator asks shard {shard}: {query:?}"));
        self.handle(shard, Event::Query(QueryId(id), Box::new(Query::DeadLetters(query))));
    }

    /// An answer to the operator.
    pub(crate) fn on_letters(&mut self, id: u64, answer: &Answer) {
        let refused = &mut self.checker.refused;
        let (Some(asked), Answer::DeadLetters(answer)) = (refused.asked.remove(&id), answer) else { return };
        match (asked, answer) {
            (Asked::List, DeadLetterAnswer::List(letters, next)) => {
                assert!(next.is_none(), "more dead letters than a page has");
                let numbers: Vec<u64> = letters.iter().map(|(number, _)| *number).collect();
                refused.letters.retain(|number, _| numbers.contains(number));
                let known = &refused.letters;
                refused.listed = numbers.into_iter().filter(|number| !known.contains_key(number)).collect();
            }
            (Asked::Show(number), DeadLetterAnswer::Show(Ok(letter))) => {
                let client = letter.info.client_id.as_str().trim_start_matches('c').parse().unwrap();
                match self.checker.ledger.find(&letter.delivery.message.payload) {
                    Some(message) => _ = refused.letters.insert(number, (client, message)),
                    None => self.fail(None, format!("a dead letter that was not published: {letter:?}")),
                }
            }
            (Asked::Redrive(client, message), DeadLetterAnswer::Done(Ok(()))) => {
                refused.fates.entry((client, message)).or_default().redriven += 1;
            }
            (Asked::Discard(client, message), DeadLetterAnswer::Done(Ok(()))) => {
                refused.fates.entry((client, message)).or_default().discarded += 1;
            }
            (
                Asked::Show(_) | Asked::Redrive(..) | Asked::Discard(..),
                DeadLetterAnswer::Show(Err(failure)) | DeadLetterAnswer::Done(Err(failure)),
            ) => {
                use DeadLetterFailure::{Busy, Expired, NotHere, Unknown};
                let has_expired = self.mix.expiry && matches!(failure, Expired);
                if !matches!(failure, Unknown | Busy | NotHere) && !has_expired {
                    self.fail(None, format!("{asked:?}: {failure:?}"));
                }
            }
            (asked, answer) => self.fail(None, format!("{asked:?}: {answer:?}")),
        }
    }

    /// A crash leaves open what was not answered.
    pub(crate) fn forget_letters(&mut self) {
        let refused = &mut self.checker.refused;
        for asked in std::mem::take(&mut refused.asked).into_values() {
            if let Asked::Redrive(client, message) | Asked::Discard(client, message) = asked {
                // A redriven one is still accounted for: it is in the queue, or a dead letter.
                let is_discard = matches!(asked, Asked::Discard(..));
                refused.fates.entry((client, message)).or_default().open += u32::from(is_discard);
            }
        }
        refused.letters.clear();
        refused.listed.clear();
    }

    /// Reads all dead letters at the end.
    pub(crate) fn count_letters(&mut self) {
        if !self.mix.refuses_messages {
            return;
        }
        self.checker.refused.letters.clear();
        self.checker.refused.listed.clear();
        self.operate_letters();
        while self.failure.is_none() && !self.checker.refused.listed.is_empty() {
            self.operate_letters();
            self.run_until(self.now + 1_000);
        }
        let letters = std::mem::take(&mut self.checker.refused.letters);
        for of in letters.into_values() {
            self.checker.refused.fates.entry(of).or_default().letters += 1;
        }
    }
}

/// Why a client refuses a message.
pub(crate) const ERRORS: [ReasonCode; 3] =
    [ReasonCode::UnspecifiedError, ReasonCode::ImplementationSpecificError, ReasonCode::QuotaExceeded];

/// The topic of the dead letters of groups.
pub(crate) const LETTERS: &str = "l";
/// In milliseconds, and percent.
const BACKOFF_FIRST: u64 = 60;
const BACKOFF_FACTOR: u64 = 3;
const BACKOFF_MOST: u64 = 400;
const JITTER: u64 = 50;
/// More dead letters than a run makes.
const LISTED_MAX: usize = 1_000;
