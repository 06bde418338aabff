//! Reads and writes the fields of record bodies.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::broker::owner::Owner;
use crate::broker::persistence::record::Deduplicated;
use crate::codec::{
    Message, MessageId, MessageProperties, Qos, RetainHandling, Subscription, SubscriptionOptions, Will,
};
use crate::routing::CellId;
use crate::timestamp::Timestamp;
use crate::topic::{Filter, MountPoint, TopicName};

pub(in crate::broker) fn put_length(body: &mut Vec<u8>, length: usize) {
    // The store refuses records of this size.
    body.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

pub(in crate::broker) fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    put_length(body, bytes.len());
    body.extend_from_slice(bytes);
}

pub(in crate::broker) fn put_str(body: &mut Vec<u8>, text: &str) {
    put_bytes(body, text.as_bytes());
}

pub(in crate::broker) fn put_option<T>(body: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    body.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(body, value);
    }
}

pub(in crate::broker) fn put_message(body: &mut Vec<u8>, message: &Message) {
    put_str(body, message.topic.as_str());
    put_bytes(body, message.properties.as_bytes());
    put_bytes(body, &message.payload);
    put_option(body, message.id, |body, id| {
        body.extend(id.run.to_le_bytes());
        body.extend(id.number.to_le_bytes());
    });
}

pub(in crate::broker) fn put_will(body: &mut Vec<u8>, will: &Will) {
    put_message(body, &will.message());
    body.push(will.qos.level());
    body.push(u8::from(will.retain));
    body.extend(will.will_delay_interval.to_le_bytes());
    put_option(body, will.message_expiry_interval, |body, seconds| body.extend(seconds.to_le_bytes()));
}

pub(in crate::broker) fn put_subscription(body: &mut Vec<u8>, subscription: &Subscription) {
    let SubscriptionOptions { qos, no_local, retain_as_published, retain_handling } = subscription.options;
    put_str(body, &subscription.filter.to_string());
    body.push(qos.level());
    body.push(u8::from(no_local));
    body.push(u8::from(retain_as_published));
    body.push(match retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    });
}

pub(in crate::broker) fn put_deduplicated(body: &mut Vec<u8>, entry: &Deduplicated) {
    match entry.holder {
        None => put_str(body, &entry.publisher),
        Some(CellId(cell)) => put_str(body, &format!("{HOLDER}{cell}/{}", entry.publisher)),
    }
    put_str(body, &entry.id);
    body.extend(entry.at.0.to_le_bytes());
}

/// The verified user name, the provider and the mount point.
pub(in crate::broker) fn put_owner(body: &mut Vec<u8>, owner: &Owner) {
    put_option(body, owner.user().map(|user| &**user), put_str);
    put_option(body, owner.provider(), put_str);
    put_option(body, owner.mount_point().map(MountPoint::as_str), put_str);
}

/// The part of a retained message's key: whose it is.
pub(in crate::broker) fn owner_part(owner: &Owner) -> Vec<u8> {
    let mut part = Vec::with_capacity(OWNER_BYTES);
    put_owner(&mut part, owner);
    part
}

/// The unread rest of a body. The store has verified its checksum, but every read checks bounds nevertheless.
pub(in crate::broker) struct Body<'a>(pub(in crate::broker) &'a [u8]);

impl<'a> Body<'a> {
    pub(in crate::broker) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(in crate::broker) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(in crate::broker) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(in crate::broker) fn bool(&mut self) -> Option<bool> {
        self.u8().map(|byte| byte != 0)
    }

    pub(in crate::broker) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(in crate::broker) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(in crate::broker) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    pub(in crate::broker) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    pub(in crate::broker) fn str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(in crate::broker) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.bool()? { read(self).map(Some) } else { Some(None) }
    }

    pub(in crate::broker) fn owner(&mut self) -> Option<Owner> {
        let user = self.option(|body| body.str().map(Into::into))?;
        let provider = self.option(Self::str)?;
        let mount_point = self.option(|body| MountPoint::new(body.str()?).ok())?;
        Some(Owner::from_stored(user, provider, mount_point))
    }

    pub(in crate::broker) fn filter(&mut self) -> Option<Filter> {
        Filter::new(ByteString::from(self.str()?)).ok()
    }

    pub(in crate::broker) fn message(&mut self, qos: Qos) -> Option<Message> {
        self.message_in(qos, &mut BytesMut::new())
    }

    /// A message whose content is copied into `buffer`, which several messages share.
    pub(in crate::broker) fn message_in(&mut self, qos: Qos, buffer: &mut BytesMut) -> Option<Message> {
        let (topic, properties, payload) = self.content()?;
        buffer.reserve(topic.len() + properties.len() + payload.len());
        for part in [topic, properties, payload] {
            buffer.extend_from_slice(part);
        }
        self.message_from(qos, buffer.split().freeze(), (topic.len(), properties.len()))
    }

    /// A message whose content is a slice of `bytes`. The body must be a slice of them, too.
    pub(in crate::broker) fn message_of(&mut self, qos: Qos, bytes: &Bytes) -> Option<Message> {
        let (topic, properties, payload) = self.content()?;
        let mut content = BytesMut::with_capacity(topic.len() + properties.len());
        content.extend_from_slice(topic);
        content.extend_from_slice(properties);
        let message = self.message_from(qos, content.freeze(), (topic.len(), properties.len()))?;
        Some(Message { payload: bytes.slice_ref(payload), ..message })
    }

    /// A message with this content: topic and properties of these lengths, and payload.
    fn message_from(&mut self, qos: Qos, mut payload: Bytes, (topic, properties): (usize, usize)) -> Option<Message> {
        let topic = TopicName::new(ByteString::try_from(payload.split_to(topic)).ok()?).ok()?;
        let properties = match properties {
            0 => MessageProperties::default(),
            length => MessageProperties::from_bytes(payload.split_to(length)).ok()?,
        };
        let id = self.message_id()?;
        Some(Message { qos, id, is_noted: id.is_some(), properties, ..Message::new(topic, payload) })
    }

    /// The length of a message's content, which is skipped.
    pub(in crate::broker) fn message_length(&mut self) -> Option<usize> {
        let (topic, properties, payload) = self.content()?;
        self.message_id()?;
        Some(topic.len() + properties.len() + payload.len())
    }

    /// Topic, properties and payload.
    fn content(&mut self) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        Some((self.bytes()?, self.bytes()?, self.bytes()?))
    }

    fn message_id(&mut self) -> Option<Option<MessageId>> {
        self.option(|body| Some(MessageId { run: body.u64()?, number: body.u64()? }))
    }

    pub(in crate::broker) fn will(&mut self) -> Option<Will> {
        // The QoS follows the message.
        let Message { topic, payload, properties, .. } = self.message(Qos::AtMostOnce)?;
        Some(Will {
            topic,
            payload,
            properties,
            qos: Qos::new(self.u8()?)?,
            retain: self.bool()?,
            will_delay_interval: self.u32()?,
            message_expiry_interval: self.option(Self::u32)?,
        })
    }

    pub(in crate::broker) fn subscription(&mut self) -> Option<Subscription> {
        let filter = self.filter()?;
        let options = SubscriptionOptions {
            qos: Qos::new(self.u8()?)?,
            no_local: self.bool()?,
            retain_as_published: self.bool()?,
            retain_handling: match self.u8()? {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return None,
            },
        };
        Some(Subscription { filter, options })
    }

    /// An entry of the deduplication window. Its number is in the key.
    pub(in crate::broker) fn deduplicated(&mut self) -> Option<Deduplicated> {
        let (publisher, id) = (self.str()?, ByteString::from(self.str()?));
        let (holder, publisher) = match publisher.strip_prefix(HOLDER) {
            None => (None, publisher),
            Some(held) => {
                let (cell, publisher) = held.split_once('/')?;
                (Some(CellId(cell.parse().ok()?)), publisher)
            }
        };
        let publisher = publisher.into();
        Some(Deduplicated { number: 0, publisher, id, at: Timestamp(self.u64()?), holder, left: Vec::new() })
    }
}

/// What the publisher of an entry begins with that another cell may accept; the number of the cell follows. No name of a publisher does.
const HOLDER: &str = "cell/";
/// The bytes of most owners.
const OWNER_BYTES: usize = 48;
