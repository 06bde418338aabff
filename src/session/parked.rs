//! The messages of a Session that its client refused: [`redelivery`](super::redelivery) says what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::{Delivery, DeliveryPlace};
use super::entry::{Content, Entry, State};
use super::redelivery::{RELEASED, Redelivery, RefusedMessage, topic_number};
use crate::timestamp::Timestamp;

/// What [`Redeliveries::forget`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// Whether the store has a state of this message, which is not needed any more.
    pub(super) is_stored: bool,
    /// Whether messages that waited behind it are due now.
    pub(super) releases: bool,
}

/// The refused messages of a Session, and those that wait behind them.
#[derive(Debug, Default)]
pub(super) struct Redeliveries {
    /// By sequence, not in the queue.
    parked: BTreeMap<u64, Parked>,
    /// The decided ones of them by time, then in the order of their first sequences, with their present ones.
    schedule: BTreeSet<(Timestamp, u64, u64)>,
    /// Those that are in the queue again or on their way there, by sequence, and whether the store has their state.
    queued: BTreeMap<u64, (Redelivery, bool)>,
    /// What holds later messages of its topic back until it is complete, because the client has refused it: the number of the topic, and the
    /// first sequence.
    refused: BTreeSet<(u64, u64)>,
    /// What holds later messages of its topic back until it is sent: it was parked and never refused. The same.
    unsent: BTreeSet<(u64, u64)>,
    /// The present sequences of parked messages that wait behind refused ones, by the same. None of them is the first refused one of its
    /// topic, or earlier: so each is released when the refused ones before it are complete.
    behind: BTreeMap<(u64, u64), u64>,
    /// The number of refused messages about which the owner has not decided.
    undecided: usize,
    /// Whether due messages are being read from the store.
    is_reading: bool,
    /// Whether another shard had not decided about refused messages when the Session moved.
    has_moved: bool,
    /// The time of the owner's timer.
    armed: Option<Timestamp>,
}

/// A message that is not in the queue.
#[derive(Debug)]
struct Parked {
    state: Redelivery,
    bytes: u32,
    /// Whether the owner has decided about it.
    is_decided: bool,
    /// Whether the store has the message.
    is_stored: bool,
    expires_at: Timestamp,
    /// The message, if the store does not have it, or if it may move to another member of a share.
    content: Option<Delivery>,
}

impl Redeliveries {
    /// Parks a message that has left the queue. `reason_code`: the client refused it; `None`: it waits behind another one.
    pub(super) fn park(&mut self, entry: Entry, reason_code: Option<u8>) {
        let Entry { sequence, bytes, recorded, content, .. } = entry;
        let (expires_at, content) = match content {
            Content::Loaded(delivery) if recorded => (delivery.expires_at, None),
            Content::Loaded(delivery) => (delivery.expires_at, Some(delivery)),
            Content::Away { expires_at } => (expires_at, None),
        };
        let before = self.queued.remove(&sequence).map(|(state, _)| state);
        let mut state = before.unwrap_or(Redelivery::first(sequence));
        let is_stored = content.as_ref().is_none_or(|delivery| delivery.place == DeliveryPlace::Record);
        state.due = Timestamp::NEVER;
        if let Some(reason_code) = reason_code {
            state.reason_code = reason_code;
        }
        let is_decided = reason_code.is_none();
        self.undecided += usize::from(!is_decided);
        self.parked.insert(sequence, Parked { state, bytes, is_decided, is_stored, expires_at, content });
    }

    /// Whether this message, which was never sent, waits behind an earlier one of its topic. Returns the number of the topic.
    pub(super) fn waits_behind(&self, entry: &Entry) -> Option<u64> {
        let Content::Loaded(delivery) = &entry.content else { return None };
        if (self.refused.is_empty() && self.unsent.is_empty()) || entry.state != State::Queued || entry.is_of_group() {
            return None;
        }
        let topic = topic_number(&delivery.message.topic);
        let origin = self.queued.get(&entry.sequence).map_or(entry.sequence, |(state, _)| state.origin);
        let is_blocked = |order: &BTreeSet<_>| order.range((topic, 0)..(topic, origin)).next().is_some();
        (is_blocked(&self.refused) || is_blocked(&self.unsent)).then_some(topic)
    }

    /// A message whose turn it was is parked behind an earlier one of its topic. Returns its state, and whether the store has the message.
    /// If the earlier ones only wait to be sent, the caller must [release](Self::release) it: then it goes behind them into the queue.
    pub(super) fn park_behind(&mut self, entry: Entry, topic: u64) -> (Redelivery, bool) {
        let sequence = entry.sequence;
        self.park(entry, None);
        let Some(parked) = self.parked.get_mut(&sequence) else { return (Redelivery::first(sequence), false) };
        parked.state.topic = topic;
        let state = parked.state;
        let is_stored = parked.is_stored;
        if !self.refused.contains(&(topic, state.origin)) {
            self.unsent.insert((topic, state.origin));
        }
        self.behind.insert((topic, state.origin), sequence);
        (state, is_stored)
    }

    /// A message was sent: those behind it need not wait for it, unless the client has refused it before.
    pub(super) fn sent(&mut self, sequence: u64) {
        if let Some((state, _)) = self.queued.get(&sequence) {
            self.unsent.remove(&(state.topic, state.origin));
        }
    }

    /// The refused message with this sequence.
    pub(super) fn refused(&self, sequence: u64) -> Option<RefusedMessage> {
        let Parked { state, content, expires_at, is_stored, is_decided, .. } = self.parked.get(&sequence)?;
        let (delivery, expires_at, is_stored, is_decided) = (content.clone(), *expires_at, *is_stored, *is_decided);
        Some(RefusedMessage { state: *state, delivery, expires_at, is_stored, is_decided })
    }

    /// The sequences of refused messages about which another shard has not decided before the Session moved.
    pub(super) fn take_undecided(&mut self) -> Vec<u64> {
        if !std::mem::take(&mut self.has_moved) {
            return Vec::new();
        }
        self.parked.iter().filter(|(_, parked)| !parked.is_decided).map(|(sequence, _)| *sequence).collect()
    }

    /// The owner has decided that a refused message is due at `state.due`. Returns whether messages are due because it holds them back no
    /// more.
    pub(super) fn decide(&mut self, sequence: u64, state: Redelivery) -> bool {
        let Some(parked) = self.parked.get_mut(&sequence) else { return false };
        let before = parked.state;
        self.undecided -= usize::from(!parked.is_decided);
        self.schedule.remove(&(parked.state.due, parked.state.origin, sequence));
        (parked.state, parked.is_decided) = (state, true);
        self.schedule.insert((state.due, state.origin, sequence));
        if state.topic != 0 {
            self.unsent.remove(&(state.topic, state.origin));
            self.refused.insert((state.topic, state.origin));
        }
        // The rule has changed.
        before.topic != state.topic && self.unblock(before)
    }

    /// A parked message leaves. Returns its size, which counted in the queue.
    pub(super) fn leave(&mut self, sequence: u64) -> Option<u32> {
        let Parked { state, bytes, is_decided, .. } = self.parked.remove(&sequence)?;
        self.undecided -= usize::from(!is_decided);
        self.schedule.remove(&(state.due, state.origin, sequence));
        if self.behind.get(&(state.topic, state.origin)) == Some(&sequence) {
            self.behind.remove(&(state.topic, state.origin));
        }
        Some(bytes)
    }

    /// A message that was parked is in the queue again, or on its way there, with this sequence.
    pub(super) fn queue(&mut self, sequence: u64, state: Redelivery, is_stored: bool) {
        self.queued.insert(sequence, (state.queued(), is_stored));
    }

    /// The message with this sequence left the queue for good.
    pub(super) fn forget(&mut self, sequence: u64) -> Forgotten {
        let Some((state, is_stored)) = self.queued.remove(&sequence) else { return Forgotten::default() };
        Forgotten { is_stored, releases: self.unblock(state) }
    }

    /// No message waits behind this one any more. Returns whether messages are due because of that.
    pub(super) fn unblock(&mut self, Redelivery { topic, origin, .. }: Redelivery) -> bool {
        let place = (topic, origin);
        let was_unsent = self.unsent.remove(&place);
        let was_refused = self.refused.remove(&place);
        (was_unsent || was_refused) && self.release(topic)
    }

    /// Lets the messages of a topic be due that wait behind no refused one: the first refused one and those before it. Returns whether there
    /// are any. They go into the queue in their order.
    pub(super) fn release(&mut self, topic: u64) -> bool {
        let of_topic = (topic, 0)..=(topic, u64::MAX);
        let end = self.refused.range(of_topic).next().copied().unwrap_or((topic, u64::MAX));
        let mut has_released = false;
        while let Some((&place, &sequence)) = self.behind.range((topic, 0)..=end).next() {
            self.behind.remove(&place);
            if let Some(parked) = self.parked.get_mut(&sequence) {
                parked.state.due = RELEASED;
                self.schedule.insert((RELEASED, parked.state.origin, sequence));
                has_released = true;
            }
        }
        has_released
    }

    /// When the owner has to do something; `None`: it waits for the store, or for nothing.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        if self.has_moved {
            return Some(RELEASED);
        }
        self.schedule.first().filter(|_| !self.is_reading).map(|(due, ..)| *due)
    }

    /// The time for which the owner must set a timer, unless it has an earlier one.
    pub(super) fn arm(&mut self) -> Option<Timestamp> {
        let at = self.next_due().filter(|at| self.armed.is_none_or(|armed| *at < armed))?;
        self.armed = Some(at);
        Some(at)
    }

    /// The timer of the owner has fired.
    pub(super) const fn disarm(&mut self) {
        self.armed = None;
    }

    /// The sequences of the next messages that are due at `now`, at most `max`, in order; none while others are being read.
    pub(super) fn due(&self, now: Timestamp, max: usize) -> Vec<u64> {
        let due = self.schedule.iter().take_while(|(due, ..)| *due <= now && !self.is_reading);
        due.take(max).map(|(_, _, sequence)| *sequence).collect()
    }

    /// Messages that are due are being read from the store, or are not any more.
    pub(super) const fn set_reading(&mut self, is_reading: bool) {
        self.is_reading = is_reading;
    }

    /// The Session moves to another shard, which has its own reads and timers.
    pub(super) const fn forget_shard(&mut self) {
        self.is_reading = false;
        self.armed = None;
        self.has_moved = self.undecided > 0;
    }

    /// The sequence of the oldest parked message about which the owner has decided.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.parked.iter().find(|(_, parked)| parked.is_decided).map(|(sequence, _)| *sequence)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.parked.is_empty() && self.queued.is_empty() && self.refused.is_empty() && self.unsent.is_empty()
    }

    /// Whether the owner has not decided about a refused message yet.
    pub(super) const fn is_undecided(&self) -> bool {
        self.undecided > 0
    }

    /// Whether a parked message is only in the store.
    pub(super) fn has_stored(&self) -> bool {
        self.parked.values().any(|parked| parked.is_stored && parked.content.is_none())
    }

    /// The sequences of parked messages, ascending.
    pub(super) fn parked_sequences(&self) -> impl Iterator<Item = u64> + '_ {
        self.parked.keys().copied()
    }

    /// The parked messages by sequence, each with the message if it is in memory.
    pub(super) fn into_parked(self) -> impl Iterator<Item = (u64, Option<Delivery>)> {
        self.parked.into_iter().map(|(sequence, parked)| (sequence, parked.content))
    }

    /// Restores a message of the previous run: parked with its entry, or in the queue.
    pub(super) fn restore(&mut self, sequence: u64, state: Redelivery, parked: Option<Entry>) {
        match parked {
            Some(entry) => {
                self.park(entry, None);
                if let Some(parked) = self.parked.get_mut(&sequence) {
                    parked.state = state;
                    parked.is_stored = true;
                }
                if state.due == Timestamp::NEVER {
                    self.behind.insert((state.topic, state.origin), sequence);
                } else {
                    self.schedule.insert((state.due, state.origin, sequence));
                }
            }
            None => self.queue(sequence, state, true),
        }
        if state.topic != 0 {
            let order = if state.attempts > 0 { &mut self.refused } else { &mut self.unsent };
            order.insert((state.topic, state.origin));
        }
    }

    /// After all messages are restored: those that wait behind no other one are due.
    pub(super) fn end_restore(&mut self) {
        let topics: BTreeSet<u64> = self.behind.keys().map(|(topic, _)| *topic).collect();
        for topic in topics {
            self.release(topic);
        }
    }
}
