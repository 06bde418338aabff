//! A message that was refused too often: published to the dead letter topic, and kept for operators.

use std::sync::Arc;

use crate::broker::counters::DropReason;
use crate::broker::operator::drops::Lost;
use crate::broker::persistence::dead_letter::{DeadLetter, DeadLetterInfo};
use crate::broker::persistence::receipt::CopyOutcome;
use crate::broker::persistence::record::Record;
use crate::broker::publish::dead_letter::dead_letter_of;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::redelivery::queue_again::without_attempt;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Message, Qos};
use crate::session::{self, Delivery, Parking, Redelivery};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

impl Shard {
    /// A message of the Session in `slot` was refused for the last time. It leaves the queue with the record that keeps it.
    ///
    /// It is published to `topic` by a record of its own, before: so a crash between the two has it sent once more.
    pub(in crate::broker) fn bury(
        &mut self,
        slot: usize,
        (sequence, state): (u64, Redelivery),
        (mut delivery, topic): (Delivery, Option<TopicName>),
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let (to, owner, is_recorded) = (Arc::clone(&entry.subscriber), entry.owner.clone(), entry.stored);
        let is_stored = entry.session.refused(sequence).is_some_and(|message| message.is_stored) && is_recorded;
        delivery.message = Arc::new(without_attempt(&delivery.message, state.attempts));
        self.count_dropped(slot, to.key, DropReason::Refused, turn);
        self.note_lost(Lost::delivery(to.client_id.as_str(), &delivery, DropReason::Refused), turn);
        if let Some(topic) = topic {
            let of = (to.client_id.as_str(), state.attempts, state.reason_code);
            self.publish_refused(topic, (&delivery.message, delivery.qos), of, turn);
        }
        let info = DeadLetterInfo {
            session: to.key,
            client_id: to.client_id.clone(),
            owner,
            attempts: state.attempts,
            reason_code: state.reason_code,
            at: turn.now,
            topic: delivery.message.topic.as_str().into(),
            bytes: u32::try_from(delivery.queued_bytes()).unwrap_or(u32::MAX),
        };
        match self.shared.dead_letters.add(&info, self.settings.dead_letter_limits) {
            Some((number, gone)) => {
                let letter = Box::new(DeadLetter { number, info, delivery });
                if self.settings.queue_head.is_none() {
                    self.shared.dead_letters.keep_content(letter.clone());
                }
                let change = self.copy_left(to.key, sequence, CopyOutcome::DeadLetter(state.reason_code), turn.now);
                let ticket = self.persist(Record::DeadLetterKept { letter, sequence, at: turn.now, change }, turn);
                if let Some(change) = change {
                    self.settle_copy(change, ticket, turn.now);
                }
                self.unstable_letters.push_back((ticket, number));
                self.counters.dead_letters_kept += 1;
                self.remove_letters(gone, turn);
            }
            None => {
                self.counters.dead_letters_discarded += u64::from(self.settings.dead_letter_limits.messages_max > 0);
                if is_stored {
                    self.persist_refused_done(slot, sequence, CopyOutcome::DeadLetter(state.reason_code), turn);
                }
            }
        }
        self.drive(slot, session::Event::Parking(Parking::Ended(sequence)), turn);
    }

    /// Publishes a message that was refused for the last time, with the client that refused it, how often it was refused, and why.
    pub(in crate::broker) fn publish_refused(
        &mut self,
        topic: TopicName,
        (message, qos): (&Message, Qos),
        (client_id, attempts, reason_code): (&str, u16, u8),
        turn: &mut Turn<'_>,
    ) {
        let code = ("reason-code", format!("0x{reason_code:02x}"));
        let message_id = message.id.map(|id| ("message-id", id.to_string()));
        let told: Vec<_> = [("attempts", attempts.to_string()), code].into_iter().chain(message_id).collect();
        let told = told.iter().map(|(name, value)| (*name, &**value));
        let message = Message { properties: message.properties.behind_user_properties(told), ..message.clone() };
        let letter = dead_letter_of(topic, &message, qos, (DropReason::Refused, client_id));
        match self.accept(&Publisher::broker(), letter, turn) {
            Verdict::Answer { reason_code, .. } if !reason_code.is_error() => self.counters.dead_letters += 1,
            Verdict::Answer { .. } | Verdict::Full(_) | Verdict::Pending(_) => self.counters.dead_letters_lost += 1,
        }
    }

    /// Kept dead letters left for newer ones, or because of their age.
    fn remove_letters(&mut self, numbers: Vec<u64>, turn: &mut Turn<'_>) {
        if !numbers.is_empty() {
            self.counters.dead_letters_discarded += numbers.len() as u64;
            self.persist(Record::DeadLettersRemoved { numbers }, turn);
        }
    }

    /// Discards kept dead letters that are too old. Called once a second on one shard.
    pub(in crate::broker) fn expire_dead_letters(&mut self, turn: &mut Turn<'_>) {
        let limits = self.settings.dead_letter_limits;
        let age = u64::try_from(limits.age_max.as_millis()).unwrap_or(u64::MAX);
        let numbers = self.shared.dead_letters.expire(Timestamp(turn.now.0.saturating_sub(age)), limits);
        self.remove_letters(numbers, turn);
    }

    /// The records of kept dead letters are stable up to the present ticket: an operator may take them.
    pub(in crate::broker) fn settle_letters(&mut self) {
        let stable = self.pipeline.stable();
        while let Some((_, number)) = self.unstable_letters.front().filter(|(ticket, _)| *ticket <= stable).copied() {
            self.unstable_letters.pop_front();
            self.shared.dead_letters.settle(number);
        }
    }
}
