use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::codec::{OutgoingPublish, ProtocolVersion};
use crate::server::connection::outgoing::{BufferPool, Outgoing};

/// Encodes a message once for all the receivers that get the same bytes but for the Packet Identifier.
///
/// The receivers of a message follow each other, so it is enough to remember the last.
#[derive(Debug, Default)]
pub(in crate::server) struct PublishEncoder {
    last: Option<Encoded>,
    bytes: BytesMut,
}

/// What [`PublishEncoder::bytes`] holds.
#[derive(Debug)]
struct Encoded {
    publish: OutgoingPublish,
    version: ProtocolVersion,
    /// Where the Packet Identifier stands, if it has one.
    packet_id_at: Option<usize>,
}

impl PublishEncoder {
    /// Appends a PUBLISH to what a connection has to send.
    pub(in crate::server) fn append(
        &mut self,
        publish: OutgoingPublish,
        version: ProtocolVersion,
        outgoing: &mut Outgoing,
        pool: &mut BufferPool,
    ) {
        let message = Arc::clone(&publish.message);
        let payload_is_shared = message.payload.len() >= SHARED_PAYLOAD_MIN;
        let is_like_no_other = publish.topic_alias.is_some() || !publish.subscription_ids().is_empty();
        if is_like_no_other || (self.last.is_none() && Arc::strong_count(&message) <= HOLDERS_OF_ONE) {
            encode(&publish, version, outgoing.tail(pool));
        } else {
            self.append_as_encoded(publish, version, outgoing.tail(pool));
        }
        if payload_is_shared {
            outgoing.push_shared(Bytes::clone(&message.payload), pool);
        }
    }

    /// Lets go of the last message, whose payload holds the read buffer.
    pub(in crate::server) fn forget(&mut self) {
        self.last = None;
    }

    fn append_as_encoded(&mut self, publish: OutgoingPublish, version: ProtocolVersion, tail: &mut BytesMut) {
        let packet_id = publish.packet_id;
        let packet_id_at = match &self.last {
            Some(last) if last.is_same_class(&publish, version) => last.packet_id_at,
            Some(_) | None => self.encode_anew(publish, version),
        };
        let start = tail.len();
        tail.extend_from_slice(&self.bytes);
        if let (Some(at), Some(packet_id)) = (packet_id_at, packet_id)
            && let Some(place) = tail.get_mut(start + at..start + at + 2)
        {
            place.copy_from_slice(&packet_id.number().to_be_bytes());
        }
    }

    fn encode_anew(&mut self, publish: OutgoingPublish, version: ProtocolVersion) -> Option<usize> {
        self.bytes.clear();
        encode(&publish, version, &mut self.bytes);
        let packet_id_at = publish.packet_id.and_then(|_| packet_id_at(&self.bytes));
        self.last = Some(Encoded { publish, version, packet_id_at });
        packet_id_at
    }
}

impl Encoded {
    fn is_same_class(&self, publish: &OutgoingPublish, version: ProtocolVersion) -> bool {
        Arc::ptr_eq(&self.publish.message, &publish.message)
            && self.version == version
            && self.publish.qos == publish.qos
            && self.publish.dup == publish.dup
            && self.publish.retain == publish.retain
            && self.publish.message_expiry_interval == publish.message_expiry_interval
            && self.publish.message_id == publish.message_id
            && self.publish.packet_id.is_some() == publish.packet_id.is_some()
    }
}

/// Everything but a payload that is shared.
fn encode(publish: &OutgoingPublish, version: ProtocolVersion, output: &mut BytesMut) {
    publish.encode_head(version, output);
    if publish.message.payload.len() < SHARED_PAYLOAD_MIN {
        output.extend_from_slice(&publish.message.payload);
    }
}

/// Behind the fixed header, whose Remaining Length has up to four bytes, and the Topic Name. [MQTT-3.3.2.2]
fn packet_id_at(bytes: &[u8]) -> Option<usize> {
    let topic_at = 1 + bytes.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 1;
    let length = bytes.get(topic_at..topic_at + 2)?.first_chunk::<2>()?;
    Some(topic_at + 2 + usize::from(u16::from_be_bytes(*length)))
}

/// Who holds a message that goes to one receiver alone: the PUBLISH, what was taken out of it here, and the receiver's queue.
const HOLDERS_OF_ONE: usize = 3;
/// From here on sharing a payload is cheaper than copying it, and not so small that a slow receiver would hold much more of the
/// read buffers than is counted for it.
const SHARED_PAYLOAD_MIN: usize = 4 * 1024;
