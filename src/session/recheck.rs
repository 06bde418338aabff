//! Checks the queue again after the rights of its client have changed.

use std::sync::Arc;

use super::outbound::Outbound;
use super::rights::{Recheck, Rights};
use super::{Actions, DropCause};

impl Outbound {
    /// The client's rights are `rights` now. Each message before the sequence `before`, and each one that a previous change concerns, is
    /// checked before it is sent for the first time.
    pub(super) fn recheck(&mut self, before: u64, rights: Arc<dyn Rights>) {
        let before = self.recheck.as_ref().map_or(before, |recheck| recheck.before.max(before));
        self.recheck = (before > self.sent_until()).then(|| Box::new(Recheck { before, rights }));
    }

    /// Gives messages of Shared Subscriptions away that the client may not receive any more, from the message at index `first` on. They
    /// are in memory, because they may move to another member.
    pub(super) fn drop_denied_shares(&mut self, first: usize, actions: &mut impl Actions) {
        let Some(recheck) = self.recheck.take() else { return };
        for place in first..self.queue.len() {
            if self.queue.get(place).is_some_and(|entry| recheck.denies_shared(entry)) {
                self.drop_message(place, DropCause::NotAuthorized, actions);
            }
        }
        self.recheck = Some(recheck);
        self.remove_done();
    }
}
