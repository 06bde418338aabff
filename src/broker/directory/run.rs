//! Small messages of one publisher for a Session on another shard.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::broker::ids::Origin;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::codec::{Message, Qos};
use crate::routing::Subscriber;
use crate::session::{Delivery, DeliveryPlace};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// Small messages at QoS 0 without properties from one publisher to one topic, for one Session, as their bytes.
///
/// The memory of a message that one thread allocates and another one frees moves between their cores, with its reference counts. That costs
/// as much as all else that is done for such a message. The bytes of a run are read in order, and each thread uses and frees its own memory.
#[derive(Debug)]
pub(in crate::broker) struct Run {
    to: Arc<Subscriber>,
    /// The publisher's connection.
    origin: Option<Origin>,
    /// When the receiver was chosen: see [`SequencedDelivery::routed`].
    routed: u64,
    topic: TopicName,
    messages: usize,
    /// The length of each payload in two bytes, followed by the payload. Not longer than what the publisher's connection reads in a turn.
    payloads: Vec<u8>,
}

impl Run {
    pub(super) fn new(to: &Arc<Subscriber>, origin: Option<Origin>, first: &SequencedDelivery) -> Self {
        let (to, topic) = (Arc::clone(to), first.delivery.message.topic.detached());
        Self { to, origin, routed: first.routed, topic, messages: 0, payloads: Vec::with_capacity(RUN_BYTES) }
    }

    /// The publisher's connection.
    pub(in crate::broker) const fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The number of messages.
    pub(in crate::broker) const fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn continues_with(
        &self,
        to: &Arc<Subscriber>,
        next: &SequencedDelivery,
        origin: Option<Origin>,
    ) -> bool {
        Arc::ptr_eq(&self.to, to)
            && is_same_origin(self.origin, origin)
            && self.routed == next.routed
            && self.topic == next.delivery.message.topic
    }

    /// Appends a message that [`is_packable`].
    pub(super) fn push(&mut self, next: &SequencedDelivery) {
        let payload = &next.delivery.message.payload;
        self.payloads.put_u16(u16::try_from(payload.len()).unwrap_or(u16::MAX));
        self.payloads.extend_from_slice(payload);
        self.messages += 1;
    }

    /// The Session, and the copies for it.
    pub(in crate::broker) fn into_copies(self) -> (Arc<Subscriber>, impl Iterator<Item = SequencedDelivery>) {
        let Self { to, routed, topic, payloads, .. } = self;
        let mut payloads = Bytes::from(payloads);
        let copies = std::iter::from_fn(move || {
            let length = usize::from(payloads.try_get_u16().ok()?);
            let payload = (length <= payloads.len()).then(|| payloads.split_to(length))?;
            let delivery = Delivery {
                message: Arc::new(Message::new(topic.clone(), payload)),
                qos: Qos::AtMostOnce,
                retain: false,
                expires_at: Timestamp::NEVER,
                matched: None,
                place: DeliveryPlace::Memory,
            };
            Some(SequencedDelivery { sequence: None, delivery, routed })
        });
        (to, copies)
    }
}

/// Whether a copy has nothing that [`Run`] doesn't keep.
pub(super) fn is_packable(SequencedDelivery { sequence, delivery, .. }: &SequencedDelivery) -> bool {
    let Delivery { message, qos, retain, expires_at, matched, place } = delivery;
    sequence.is_none()
        && *qos == Qos::AtMostOnce
        && !retain
        && *expires_at == Timestamp::NEVER
        && matched.is_none()
        && *place == DeliveryPlace::Memory
        && message.payload.len() <= PACKED_MAX
        && message.properties.is_empty()
        && message.qos == Qos::AtMostOnce
        && message.id.is_none()
}

/// Whether two copies are from the same publisher.
pub(super) fn is_same_origin(a: Option<Origin>, b: Option<Origin>) -> bool {
    a == b && a.is_some_and(|origin| origin.is_sole) == b.is_some_and(|origin| origin.is_sole)
}

/// The largest payload in a run, in bytes.
pub(super) const PACKED_MAX: usize = 1_024;
/// The bytes that a run has room for at first.
const RUN_BYTES: usize = 2_048;
