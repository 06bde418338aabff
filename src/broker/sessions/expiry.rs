//! Ends Sessions: Session Expiry Interval, and the redelivery of messages of Shared Subscriptions.

use std::sync::Arc;

use crate::broker::connection::last_end::ReasonText;
use crate::broker::counters::DropReason;
use crate::broker::history::EventKind;
use crate::broker::operator::drops::Lost;
use crate::broker::persistence::record::{Record, WillState};
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::report::SessionChange;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::routing::{Location, SessionKey, Subscriber};
use crate::session::{self, Unreceived};

impl Shard {
    /// Records that the connection of the durable Session in `slot` has ended, with the time and the state of its Will. Without a Will, nothing
    /// waits for this record, not even a move of the Session to another shard.
    pub(in crate::broker) fn persist_detached(&mut self, slot: usize, will: WillState, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.is_durable()) else { return };
        entry.recorded_as_connected = false;
        let (session_expiry_interval, at) = (entry.session_expiry_interval, entry.detached_at);
        let (key, sent_until) = (entry.subscriber.key, entry.session.sent_until());
        let record = Record::SessionDetached { key, session_expiry_interval, at, will, sent_until };
        if will == WillState::Absent {
            self.persist(record, turn);
        } else {
            self.persist_unawaited(slot, |_| record, turn);
        }
    }

    /// Sets the timer of a Session without connection to its next deadline: the Will or the end of the Session.
    pub(in crate::broker) fn schedule_session(&mut self, slot: usize) {
        let Some(entry) = self.sessions.get(slot) else { return };
        if let Some(at) = entry.will_at().into_iter().chain(entry.ends_at()).min()
            && let Ok(slot) = u32::try_from(slot)
        {
            self.timers.set_session(slot, at);
        }
    }

    /// Cancels the timer of the Session in `slot`, which moves to another shard or ends.
    pub(in crate::broker) fn cancel_session_due(&mut self, slot: usize) {
        if let Ok(slot) = u32::try_from(slot) {
            self.timers.cancel_session(slot);
        }
    }

    /// The timer of a Session without connection: publishes its Will or ends the Session, if that is due.
    pub(in crate::broker) fn on_session_due(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot).filter(|entry| entry.connection.is_none()) else { return };
        if entry.ends_at().is_some_and(|at| at <= turn.now) {
            self.counters.sessions_expired += 1;
            self.report_session(slot, SessionChange::Expired, turn);
            let client = self.label_of_session(slot);
            self.note(&client, EventKind::SessionEnded, (None, Some(ReasonText::of(EXPIRED))), turn.now);
            return self.end_session(slot, turn);
        }
        if entry.will_at().is_some_and(|at| at <= turn.now) {
            self.publish_will(slot, turn);
            self.persist_detached(slot, WillState::Gone, turn);
        }
        self.schedule_session(slot);
    }

    /// Drops the expired messages in the queue of a restored Session, unless its client came first: then they are dropped when it is their
    /// turn.
    pub(in crate::broker) fn expire_queue(&mut self, slot: usize, key: SessionKey, turn: &mut Turn<'_>) {
        if self.session(slot, key).is_some_and(|entry| entry.connection.is_none()) {
            self.drive(slot, session::Event::Expire, turn);
        }
    }

    /// Ends the Session in `slot`, which has no connection: removes its subscriptions, publishes its Will, moves messages of its Shared
    /// Subscriptions to other members, and counts its other messages as dropped.
    pub(in crate::broker) fn end_session(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some((subscriber, entry)) = self.remove_ended(slot, turn) else { return };
        let mut lost = entry.session.queued().0 as u64;
        let stored = entry.stored;
        let mut moved = Vec::new();
        let mut left = if entry.has_shares { entry.session.queued_sequences() } else { Vec::new() };
        for (sequence, delivery) in entry.session.into_share_messages() {
            if self.redirect(&subscriber, SequencedDelivery { sequence: Some(sequence), delivery, routed: 0 }, turn) {
                lost = lost.saturating_sub(1);
                moved.push(sequence);
            }
        }
        left.retain(|sequence| moved.binary_search(sequence).is_err());
        self.counters.dropped(DropReason::SessionEnded, lost);
        self.note_lost(Lost::several(subscriber.client_id.as_str(), lost, DropReason::SessionEnded), turn);
        // After the records of the moved messages: each of these moves one message, so a crash in between neither loses nor duplicates one.
        if stored {
            self.persist_end(subscriber, entry.has_shares, left, turn);
        }
    }

    /// Ends the Session in `slot`, which has no connection, because its Client Identifier has another owner now. As
    /// [`end_session`](Self::end_session), but the lost messages of a durable Session are published to the dead letter topic.
    pub(in crate::broker) fn end_session_of_others(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some((subscriber, entry)) = self.remove_ended(slot, turn) else { return };
        let (key, stored) = (subscriber.key, entry.stored);
        let mut lost = entry.session.queued().0 as u64;
        let (mut letters, mut are_stored, mut moved) = (0, false, Vec::new());
        let has_shares = entry.has_shares;
        let mut left = if has_shares { entry.session.queued_sequences() } else { Vec::new() };
        for Unreceived { sequence, delivery, is_movable } in entry.session.into_unreceived() {
            if is_movable
                && let Some(delivery) = delivery.clone()
                && self.redirect(&subscriber, SequencedDelivery { sequence: Some(sequence), delivery, routed: 0 }, turn)
            {
                lost = lost.saturating_sub(1);
                moved.push(sequence);
                continue;
            }
            letters += 1;
            match delivery {
                _ if letters > LETTERS_MAX => self.lose_dead_letter(&subscriber),
                Some(delivery) => self.publish_dead_letter(&subscriber, DropReason::OwnerChanged, &delivery, turn),
                None => are_stored |= self.add_dead_letter(&subscriber, sequence, DropReason::OwnerChanged, turn),
            }
        }
        left.retain(|sequence| moved.binary_search(sequence).is_err());
        self.counters.dropped(DropReason::OwnerChanged, lost);
        self.note_lost(Lost::several(subscriber.client_id.as_str(), lost, DropReason::OwnerChanged), turn);
        match (stored, are_stored) {
            (false, _) => {}
            (true, false) => self.persist_end(subscriber, has_shares, left, turn),
            // Its messages are deleted when their dead letters are written.
            (true, true) => {
                self.dead_letters.end_session(key);
                let ticket = self.persist(Record::SessionReplaced { key }, turn);
                self.session_left_receipts(key, None, ticket, turn.now);
            }
        }
    }

    /// Removes the Session in `slot`, which has ended, with its subscriptions, and publishes its Will.
    fn remove_ended(&mut self, slot: usize, turn: &mut Turn<'_>) -> Option<(Arc<Subscriber>, SessionSlot)> {
        let subscriber = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber))?;
        self.shared.directory.remove(subscriber.key);
        self.publish_will(slot, turn);
        let entry = self.sessions.remove(slot, &mut self.counters)?;
        if entry.has_shares {
            self.interest_changed(turn);
        }
        self.cancel_session_due(slot);
        self.forget_streams(slot, &entry);
        self.journeys.left(subscriber.key, &subscriber.client_id, true);
        subscriber.set_location(Location { shard: self.id, slot: Location::ENDED });
        self.wake_all_for(&subscriber, turn);
        self.shared.directory.unclaim(&subscriber.client_id, entry.claim);
        self.shared.session_ended();
        Some((subscriber, entry))
    }
}

const EXPIRED: &str = "its Session Expiry Interval has passed";
/// The dead letters of one Session that ends. More would hold up the shard; they are counted as lost.
const LETTERS_MAX: usize = 10_000;
