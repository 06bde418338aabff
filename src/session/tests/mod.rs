//! Tests of a Session, with the test as its owner.

mod head;
mod holds;
mod outbound;
mod properties;

use std::num::NonZeroU16;
use std::sync::Arc;

use super::{Action, Delivery, DeliveryPlace, Event, Limits, Link, QueueHead, Session, Ticket};
use crate::codec::{Connack, Message, PacketId, ProtocolVersion, Qos};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

pub(super) fn limits() -> Arc<Limits> {
    Arc::new(Limits {
        receive_maximum: 5,
        validate_payload_format: true,
        queued_messages_max: 8,
        queued_bytes_max: 100_000,
        subscriptions_max: 10,
        inflight_bytes_max: usize::MAX,
        drops_oldest: true,
        queue_head: QueueHead { messages_max: 3, bytes_max: 100_000, away_share: 1 },
        has_dead_letters: false,
        refused: Default::default(),
        is_memory_short: false,
        keeps_expired: false,
    })
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(super) fn delivery(qos: Qos) -> Delivery {
    Delivery {
        message: Arc::new(Message::new(TopicName::new("t".into()).unwrap(), "x")),
        qos,
        retain: false,
        expires_at: Timestamp::NEVER,
        matched: None,
        place: DeliveryPlace::Record,
    }
}

fn connected(send_maximum: u16, wait: Option<Ticket>) -> Event {
    let link = Link::new(ProtocolVersion::V5, NonZeroU16::new(send_maximum).unwrap());
    Event::Connected { link: Box::new(link), connack: Box::new(Connack::accepted(true)), wait }
}

fn handle(session: &mut Session, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    session.handle(Timestamp(1), event, &mut actions);
    actions
}
