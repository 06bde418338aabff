//! Where a group is in its stream.

use super::Ledger;
use crate::broker::persistence::stream_group::GroupPosition;
use crate::broker::streams::groups::ledger::Reading;
use crate::broker::streams::groups::lost::Lost;
use crate::broker::streams::start::StreamStart;

impl Ledger {
    /// Goes on from this position. Messages that were sent are not awaited any more.
    pub(in crate::broker) fn reset(&mut self, position: GroupPosition) {
        self.begin(position);
        self.unsaid = Lost::default();
        self.saved.is_outdated = true;
    }

    pub(super) fn begin(&mut self, position: GroupPosition) {
        let GroupPosition { from, until, open, refused } = position;
        self.open.clear();
        self.fresh.clear();
        self.open_bytes = 0;
        self.roster.clear();
        self.reading = Reading::Idle;
        self.since = if let StreamStart::Time(since) = from { Some(since) } else { None };
        self.next = from;
        self.done_until = until;
        self.again = open.into_iter().collect();
        self.refusals.begin(refused);
        self.skip_done();
    }

    /// What is stored.
    pub(in crate::broker) fn position(&self) -> GroupPosition {
        let next = match self.next {
            _ if self.since.is_some() => return GroupPosition::new(StreamStart::Time(self.since.unwrap_or_default())),
            StreamStart::Sequence(next) => next,
            start @ (StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_)) => {
                return GroupPosition::new(start);
            }
        };
        let mut open: Vec<u64> = self.open.keys().copied().collect();
        open.sort_unstable();
        // They are read again in ascending order.
        debug_assert!(open.last().is_none_or(|last| self.again.first().is_none_or(|next| last < next)));
        open.extend(&self.again);
        let until = next.max(self.done_until);
        let from = StreamStart::Sequence(open.first().copied().unwrap_or(until));
        GroupPosition { from, until, open, refused: self.refusals.all() }
    }

    /// The sequence behind the last message that was read, if it is known, and the number of messages before it that are not acknowledged.
    pub(in crate::broker) fn progress(&self) -> (Option<u64>, usize) {
        let read = if let StreamStart::Sequence(next) = self.next { Some(next.max(self.done_until)) } else { None };
        (read.filter(|_| self.since.is_none()), self.open.len() + self.again.len())
    }
}
