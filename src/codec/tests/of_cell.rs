//! What a cell sends to another one.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::codec::{
    ClientPacket, DecodeError, Decoder, Matched, Message, OutgoingPublish, PacketId, ProtocolVersion, Qos,
    ServerPacket, encode,
};

/// A PUBLISH at QoS 2 with these subscriptions.
fn encoded(matched: Option<Arc<Matched>>) -> Bytes {
    let message = Arc::new(Message::new("t".try_into().unwrap(), "payload"));
    let publish = OutgoingPublish {
        qos: Qos::ExactlyOnce,
        packet_id: PacketId::new(7),
        matched,
        ..OutgoingPublish::new(message)
    };
    let mut bytes = BytesMut::new();
    encode(&ServerPacket::Publish(publish), ProtocolVersion::V5, &mut bytes);
    bytes.freeze()
}

fn decoded(mut decoder: Decoder, mut bytes: Bytes) -> Result<(Qos, Qos), DecodeError> {
    let packet = decoder.decode(&mut bytes)?;
    let Some(ClientPacket::Publish(publish)) = packet else { panic!("{packet:?}") };
    Ok((publish.qos, publish.message.qos))
}

#[test]
fn a_publish_says_with_which_qos_its_message_was_published() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let published = Matched::published(qos, false);
        assert_eq!(decoded(Decoder::of_cell(), encoded(published)), Ok((Qos::ExactlyOnce, qos)));
    }
    assert_eq!(decoded(Decoder::of_cell(), encoded(None)), Ok((Qos::ExactlyOnce, Qos::AtMostOnce)));
}

#[test]
fn no_other_identifier_says_so_and_no_client_may_send_one() {
    let identifier = |id: u32| Matched::new([std::num::NonZeroU32::new(id).unwrap()].into_iter().collect(), None);
    for id in [7, 255, 256, 268_435_455] {
        let refused = decoded(Decoder::of_cell(), encoded(identifier(id)));
        assert!(matches!(refused, Err(DecodeError::PropertyValue(0x0B))), "{refused:?}");
    }
    let refused = decoded(Decoder::connected(ProtocolVersion::V5), encoded(identifier(1)));
    assert!(matches!(refused, Err(DecodeError::PropertyFromWrongSide(0x0B))), "{refused:?}"); // [MQTT-3.3.4-6]
}
