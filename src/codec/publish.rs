use bytes::Bytes;
use smallvec::SmallVec;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::{MessageProperties, PacketId, Qos, SubscriptionId};
use crate::topic::TopicName;

/// A Topic Alias: 1 and above.
pub type TopicAlias = NonZeroU16;

/// A PUBLISH packet from a Client. [MQTT-3.3]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// DUP: a re-delivery. Never set at QoS 0.
    pub dup: bool,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// The Topic Name; `None` when it is empty on the wire, which only goes with a Topic Alias.
    pub topic: Option<TopicName>,
    /// Present exactly at QoS 1 and 2. [MQTT-2.2.1-2]
    pub packet_id: Option<PacketId>,
    /// Topic Alias. The decoder refuses 0; whether it is within our Topic Alias Maximum is the session's to judge.
    pub topic_alias: Option<TopicAlias>,
    /// Message Expiry Interval in seconds.
    pub message_expiry_interval: Option<u32>,
    /// The properties that go on to the receivers unaltered.
    pub properties: MessageProperties,
    /// The Application Message's payload.
    pub payload: Bytes,
}

/// An Application Message: what is the same for all its receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The Topic Name.
    pub topic: TopicName,
    /// The payload.
    pub payload: Bytes,
    /// The properties that go on to the receivers unaltered.
    pub properties: MessageProperties,
}

/// A PUBLISH packet to a Client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingPublish {
    /// The message.
    pub message: Arc<Message>,
    /// DUP: it may have been sent before.
    pub dup: bool,
    /// The QoS of this delivery.
    pub qos: Qos,
    /// RETAIN as the subscription wants it.
    pub retain: bool,
    /// Present exactly at QoS 1 and 2. [MQTT-2.2.1-2]
    pub packet_id: Option<PacketId>,
    /// The alias, and whether the Topic Name goes with it (the first time) or is left out.
    pub topic_alias: Option<(TopicAlias, AliasUse)>,
    /// What remains of the Message Expiry Interval, in seconds.
    pub message_expiry_interval: Option<u32>,
    /// The identifiers of all matching subscriptions. [MQTT-3.3.4-3]
    pub subscription_ids: SmallVec<[SubscriptionId; 2]>,
}

/// Whether a PUBLISH with a Topic Alias sets it or uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasUse {
    /// Topic Name and alias are both sent.
    Set,
    /// The Topic Name is left out.
    Known,
}

const _: () = assert!(size_of::<Option<NonZeroU32>>() == 4);
