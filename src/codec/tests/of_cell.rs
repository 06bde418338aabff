//! What a cell sends to another one.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use proptest::prelude::*;

use super::strategies::{filter, message_properties};
use crate::codec::{
    ClientPacket, DecodeError, Decoder, Matched, Message, OutgoingPublish, PacketId, ProtocolVersion, Qos,
    ServerPacket, ShareCopy, encode,
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

fn share_copy() -> impl Strategy<Value = ShareCopy> {
    let of_share = filter().prop_filter("a share", |filter| filter.share.is_some());
    (of_share, any::<u32>(), prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(filter, publisher, been)| ShareCopy {
        been: been.into(),
        ..ShareCopy::new(&Arc::new(filter), publisher)
    })
}

proptest! {
    #[test]
    fn a_copy_for_a_share_is_known_in_a_queue_and_in_a_publish(
        copy in share_copy(),
        qos in prop::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]),
        properties in message_properties(),
    ) {
        let matched = copy.matched().unwrap();
        prop_assert_eq!(matched.share_copy(), Some(copy.clone()));
        prop_assert_eq!(matched.own_share(), None);
        let message = Message { properties: copy.put_before(&properties), ..Message::new("t".try_into().unwrap(), "x") };
        let matched = Matched::published(qos, true);
        let publish = OutgoingPublish { matched, ..OutgoingPublish::new(Arc::new(message)) };
        let mut bytes = BytesMut::new();
        encode(&ServerPacket::Publish(publish), ProtocolVersion::V5, &mut bytes);
        let decoded = Decoder::of_cell().decode(&mut bytes.freeze()).unwrap();
        let Some(ClientPacket::Publish(publish)) = decoded else { panic!("{decoded:?}") };
        prop_assert_eq!((publish.message.qos, publish.message.is_share_copy), (qos, true));
        prop_assert_eq!(ShareCopy::take_from(&publish.message.properties), Some((copy, properties)));
    }

    #[test]
    fn other_subscriptions_are_no_copies_and_other_properties_have_none(
        filter in filter(),
        ids in prop::collection::vec(1..=268_435_455_u32, 0..3),
        properties in message_properties(),
    ) {
        let filter = Arc::new(filter);
        let ids = ids.into_iter().filter_map(std::num::NonZeroU32::new).collect();
        let matched = Matched::new(ids, Some(Arc::clone(&filter))).unwrap();
        prop_assert_eq!((matched.share_copy(), matched.own_share()), (None, Some(&filter)));
        prop_assert_eq!(ShareCopy::take_from(&properties), None);
    }
}
