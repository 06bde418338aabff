//! The queue of the previous run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Outbound;
use crate::session::entry::{Entry, RestoredMessage, State};
use crate::session::{Limits, Redelivery};

impl Outbound {
    /// A recovered queue. Messages before `sent_until` may have been sent, and are sent with DUP.
    pub(in crate::session) fn restored(
        queue: BTreeMap<u64, RestoredMessage>,
        sent_until: u64,
        limits: Arc<Limits>,
    ) -> Self {
        let front = queue.first_key_value().map_or(1, |(first, _)| *first);
        let mut outbound = Self::new(front, limits);
        outbound.head.recorded = true;
        outbound.queue.reserve_exact(queue.len());
        for (sequence, message) in queue {
            let entry = Entry::restored(sequence, message, sequence < sent_until);
            if entry.state != State::Queued {
                outbound.sent_until = sequence + 1;
            }
            if entry.is_stored() {
                outbound.head.stored += 1;
            }
            outbound.messages += 1;
            outbound.bytes += entry.bytes as usize;
            outbound.end = sequence + 1;
            outbound.queue.push_back(entry);
        }
        outbound
    }

    /// Restores a parked message of the previous run.
    pub(in crate::session) fn restore_parked(&mut self, sequence: u64, message: RestoredMessage, state: Redelivery) {
        let entry = Entry::restored(sequence, message, false);
        self.messages += 1;
        self.bytes += entry.bytes as usize;
        self.redelivery.get_or_insert_default().restore(sequence, state, Some(entry));
        if self.queue.is_empty() {
            let next = self.end.max(sequence + 1);
            (self.end, self.cursor, self.sent_until) = (next, next, next);
        } else {
            self.end = self.end.max(sequence + 1);
        }
    }
}
