//! Messages that members have refused, and that are sent again.

use std::sync::Arc;

use super::Ledger;
use crate::broker::streams::groups::refusals::Refusal;
use crate::codec::Message;
use crate::timestamp::Timestamp;

impl Ledger {
    /// The message of a delivery that is awaited, and how often members have refused it before.
    pub(in crate::broker) fn sent(&self, sequence: u64, delivery: u64) -> Option<(&Arc<Message>, u16)> {
        self.delivery(sequence, delivery)?;
        Some((&self.open.get(&sequence)?.message, self.refusals.attempts(sequence)))
    }

    /// A member has refused this delivery, and some member gets it again when it is due. Until then, later messages of its key wait.
    pub(in crate::broker) fn refuse(&mut self, sequence: u64, delivery: u64, refusal: Refusal) {
        let Some((member, key)) = self.delivery(sequence, delivery) else { return };
        if let Some(open) = self.open.get_mut(&sequence) {
            open.sent = None;
        }
        self.saved.is_outdated = true;
        self.refusals.add(sequence, refusal);
        if let Some(key) = key {
            self.roster.refuse(member, key, sequence);
        }
        self.done(member, key);
        if self.roster.len() == 0 {
            self.rest();
        }
    }

    /// Places the refused messages that are due at `now`.
    pub(in crate::broker) fn send_again(&mut self, now: Timestamp) {
        while let Some(sequence) = self.refusals.next_due(now) {
            match self.open.get(&sequence).map(|open| open.key) {
                Some(Some(key)) => self.roster.due(key, sequence).into_iter().for_each(|one| self.place(one)),
                Some(None) => self.place(sequence),
                None => {}
            }
        }
    }

    /// Whether refused messages wait for their time.
    #[cfg(test)]
    pub(in crate::broker) fn has_waiting(&self) -> bool {
        self.refusals.has_waiting()
    }

    /// The time for which a timer of a refused message must be set now.
    pub(in crate::broker) fn arm(&mut self) -> Option<Timestamp> {
        self.refusals.arm()
    }
}
