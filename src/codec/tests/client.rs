use bytes::{Bytes, BytesMut};
use std::num::NonZeroU16;
use std::sync::Arc;

use super::*;
use crate::codec::client::{ServerDecoder, decode_server};
use crate::codec::{AliasUse, Message, OutgoingPublish, PacketType, ServerPacket, encode};
use crate::topic::TopicName;

#[track_caller]
fn server_refused(version: ProtocolVersion, frame: &[u8], error: DecodeError) {
    assert_eq!(decode_server(version, &mut Bytes::copy_from_slice(frame)), Err(error), "{frame:02x?}");
}

#[test]
fn topic_aliases_of_the_server_are_filled_in() {
    let message = Arc::new(Message::new(TopicName::new("a/b".into()).unwrap(), "hi"));
    let alias = NonZeroU16::new(3).unwrap();
    let [set, known] = [AliasUse::Set, AliasUse::Known].map(|alias_use| {
        let publish = OutgoingPublish::new(message.clone());
        ServerPacket::Publish(OutgoingPublish { topic_alias: Some((alias, alias_use)), ..publish })
    });
    let mut output = BytesMut::new();
    encode(&known, V5, &mut output);
    let unknown = output.split().freeze();
    encode(&set, V5, &mut output);
    encode(&known, V5, &mut output);
    let mut input = output.freeze();
    let mut decoder = ServerDecoder::new(V5);
    assert_eq!(decoder.decode(&mut unknown.clone()), Err(DecodeError::TopicMissing));
    assert_eq!(decoder.decode(&mut input), Ok(Some(set)));
    assert_eq!(decoder.decode(&mut input), Ok(Some(known)));
    assert_eq!(decoder.decode(&mut input), Ok(None));
}

#[test]
fn mqtt311_3_9_3_2_suback_of_3_1_1_has_no_other_codes() {
    server_refused(V3, b"\x90\x03\0\x01\x87", DecodeError::ReasonCode(0x87));
    server_refused(V3, b"\x20\x02\0\x06", DecodeError::ReasonCode(6));
    server_refused(V3, b"\xB0\x03\0\x01\0", DecodeError::TrailingBytes);
}

#[test]
fn what_only_a_client_sends_is_refused() {
    for packet_type in [PacketType::Connect, PacketType::Subscribe, PacketType::Unsubscribe, PacketType::Pingreq] {
        server_refused(V5, &[packet_type.first_byte(), 0], DecodeError::WrongDirection(packet_type));
    }
    server_refused(V3, b"\xE0\0", DecodeError::WrongDirection(PacketType::Disconnect));
    server_refused(V5, b"\xE0\x07\0\x05\x11\0\0\0\x01", DecodeError::PropertyFromWrongSide(0x11)); // [MQTT-3.14.2-2]
}

#[test]
fn subscription_identifiers_come_from_the_server() {
    let mut input = Bytes::from_static(b"\x30\x09\0\x01t\x05\x0B\x01\x0B\x80\x01");
    let Ok(Some(ServerPacket::Publish(publish))) = decode_server(V5, &mut input) else { panic!() };
    assert_eq!(publish.subscription_ids().iter().map(|id| id.get()).collect::<Vec<_>>(), [1, 128]);
    server_refused(V5, b"\x30\x06\0\x01t\x02\x0B\0", DecodeError::PropertyValue(0x0B));
}
