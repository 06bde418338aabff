//! What is not delivered is counted, and told where it is somebody's trouble.

use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::connection::state::Connection;
use crate::broker::publish::accept::Verdict;
use crate::broker::publish::ingress::Publisher;
use crate::broker::shard::Turn;
use crate::broker::{Action, ClientLabel, DropReason, Report, Shard};
use crate::codec::{Message, MessageProperties, MessageProperty};
use crate::routing::{SessionKey, Subscriber};
use crate::session::{Application, Delivery, DropCause};

impl Shard {
    pub(in crate::broker) fn on_dropped(
        &mut self,
        slot: usize,
        cause: &DropCause,
        delivery: Option<Box<Delivery>>,
        turn: &mut Turn<'_>,
    ) {
        let reason = reason(cause);
        let Some(subscriber) = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber)) else { return };
        self.count_dropped(slot, subscriber.key, reason, turn);
        if let Some(delivery) = delivery {
            self.publish_dead_letter(&subscriber, reason, &delivery, turn);
        }
    }

    /// Publishes a message that a durable Session doesn't get to the dead letter topic, if there is one. What is on that topic already is
    /// dropped for good.
    pub(in crate::broker) fn publish_dead_letter(
        &mut self,
        to: &Subscriber,
        reason: DropReason,
        delivery: &Delivery,
        turn: &mut Turn<'_>,
    ) {
        let Some(topic) = self.settings.dead_letter_topic.clone() else { return };
        let message = &delivery.message;
        if !concerns(reason) || !to.is_durable() || message.topic == topic {
            return;
        }
        let of_drop =
            [("reason", reason.name()), ("topic", message.topic.as_str()), ("client-id", to.client_id.as_str())];
        let of_drop = of_drop.map(|(name, value)| MessageProperty::UserProperty(name.into(), value.into()));
        let properties = MessageProperties::from_properties(message.properties.iter().chain(of_drop));
        let application = Application {
            message: Arc::new(Message { topic, properties, ..Message::clone(message) }),
            has_own_topic: true,
            qos: delivery.qos,
            retain: false,
            packet_id: None,
            message_expiry_interval: None,
        };
        match self.accept(&Publisher::broker(), application, turn) {
            Verdict::Answer { reason_code, .. } if !reason_code.is_error() => self.counters.dead_letters += 1,
            Verdict::Answer { .. } | Verdict::Full(_) | Verdict::Later(_) => self.counters.dead_letters_lost += 1,
        }
    }

    /// A message of the Session in `slot` can't be read from the store.
    pub(in crate::broker) fn on_unreadable(
        &mut self,
        slot: usize,
        sequence: u64,
        cause: ByteString,
        turn: &mut Turn<'_>,
    ) {
        self.counters.dropped(DropReason::Unreadable, 1);
        let client = self.label(slot);
        turn.actions.push(Action::Report(Box::new(Report::Unreadable { client, sequence, cause })));
    }

    /// Counts a message that this Session, in `slot` if it is here, doesn't get, and reports the first of an episode where it is somebody's trouble.
    pub(in crate::broker) fn count_dropped(
        &mut self,
        slot: usize,
        key: SessionKey,
        reason: DropReason,
        turn: &mut Turn<'_>,
    ) {
        self.counters.dropped(reason, 1);
        if matches!(reason, DropReason::NotConnected | DropReason::Expired) {
            return;
        }
        let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == key) else { return };
        if !std::mem::replace(&mut entry.dropping, true) {
            let client = self.label(slot);
            turn.actions.push(Action::Report(Box::new(Report::Dropping { client, reason })));
        }
    }

    /// The client of the Session in `slot`.
    fn label(&self, slot: usize) -> ClientLabel {
        let Some(entry) = self.sessions.get(slot) else { return ClientLabel::default() };
        let connection = entry.connection.and_then(|id| self.connection(id));
        let label = connection.map(Connection::label).unwrap_or_default();
        ClientLabel { client_id: Some(entry.subscriber.client_id.clone()), ..label }
    }
}

pub(in crate::broker) const fn reason(cause: &DropCause) -> DropReason {
    match cause {
        DropCause::QueueFull => DropReason::QueueFull,
        DropCause::NotConnected => DropReason::NotConnected,
        DropCause::Expired => DropReason::Expired,
        DropCause::PacketTooLarge => DropReason::PacketTooLarge,
    }
}

/// Whether messages that are dropped for this reason become dead letters.
pub(in crate::broker) const fn concerns(reason: DropReason) -> bool {
    matches!(reason, DropReason::QueueFull | DropReason::Expired)
}
