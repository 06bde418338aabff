use std::num::NonZeroU16;
use std::sync::Arc;

use super::link::Link;
use crate::codec::{AliasUse, Matched, Message, OutgoingPublish, PacketId, Qos, ReasonCode};
use crate::timestamp::Timestamp;
use crate::topic::{Filter, MountPoint};

/// A message for one Session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// The QoS of this delivery.
    pub qos: Qos,
    /// RETAIN, according to the subscription.
    pub retain: bool,
    /// When its Message Expiry Interval ends, or [`Timestamp::NEVER`].
    pub expires_at: Timestamp,
    /// The matching subscriptions, if they have identifiers or a share.
    pub matched: Option<Arc<Matched>>,
    /// Where it is stored until it is complete.
    pub place: DeliveryPlace,
}

/// Where a message is stored until it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryPlace {
    /// In memory only: it is lost when the process ends.
    Memory,
    /// Also in a record, from which it can be read again, and which is deleted when the message is complete.
    Record,
    /// With the owner of the Session, for a group of clients: it is told what became of the message, and gives it to another client when the
    /// connection ends.
    Group,
}

/// A message that the client has not received, as far as the broker knows.
#[derive(Debug)]
pub struct Unreceived {
    /// Its sequence in the queue.
    pub sequence: u64,
    /// The message; `None`: only the store has it.
    pub delivery: Option<Delivery>,
    /// Whether another member of its share may receive it. [MQTT-4.8.2-5]
    pub is_movable: bool,
}

/// What became of a message of a [group](DeliveryPlace::Group).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The client has acknowledged it.
    Acknowledged,
    /// The client has refused it with this error.
    Refused(ReasonCode),
    /// It was not sent, and is not in the queue any more.
    Dropped,
}

/// Why a message was not sent to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropCause {
    /// The queue is full.
    QueueFull,
    /// The client is not connected, at QoS 0.
    NotConnected,
    /// Its Message Expiry Interval has passed.
    Expired,
    /// The packet is larger than the client's Maximum Packet Size. [MQTT-3.1.2-25]
    PacketTooLarge,
    /// The client may not receive messages of its topic any more.
    NotAuthorized,
}

impl Delivery {
    /// Creates the PUBLISH for the client of `link`, unless it is too large. [MQTT-3.1.2-24]
    pub(super) fn publish(
        &self,
        now: Timestamp,
        packet_id: Option<PacketId>,
        dup: bool,
        link: &mut Link,
    ) -> Result<OutgoingPublish, DropCause> {
        // [MQTT-3.3.2-6]; a partial second counts as a whole one.
        let expires = self.expires_at != Timestamp::NEVER;
        let remaining = expires.then(|| self.expires_at.since(now).as_millis().div_ceil(1_000));
        let (message, topic_start) = match &link.mount_point {
            None => (Arc::clone(&self.message), 0),
            Some(mount_point) => unmounted(&self.message, mount_point).ok_or(DropCause::NotAuthorized)?,
        };
        let mut publish = OutgoingPublish {
            message,
            dup,
            qos: self.qos,
            retain: self.retain,
            packet_id,
            topic_alias: None,
            message_expiry_interval: remaining.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            matched: self.matched.clone(),
            message_id: link.message_ids && packet_id.is_some() && self.message.id.is_some(),
            topic_start,
        };
        link.tell_cell(&mut publish);
        let fits = |publish: &OutgoingPublish| {
            link.maximum_packet_size.is_none_or(|maximum| publish.encoded_len(link.version) <= maximum.get() as usize)
        };
        let topic = &self.message.topic;
        publish.topic_alias = link.outbound_aliases.offer(topic, topic_start);
        if !fits(&publish) {
            // Setting an alias makes the packet larger than omitting it.
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

    /// Whether the PUBLISH for the client of `link` is certainly not too large.
    pub(super) fn fits(&self, link: &Link) -> bool {
        let Some(maximum) = link.maximum_packet_size else { return true };
        let has_packet_id = self.qos > Qos::AtMostOnce;
        let mount_point = link.mount_point.as_ref().map_or(0, |mount_point| mount_point.as_str().len());
        let largest = OutgoingPublish {
            qos: self.qos,
            packet_id: has_packet_id.then_some(PacketId(NonZeroU16::MAX)),
            message_expiry_interval: (self.expires_at != Timestamp::NEVER).then_some(u32::MAX),
            matched: self.matched.clone(),
            message_id: link.message_ids && has_packet_id && self.message.id.is_some(),
            topic_start: u16::try_from(mount_point).unwrap_or_default(),
            ..OutgoingPublish::new(Arc::clone(&self.message))
        };
        largest.encoded_len(link.version) <= maximum.get() as usize
    }

    /// The Shared Subscription through which it was delivered.
    pub fn share(&self) -> Option<&Arc<Filter>> {
        self.matched.as_ref()?.own_share()
    }
}

/// The message for a client with this mount point, and where the Topic Name begins that the client knows. A Response Topic outside the mount
/// point is removed: the client can't publish to it. `None`: the client has no name for the topic.
fn unmounted(message: &Arc<Message>, mount_point: &MountPoint) -> Option<(Arc<Message>, u16)> {
    mount_point.below(message.topic.as_str())?;
    let start = u16::try_from(mount_point.as_str().len()).ok()?;
    let Some(response) = message.properties.response_topic() else { return Some((Arc::clone(message), start)) };
    let below = mount_point.below(&response).map(|below| response.slice_ref(below));
    let properties = message.properties.with_response_topic(below);
    Some((Arc::new(Message { properties, ..Message::clone(message) }), start))
}
