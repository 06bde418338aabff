//! Puts refused messages into the queue again when they are due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::action::Action;
use crate::broker::event::StoreRoom;
use crate::broker::persistence::fetch::{Fetch, Purpose};
use crate::broker::persistence::record::{Addressed, InsteadOf};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::publish::plan::{Admission, Copies};
use crate::broker::publish::publisher::Publisher;
use crate::broker::redelivery::rules::ATTEMPT;
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::codec::{Message, MessageProperties, MessageProperty};
use crate::routing::{SessionKey, Subscriber};
use crate::session::{self, Delivery, DeliveryPlace, FetchedMessage, Parking};

impl Shard {
    /// The timer of parked messages of the Session in `slot`.
    pub(in crate::broker) fn on_redelivery_due(&mut self, slot: usize, key: SessionKey, turn: &mut Turn<'_>) {
        if self.session(slot, key).is_none() || self.lifecycle.is_shutting_down() {
            return; // it has moved or ended, or the next start has its messages
        }
        if self.flow.is_store_congested() {
            return self.timers.set(turn.now + CONGESTION_PAUSE, Timer::Redelivery(slot, key));
        }
        if self.store_room == StoreRoom::None {
            return self.timers.set(turn.now + FULL_PAUSE, Timer::Redelivery(slot, key));
        }
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        entry.session.disarm_redelivery();
        for sequence in entry.session.take_undecided() {
            self.on_refused(slot, sequence, turn);
        }
        let Some(entry) = self.session(slot, key) else { return };
        let due = entry.session.due_redeliveries(turn.now, BATCH_MESSAGES);
        let is_missing = |sequence: &u64| entry.session.refused(*sequence).is_none_or(|one| one.delivery.is_none());
        let missing: Vec<u64> = due.iter().copied().filter(is_missing).collect();
        if missing.is_empty() {
            return self.queue_due_again((slot, key), BTreeMap::new(), turn);
        }
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.session.set_reading_redeliveries(true);
        }
        let fetch = Fetch { session: key, sequences: missing, purpose: Purpose::Redeliver { slot } };
        turn.actions.push(Action::Fetch(Box::new(fetch)));
    }

    /// Messages that are due were read. If their Session has moved meanwhile, its shard reads them again.
    pub(in crate::broker) fn on_redeliveries_fetched(
        &mut self,
        (slot, key): (usize, SessionKey),
        messages: Vec<FetchedMessage>,
        turn: &mut Turn<'_>,
    ) {
        if self.session(slot, key).is_none() || self.lifecycle.is_shutting_down() {
            return;
        }
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.session.set_reading_redeliveries(false);
        }
        self.queue_due_again((slot, key), messages.into_iter().collect(), turn);
    }

    /// Puts what is due into the queue, in order. `read`: what the store had.
    fn queue_due_again(
        &mut self,
        (slot, key): (usize, SessionKey),
        mut read: BTreeMap<u64, Result<Delivery, bytestring::ByteString>>,
        turn: &mut Turn<'_>,
    ) {
        let due = self.session(slot, key).map(|entry| entry.session.due_redeliveries(turn.now, BATCH_MESSAGES));
        for sequence in due.unwrap_or_default() {
            let Some(entry) = self.session(slot, key) else { return };
            let Some(message) = entry.session.refused(sequence) else { continue };
            match (message.delivery, read.remove(&sequence)) {
                (Some(delivery), _) | (None, Some(Ok(delivery))) => self.queue_again(slot, sequence, delivery, turn),
                (None, Some(Err(cause))) => {
                    self.on_unreadable(slot, sequence, cause, turn);
                    self.drive(slot, session::Event::Parking(Parking::Ended(sequence)), turn);
                }
                (None, None) => break, // it became due while others were read, and those behind it wait
            }
        }
        self.arm_redelivery(slot, turn.now);
    }

    /// Puts a parked message into the queue again, with a new sequence. The record that has it there deletes its old place.
    fn queue_again(&mut self, slot: usize, sequence: u64, mut delivery: Delivery, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(message) = entry.session.refused(sequence) else { return };
        let (to, is_stored) = (Arc::clone(&entry.subscriber), message.is_stored && entry.stored);
        delivery.expires_at = message.expires_at;
        if !to.access().receive(&delivery.message.topic) {
            self.on_denied(slot, sequence, delivery, turn);
            if is_stored {
                self.persist_redelivery_removed(slot, sequence, turn);
            }
            return self.drive(slot, session::Event::Parking(Parking::Ended(sequence)), turn);
        }
        let state = message.state.queued();
        if state.attempts > 0 {
            // One that has only waited behind another one has its number already.
            if !message.state.has_waited_behind() {
                delivery.message = Arc::new(with_attempt(&delivery.message, state.attempts));
            }
            self.counters.redelivered += 1;
        }
        self.drive(slot, session::Event::Parking(Parking::Queued(sequence)), turn);
        let instead_of = is_stored.then_some(InsteadOf::Refused(to.key, sequence, state));
        let new = to.take_sequence();
        if let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == to.key) {
            entry.session.queue_again(new, state, is_stored);
        }
        self.append_to_queue(&to, (new, delivery), instead_of, turn);
    }

    /// Appends a message that was accepted before to the queue of a Session, with this sequence. It is sent when the record that replaces
    /// `instead_of` is stable; without one, it has no record.
    pub(in crate::broker) fn append_to_queue(
        &mut self,
        to: &Arc<Subscriber>,
        (sequence, mut delivery): (u64, Delivery),
        instead_of: Option<InsteadOf>,
        turn: &mut Turn<'_>,
    ) {
        self.queue_room.take(&Admission::Unchecked, to, &delivery);
        let routed = self.shared.route_generations.published();
        if instead_of.is_some() {
            delivery.place = DeliveryPlace::Record;
            let accepted = AcceptedMessage::of_delivery(&delivery);
            let durable = vec![Addressed { to: Arc::clone(to), sequence, delivery }];
            let copies = Copies { routed, durable, ..Copies::default() };
            let publisher = Publisher { instead_of, ..Publisher::broker() };
            self.persist_accepted(&publisher, accepted, copies, turn);
        } else {
            delivery.place = DeliveryPlace::Memory;
            self.deliver(to, SequencedDelivery { sequence: Some(sequence), delivery, routed }, None, turn);
        }
    }
}

/// The message for its next attempt, after `attempts` that were refused: the number of that attempt is a User Property before those of the publisher.
fn with_attempt(message: &Message, attempts: u16) -> Message {
    let next = (u32::from(attempts) + 1).to_string();
    let message = without_attempt(message, attempts);
    let properties = message.properties.behind_user_properties([(ATTEMPT, &*next)].into_iter());
    Message { properties, ..message }
}

/// The message as its publisher sent it, after `attempts` that were refused. From the second attempt on, the broker has added a User Property with the
/// number of the attempt, before those of the publisher. It is removed; a property of the publisher with the same name is kept. [MQTT-3.3.2-17]
pub(in crate::broker) fn without_attempt(message: &Message, attempts: u16) -> Message {
    let is_attempt = |property| matches!(property, MessageProperty::UserProperty(name, _) if &*name == ATTEMPT);
    let added = if attempts > 1 { message.properties.iter().position(is_attempt) } else { None };
    let own = message.properties.iter().enumerate().filter(|(place, _)| Some(*place) != added);
    let properties = MessageProperties::from_properties(own.map(|(_, property)| property));
    Message { properties, ..message.clone() }
}

/// Messages in one batch. Each may be as large as Maximum Packet Size.
const BATCH_MESSAGES: usize = 16;
/// How long due messages wait while the store is congested.
const CONGESTION_PAUSE: Duration = Duration::from_millis(100);
/// How long they wait while the disk is full: each is written once more before its old place is free.
const FULL_PAUSE: Duration = Duration::from_secs(1);
