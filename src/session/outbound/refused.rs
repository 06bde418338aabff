//! Messages that the client refused, and those that wait behind them.

use super::Outbound;
use crate::codec::ReasonCode;
use crate::session::entry::{Entry, State};
use crate::session::parked::Forgotten;
use crate::session::{Action, Actions, DropCause, Parking, QueueExit, QueueStep};

impl Outbound {
    /// The client has refused the message at this index, which was sent. It stays in the limits of the queue until the owner of the
    /// Session has decided.
    pub(in crate::session) fn refuse(&mut self, place: usize, reason_code: ReasonCode, actions: &mut impl Actions) {
        let Some(entry) = self.queue.get_mut(place) else { return };
        entry.note(QueueStep::Refused, actions);
        let sequence = entry.sequence;
        if sequence < self.cursor {
            self.in_flight -= 1;
        }
        if let Some(entry) = self.take_entry(place) {
            self.redelivery.get_or_insert_default().park(entry, Some(reason_code.number()));
        }
        actions.push(Action::Refused(sequence));
        self.remove_done();
    }

    /// Parks the message at this index, whose turn it is, behind an earlier one of its topic.
    #[cold]
    pub(super) fn park_behind(&mut self, place: usize, topic: u64, actions: &mut impl Actions) {
        let Some(entry) = self.take_entry(place) else { return };
        let sequence = entry.sequence;
        let redelivery = self.redelivery.get_or_insert_default();
        let (state, is_stored) = redelivery.park_behind(entry, topic);
        // The earlier ones may have been released before, and not be in the queue yet.
        let is_due = redelivery.release(topic);
        if is_stored {
            actions.push(Action::Parked(sequence, state));
        }
        if is_due {
            actions.push(Action::RedeliveryDue);
        }
    }

    /// Whether the client has received the message at this index, and only PUBCOMP is missing.
    pub(in crate::session) fn is_received(&self, place: usize) -> bool {
        self.queue.get(place).is_some_and(|entry| entry.state == State::AwaitingPubcomp)
    }

    /// Takes the entry at this index out of the queue; it still counts in its limits.
    fn take_entry(&mut self, place: usize) -> Option<Entry> {
        let entry = self.queue.get(place)?;
        let (sequence, bytes, recorded) = (entry.sequence, entry.bytes, entry.recorded);
        let expires_at = entry.expires_at();
        let content = self.take(place, State::Done);
        self.bytes += bytes as usize;
        Some(Entry::parked((sequence, bytes, recorded), content, expires_at))
    }

    /// Applies a decision about a parked message.
    pub(in crate::session) fn on_parking(&mut self, parking: Parking, actions: &mut impl Actions) {
        let Some(redelivery) = &mut self.redelivery else { return };
        let mut forgotten = Forgotten::default();
        let left = match parking {
            Parking::Until(sequence, state) => {
                if redelivery.decide(sequence, state) {
                    actions.push(Action::RedeliveryDue);
                }
                return;
            }
            Parking::Queued(sequence) => redelivery.leave(sequence),
            Parking::Ended(sequence) => {
                let state = redelivery.refused(sequence).map(|message| message.state);
                let left = redelivery.leave(sequence);
                forgotten.releases = state.is_some_and(|state| redelivery.unblock(state));
                left
            }
        };
        if let Some(bytes) = left {
            self.messages -= 1;
            self.bytes -= bytes as usize;
        }
        self.after_redelivery(forgotten, 0, actions);
    }

    /// The message with this sequence left the queue for good.
    #[inline]
    pub(super) fn forget_redelivery(&mut self, sequence: u64, actions: &mut impl Actions) {
        if self.redelivery.is_some() {
            self.forget_known(sequence, actions);
        }
    }

    #[cold]
    fn forget_known(&mut self, sequence: u64, actions: &mut impl Actions) {
        let Some(redelivery) = &mut self.redelivery else { return };
        let forgotten = redelivery.forget(sequence);
        self.after_redelivery(forgotten, sequence, actions);
    }

    fn after_redelivery(&mut self, forgotten: Forgotten, sequence: u64, actions: &mut impl Actions) {
        if forgotten.is_stored {
            actions.push(Action::RedeliveryRemoved(sequence));
        }
        if forgotten.releases {
            actions.push(Action::RedeliveryDue);
        }
        if self.redelivery.as_ref().is_some_and(|redelivery| redelivery.is_empty()) {
            self.redelivery = None;
        }
    }

    /// Drops the oldest parked message, because the queue is full. Returns `false` if there is none.
    pub(super) fn drop_parked(&mut self, actions: &mut impl Actions) -> bool {
        let Some(redelivery) = &mut self.redelivery else { return false };
        let Some(sequence) = redelivery.oldest() else { return false };
        let Some(message) = redelivery.refused(sequence) else { return false };
        if let Some(bytes) = redelivery.leave(sequence) {
            self.messages -= 1;
            self.bytes -= bytes as usize;
        }
        let releases = redelivery.unblock(message.state);
        let cause = DropCause::QueueFull;
        if message.is_stored && message.delivery.is_none() && self.limits.has_dead_letters {
            actions.push(Action::DroppedStored(cause, sequence));
        } else {
            actions.push(Action::Dropped(cause, message.delivery.map(Box::new)));
            if message.is_stored {
                actions.push(Action::Done(sequence, QueueExit::Dropped(cause)));
            }
        }
        self.after_redelivery(Forgotten { is_stored: message.is_stored, releases }, sequence, actions);
        true
    }
}
