use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::frame::Sender;
use super::last_topic::LastTopic;
use super::limits::VARIABLE_BYTE_INTEGER_LENGTH_MAX;
use super::message_id::{MESSAGE_ID_LENGTH, MessageId};
use super::primitives::{Reader, put_string, put_variable_byte_integer, variable_byte_integer_len};
use super::property::{
    MESSAGE_EXPIRY_INTERVAL, MessagePropertyRuns, Place, SUBSCRIPTION_IDENTIFIER, TOPIC_ALIAS, decode_properties,
    put_subscription_id, put_u16_property, put_u32_property, put_user_property, subscription_id_len,
};
use super::{DecodeError, MessageProperties, PacketId, PacketType, ProtocolVersion, Qos, SubscriptionId};
use crate::timestamp::Stamp;
use crate::topic::{Filter, TopicName};

/// A Topic Alias, at least 1.
pub type TopicAlias = NonZeroU16;

/// A PUBLISH packet from a Client. [MQTT-3.3]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// DUP: a retransmission. Never set at QoS 0.
    pub dup: bool,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// The message. On its way to the receivers it is shared by reference, not copied. With [`AliasUse::Known`], its
    /// Topic Name is not resolved yet. At QoS 1 and 2, small payloads and properties are copies, because they are
    /// stored and must not keep the read buffer in memory.
    pub message: Arc<Message>,
    /// Present at QoS 1 and 2 only. [MQTT-2.2.1-2]
    pub packet_id: Option<PacketId>,
    /// Topic Alias, and whether the packet has a Topic Name too. The decoder refuses 0; the session checks our Topic
    /// Alias Maximum.
    pub topic_alias: Option<(TopicAlias, AliasUse)>,
    /// Message Expiry Interval in seconds.
    pub message_expiry_interval: Option<u32>,
    /// Whether the Topic Name is a copy instead of a slice of the read buffer.
    pub is_topic_copied: bool,
}

/// The fields of a PUBLISH that the fixed header contains.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublishHeader {
    pub(super) first_byte: u8,
    pub(super) version: ProtocolVersion,
    pub(super) sender: Sender,
}

/// An Application Message: the part that is the same for all receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The Topic Name.
    pub topic: TopicName,
    /// The payload.
    pub payload: Bytes,
    /// The properties that are forwarded unaltered.
    pub properties: MessageProperties,
    /// The QoS at which the broker accepted it. Before that, it has a meaning in a message of another cell only: the QoS at which that has accepted it.
    pub qos: Qos,
    /// Its identity, if it was accepted at QoS 1 or 2 with an identity.
    pub id: Option<MessageId>,
    /// When the turn began in which it was read, if its latency is measured.
    pub received: Stamp,
    /// Whether operators can ask what becomes of it.
    pub is_noted: bool,
    /// Of a message of another cell, until it is accepted: whether its first User Properties are a [`ShareCopy`](super::ShareCopy).
    pub is_share_copy: bool,
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
    /// RETAIN, according to the subscription.
    pub retain: bool,
    /// Present at QoS 1 and 2 only. [MQTT-2.2.1-2]
    pub packet_id: Option<PacketId>,
    /// The alias, and whether the Topic Name is sent too, to set the alias.
    pub topic_alias: Option<(TopicAlias, AliasUse)>,
    /// The remaining Message Expiry Interval, in seconds.
    pub message_expiry_interval: Option<u32>,
    /// The matching subscriptions, if they have identifiers or a share.
    pub matched: Option<Arc<Matched>>,
    /// Whether the identity is sent as User Property `message-id`, before the message's own User Properties.
    pub message_id: bool,
    /// Where the Topic Name that is sent begins in that of the message: behind the mount point of the Client, in bytes.
    pub topic_start: u16,
}

/// The subscriptions for which a Client receives a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    /// Their Subscription Identifiers. [MQTT-3.3.4-3]
    pub subscription_ids: SmallVec<[SubscriptionId; 2]>,
    /// The Shared Subscription, so that the message can move to another member if this Session ends.
    pub share: Option<Arc<Filter>>,
    /// For another cell, who has published the message, in properties that are sent before its own; else empty.
    pub source: MessageProperties,
}

/// How a PUBLISH uses a Topic Alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasUse {
    /// It sets the alias: Topic Name and alias are present.
    Set,
    /// It uses the alias: the Topic Name is empty.
    Known,
}

impl Publish {
    /// A PUBLISH at QoS 0 without properties.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        Self {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            message: Arc::new(Message::new(topic, payload)),
            packet_id: None,
            topic_alias: None,
            message_expiry_interval: None,
            is_topic_copied: false,
        }
    }

    /// Replaces the payload.
    #[must_use]
    pub fn with_payload(mut self, payload: impl Into<Bytes>) -> Self {
        Arc::make_mut(&mut self.message).payload = payload.into();
        self
    }

    /// Replaces the properties.
    #[must_use]
    pub fn with_properties(mut self, properties: MessageProperties) -> Self {
        Arc::make_mut(&mut self.message).properties = properties;
        self
    }

    /// Decodes the body of the packet. `subscription_ids` collects identifiers, which only a Server sends.
    #[inline]
    pub(super) fn decode(
        header: PublishHeader,
        reader: &mut Reader<'_>,
        last_topic: &mut LastTopic,
        subscription_ids: &mut SmallVec<[SubscriptionId; 2]>,
    ) -> Result<Self, DecodeError> {
        let PublishHeader { first_byte, version, sender } = header;
        let qos = Qos::new(first_byte >> 1 & 0b11).ok_or(DecodeError::PublishQos)?;
        let name = reader.prefixed()?;
        let bytes = reader.frame().get(name.clone()).unwrap_or_default();
        let packet_id = if qos == Qos::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let mut topic_alias = None;
        let mut message_expiry_interval = None;
        let mut kept = MessagePropertyRuns::default();
        if version.has_properties() {
            decode_properties(reader, Place::Publish, |id, reader| {
                match id {
                    TOPIC_ALIAS => {
                        topic_alias = Some(TopicAlias::new(reader.u16()?).ok_or(DecodeError::TopicAliasZero)?);
                    }
                    MESSAGE_EXPIRY_INTERVAL => message_expiry_interval = Some(reader.u32()?),
                    SUBSCRIPTION_IDENTIFIER if sender == Sender::Client => {
                        return Err(DecodeError::PropertyFromWrongSide(id)); // [MQTT-3.3.4-6]
                    }
                    SUBSCRIPTION_IDENTIFIER => {
                        let subscription_id = SubscriptionId::new(reader.variable_byte_integer()?);
                        subscription_ids.push(subscription_id.ok_or(DecodeError::PropertyValue(id))?);
                    }
                    _ => kept.keep(id, reader)?,
                }
                Ok(())
            })?;
        }
        let mut is_topic_copied = false;
        let (topic, alias_use) = match (name.is_empty(), version.has_properties(), topic_alias) {
            (true, true, Some(_)) => (TopicName::unresolved(), AliasUse::Known),
            (true, true, None) => return Err(DecodeError::TopicMissing),
            _ => match last_topic.get(bytes) {
                Some(topic) => {
                    is_topic_copied = true;
                    (topic, AliasUse::Set)
                }
                None => {
                    let topic = reader.frame().slice(name).try_into().map_err(|_| DecodeError::Utf8)?;
                    let topic = TopicName::new(topic).map_err(DecodeError::TopicName)?;
                    last_topic.put(&topic);
                    (topic, AliasUse::Set)
                }
            },
        };
        let is_copied = qos > Qos::AtMostOnce && reader.remaining_len() < UNCOPIED_PAYLOAD_MIN;
        let (properties, payload) = if is_copied {
            (kept.into_detached_properties(reader.frame()), reader.remaining_copied())
        } else {
            (kept.into_properties(reader.frame()), reader.remaining())
        };
        Ok(Self {
            dup: first_byte & DUP != 0 && packet_id.is_some(),
            qos,
            retain: first_byte & RETAIN != 0,
            message: Arc::new(Message {
                topic,
                payload,
                properties,
                qos: Qos::AtMostOnce,
                id: None,
                received: Stamp::NONE,
                is_noted: false,
                is_share_copy: false,
            }),
            packet_id,
            topic_alias: topic_alias.map(|alias| (alias, alias_use)),
            message_expiry_interval,
            is_topic_copied,
        })
    }
}

impl Message {
    /// A message at QoS 0 without properties.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        let (properties, qos) = (MessageProperties::default(), Qos::AtMostOnce);
        Self {
            topic,
            payload: payload.into(),
            properties,
            qos,
            id: None,
            received: Stamp::NONE,
            is_noted: false,
            is_share_copy: false,
        }
    }

    /// The size of Topic Name, payload and properties in bytes.
    pub fn content_len(&self) -> usize {
        self.topic.as_str().len() + self.payload.len() + self.properties.encoded_len()
    }

    /// Copies payload and properties. The parts of a decoded message may be slices of the read buffer, which they keep
    /// in memory, so a message that is stored must be detached, and so must its Topic Name.
    pub fn detach(&mut self) {
        self.payload = Bytes::copy_from_slice(&self.payload);
        self.properties = MessageProperties::from_encoded(Bytes::copy_from_slice(self.properties.as_bytes()));
    }
}

impl OutgoingPublish {
    /// The size of Topic Name, payload, properties and Subscription Identifiers in bytes, at most.
    #[inline]
    pub fn content_len_max(&self) -> usize {
        self.message.content_len() + self.subscription_ids().len() * SUBSCRIPTION_ID_BYTES
    }

    /// A PUBLISH at QoS 0 without flags and packet properties.
    pub fn new(message: Arc<Message>) -> Self {
        Self {
            message,
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            packet_id: None,
            topic_alias: None,
            message_expiry_interval: None,
            matched: None,
            message_id: false,
            topic_start: 0,
        }
    }

    /// The identifiers of the matching subscriptions.
    pub fn subscription_ids(&self) -> &[SubscriptionId] {
        self.matched.as_ref().map_or(&[], |matched| &matched.subscription_ids)
    }

    fn identity(&self) -> Option<MessageId> {
        if self.message_id { self.message.id } else { None }
    }

    /// The size of the whole packet in bytes. Before encoding, the caller compares it with the Client's Maximum Packet
    /// Size and with [`PACKET_SIZE_MAX`](super::limits::PACKET_SIZE_MAX).
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        let remaining_length = self.remaining_length(version);
        1 + variable_byte_integer_len(remaining_length) + remaining_length
    }

    /// Appends the whole packet.
    pub fn encode(&self, version: ProtocolVersion, output: &mut BytesMut) {
        let remaining_length = self.remaining_length(version);
        output.reserve(1 + VARIABLE_BYTE_INTEGER_LENGTH_MAX + remaining_length);
        self.put_head(version, remaining_length, output);
        output.put_slice(&self.message.payload);
    }

    /// Appends the packet without its payload, for payloads that are sent without a copy.
    pub fn encode_head(&self, version: ProtocolVersion, output: &mut BytesMut) {
        let remaining_length = self.remaining_length(version);
        output.reserve(1 + VARIABLE_BYTE_INTEGER_LENGTH_MAX + remaining_length - self.message.payload.len());
        self.put_head(version, remaining_length, output);
    }

    fn put_head(&self, version: ProtocolVersion, remaining_length: usize, output: &mut BytesMut) {
        if remaining_length < 0x80 {
            let [low, ..] = remaining_length.to_le_bytes();
            output.put_slice(&[self.first_byte(), low]);
        } else {
            output.put_u8(self.first_byte());
            put_variable_byte_integer(output, remaining_length);
        }
        put_string(output, self.topic_on_wire(version));
        if let Some(packet_id) = self.packet_id {
            output.put_u16(packet_id.number());
        }
        if version.has_properties() {
            put_variable_byte_integer(output, self.property_length());
            self.encode_properties(output);
        }
    }

    fn encode_properties(&self, output: &mut BytesMut) {
        if let Some(seconds) = self.message_expiry_interval {
            put_u32_property(output, MESSAGE_EXPIRY_INTERVAL, seconds);
        }
        if let Some((topic_alias, _)) = self.topic_alias {
            put_u16_property(output, TOPIC_ALIAS, topic_alias.get());
        }
        for subscription_id in self.subscription_ids() {
            put_subscription_id(output, subscription_id.get());
        }
        if let Some(id) = self.identity() {
            put_user_property(output, MESSAGE_ID, &id.to_string());
        }
        if let Some(matched) = &self.matched {
            output.put_slice(matched.source.as_bytes());
        }
        output.put_slice(self.message.properties.as_bytes());
    }

    fn first_byte(&self) -> u8 {
        let dup = if self.dup { DUP } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        PacketType::Publish.first_byte() | dup | self.qos.level() << 1 | retain
    }

    fn topic_on_wire(&self, version: ProtocolVersion) -> &str {
        match self.topic_alias {
            Some((_, AliasUse::Known)) if version.has_properties() => "",
            _ => self.message.topic.as_str().get(usize::from(self.topic_start)..).unwrap_or_default(),
        }
    }

    fn remaining_length(&self, version: ProtocolVersion) -> usize {
        let packet_id = if self.packet_id.is_some() { 2 } else { 0 };
        let properties = if version.has_properties() {
            let length = self.property_length();
            variable_byte_integer_len(length) + length
        } else {
            0
        };
        2 + self.topic_on_wire(version).len() + packet_id + properties + self.message.payload.len()
    }

    fn property_length(&self) -> usize {
        let expiry = if self.message_expiry_interval.is_some() { 5 } else { 0 };
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let subscriptions: usize = self.subscription_ids().iter().map(|id| subscription_id_len(id.get())).sum();
        let message_id = if self.identity().is_some() { 5 + MESSAGE_ID.len() + MESSAGE_ID_LENGTH } else { 0 };
        let source = self.matched.as_ref().map_or(0, |matched| matched.source.encoded_len());
        expiry + alias + subscriptions + message_id + source + self.message.properties.encoded_len()
    }
}

/// The name of the User Property with the identity.
const MESSAGE_ID: &str = "message-id";

/// From this size on, in bytes, the payload of a stored message remains a slice of the read buffer, because it is a
/// large part of it. A smaller payload is copied.
pub const UNCOPIED_PAYLOAD_MIN: usize = 16_384;

/// The identifier of the property and a Subscription Identifier, at most.
const SUBSCRIPTION_ID_BYTES: usize = 5;
/// The flags of the fixed header.
const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

const _: () = assert!(size_of::<Option<NonZeroU32>>() == 4);
