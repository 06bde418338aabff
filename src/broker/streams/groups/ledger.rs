//! What a group has read of its stream, and which of it is acknowledged.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

mod adding;
mod fresh;
mod position;
mod refused;

use foldhash::quality::RandomState;

use crate::broker::persistence::stream_group::GroupPosition;
use crate::broker::streams::groups::dispatch::GroupDispatch;
use crate::broker::streams::groups::fresh::{Fresh, FreshMessage};
use crate::broker::streams::groups::lost::Lost;
use crate::broker::streams::groups::refusals::Refusals;
use crate::broker::streams::groups::roster::{Item, Placed, Roster};
use crate::broker::streams::groups::saved::Saved;
use crate::broker::streams::read::ReadMessages;
use crate::broker::streams::start::StreamStart;
use crate::broker::streams::state::CHUNK_MESSAGES_MAX;
use crate::codec::{Message, Qos};
use crate::routing::{SessionKey, ShardId, Subscriber};
use crate::timestamp::Timestamp;

/// The messages of a group that are not acknowledged, and its position.
///
/// Invariants:
/// - each message from `position` on is not read yet, in `open`, in `again`, or done: acknowledged or left out;
/// - at most [`WINDOW_MESSAGES_MAX`] messages are open; without members, none is, and their numbers are in `again`;
/// - each open message was given to a member, or waits in the roster.
#[derive(Debug)]
pub(in crate::broker) struct Ledger {
    /// What is read next.
    next: StreamStart,
    /// Messages that were accepted before this time are skipped until one was not.
    since: Option<u64>,
    /// Messages from `next` on and before this sequence are done, except for those in `again`.
    done_until: u64,
    again: BTreeSet<u64>,
    open: HashMap<u64, Open, RandomState>,
    open_bytes: usize,
    /// What the next message says about those before it.
    unsaid: Lost,
    roster: Roster,
    refusals: Refusals,
    reading: Reading,
    fresh: Fresh,
    /// The members that were given messages since the last [`take_ready`](Self::take_ready).
    ready: Vec<Arc<Subscriber>>,
    deliveries: u64,
    pub(in crate::broker) saved: Saved,
    /// Whether its stream or the group itself was removed.
    pub(in crate::broker) is_gone: bool,
}

/// A message that is not acknowledged.
#[derive(Debug)]
struct Open {
    message: Arc<Message>,
    timestamp: u64,
    expires_at: Timestamp,
    lost: Lost,
    key: Option<u64>,
    /// The member that it was sent to, and the number of this delivery.
    sent: Option<(SessionKey, u64)>,
}

/// Who reads for the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Reading {
    /// No read is in progress, and no shard waits for one.
    Idle,
    /// The read of this shard with this number is in progress.
    Reads(ShardId, u64),
    /// This shard waits: for further messages, for a read of others, or to try again.
    Waits(ShardId),
}

/// A message that is sent to a member now.
#[derive(Debug)]
pub(in crate::broker) struct Taken {
    pub(in crate::broker) sequence: u64,
    pub(in crate::broker) timestamp: u64,
    pub(in crate::broker) message: Arc<Message>,
    pub(in crate::broker) expires_at: Timestamp,
    pub(in crate::broker) lost: Lost,
    /// How often members have refused it.
    pub(in crate::broker) refused: u16,
    /// The number of this delivery, by which it is acknowledged.
    pub(in crate::broker) delivery: u64,
}

impl Ledger {
    pub(in crate::broker) fn new(position: GroupPosition) -> Self {
        let mut ledger = Self {
            next: StreamStart::Earliest,
            since: None,
            done_until: 0,
            again: BTreeSet::new(),
            open: HashMap::default(),
            open_bytes: 0,
            unsaid: Lost::default(),
            roster: Roster::default(),
            refusals: Refusals::default(),
            reading: Reading::Idle,
            fresh: Fresh::default(),
            ready: Vec::new(),
            deliveries: 0,
            saved: Saved::default(),
            is_gone: false,
        };
        ledger.begin(position);
        ledger
    }

    /// The number of connected members, and of messages that were sent to them and are not acknowledged.
    pub(in crate::broker) fn members(&self) -> (usize, usize) {
        (self.roster.len(), self.open.values().filter(|open| open.sent.is_some()).count())
    }

    pub(in crate::broker) const fn reading(&self) -> Reading {
        self.reading
    }

    pub(in crate::broker) const fn set_reading(&mut self, reading: Reading) {
        self.reading = reading;
    }

    /// What is to be read now; `None`: nothing, or a shard does it.
    pub(in crate::broker) fn wanted(&self) -> Option<StreamStart> {
        let is_wanted = self.reading == Reading::Idle && self.has_room(CHUNK_MESSAGES_MAX) && self.roster.len() > 0;
        (is_wanted && !self.is_gone).then_some(self.next)
    }

    /// Whether it may have this number of further messages in memory.
    fn has_room(&self, messages: usize) -> bool {
        self.open.len() + messages <= WINDOW_MESSAGES_MAX
            && self.open_bytes < WINDOW_BYTES_MAX
            && self.roster.pending() < AHEAD_MAX
    }

    /// The greatest number of messages of a read that is [`wanted`](Self::wanted). A read sends something to each member, so it has several messages
    /// for each of many.
    pub(in crate::broker) fn chunk_max(&self) -> usize {
        let enough = (MESSAGES_PER_WRITE * self.roster.len()).clamp(CHUNK_MESSAGES_MAX, READ_MESSAGES_MAX);
        enough.min(WINDOW_MESSAGES_MAX.saturating_sub(self.open.len()))
    }

    /// What this shard waited for has happened.
    pub(in crate::broker) fn stop_waiting(&mut self, shard: ShardId) {
        if self.reading == Reading::Waits(shard) {
            self.reading = Reading::Idle;
        }
    }

    /// Distributes the messages that were read. `dispatch`: how.
    pub(in crate::broker) fn on_read(&mut self, read: ReadMessages, dispatch: GroupDispatch) {
        self.reading = Reading::Idle;
        self.fresh.end_following();
        if self.roster.len() == 0 {
            return; // it is read again when there is a member
        }
        self.saved.is_outdated = true;
        self.change_dispatch(dispatch);
        let ReadMessages { messages, next, oldest, unreadable } = read;
        self.unsaid = self.unsaid.and(&self.lost(oldest, unreadable));
        let reached = next.max(oldest);
        match self.next {
            StreamStart::Sequence(before) => self.next = StreamStart::Sequence(before.max(reached)),
            StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_) if reached == 0 => {}
            StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_) => {
                self.next = StreamStart::Sequence(reached);
            }
        }
        for stored in messages.iter() {
            if self.is_new((stored.sequence, stored.timestamp)) {
                self.add(FreshMessage::from_read(stored));
            }
        }
        self.added();
    }

    /// Adds a connected member, which gets at most `limit` messages at a time.
    pub(in crate::broker) fn join(&mut self, subscriber: Arc<Subscriber>, limit: usize) {
        let key = subscriber.key;
        if self.roster.is_member(key) {
            return;
        }
        let is_sent = |open: &&Open| open.sent.is_some_and(|(to, _)| to == key);
        let sent = self.open.values().filter(is_sent).count();
        self.roster.join(subscriber, limit, sent);
        self.place_again();
    }

    /// The connection of a member has ended: others get its messages.
    pub(in crate::broker) fn leave(&mut self, member: SessionKey) {
        self.roster.leave(member);
        for open in self.open.values_mut() {
            open.sent = open.sent.filter(|(to, _)| *to != member);
        }
        self.place_again();
        self.rest();
    }

    /// A member has unsubscribed: others get what was not sent to it, and what was sent is awaited. [MQTT-3.10.4-3]
    pub(in crate::broker) fn retire(&mut self, member: SessionKey) {
        self.roster.retire(member);
        self.place_again();
        self.rest();
    }

    /// Without members, no messages are kept in memory, unless they were sent to former ones.
    fn rest(&mut self) {
        if self.roster.len() == 0 && self.open.values().all(|open| open.sent.is_none()) {
            let position = self.position();
            for open in self.open.values() {
                self.unsaid = self.unsaid.and(&open.lost);
            }
            self.begin(position);
        }
    }

    fn change_dispatch(&mut self, dispatch: GroupDispatch) {
        if *self.roster.dispatch() == dispatch {
            return;
        }
        self.roster.recall();
        self.roster.set_dispatch(dispatch);
        for open in self.open.values_mut().filter(|open| open.sent.is_none()) {
            open.key = self.roster.dispatch().key_of(&open.message);
        }
        self.place_again();
    }

    /// Places all messages that were not sent, in their order.
    fn place_again(&mut self) {
        self.roster.recall();
        let unsent = self.open.iter().filter(|(_, open)| open.sent.is_none());
        let mut unsent: Vec<u64> = unsent.map(|(sequence, _)| *sequence).collect();
        unsent.sort_unstable();
        unsent.into_iter().for_each(|sequence| self.place(sequence));
    }

    fn place(&mut self, sequence: u64) {
        let Some(open) = self.open.get(&sequence).filter(|_| self.roster.len() > 0) else { return };
        if self.refusals.is_waiting(sequence) {
            if let Some(key) = open.key {
                self.roster.hold(key, sequence);
            }
            return;
        }
        let item = Item { sequence, topic: &open.message.topic, key: open.key };
        match self.roster.place(item) {
            Placed::Given(to) => self.is_ready(to),
            Placed::Queued | Placed::Waits => {}
            Placed::Nobody => self.remove(sequence),
        }
    }

    fn is_ready(&mut self, member: Arc<Subscriber>) {
        self.ready.push(member);
    }

    fn remove(&mut self, sequence: u64) {
        self.saved.is_outdated = true;
        self.refusals.remove(sequence);
        if let Some(open) = self.open.remove(&sequence) {
            self.open_bytes -= open.message.content_len();
            if open.sent.is_none() {
                self.unsaid = self.unsaid.and(&open.lost); // it was left out
            }
        }
    }

    /// The members that were given messages since the last call.
    pub(in crate::broker) fn take_ready(&mut self) -> Vec<Arc<Subscriber>> {
        std::mem::take(&mut self.ready)
    }

    /// All members, because they are told something.
    pub(in crate::broker) fn subscribers(&self) -> Vec<Arc<Subscriber>> {
        self.roster.subscribers().map(Arc::clone).collect()
    }

    /// The QoS of the next message for a member; `None`: there is none.
    pub(in crate::broker) fn next_qos(&self, member: SessionKey) -> Option<Qos> {
        let sequence = self.roster.next_of(member)?;
        self.open.get(&sequence).map(|open| open.message.qos)
    }

    /// Takes the next message for a member, unless it has expired. The caller has seen [`next_qos`](Self::next_qos), and sends it.
    pub(in crate::broker) fn take(&mut self, member: SessionKey, now: Timestamp) -> Option<Taken> {
        let sequence = self.roster.take(member)?;
        let open = self.open.get_mut(&sequence)?;
        if open.expires_at <= now {
            let key = open.key;
            self.remove(sequence);
            self.done(member, key);
            return None;
        }
        self.deliveries += 1;
        open.sent = Some((member, self.deliveries));
        Some(Taken {
            sequence,
            timestamp: open.timestamp,
            message: Arc::clone(&open.message),
            expires_at: open.expires_at,
            lost: open.lost.clone(),
            refused: self.refusals.attempts(sequence),
            delivery: self.deliveries,
        })
    }

    /// A member has acknowledged this delivery, or it was left out. It has no effect if it is not awaited any more.
    pub(in crate::broker) fn settle(&mut self, sequence: u64, delivery: u64) {
        let Some((member, key)) = self.delivery(sequence, delivery) else { return };
        self.remove(sequence);
        self.done(member, key);
        if self.roster.len() == 0 {
            self.rest();
        }
    }

    /// A delivery did not reach its member, which is connected: it gets it again, or another one does.
    pub(in crate::broker) fn give_back(&mut self, sequence: u64, delivery: u64) {
        let Some((member, key)) = self.delivery(sequence, delivery) else { return };
        if let Some(open) = self.open.get_mut(&sequence) {
            open.sent = None;
        }
        self.done(member, key);
        self.place_again();
    }

    fn delivery(&self, sequence: u64, delivery: u64) -> Option<(SessionKey, Option<u64>)> {
        let open = self.open.get(&sequence)?;
        let (member, number) = open.sent?;
        (number == delivery).then_some((member, open.key))
    }

    fn done(&mut self, member: SessionKey, key: Option<u64>) {
        for sequence in self.roster.done(member, key) {
            self.place(sequence);
        }
        self.fill(member);
    }

    fn fill(&mut self, member: SessionKey) {
        if self.roster.pending() == 0 {
            return;
        }
        let open = &self.open;
        let topic_of = |sequence| open.get(&sequence).map(|open| &open.message.topic);
        if let Some(member) = self.roster.fill(member, topic_of) {
            self.is_ready(member);
        }
    }
}

/// The greatest number of messages of a group that are read and not acknowledged.
pub(in crate::broker) const WINDOW_MESSAGES_MAX: usize = 4_096;
/// While the topics, payloads and properties of these messages have at least this number of bytes, no further messages are read.
pub(in crate::broker) const WINDOW_BYTES_MAX: usize = 1 << 20;
/// The number of messages for each member from which on the system call that sends them costs little in comparison.
const MESSAGES_PER_WRITE: usize = 16;
/// The greatest number of messages of one read: about what a chunk of bytes has of small ones.
const READ_MESSAGES_MAX: usize = 1_024;
/// While at least this number of messages waits for room of members, no further messages are read.
const AHEAD_MAX: usize = 256;
