//! Decides what becomes of a message that a client has refused.

use crate::broker::action::Action;
use crate::broker::persistence::fetch::{Fetch, Purpose};
use crate::broker::persistence::receipt::CopyOutcome;
use crate::broker::persistence::record::Record;
use crate::broker::receipts::payload::is_receipt;
use crate::broker::redelivery::rules::RedeliveryRule;
use crate::broker::settings::Settings;
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::codec::Message;
use crate::routing::SessionKey;
use crate::session::{self, Delivery, FetchedMessage, Parking, Redelivery, topic_number};
use crate::timestamp::Timestamp;

impl Settings {
    /// The rule by which a refused message is sent again; `None`: it is not.
    pub(in crate::broker) fn redelivery_rule(&self, message: &Message) -> Option<&RedeliveryRule> {
        let is_dead_letter = self.dead_letter_topic.as_ref() == Some(&message.topic) || is_receipt(message);
        self.redelivery.of(&message.topic).filter(|_| !is_dead_letter)
    }
}

impl Shard {
    /// The client of the Session in `slot` has refused a message. Its topic decides, so it is read first if it is not in memory.
    pub(in crate::broker) fn on_refused(&mut self, slot: usize, sequence: u64, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(message) = entry.session.refused(sequence) else { return };
        if !entry.is_durable() || self.settings.redelivery.is_empty() {
            return self.discard_refused(slot, sequence, turn);
        }
        match message.delivery {
            Some(delivery) => self.decide_refused(slot, sequence, delivery, turn),
            None => {
                let (session, sequences, purpose) = (entry.subscriber.key, vec![sequence], Purpose::Refused { slot });
                turn.actions.push(Action::Fetch(Box::new(Fetch { session, sequences, purpose })));
            }
        }
    }

    /// A refused message was read. If its Session has moved meanwhile, its shard reads it again.
    pub(in crate::broker) fn on_refused_fetched(
        &mut self,
        (slot, key): (usize, SessionKey),
        messages: Vec<FetchedMessage>,
        turn: &mut Turn<'_>,
    ) {
        for (sequence, message) in messages {
            let Some(entry) = self.session(slot, key) else { return };
            if entry.session.refused(sequence).is_none_or(|message| message.is_decided) {
                continue;
            }
            match message {
                Ok(delivery) => self.decide_refused(slot, sequence, delivery, turn),
                Err(cause) => {
                    self.on_unreadable(slot, sequence, cause, turn);
                    self.drive(slot, session::Event::Parking(Parking::Ended(sequence)), turn);
                }
            }
        }
    }

    fn decide_refused(&mut self, slot: usize, sequence: u64, mut delivery: Delivery, turn: &mut Turn<'_>) {
        let Some(message) = self.sessions.get(slot).and_then(|entry| entry.session.refused(sequence)) else { return };
        delivery.expires_at = message.expires_at;
        let topic = &delivery.message.topic;
        let Some(rule) = self.settings.redelivery_rule(&delivery.message) else {
            return self.discard_refused(slot, sequence, turn);
        };
        let attempts = message.state.attempts.saturating_add(1);
        let number = if rule.keeps_order { topic_number(topic) } else { 0 };
        let mut state = Redelivery { attempts, topic: number, ..message.state };
        if attempts >= rule.attempts {
            let topic = rule.dead_letter_topic.clone().or_else(|| self.settings.dead_letter_topic.clone());
            return self.bury(slot, (sequence, state), (delivery, topic), turn);
        }
        let wait = rule.backoff.after(attempts, self.identifiers.random());
        state.due = (turn.now + wait).max(Timestamp(1));
        self.counters.redeliveries_scheduled += 1;
        if message.is_stored {
            self.persist_redelivery(slot, sequence, state, turn);
        }
        self.drive(slot, session::Event::Parking(Parking::Until(sequence, state)), turn);
        self.arm_redelivery(slot, turn.now);
    }

    /// Removes a refused message, as the standard has it.
    fn discard_refused(&mut self, slot: usize, sequence: u64, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(message) = entry.session.refused(sequence) else { return };
        if message.is_stored {
            self.persist_refused_done(slot, sequence, CopyOutcome::Refused(message.state.reason_code), turn);
        }
        self.drive(slot, session::Event::Parking(Parking::Ended(sequence)), turn);
    }

    /// Deletes a refused message and its state from the stored queue.
    pub(in crate::broker) fn persist_refused_done(
        &mut self,
        slot: usize,
        sequence: u64,
        outcome: CopyOutcome,
        turn: &mut Turn<'_>,
    ) {
        if let Some(entry) = self.sessions.get(slot).filter(|entry| entry.stored) {
            let key = entry.subscriber.key;
            self.persist_left(key, sequence, outcome, turn);
            self.persist(Record::RedeliveryRemoved { key, sequence }, turn);
        }
    }

    /// Writes the state of a parked message.
    pub(in crate::broker) fn persist_redelivery(
        &mut self,
        slot: usize,
        sequence: u64,
        state: Redelivery,
        turn: &mut Turn<'_>,
    ) {
        if let Some(entry) = self.sessions.get(slot).filter(|entry| entry.stored) {
            let key = entry.subscriber.key;
            self.persist(Record::Redelivery { key, sequence, state }, turn);
        }
    }

    /// Deletes the state of a message that left the queue of the Session in `slot`.
    pub(in crate::broker) fn persist_redelivery_removed(&mut self, slot: usize, sequence: u64, turn: &mut Turn<'_>) {
        if let Some(entry) = self.sessions.get(slot).filter(|entry| entry.stored) {
            let key = entry.subscriber.key;
            self.persist(Record::RedeliveryRemoved { key, sequence }, turn);
        }
    }

    /// Sets the timer of the Session in `slot` for its next parked message, unless it is set for an earlier time.
    pub(in crate::broker) fn arm_redelivery(&mut self, slot: usize, now: Timestamp) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        if let Some(at) = entry.session.arm_redelivery() {
            // Not at once: so the work of a turn is bounded.
            let at = at.max(Timestamp(now.0 + 1));
            self.timers.set(at, Timer::Redelivery(slot, entry.subscriber.key));
        }
    }
}
