use std::sync::Arc;

use super::link::Link;
use crate::codec::{AliasUse, Matched, Message, OutgoingPublish, PacketId, Qos};
use crate::timestamp::Timestamp;
use crate::topic::Filter;

/// A message for one Session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// The QoS of this delivery.
    pub qos: Qos,
    /// RETAIN as the subscription wants it.
    pub retain: bool,
    /// When its Message Expiry Interval runs out, or [`Timestamp::NEVER`].
    pub expires_at: Timestamp,
    /// The subscriptions that it goes to the Session for, if there is anything to say of them.
    pub matched: Option<Arc<Matched>>,
    /// Where it is until the Session is done with it.
    pub place: DeliveryPlace,
}

/// Where a message is until its Session is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryPlace {
    /// In memory alone: it ends with the process.
    Memory,
    /// In a record as well, from which it can be read again, and which ends when the message is done with.
    Record,
}

/// Why a message was not sent to this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropCause {
    /// The queue was full.
    QueueFull,
    /// No connection, at QoS 0.
    NotConnected,
    /// Its Message Expiry Interval ran out.
    Expired,
    /// Larger than the client's Maximum Packet Size. [MQTT-3.1.2-25]
    PacketTooLarge,
}

impl Delivery {
    /// The PUBLISH that carries this to the client of `link`, unless it is too large for it. [MQTT-3.1.2-24]
    pub(super) fn publish(
        &self,
        now: Timestamp,
        packet_id: Option<PacketId>,
        dup: bool,
        link: &mut Link,
    ) -> Result<OutgoingPublish, DropCause> {
        // [MQTT-3.3.2-6]; the part of a second that has begun counts as remaining.
        let expires = self.expires_at != Timestamp::NEVER;
        let remaining = expires.then(|| self.expires_at.since(now).as_millis().div_ceil(1_000));
        let mut publish = OutgoingPublish {
            message: Arc::clone(&self.message),
            dup,
            qos: self.qos,
            retain: self.retain,
            packet_id,
            topic_alias: None,
            message_expiry_interval: remaining.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            matched: self.matched.clone(),
            message_id: link.message_ids && packet_id.is_some() && self.message.id.is_some(),
        };
        let fits = |publish: &OutgoingPublish| {
            link.maximum_packet_size.is_none_or(|maximum| publish.encoded_len(link.version) <= maximum.get() as usize)
        };
        let topic = &self.message.topic;
        publish.topic_alias = link.outbound_aliases.offer(topic);
        if !fits(&publish) {
            // To set an alias costs more than to do without.
            publish.topic_alias = publish.topic_alias.filter(|(_, alias)| *alias == AliasUse::Known);
            if !fits(&publish) {
                return Err(DropCause::PacketTooLarge);
            }
        }
        if let Some((alias, AliasUse::Set)) = publish.topic_alias {
            link.outbound_aliases.set(alias, topic);
        }
        Ok(publish)
    }

    /// The Shared Subscription it was chosen by.
    pub fn share(&self) -> Option<&Arc<Filter>> {
        self.matched.as_ref()?.share.as_ref()
    }
}
