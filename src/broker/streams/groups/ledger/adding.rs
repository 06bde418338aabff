//! Messages that are new in a group.

use std::mem;
use std::ops::RangeInclusive;

use super::{Ledger, Open};
use crate::broker::streams::groups::fresh::FreshMessage;
use crate::broker::streams::groups::lost::Lost;
use crate::broker::streams::start::StreamStart;

impl Ledger {
    /// Whether a message with this sequence and time is not done.
    pub(super) fn is_new(&mut self, (sequence, timestamp): (u64, u64)) -> bool {
        (sequence >= self.done_until || self.again.remove(&sequence))
            && self.since.is_none_or(|since| timestamp >= since)
    }

    pub(super) fn add(&mut self, FreshMessage { sequence, timestamp, expires_at, message }: FreshMessage) {
        self.since = None;
        self.open_bytes += message.content_len();
        let key = self.roster.dispatch().key_of(&message);
        let lost = mem::take(&mut self.unsaid);
        self.open.insert(sequence, Open { message, timestamp, expires_at, lost, key, sent: None });
        self.refusals.wait_again(sequence);
        self.place(sequence);
    }

    /// All messages before `next` were added, and those that were not found are trimmed, damaged, or not wanted.
    pub(super) fn added(&mut self) {
        if let StreamStart::Sequence(next) = self.next {
            self.again = self.again.split_off(&next);
            self.refusals.retain(|sequence| sequence >= next || self.open.contains_key(&sequence));
        }
        self.skip_done();
    }

    /// What the next message says about those before it.
    pub(super) fn lost(&self, oldest: u64, unreadable: Option<RangeInclusive<u64>>) -> Lost {
        let wanted = if let StreamStart::Sequence(next) = self.next { Some(next) } else { None };
        let first = wanted.map(|next| self.again.first().copied().unwrap_or(next.max(self.done_until)));
        let trimmed = first.filter(|first| *first < oldest).map(|first| first..=oldest - 1);
        Lost::new(trimmed, unreadable)
    }

    /// Messages that are done need not be read again.
    pub(super) fn skip_done(&mut self) {
        if let StreamStart::Sequence(next) = &mut self.next
            && *next < self.done_until
        {
            *next = self.again.first().copied().unwrap_or(self.done_until);
        }
    }
}
