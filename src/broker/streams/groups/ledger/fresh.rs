//! Messages that a group gets when they are stable, without a read of its stream.

use super::{Ledger, Reading};
use crate::broker::streams::groups::dispatch::GroupDispatch;
use crate::broker::streams::groups::fresh::{FRESH_MESSAGES_MAX, FreshMessage};
use crate::broker::streams::start::StreamStart;

impl Ledger {
    /// Adds messages that have become stable, in ascending order, as far as they follow what it has. It keeps none that is far from the next one: a group
    /// that is behind reads them. `wants`: whether the group gets a message.
    pub(in crate::broker) fn add_fresh(
        &mut self,
        messages: &[FreshMessage],
        wants: impl Fn(&FreshMessage) -> bool,
        dispatch: GroupDispatch,
    ) {
        if self.roster.len() == 0 || self.is_gone {
            return; // they are read when there is a member
        }
        self.change_dispatch(dispatch);
        let before = self.next;
        for fresh in messages {
            if !self.is_near(fresh.sequence) {
                continue;
            }
            let wanted = wants(fresh).then(|| fresh.clone());
            if self.fresh.messages.is_empty() && self.can_follow(fresh.sequence) {
                self.follow(fresh.sequence, wanted);
            } else {
                self.fresh.insert(fresh.sequence, wanted);
            }
        }
        self.end_fresh(before);
    }

    /// Adds the messages that can follow now: there is room, or those before them have come.
    pub(in crate::broker) fn follow_fresh(&mut self) {
        let before = self.next;
        while !self.fresh.messages.is_empty()
            && let StreamStart::Sequence(next) = self.next
            && self.can_follow(next)
            && let Some(wanted) = self.fresh.take(next)
        {
            self.follow(next, wanted);
        }
        self.end_fresh(before);
    }

    fn end_fresh(&mut self, before: StreamStart) {
        if self.next != before {
            self.saved.is_outdated = true;
            self.added();
        }
    }

    /// Whether the next message is likely to come without a read: the last one did, and it was not waited for already.
    pub(in crate::broker) fn awaits_fresh(&mut self) -> bool {
        let next = if let StreamStart::Sequence(next) = self.next { Some(next) } else { None };
        self.fresh.is_followed && std::mem::replace(&mut self.fresh.awaited, next) != next
    }

    /// Whether the group may keep a message with this sequence until those before it are there.
    fn is_near(&self, sequence: u64) -> bool {
        let StreamStart::Sequence(next) = self.next else { return false };
        sequence.checked_sub(next).is_some_and(|distance| distance < FRESH_MESSAGES_MAX as u64)
    }

    /// The number of messages that it keeps until those before them are there.
    #[cfg(test)]
    pub(in crate::broker) fn kept_fresh(&self) -> usize {
        self.fresh.messages.len()
    }

    /// Whether the message with this sequence is the next one, and may be added. The answer to a read in progress has it, too.
    fn can_follow(&self, sequence: u64) -> bool {
        let is_read = matches!(self.reading, Reading::Reads(..));
        !is_read && !self.is_gone && self.next == StreamStart::Sequence(sequence) && self.has_room(1)
    }

    fn follow(&mut self, sequence: u64, wanted: Option<FreshMessage>) {
        self.next = StreamStart::Sequence(sequence + 1);
        self.fresh.is_followed = true;
        if let Some(fresh) = wanted.filter(|fresh| self.is_new((sequence, fresh.timestamp))) {
            self.add(fresh);
        }
    }
}
