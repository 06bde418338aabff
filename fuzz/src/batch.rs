use bytes::{BufMut, Bytes, BytesMut};
use oncemq::batch::{BatchMessage, PACKETS, Terms, read};
use oncemq::codec::client::encode_client;
use oncemq::codec::{ClientPacket, PacketId, ProtocolVersion, Publish, Qos};

/// A batch is read from any bytes or refused, has no more messages than permitted, and means the same as packets.
pub(crate) fn batch(input: &[u8]) {
    let Some((first, payload)) = input.split_first() else { return };
    let terms = Terms { messages_max: usize::from(first >> 2) + 1, qos: Qos::ExactlyOnce };
    let content_type = [None, Some("application/json"), Some(PACKETS), Some("text/plain")][usize::from(first & 3)];
    let messages = match read(&Bytes::copy_from_slice(payload), content_type, terms) {
        Ok(messages) => messages,
        Err(malformed) => {
            assert!(!malformed.cause.is_empty());
            return drop(malformed.to_string());
        }
    };
    assert!((1..=terms.messages_max).contains(&messages.len()));
    assert_ne!(content_type, Some("text/plain"));
    let mut packets = BytesMut::new();
    for BatchMessage { message, qos, retain, message_expiry_interval } in &messages {
        let mut publish = Publish::new(message.topic.clone(), message.payload.clone());
        (publish.qos, publish.retain) = (*qos, *retain);
        publish.message_expiry_interval = *message_expiry_interval;
        publish.packet_id = PacketId::new(u16::from(*qos > Qos::AtMostOnce));
        let publish = publish.with_properties(message.properties.clone());
        let mut packet = BytesMut::new();
        encode_client(&ClientPacket::Publish(publish), ProtocolVersion::V5, &mut packet);
        packets.put_slice(&packet);
    }
    assert_eq!(read(&packets.freeze(), Some(PACKETS), terms), Ok(messages));
}
