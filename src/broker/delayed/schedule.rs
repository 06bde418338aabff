//! The delayed messages of one shard by the time at which they are published.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;

use crate::broker::persistence::delayed_message::DelayedMessage;
use crate::session::Ticket;
use crate::timestamp::Timestamp;

/// A delayed message. Its content is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::broker) struct Entry {
    pub(in crate::broker) due: Timestamp,
    /// Messages that are due at the same time are published in the order in which they were accepted.
    pub(in crate::broker) number: u64,
    /// What it counts for in the quota.
    pub(in crate::broker) bytes: u32,
    /// Whose it is in the quota.
    pub(in crate::broker) owner: u32,
}

const _: () = assert!(size_of::<Entry>() == 24);

/// The delayed messages that a shard will publish.
#[derive(Debug, Default)]
pub(in crate::broker) struct Schedule {
    /// Those whose record is not stable yet, in the order of their tickets. The congestion of the store bounds them.
    unstable: VecDeque<(Ticket, Entry)>,
    waiting: BinaryHeap<Reverse<Entry>>,
    /// The batch that is being prepared.
    preparing: Vec<Entry>,
    /// The contents, if there is no store.
    contents: HashMap<u64, Box<DelayedMessage>, RandomState>,
    /// Messages that expired by decision of the start.
    expired: HashSet<u64, RandomState>,
    /// No batch begins before.
    paused_until: Timestamp,
    /// The time of the timer.
    pub(in crate::broker) armed: Option<Timestamp>,
}

impl Schedule {
    /// Adds a message whose record is stable with `ticket`. `content`: it is kept in memory, because there is no store.
    pub(in crate::broker) fn add(&mut self, ticket: Ticket, entry: Entry, content: Option<Box<DelayedMessage>>) {
        if let Some(content) = content {
            self.contents.insert(entry.number, content);
        }
        self.unstable.push_back((ticket, entry));
    }

    /// Adds a message of the previous run. `is_expired`: it expired by decision of the start, and is dropped.
    pub(in crate::broker) fn restore(&mut self, entry: Entry, is_expired: bool) {
        if is_expired {
            self.expired.insert(entry.number);
        }
        self.waiting.push(Reverse(entry));
    }

    /// Whether [`settle`](Self::settle) may have an effect.
    #[inline]
    pub(in crate::broker) fn has_unstable(&self) -> bool {
        !self.unstable.is_empty()
    }

    /// All records up to `stable` are stable.
    pub(in crate::broker) fn settle(&mut self, stable: Ticket) {
        while let Some((_, entry)) = self.unstable.front().filter(|(ticket, _)| *ticket <= stable).copied() {
            self.unstable.pop_front();
            self.waiting.push(Reverse(entry));
        }
    }

    /// When the next batch can begin; `None`: nothing waits, or a batch is being prepared.
    pub(in crate::broker) fn next_due(&self) -> Option<Timestamp> {
        let next = self.waiting.peek().filter(|_| self.preparing.is_empty())?;
        Some(next.0.due.max(self.paused_until))
    }

    /// Begins no batch before `until`.
    pub(in crate::broker) fn pause(&mut self, until: Timestamp) {
        self.paused_until = until;
    }

    /// Takes the messages that are due at `now`, at most [`BATCH_MESSAGES`] and about [`BATCH_BYTES`], with the contents in memory.
    pub(in crate::broker) fn begin_batch(&mut self, now: Timestamp) -> Vec<(u64, Option<Box<DelayedMessage>>)> {
        let mut bytes = 0;
        while self.preparing.len() < BATCH_MESSAGES
            && bytes < BATCH_BYTES
            && let Some(Reverse(entry)) = self.waiting.peek().filter(|next| next.0.due <= now).copied()
        {
            self.waiting.pop();
            bytes += entry.bytes as usize;
            self.preparing.push(entry);
        }
        if self.waiting.len() < self.waiting.capacity() / 4 {
            self.waiting.shrink_to(2 * self.waiting.len());
        }
        self.preparing.iter().map(|entry| (entry.number, self.contents.remove(&entry.number))).collect()
    }

    /// Ends the batch, and returns its entries in order.
    pub(in crate::broker) fn end_batch(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.preparing)
    }

    /// Puts a message of a batch back, to be published at `due`.
    pub(in crate::broker) fn put_back(&mut self, entry: Entry, due: Timestamp, content: Option<Box<DelayedMessage>>) {
        if let Some(content) = content {
            self.contents.insert(entry.number, content);
        }
        self.waiting.push(Reverse(Entry { due, ..entry }));
    }

    /// Whether a message expired by decision of the start. Forgets it.
    pub(in crate::broker) fn take_expired(&mut self, number: u64) -> bool {
        !self.expired.is_empty() && self.expired.remove(&number)
    }
}

/// Messages in one batch: about a millisecond of work.
const BATCH_MESSAGES: usize = 64;
/// Bytes after which a batch has no further message.
const BATCH_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(due: u64, number: u64) -> Entry {
        Entry { due: Timestamp(due), number, bytes: 100, owner: 0 }
    }

    fn numbers(batch: Vec<(u64, Option<Box<DelayedMessage>>)>) -> Vec<u64> {
        batch.into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn messages_wait_for_their_record_and_their_time_and_keep_their_order() {
        let mut schedule = Schedule::default();
        for (ticket, entry) in [(1, entry(500, 1)), (2, entry(200, 2)), (3, entry(500, 3)), (4, entry(100, 4))] {
            schedule.add(Ticket(ticket), entry, None);
        }
        assert_eq!(schedule.next_due(), None);
        schedule.settle(Ticket(3));
        assert_eq!(schedule.next_due(), Some(Timestamp(200)));
        assert_eq!(numbers(schedule.begin_batch(Timestamp(199))), [0; 0]);
        assert_eq!(numbers(schedule.begin_batch(Timestamp(1_000))), [2, 1, 3]);
        schedule.settle(Ticket(4));
        assert_eq!(schedule.next_due(), None, "a batch is being prepared");
        let batch = schedule.end_batch();
        assert_eq!(batch.len(), 3);
        assert_eq!(schedule.next_due(), Some(Timestamp(100)));
        schedule.put_back(batch[0], Timestamp(2_000), None);
        assert_eq!(numbers(schedule.begin_batch(Timestamp(1_000))), [4]);
        schedule.end_batch();
        assert_eq!(schedule.next_due(), Some(Timestamp(2_000)));
        schedule.pause(Timestamp(3_000));
        assert_eq!(schedule.next_due(), Some(Timestamp(3_000)));
    }

    #[test]
    fn a_batch_is_bounded_by_messages_and_by_bytes() {
        let mut schedule = Schedule::default();
        for number in 0..1_000 {
            schedule.restore(entry(1, number), false);
        }
        assert_eq!(schedule.begin_batch(Timestamp(1)).len(), BATCH_MESSAGES);
        schedule.end_batch();
        for number in 0..10 {
            schedule.restore(Entry { bytes: 1 << 19, ..entry(0, number) }, false);
        }
        assert_eq!(schedule.begin_batch(Timestamp(1)).len(), 2);
    }

    #[test]
    fn a_message_that_expired_at_the_start_is_told_once() {
        let mut schedule = Schedule::default();
        schedule.restore(entry(1, 5), true);
        assert!(!schedule.take_expired(6) && schedule.take_expired(5) && !schedule.take_expired(5));
    }
}
