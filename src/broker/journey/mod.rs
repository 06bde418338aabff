//! The journeys of the last QoS 1 and 2 messages: what this shard did with each, for operators.
//!
//! A message has one [`Accepted`] entry, on the shard of its publisher, and [`Step`]s on the shards of its receivers. Both are in rings of a fixed
//! size: a quarter and three quarters of `journey_steps_max`, divided by the number of shards. What is older than [`RETENTION`] is not shown, and
//! is forgotten when nothing has been noted since. Nothing is stored.
//!
//! The path of a message only appends: an entry when it is accepted, a step when it is queued, sent, acknowledged. Everything else is found when
//! an operator asks:
//! - A step names the Session and its place in the queue; only the first one of a receiver names the message. The others are found by
//!   Session and sequence.
//! - When a message was stable follows from its ticket: each commit is noted once, for all messages in it.
//! - Who a Session belongs to is in its slot. A Session that leaves the shard leaves its name behind.
//!
//! A message with many receivers would displace all others, so at most [`RECEIVERS_MAX`] receivers on a shard have steps; the others are counted.
//! Beyond [`MESSAGES_PER_SECOND`], messages have no journey, and beyond [`RECEIVERS_PER_SECOND`], receivers have no steps: at such rates, the rings
//! have room for a fraction of a second, and noting everything would cost some percent of a message.

pub(super) mod answer;
mod names;
pub(super) mod query;
mod ring;
mod search;
pub(super) mod step;
mod tail;
pub(super) mod tail_query;
mod texts;

use std::time::Duration;

use self::names::Names;
use self::query::JourneyStep;
use self::ring::Ring;
use self::search::Search;
use self::step::{Accepted, Commit, Count, NO_SLOT, Source, Step, age, kind_of, number_of, short, slot_number};
use self::texts::Texts;
use crate::broker::counters::DropReason;
use crate::broker::memory_level::MemoryLevel;
use crate::broker::operator::budget::Budget;
use crate::broker::publish::publisher::Publisher;
use crate::codec::{ClientId, MessageId, Qos};
use crate::routing::{SessionKey, ShardId};
use crate::session::{QueueStep, Ticket};
use crate::timestamp::Timestamp;

/// What a shard knows about the last messages.
#[derive(Debug)]
pub(in crate::broker) struct Journeys {
    shard: ShardId,
    run: u64,
    /// Earlier runs whose messages are sent now, at most [`RUNS_MAX`]. Their numbers in steps follow on that of this run, 0.
    runs: Vec<u64>,
    steps_max: usize,
    accepted: Ring<Accepted>,
    steps: Ring<Step>,
    commits: Ring<Commit>,
    topics: Texts,
    /// The receivers of the last messages that have steps, by the last bits of the message's number.
    counts: Vec<Count>,
    messages: Budget,
    receivers: Budget,
    names: Names,
    searches: Vec<Search>,
}

impl Journeys {
    /// Those of a shard that keeps at most `steps_max` entries; 0: none.
    pub(in crate::broker) fn new(shard: ShardId, run: u64, steps_max: usize) -> Self {
        let mut journeys = Self {
            shard,
            run,
            runs: Vec::new(),
            steps_max: 0,
            accepted: Ring::new(0),
            steps: Ring::new(0),
            commits: Ring::new(0),
            topics: Texts::new(0),
            counts: Vec::new(),
            messages: Budget::new(MESSAGES_PER_SECOND),
            receivers: Budget::new(RECEIVERS_PER_SECOND),
            names: Names::default(),
            searches: Vec::new(),
        };
        journeys.resize(steps_max, MemoryLevel::Normal);
        journeys
    }

    /// Changes the greatest number of entries. While memory is short, it is a quarter of `steps_max`.
    pub(in crate::broker) fn resize(&mut self, steps_max: usize, level: MemoryLevel) {
        self.steps_max = steps_max;
        let is_short = level >= MemoryLevel::High;
        let total = if is_short { steps_max / SHORT_SHARE } else { steps_max };
        let accepted = total.div_ceil(ACCEPTED_SHARE);
        if accepted != self.accepted.max() {
            self.topics.reset(accepted * TOPIC_BYTES);
        }
        self.accepted.set_max(accepted);
        self.commits.set_max(accepted);
        self.steps.set_max(total - accepted);
        if total == 0 {
            self.clear();
        }
    }

    /// Shrinks while memory is short.
    pub(in crate::broker) fn limit(&mut self, level: MemoryLevel) {
        self.resize(self.steps_max, level);
    }

    /// Whether the journey of a message that is accepted now is noted.
    #[inline]
    pub(in crate::broker) const fn admits(&mut self, now: Timestamp) -> bool {
        self.accepted.max() > 0 && self.messages.take(now)
    }

    /// Notes that an [admitted](Self::admits) message is accepted. Returns where, for [`matched`](Self::matched) and [`recorded`](Self::recorded).
    #[inline(never)]
    pub(in crate::broker) fn accepted(
        &mut self,
        (id, qos): (MessageId, Qos),
        publisher: &Publisher,
        topic: &str,
        now: Timestamp,
    ) -> u64 {
        let source = match publisher.key {
            None => Source::Broker,
            Some(SessionKey(0)) => Source::Operator,
            Some(_) => Source::Client,
        };
        let entry = Accepted {
            number: id.number,
            publisher: publisher.key.unwrap_or_default(),
            ticket: Ticket::default(),
            topic: self.topics.push(topic),
            steps: self.steps.end(),
            at: short(now.0),
            slot: publisher.slot.map_or(NO_SLOT, slot_number),
            matched: 0,
            qos,
            source,
        };
        self.accepted.push(entry)
    }

    /// Notes the number of receivers of an accepted message.
    #[inline]
    pub(in crate::broker) fn matched(&mut self, place: Option<u64>, receivers: usize) {
        if let Some(entry) = place.and_then(|place| self.accepted.get_mut(place)) {
            entry.matched = u32::try_from(receivers).unwrap_or(u32::MAX);
        }
    }

    /// Notes the ticket of the record of an accepted message.
    #[inline]
    pub(in crate::broker) fn recorded(&mut self, place: Option<u64>, ticket: Option<Ticket>) {
        if let (Some(place), Some(ticket)) = (place, ticket)
            && let Some(entry) = self.accepted.get_mut(place)
        {
            entry.ticket = ticket;
        }
    }

    /// Notes that all tickets up to this one are stable.
    #[inline]
    pub(in crate::broker) fn committed(&mut self, ticket: Ticket, now: Timestamp) {
        if self.accepted.last().is_some() {
            self.commits.push(Commit { ticket, at: short(now.0) });
        }
    }

    /// Notes the first step of a message towards a receiver. Returns whether its further steps are noted.
    #[inline(never)]
    pub(in crate::broker) fn begin(&mut self, id: MessageId, to: Receiver, step: QueueStep, now: Timestamp) -> bool {
        if self.steps.max() == 0 {
            return false;
        }
        let Some(run) = self.run_of(id.run) else { return false };
        if !self.has_room(id.number, run, now) {
            return false;
        }
        self.push((id.number, run), to, step, now);
        true
    }

    /// Notes a further step of a message towards a receiver.
    #[inline(never)]
    pub(in crate::broker) fn note(&mut self, to: Receiver, step: QueueStep, now: Timestamp) {
        if self.steps.max() > 0 {
            self.push((0, 0), to, step, now);
        }
    }

    /// Notes that a message is dropped before it is in the queue of a receiver, whose Session may be elsewhere.
    #[cold]
    pub(in crate::broker) fn dropped(
        &mut self,
        id: MessageId,
        (key, client_id, is_ended): (SessionKey, &ClientId, bool),
        reason: DropReason,
        now: Timestamp,
    ) {
        let Some(run) = self.run_of(id.run) else { return };
        if self.steps.max() > 0 && self.has_room(id.number, run, now) {
            self.names.add(key, client_id, is_ended);
            let step = Step {
                number: id.number,
                receiver: key,
                at: short(now.0),
                slot: NO_SLOT,
                sequence: 0,
                run,
                kind: JourneyStep::Dropped,
                reason: number_of(reason),
            };
            self.steps.push(step);
        }
    }

    /// A Session leaves the shard: it ends, or it moves to another one.
    pub(in crate::broker) fn left(&mut self, key: SessionKey, client_id: &ClientId, is_ended: bool) {
        if self.steps.last().is_some() || self.accepted.last().is_some() {
            self.names.add(key, client_id, is_ended);
        }
    }

    /// Forgets everything when the last entry is older than what is shown. Called once a second.
    pub(in crate::broker) fn sweep(&mut self, now: Timestamp) {
        let is_old = |at: Option<u32>| at.is_none_or(|at| age(at, now) > RETENTION);
        let has_entries = self.accepted.last().is_some() || self.steps.last().is_some();
        let ends = [self.accepted.last().map(|entry| entry.at), self.steps.last().map(|step| step.at)];
        if has_entries && ends.into_iter().all(is_old) {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.accepted.clear();
        self.steps.clear();
        self.commits.clear();
        self.topics.reset(self.accepted.max() * TOPIC_BYTES);
        (self.counts, self.runs, self.names) = (Vec::new(), Vec::new(), Names::default());
    }

    #[inline]
    fn push(&mut self, (number, run): (u64, u8), to: Receiver, step: QueueStep, now: Timestamp) {
        let (kind, reason) = kind_of(step);
        let Receiver { key, slot, sequence } = to;
        let (at, slot, sequence) = (short(now.0), slot_number(slot), short(sequence));
        self.steps.push(Step { number, receiver: key, at, slot, sequence, run, kind, reason });
    }

    /// The number of a run in steps; `None`: there are too many.
    #[inline]
    fn run_of(&mut self, run: u64) -> Option<u8> {
        if run == self.run { Some(0) } else { self.earlier_run(run) }
    }

    #[cold]
    fn earlier_run(&mut self, run: u64) -> Option<u8> {
        let place = self.known_run(run).or_else(|| {
            let has_room = self.runs.len() < RUNS_MAX;
            has_room.then(|| self.runs.push(run))?;
            u8::try_from(self.runs.len()).ok()
        })?;
        Some(place)
    }

    fn known_run(&self, run: u64) -> Option<u8> {
        if run == self.run {
            return Some(0);
        }
        let place = self.runs.iter().position(|known| *known == run)?;
        u8::try_from(place + 1).ok()
    }

    /// Whether a message may have the steps of one more receiver; if not, the receiver is counted.
    #[inline]
    fn has_room(&mut self, number: u64, run: u8, now: Timestamp) -> bool {
        if self.counts.is_empty() {
            self.counts.resize(COUNTS, Count { number: 0, noted: 0, run: 0, left_out: 0 });
        }
        let Some(count) = self.counts.get_mut(short(number) as usize % COUNTS) else { return false };
        let mut before = Count { number, run, noted: 0, left_out: 0 };
        if (count.number, count.run) != (number, run) {
            std::mem::swap(count, &mut before);
        }
        let has_room = count.noted < RECEIVERS_MAX && self.receivers.take(now);
        if has_room {
            count.noted += 1;
        } else {
            count.left_out = count.left_out.saturating_add(1);
        }
        if before.left_out > 0 {
            self.note_left_out(before, now);
        }
        has_room
    }

    /// Keeps the number of receivers without steps, when its place in the counts is needed.
    #[cold]
    fn note_left_out(&mut self, Count { number, run, left_out, .. }: Count, now: Timestamp) {
        let (receiver, at, kind) = (SessionKey(0), short(now.0), JourneyStep::LeftOut);
        self.steps.push(Step { number, receiver, at, slot: NO_SLOT, sequence: left_out, run, kind, reason: None });
    }
}

/// A receiver, with the place of the message in its queue.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Receiver {
    pub(in crate::broker) key: SessionKey,
    pub(in crate::broker) slot: usize,
    pub(in crate::broker) sequence: u64,
}

/// What is older is not shown.
const RETENTION: Duration = Duration::from_secs(600);
/// One entry in this many is an accepted message.
const ACCEPTED_SHARE: usize = 4;
/// The average length of a topic for which there is room.
const TOPIC_BYTES: usize = 32;
/// While memory is short, this part of all is left.
const SHORT_SHARE: usize = 4;
/// The receivers of a message on one shard that have steps.
const RECEIVERS_MAX: u16 = 100;
/// The number of messages and of receivers that each shard notes in a second. By the costs of single steps, that takes about 5 ms.
const MESSAGES_PER_SECOND: u32 = 20_000;
const RECEIVERS_PER_SECOND: u32 = 40_000;
/// The size of the table of receivers, a power of 2. Messages whose numbers differ by less than this have different places in it.
const COUNTS: usize = 256;
const RUNS_MAX: usize = 254;
