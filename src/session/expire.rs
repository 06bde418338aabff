//! Drops expired messages of a Session whose client is away.

use super::action::Actions;
use super::delivery::DropCause;
use super::outbound::Outbound;
use crate::timestamp::Timestamp;

impl Outbound {
    /// Drops all messages that have expired at `now` without having been sent. Otherwise they are dropped when it is their turn.
    pub(super) fn drop_expired(&mut self, now: Timestamp, actions: &mut impl Actions) {
        let expired_by = self.limits.expired_by(now);
        for place in 0..self.queue.len() {
            if self.queue.get(place).is_some_and(|entry| entry.is_expired(expired_by)) {
                self.drop_message(place, DropCause::Expired, actions);
            }
        }
        self.remove_done();
    }
}
