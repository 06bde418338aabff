//! Dropped messages: counts and reports them, and publishes them to the dead letter topic if one is configured.

use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::connection::last_end::ReasonText;
use crate::broker::counters::DropReason;
use crate::broker::history::EventKind;
use crate::broker::journey::step::reason_of;
use crate::broker::operator::drops::Lost;
use crate::broker::persistence::fetch::{Fetch, Purpose};
use crate::broker::persistence::receipt::CopyOutcome;
use crate::broker::persistence::record::Record;
use crate::broker::publish::pending_dead_letters::TooManyDropped;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::receipts::payload::is_receipt;
use crate::broker::report::Report;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Message, Qos};
use crate::routing::{SessionKey, Subscriber};
use crate::session::{Application, Delivery, DropCause, FetchedMessage};
use crate::topic::TopicName;

impl Shard {
    /// The Session in `slot` dropped a message.
    pub(in crate::broker) fn on_dropped(
        &mut self,
        slot: usize,
        cause: DropCause,
        delivery: Option<Box<Delivery>>,
        turn: &mut Turn<'_>,
    ) {
        let reason = reason_of(cause);
        let Some(subscriber) = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber)) else { return };
        self.count_dropped(slot, subscriber.key, reason, turn);
        let client_id = subscriber.client_id.as_str();
        let of_one = |delivery| Lost::delivery(client_id, delivery, reason);
        // A message of the queue: the Session has noted its step.
        let lost = delivery.as_deref().map_or_else(|| Lost::several(client_id, 1, reason), of_one);
        self.note_lost(lost, turn);
        if let Some(delivery) = delivery.filter(|delivery| delivery.qos > Qos::AtMostOnce) {
            self.publish_dead_letter(&subscriber, reason, &delivery, turn);
        }
    }

    /// Publishes a message that a durable Session dropped to the dead letter topic, if one is configured. A dropped message of that topic
    /// is not published again.
    pub(in crate::broker) fn publish_dead_letter(
        &mut self,
        to: &Subscriber,
        reason: DropReason,
        delivery: &Delivery,
        turn: &mut Turn<'_>,
    ) {
        let Some(topic) = self.settings.dead_letter_topic.clone() else { return };
        let message = &delivery.message;
        if is_receipt(message) {
            return;
        }
        if !becomes_dead_letter(reason)
            || !to.is_durable()
            || message.topic == topic
            || self.settings.redelivery.has_dead_letters(&message.topic)
        {
            return;
        }
        let application = dead_letter_of(topic, message, delivery.qos, (reason, to.client_id.as_str()));
        match self.accept(&Publisher::broker(), application, turn) {
            Verdict::Answer { reason_code, .. } if !reason_code.is_error() => self.counters.dead_letters += 1,
            Verdict::Answer { .. } | Verdict::Full(_) | Verdict::Pending(_) => self.counters.dead_letters_lost += 1,
        }
    }

    /// Counts and reports a message of the Session in `slot` that cannot be read from the store.
    pub(in crate::broker) fn on_unreadable(
        &mut self,
        slot: usize,
        sequence: u64,
        cause: ByteString,
        turn: &mut Turn<'_>,
    ) {
        self.counters.dropped(DropReason::Unreadable, 1);
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.incidents.add_dropped(DropReason::Unreadable);
            let to = Arc::clone(&entry.subscriber);
            self.note_lost(Lost::several(to.client_id.as_str(), 1, DropReason::Unreadable), turn);
        }
        let client = self.label_of_session(slot);
        turn.actions.push(Action::Report(Box::new(Report::Unreadable { client, sequence, cause })));
    }

    /// Counts a message that a Session dropped. If the Session is in `slot` of this shard, the first drop of a series is reported and becomes
    /// part of the history of its client, unless the reason is expected by clients: no connection (QoS 0), or Message Expiry Interval.
    pub(in crate::broker) fn count_dropped(
        &mut self,
        slot: usize,
        key: SessionKey,
        reason: DropReason,
        turn: &mut Turn<'_>,
    ) {
        self.counters.dropped(reason, 1);
        let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == key) else { return };
        entry.incidents.add_dropped(reason);
        if matches!(reason, DropReason::NotConnected | DropReason::Expired) {
            return;
        }
        if !std::mem::replace(&mut entry.dropping, true) {
            let client = self.label_of_session(slot);
            self.note(&client, EventKind::Dropping, (None, Some(ReasonText::of(reason.name()))), turn.now);
            turn.actions.push(Action::Report(Box::new(Report::Dropping { client, reason })));
        }
    }
}

/// The dead letter of a message that was dropped for this reason on its way to or from a client. What the broker adds comes first.
pub(in crate::broker) fn dead_letter_of(
    topic: TopicName,
    message: &Message,
    qos: Qos,
    (reason, client_id): (DropReason, &str),
) -> Application {
    let of_drop = [("reason", reason.name()), ("topic", message.topic.as_str()), ("client-id", client_id)];
    let properties = message.properties.behind_user_properties(of_drop.into_iter());
    Application {
        message: Arc::new(Message { topic, properties, ..Message::clone(message) }),
        is_topic_copied: true,
        qos,
        retain: false,
        packet_id: None,
        message_expiry_interval: None,
    }
}

/// Whether a message that is dropped for this reason becomes a dead letter.
pub(in crate::broker) const fn becomes_dead_letter(reason: DropReason) -> bool {
    matches!(reason, DropReason::QueueFull | DropReason::Expired | DropReason::OwnerChanged)
}

/// What a drop for such a reason is for the receipt of the message.
const fn outcome_of(reason: DropReason) -> CopyOutcome {
    match reason {
        DropReason::Expired => CopyOutcome::Expired,
        DropReason::OwnerChanged => CopyOutcome::SessionEnded,
        DropReason::QueueFull
        | DropReason::SlowReceiver
        | DropReason::NotConnected
        | DropReason::PacketTooLarge
        | DropReason::SessionEnded
        | DropReason::RetainedFull
        | DropReason::WillRefused
        | DropReason::Unreadable
        | DropReason::NotAuthorized
        | DropReason::Refused => CopyOutcome::QueueFull, // no other reason makes a dead letter
    }
}

impl Shard {
    /// The Session in `slot` dropped a message that is only in the store. If it becomes a dead letter, it is read first, and its record is
    /// deleted after the record of the dead letter is written.
    pub(in crate::broker) fn on_dropped_stored(
        &mut self,
        slot: usize,
        cause: DropCause,
        sequence: u64,
        turn: &mut Turn<'_>,
    ) {
        let Some(to) = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber)) else { return };
        let (key, reason) = (to.key, reason_of(cause));
        self.count_dropped(slot, key, reason, turn);
        self.note_lost(Lost::several(to.client_id.as_str(), 1, reason), turn);
        if !becomes_dead_letter(reason) || !self.add_dead_letter(&to, sequence, reason, turn) {
            self.persist_done(slot, sequence, cause.into(), turn);
        }
    }

    /// Reads a dropped message that is only in the store, to publish it to the dead letter topic. Returns `false` if it is not published.
    pub(in crate::broker) fn add_dead_letter(
        &mut self,
        to: &Arc<Subscriber>,
        sequence: u64,
        reason: DropReason,
        turn: &mut Turn<'_>,
    ) -> bool {
        if self.settings.dead_letter_topic.is_none() || !to.is_durable() {
            return false;
        }
        match self.dead_letters.add(Arc::clone(to), sequence, reason) {
            Ok(()) => {
                self.fetch_dead_letters(to.key, turn);
                true
            }
            Err(TooManyDropped) => {
                self.counters.dead_letters_lost += 1;
                false
            }
        }
    }

    /// Counts a dropped message of the Session of `to` that is not published to the dead letter topic, because there are too many.
    pub(in crate::broker) fn lose_dead_letter(&mut self, to: &Subscriber) {
        if self.settings.dead_letter_topic.is_some() && to.is_durable() {
            self.counters.dead_letters_lost += 1;
        }
    }

    /// Reads the next batch of dropped messages of a Session, unless a batch is being read.
    fn fetch_dead_letters(&mut self, session: SessionKey, turn: &mut Turn<'_>) {
        if let Some(sequences) = self.dead_letters.begin_fetch(session) {
            let fetch = Fetch { session, sequences, purpose: Purpose::DeadLetters };
            turn.actions.push(Action::Fetch(Box::new(fetch)));
        }
    }

    /// A batch of dropped messages of a Session was read: publishes each as a dead letter, then deletes its record.
    pub(in crate::broker) fn on_dead_letters_fetched(
        &mut self,
        key: SessionKey,
        messages: Vec<FetchedMessage>,
        turn: &mut Turn<'_>,
    ) {
        for (sequence, message) in messages {
            let Some((to, reason)) = self.dead_letters.take(key, sequence) else { continue };
            match message {
                Ok(delivery) => self.publish_dead_letter(&to, reason, &delivery, turn),
                Err(_) => self.counters.dead_letters_lost += 1,
            }
            self.persist_left(key, sequence, outcome_of(reason), turn);
        }
        if self.dead_letters.end_fetch(key) {
            let ticket = self.persist(Record::SessionEnded { key }, turn);
            self.session_left_receipts(key, None, ticket, turn.now);
        }
        self.fetch_dead_letters(key, turn);
    }
}
