//! Drops messages from a queue.

use super::Outbound;
use super::settled::{is_of_group, is_recorded};
use crate::session::entry::State;
use crate::session::{Action, Actions, Delivery, DropCause, QueueExit, QueueStep, Settlement};

impl Outbound {
    /// Drops the next message instead of appending it.
    #[cold]
    pub(super) fn skip(&mut self, delivery: Delivery, actions: &mut impl Actions) {
        let sequence = self.end;
        self.end += 1;
        for next in [&mut self.cursor, &mut self.sent_until] {
            if *next == sequence {
                *next = self.end; // all messages before it were sent
            }
        }
        actions.begin_notes(sequence, &delivery.message, QueueStep::Dropped(DropCause::QueueFull));
        self.forget_redelivery(sequence, actions);
        actions.push(Action::Dropped(DropCause::QueueFull, Some(Box::new(delivery))));
    }

    /// Drops the oldest messages that were never sent, as many as exceed the bounds.
    pub(super) fn drop_oldest(&mut self, actions: &mut impl Actions) {
        while self.messages as usize > self.limits.queued_messages_max || self.bytes > self.limits.queued_bytes_max {
            if self.drop_parked(actions) {
                continue; // it is older than those that were never sent
            }
            let oldest = self.place_from(self.sent_until);
            if self.queue.get(oldest).is_none() {
                break; // the remaining messages are in flight
            }
            self.drop_message(oldest, DropCause::QueueFull, actions);
            // Only messages in flight precede it, so removing it is cheap.
            self.queue.remove(oldest);
        }
        self.remove_done();
    }

    /// Drops the message at this index. A dead letter of it is stored before its record is deleted.
    pub(in crate::session) fn drop_message(&mut self, place: usize, cause: DropCause, actions: &mut impl Actions) {
        let Some(entry) = self.queue.get_mut(place).filter(|entry| entry.state != State::Done) else { return };
        entry.note(QueueStep::Dropped(cause), actions);
        let (sequence, is_stored) = (entry.sequence, entry.is_stored());
        self.messages -= 1;
        let delivery = self.take(place, State::Done);
        self.forget_redelivery(sequence, actions);
        if is_of_group(delivery.as_ref()) {
            return actions.push(Action::Settled(sequence, Settlement::Dropped));
        }
        if is_stored && self.limits.has_dead_letters {
            return actions.push(Action::DroppedStored(cause, sequence));
        }
        if cause == DropCause::NotAuthorized
            && let Some(delivery) = delivery
        {
            return actions.push(Action::Denied(sequence, Box::new(delivery)));
        }
        let is_recorded = is_recorded(delivery.as_ref());
        actions.push(Action::Dropped(cause, delivery.map(Box::new)));
        if is_recorded {
            actions.push(Action::Done(sequence, QueueExit::Dropped(cause)));
        }
    }

    /// Drops a message that can't be fetched. Its record stays, because a later run may be able to read it.
    pub(in crate::session) fn give_up(&mut self, place: usize, actions: &mut impl Actions) {
        if let Some(entry) = self.queue.get_mut(place) {
            entry.note(QueueStep::Unreadable, actions);
        }
        self.messages -= 1;
        self.take(place, State::Done);
        if let Some(sequence) = self.queue.get(place).map(|entry| entry.sequence) {
            self.forget_redelivery(sequence, actions);
        }
    }
}
