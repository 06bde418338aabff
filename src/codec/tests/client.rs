use bytes::BytesMut;
use proptest::prelude::*;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::strategies::{server_frame_like, server_packet};
use super::*;
use crate::codec::client::Oversized;
use crate::codec::{AliasUse, Auth, Message, OutgoingPublish, PacketType, Publish, ReasonCode, TopicAlias, encode};
use crate::topic::TopicName;

#[track_caller]
fn server_refused(version: ProtocolVersion, frame: &[u8], error: DecodeError) {
    assert_eq!(decode_server(version, frame), Err(error), "{frame:02x?}");
}

fn alias(number: u16) -> TopicAlias {
    NonZeroU16::new(number).unwrap()
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name.to_owned().into()).unwrap()
}

/// Consecutive PUBLISH packets of a Server with these aliases.
fn with_aliases(aliases: &[(u16, AliasUse)]) -> Bytes {
    let message = Arc::new(Message::new(topic("a/b"), "hi"));
    let mut output = BytesMut::new();
    for &(number, alias_use) in aliases {
        let topic_alias = Some((alias(number), alias_use));
        let publish = OutgoingPublish { topic_alias, ..OutgoingPublish::new(Arc::clone(&message)) };
        encode(&ServerPacket::Publish(publish), V5, &mut output);
    }
    output.freeze()
}

fn topic_of(packet: Result<Option<ServerPacket>, DecodeError>) -> TopicName {
    let Ok(Some(ServerPacket::Publish(publish))) = packet else { panic!("not a PUBLISH: {packet:?}") };
    publish.message.topic.clone()
}

#[test]
fn topic_aliases_of_the_server_are_resolved() {
    let mut input = with_aliases(&[(3, AliasUse::Set), (3, AliasUse::Known)]);
    let mut decoder = answered(V5, u32::MAX);
    assert_eq!(topic_of(decoder.decode(&mut input)), topic("a/b"));
    assert_eq!(topic_of(decoder.decode(&mut input)), topic("a/b"));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!(decoder.decode(&mut with_aliases(&[(4, AliasUse::Known)])), Err(DecodeError::TopicMissing));
}

#[test]
fn mqtt5_3_1_2_26_topic_alias_above_the_maximum_is_refused() {
    for maximum in [0, 2] {
        let mut decoder = ServerDecoder::new(V5, u32::MAX, maximum);
        decoder.decode(&mut Bytes::from_static(b"\x20\x03\0\0\0")).unwrap().unwrap();
        let error = DecodeError::TopicAliasAboveMaximum { alias: maximum + 1, maximum }; // covers: MQTT-3.1.2-27
        assert_eq!(decoder.clone().decode(&mut with_aliases(&[(maximum + 1, AliasUse::Set)])), Err(error));
        if maximum > 0 {
            assert_eq!(topic_of(decoder.decode(&mut with_aliases(&[(maximum, AliasUse::Set)]))), topic("a/b"));
        }
    }
}

#[test]
fn mqtt5_3_1_2_24_packet_above_the_maximum_packet_size_is_refused_by_its_header() {
    let mut decoder = ServerDecoder::new(V3, 10, 0);
    decoder.decode(&mut Bytes::from_static(b"\x20\x02\0\0")).unwrap().unwrap();
    assert_eq!(topic_of(decoder.decode(&mut Bytes::from_static(b"\x30\x08\0\x01tfive!"))), topic("t"));
    let error = DecodeError::PacketTooLarge { size: 11, maximum_packet_size: 10 };
    assert_eq!(decoder.decode(&mut Bytes::from_static(b"\x30\x09")), Err(error));
}

#[test]
fn a_publish_that_is_too_large_can_be_skipped_when_its_topic_and_identifier_are_there() {
    let mut decoder = ServerDecoder::new(V3, 10, 0);
    decoder.decode(&mut Bytes::from_static(b"\x20\x02\0\0")).unwrap().unwrap();
    let input = b"\x3D\xE8\x07\0\x03a/b\x01\x02payload";
    for length in 0..10 {
        let expected = if length < 3 { Oversized::No } else { Oversized::Incomplete };
        assert_eq!(decoder.decode_oversized(&input[..length]), Ok(expected), "{length}");
    }
    for length in 10..input.len() {
        let found = decoder.decode_oversized(&input[..length]);
        let Ok(Oversized::Publish(publish, 1_003)) = found else { panic!("{found:?}") };
        let id = publish.packet_id.unwrap().number();
        assert_eq!((publish.message.topic.as_str(), id, publish.dup), ("a/b", 0x102, true));
        assert!(publish.message.payload.is_empty());
    }
    for other in [b"\x30\x03\0\x01a".as_slice(), b"\x40\x80\x01\0\x01", b"\xD0\0"] {
        assert_eq!(decoder.decode_oversized(other), Ok(Oversized::No));
    }
    assert!(decoder.decode_oversized(b"\x30\x80\x01\0\x01+").is_err());
    assert!(decoder.decode_oversized(b"\x32\x0A\0\xFFa234567890").is_err());
    let mut five = answered(V5, 10);
    assert_eq!(five.decode_oversized(input), Ok(Oversized::No));
}

#[test]
fn mqtt5_3_2_0_1_only_auth_comes_before_connack() {
    for (version, frame) in [(V3, b"\xD0\0".as_slice()), (V5, b"\xD0\0"), (V5, b"\xE0\0"), (V5, b"\x30\x04\0\x01t\0")] {
        let packet_type = PacketType::new(frame[0] >> 4).unwrap();
        let read = ServerDecoder::new(version, u32::MAX, 0).decode(&mut Bytes::from_static(frame));
        assert_eq!(read, Err(DecodeError::ExpectedConnack(packet_type)));
    }
    let mut decoder = ServerDecoder::new(V5, u32::MAX, 0);
    let mut input = Bytes::from_static(b"\xF0\x06\x18\x04\x15\0\x01m\x20\x03\0\0\0");
    assert!(matches!(decoder.decode(&mut input), Ok(Some(ServerPacket::Auth(_)))));
    assert!(matches!(decoder.decode(&mut input), Ok(Some(ServerPacket::Connack(_)))));
}

#[test]
fn mqtt5_3_2_0_2_second_connack_is_refused() {
    let mut decoder = answered(V5, u32::MAX);
    assert_eq!(decoder.decode(&mut Bytes::from_static(b"\x20\x03\0\0\0")), Err(DecodeError::SecondConnack));
}

#[test]
fn mqtt311_3_9_3_2_suback_of_3_1_1_has_no_other_codes() {
    server_refused(V3, b"\x90\x03\0\x01\x87", DecodeError::ReasonCode(0x87));
    server_refused(V3, b"\x20\x02\0\x06", DecodeError::ReasonCode(6));
    server_refused(V3, b"\xB0\x03\0\x01\0", DecodeError::TrailingBytes);
}

#[test]
fn mqtt5_3_8_4_6_suback_without_a_reason_code_is_refused() {
    server_refused(V3, b"\x90\x02\0\x01", DecodeError::Truncated);
    server_refused(V5, b"\x90\x03\0\x01\0", DecodeError::Truncated);
    server_refused(V5, b"\xB0\x03\0\x01\0", DecodeError::Truncated); // covers: MQTT-3.11.3-2
}

#[test]
fn packets_that_only_a_client_sends_are_refused() {
    for packet_type in [PacketType::Connect, PacketType::Subscribe, PacketType::Unsubscribe, PacketType::Pingreq] {
        server_refused(V5, &[packet_type.first_byte(), 0], DecodeError::WrongDirection(packet_type));
    }
    server_refused(V3, b"\xE0\0", DecodeError::WrongDirection(PacketType::Disconnect));
    server_refused(V3, b"\xF0\0", DecodeError::ReservedPacketType(15));
    server_refused(V5, b"\xE0\x07\0\x05\x11\0\0\0\x01", DecodeError::PropertyFromWrongSide(0x11)); // [MQTT-3.14.2-2]
}

#[test]
fn subscription_identifiers_of_the_server_are_decoded() {
    let packet = decode_server(V5, b"\x30\x09\0\x01t\x05\x0B\x01\x0B\x80\x01");
    let Ok(ServerPacket::Publish(publish)) = packet else { panic!() };
    assert_eq!(publish.subscription_ids().iter().map(|id| id.get()).collect::<Vec<_>>(), [1, 128]);
    server_refused(V5, b"\x30\x06\0\x01t\x02\x0B\0", DecodeError::PropertyValue(0x0B));
}

#[test]
fn fields_that_3_1_1_lacks_are_not_encoded() {
    let written = |packet: &ClientPacket| {
        let mut output = BytesMut::new();
        encode_client(packet, V3, &mut output);
        output.freeze()
    };
    assert!(written(&ClientPacket::Auth(Box::new(Auth::new(ReasonCode::ReAuthenticate, None)))).is_empty());
    let publish = Publish { topic_alias: Some((alias(1), AliasUse::Known)), ..Publish::new(topic("t"), "x") };
    assert_eq!(written(&ClientPacket::Publish(publish)), b"\x30\x04\0\x01tx".as_slice());
}

/// Decodes `input` in pieces of `piece` bytes. Returns the packets, and the number of remaining bytes or the error.
fn read_all(mut decoder: ServerDecoder, input: &[u8], piece: usize) -> (Vec<ServerPacket>, Result<usize, DecodeError>) {
    decode_in_pieces(input, piece, |buffer| decoder.decode(buffer))
}

proptest! {
    #[test]
    fn any_bytes_of_a_server_decode_or_fail_independently_of_fragmentation(
        frames in prop::collection::vec(server_frame_like(), 1..4),
        piece in 1usize..20,
        has_connack in any::<bool>(),
    ) {
        let version = frames[0].0;
        let input: Vec<u8> = frames.into_iter().flat_map(|(_, frame)| frame).collect();
        let decoder = if has_connack { answered(version, u32::MAX) } else { ServerDecoder::new(version, 1_000, 3) };
        let whole = read_all(decoder.clone(), &input, usize::MAX);
        prop_assert_eq!(&whole, &read_all(decoder.clone(), &input, piece));
        prop_assert_eq!(&whole, &read_all(decoder, &input, 1));
    }

    #[test]
    fn no_packet_above_the_maximum_packet_size_is_decoded((version, packet) in server_packet(), maximum_packet_size in 5u32..80) {
        let mut output = BytesMut::new();
        encode(&packet, version, &mut output);
        let size = output.len();
        let mut decoder = answered(version, maximum_packet_size);
        if packet.packet_type() == PacketType::Connack {
            decoder = ServerDecoder::new(version, maximum_packet_size, 0);
        }
        let read = decoder.decode(&mut output.freeze());
        if size > maximum_packet_size as usize {
            prop_assert_eq!(read, Err(DecodeError::PacketTooLarge { size, maximum_packet_size }));
        } else {
            prop_assert_eq!(read, Ok(Some(packet)));
        }
    }
}
