use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::codec::{OutgoingPublish, ProtocolVersion};
use crate::server::connection::outgoing::{BufferPool, Outgoing};

/// Encodes a message once for all receivers whose bytes differ only in the Packet Identifier.
///
/// It caches the last message only, because the receivers of a message are served one after another.
#[derive(Debug, Default)]
pub(in crate::server) struct PublishEncoder {
    last: Option<Encoded>,
    bytes: BytesMut,
}

/// The packet that [`PublishEncoder::bytes`] contains.
#[derive(Debug)]
struct Encoded {
    publish: OutgoingPublish,
    version: ProtocolVersion,
    /// Offset of the Packet Identifier; `None` at QoS 0.
    packet_id_at: Option<usize>,
}

impl PublishEncoder {
    /// Appends a PUBLISH to the output of a connection.
    pub(in crate::server) fn append(
        &mut self,
        publish: OutgoingPublish,
        version: ProtocolVersion,
        outgoing: &mut Outgoing,
        pool: &mut BufferPool,
    ) {
        let payload = &publish.message.payload;
        let shared_payload = (payload.len() >= SHARED_PAYLOAD_MIN).then(|| Bytes::clone(payload));
        let is_unique = publish.topic_alias.is_some() || !publish.subscription_ids().is_empty();
        if is_unique || (self.last.is_none() && Arc::strong_count(&publish.message) <= SINGLE_RECEIVER_REFERENCES) {
            encode(&publish, version, outgoing.tail(pool));
        } else {
            self.append_cached(publish, version, outgoing.tail(pool));
        }
        if let Some(payload) = shared_payload {
            outgoing.push_shared(payload, pool);
        }
    }

    /// Drops the cached message, because its payload keeps a read buffer.
    pub(in crate::server) fn clear(&mut self) {
        self.last = None;
    }

    fn append_cached(&mut self, publish: OutgoingPublish, version: ProtocolVersion, tail: &mut BytesMut) {
        let packet_id = publish.packet_id;
        let packet_id_at = match &self.last {
            Some(last) if last.has_same_bytes(&publish, version) => last.packet_id_at,
            Some(_) | None => self.encode_and_cache(publish, version),
        };
        let start = tail.len();
        tail.extend_from_slice(&self.bytes);
        if let (Some(at), Some(packet_id)) = (packet_id_at, packet_id)
            && let Some(place) = tail.get_mut(start + at..start + at + 2)
        {
            place.copy_from_slice(&packet_id.number().to_be_bytes());
        }
    }

    fn encode_and_cache(&mut self, publish: OutgoingPublish, version: ProtocolVersion) -> Option<usize> {
        self.bytes.clear();
        encode(&publish, version, &mut self.bytes);
        let packet_id_at = publish.packet_id.and_then(|_| packet_id_at(&self.bytes));
        self.last = Some(Encoded { publish, version, packet_id_at });
        packet_id_at
    }
}

impl Encoded {
    fn has_same_bytes(&self, publish: &OutgoingPublish, version: ProtocolVersion) -> bool {
        Arc::ptr_eq(&self.publish.message, &publish.message)
            && self.version == version
            && self.publish.qos == publish.qos
            && self.publish.dup == publish.dup
            && self.publish.retain == publish.retain
            && self.publish.message_expiry_interval == publish.message_expiry_interval
            && self.publish.message_id == publish.message_id
            && self.publish.topic_start == publish.topic_start
            && self.publish.packet_id.is_some() == publish.packet_id.is_some()
    }
}

/// Encodes everything except a shared payload.
fn encode(publish: &OutgoingPublish, version: ProtocolVersion, output: &mut BytesMut) {
    publish.encode_head(version, output);
    if publish.message.payload.len() < SHARED_PAYLOAD_MIN {
        output.extend_from_slice(&publish.message.payload);
    }
}

/// The offset after the fixed header, whose Remaining Length has up to four bytes, and the Topic Name. [MQTT-3.3.2.2]
fn packet_id_at(bytes: &[u8]) -> Option<usize> {
    let topic_at = 1 + bytes.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 1;
    let length = bytes.get(topic_at..topic_at + 2)?.first_chunk::<2>()?;
    Some(topic_at + 2 + usize::from(u16::from_be_bytes(*length)))
}

/// Maximum number of references to a message with one receiver: the PUBLISH, and the receiver's queue.
const SINGLE_RECEIVER_REFERENCES: usize = 2;
/// Smaller payloads, in bytes, are copied. That is cheaper, and otherwise a slow receiver could keep far more memory of read buffers than
/// is counted for it.
const SHARED_PAYLOAD_MIN: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Message;
    use crate::topic::TopicName;

    /// The bytes of a message for receivers of which each knows the topic from another place on.
    #[test]
    fn receivers_with_different_mount_points_share_no_bytes() {
        let topic = TopicName::try_from("a/b/topic").unwrap();
        for payload in [vec![1; 10], vec![1; SHARED_PAYLOAD_MIN]] {
            let message = Arc::new(Message::new(topic.clone(), payload));
            let publish = |topic_start| OutgoingPublish { topic_start, ..OutgoingPublish::new(Arc::clone(&message)) };
            let _others = [publish(0), publish(0), publish(0)];
            let (mut encoder, mut pool) = (PublishEncoder::default(), BufferPool::default());
            for topic_start in [0, 0, 2, 4, 4, 2, 0, 4] {
                let mut outgoing = Outgoing::default();
                encoder.append(publish(topic_start), ProtocolVersion::V5, &mut outgoing, &mut pool);
                let mut expected = BytesMut::new();
                encode(&publish(topic_start), ProtocolVersion::V5, &mut expected);
                let tail = outgoing.tail(&mut pool);
                let shared = message.payload.len() >= SHARED_PAYLOAD_MIN;
                assert_eq!(tail.is_empty(), shared, "the head is a chunk before a shared payload");
                let length = expected.len() + if shared { message.payload.len() } else { 0 };
                assert!(shared || *tail == expected, "{topic_start}");
                assert_eq!(outgoing.len(), length, "{topic_start}");
            }
        }
    }
}
