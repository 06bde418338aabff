use bytes::{Bytes, BytesMut};
use smallvec::smallvec;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::*;
use crate::codec::limits::STRING_LENGTH_MAX;
use crate::codec::{
    Ack, AckDetails, AliasUse, Auth, Connack, ConnackProperties, Disconnect, Matched, Message, MessageProperties,
    MessageProperty, OutgoingPublish, PacketId, Qos, ReasonCode, ServerPacket, Suback, Unsuback, encode,
};
use crate::topic::TopicName;

fn encoded(version: ProtocolVersion, packet: &ServerPacket) -> Vec<u8> {
    let mut output = BytesMut::new();
    encode(packet, version, &mut output);
    assert_eq!(packet.encoded_len(version), output.len());
    output.to_vec()
}

fn packet_id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn connack(connack: Connack) -> ServerPacket {
    ServerPacket::Connack(Box::new(connack))
}

#[test]
fn connack_omits_properties_at_their_default() {
    assert_eq!(encoded(V3, &connack(Connack::accepted(true))), b"\x20\x02\x01\x00");
    assert_eq!(encoded(V5, &connack(Connack::accepted(true))), b"\x20\x03\x01\x00\x00");
    let properties = ConnackProperties {
        maximum_qos: Qos::AtLeastOnce,
        retain_available: false,
        topic_alias_maximum: 10,
        ..ConnackProperties::default()
    };
    let limited = connack(Connack { properties, ..Connack::accepted(false) });
    assert_eq!(encoded(V5, &limited), b"\x20\x0A\0\0\x07\x24\x01\x25\0\x22\0\x0A");
    assert_eq!(encoded(V3, &limited), b"\x20\x02\0\0");
}

#[test]
fn mqtt311_3_2_2_6_connack_is_not_sent_without_an_applicable_return_code() {
    for (reason_code, return_code) in [
        (ReasonCode::UnsupportedProtocolVersion, 1), // covers: MQTT-3.1.2-2
        (ReasonCode::ClientIdentifierNotValid, 2),   // covers: MQTT-3.1.3-9
        (ReasonCode::ServerUnavailable, 3),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::NotAuthorized, 5),
        (ReasonCode::Banned, 5),
        (ReasonCode::TopicNameInvalid, 5),
        (ReasonCode::QosNotSupported, 5),
        (ReasonCode::PacketTooLarge, 5),
    ] {
        for version in [V3_1, V3] {
            assert_eq!(encoded(version, &connack(Connack::refused(reason_code))), [0x20, 2, 0, return_code]);
        }
    }
    for reason_code in [ReasonCode::MalformedPacket, ReasonCode::ProtocolError] {
        assert_eq!(encoded(V3, &connack(Connack::refused(reason_code))), b"");
        assert_eq!(encoded(V5, &connack(Connack::refused(reason_code))), [0x20, 3, 0, reason_code.number(), 0]);
    }
}

#[test]
fn publish_is_encoded_according_to_the_version() {
    let properties = [MessageProperty::UserProperty("k".into(), "v".into())];
    let message = Message {
        properties: MessageProperties::from_properties(properties),
        ..Message::new(TopicName::new("a/b".into()).unwrap(), "hi")
    };
    let mut publish = OutgoingPublish {
        dup: true,
        qos: Qos::AtLeastOnce,
        retain: true,
        packet_id: Some(packet_id(7)),
        topic_alias: Some((NonZeroU16::new(9).unwrap(), AliasUse::Set)),
        message_expiry_interval: Some(60),
        matched: Matched::new(smallvec![NonZeroU32::new(1).unwrap(), NonZeroU32::new(128).unwrap()], None),
        ..OutgoingPublish::new(Arc::new(message))
    };
    let head = b"\x3B\x1E\0\x03a/b\0\x07";
    let properties = b"\x14\x02\0\0\0\x3C\x23\0\x09\x0B\x01\x0B\x80\x01\x26\0\x01k\0\x01v";
    let expected = [&head[..], properties, b"hi"].concat();
    assert_eq!(encoded(V5, &ServerPacket::Publish(publish.clone())), expected);
    assert_eq!(encoded(V3, &ServerPacket::Publish(publish.clone())), b"\x3B\x09\0\x03a/b\0\x07hi");
    publish.topic_alias = Some((NonZeroU16::new(9).unwrap(), AliasUse::Known));
    let expected = [b"\x3B\x1B\0\0\0\x07", &properties[..], b"hi"].concat();
    assert_eq!(encoded(V5, &ServerPacket::Publish(publish.clone())), expected);
    assert_eq!(encoded(V3, &ServerPacket::Publish(publish)), b"\x3B\x09\0\x03a/b\0\x07hi");
}

#[test]
fn remaining_length_has_the_shortest_form() {
    for (payload, header) in [
        (122, b"\x30\x7F".as_slice()),
        (123, b"\x30\x80\x01"),
        (16_378, b"\x30\xFF\x7F"),
        (16_379, b"\x30\x80\x80\x01"),
        (2_097_146, b"\x30\xFF\xFF\x7F"),
        (2_097_147, b"\x30\x80\x80\x80\x01"),
    ] {
        let message = Message::new(TopicName::new("a/b".into()).unwrap(), Bytes::from(vec![0; payload]));
        let publish = OutgoingPublish::new(Arc::new(message));
        let frame = encoded(V3, &ServerPacket::Publish(publish.clone()));
        assert_eq!(&frame[..header.len()], header);
        assert_eq!(frame.len(), publish.encoded_len(V3));
        let mut head = BytesMut::new();
        publish.encode_head(V3, &mut head);
        assert_eq!(head, frame[..frame.len() - payload]);
    }
}

#[test]
fn acknowledgements_have_the_shortest_form() {
    let success = Ack::new(packet_id(258), ReasonCode::Success);
    let refused = Ack::new(packet_id(258), ReasonCode::NotAuthorized);
    for version in VERSIONS {
        assert_eq!(encoded(version, &ServerPacket::Puback(success.clone())), b"\x40\x02\x01\x02");
        assert_eq!(encoded(version, &ServerPacket::Pubrec(success.clone())), b"\x50\x02\x01\x02");
        assert_eq!(encoded(version, &ServerPacket::Pubrel(success.clone())), b"\x62\x02\x01\x02");
        assert_eq!(encoded(version, &ServerPacket::Pubcomp(success.clone())), b"\x70\x02\x01\x02");
    }
    assert_eq!(encoded(V5, &ServerPacket::Puback(refused.clone())), b"\x40\x03\x01\x02\x87");
    assert_eq!(encoded(V3, &ServerPacket::Puback(refused.clone())), b"\x40\x02\x01\x02");
    let details =
        AckDetails { reason_string: Some("r".into()), user_properties: vec![("k".into(), "v".into())], late: None };
    let detailed = ServerPacket::Puback(Ack { details: Some(Box::new(details)), ..refused });
    assert_eq!(encoded(V5, &detailed), b"\x40\x0F\x01\x02\x87\x0B\x1F\0\x01r\x26\0\x01k\0\x01v");
    assert_eq!(encoded(V3, &detailed), b"\x40\x02\x01\x02");
}

#[test]
fn mqtt311_3_9_3_2_suback_of_3_1_1_has_one_failure_code() {
    let codes =
        vec![ReasonCode::GrantedQos0, ReasonCode::GrantedQos1, ReasonCode::GrantedQos2, ReasonCode::NotAuthorized];
    let suback = ServerPacket::Suback(Box::new(Suback::new(packet_id(7), codes)));
    assert_eq!(encoded(V3, &suback), b"\x90\x06\0\x07\0\x01\x02\x80");
    assert_eq!(encoded(V5, &suback), b"\x90\x07\0\x07\0\0\x01\x02\x87");
    let unsuback =
        ServerPacket::Unsuback(Box::new(Unsuback::new(packet_id(7), vec![ReasonCode::NoSubscriptionExisted])));
    assert_eq!(encoded(V3, &unsuback), b"\xB0\x02\0\x07");
    assert_eq!(encoded(V5, &unsuback), b"\xB0\x04\0\x07\0\x11");
}

#[test]
fn a_3_1_1_server_sends_neither_disconnect_nor_auth() {
    let disconnect = ServerPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::ServerShuttingDown)));
    let auth = ServerPacket::Auth(Box::new(Auth::new(ReasonCode::ContinueAuthentication, Some("m".into()))));
    for version in [V3_1, V3] {
        assert_eq!(encoded(version, &disconnect), b"");
        assert_eq!(encoded(version, &auth), b"");
        assert_eq!(encoded(version, &ServerPacket::Pingresp), b"\xD0\x00");
    }
    assert_eq!(encoded(V5, &disconnect), b"\xE0\x01\x8B");
    assert_eq!(encoded(V5, &auth), b"\xF0\x06\x18\x04\x15\0\x01m");
    let normal = ServerPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection)));
    assert_eq!(encoded(V5, &normal), b"\xE0\x00");
}

#[test]
fn a_string_that_is_too_long_is_truncated_between_characters() {
    let reason_string = Some("é".repeat(40_000).into());
    let disconnect = Disconnect { reason_string, ..Disconnect::new(ReasonCode::UnspecifiedError) };
    let frame = encoded(V5, &ServerPacket::Disconnect(Box::new(disconnect)));
    let read = decode_server(V5, &frame).unwrap();
    let ServerPacket::Disconnect(read) = read else { panic!() };
    assert_eq!(read.reason_string.unwrap().len(), STRING_LENGTH_MAX - 1);
    let long = MessageProperty::CorrelationData(vec![1; 70_000].into());
    let properties = MessageProperties::from_properties([long]);
    assert_eq!(properties.encoded_len(), 3 + STRING_LENGTH_MAX);
}

#[test]
fn reason_codes_and_packet_types_have_the_standards_names() {
    assert_eq!(ReasonCode::TopicAliasInvalid.to_string(), "Topic Alias invalid");
    assert_eq!(crate::codec::PacketType::Pubcomp.to_string(), "PUBCOMP");
    for number in 0..=0xFF {
        assert!(ReasonCode::new(number).is_none_or(|code| code.number() == number && !code.name().is_empty()));
    }
}

#[test]
fn message_properties_are_found() {
    let all = [
        MessageProperty::ContentType("text/plain".into()),
        MessageProperty::PayloadFormatIndicator(true),
        MessageProperty::ResponseTopic("r/t".into()),
        MessageProperty::CorrelationData(Bytes::from_static(b"\0\xFF")),
        MessageProperty::UserProperty("k".into(), String::new().into()),
    ];
    let properties = MessageProperties::from_properties(all.clone());
    assert_eq!(properties.iter().collect::<Vec<_>>(), all);
    assert!(properties.payload_is_utf8());
    assert!(MessageProperties::default().is_empty());
}

#[test]
fn a_topic_is_sent_from_its_start_on() {
    let message = |name: &str| Arc::new(Message::new(TopicName::try_from(name).unwrap(), "payload"));
    for (full, sent) in [("a/b", "b"), ("tenants/x//", "/"), ("a/\u{e4}/z", "\u{e4}/z")] {
        let topic_start = u16::try_from(full.len() - sent.len()).unwrap();
        let publish = OutgoingPublish { topic_start, ..OutgoingPublish::new(message(full)) };
        let plain = OutgoingPublish::new(message(sent));
        for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
            let (mut one, mut other) = (BytesMut::new(), BytesMut::new());
            publish.encode(version, &mut one);
            plain.encode(version, &mut other);
            assert_eq!(one, other, "{full}");
            assert_eq!(publish.encoded_len(version), one.len());
        }
    }
}

#[test]
fn a_response_topic_is_replaced_in_its_place_or_removed() {
    let of = |response: Option<&str>| {
        let response = response.map(|topic| MessageProperty::ResponseTopic(topic.into()));
        let first = MessageProperty::PayloadFormatIndicator(true);
        let last = MessageProperty::UserProperty("k".into(), "v".into());
        MessageProperties::from_properties([Some(first), response, Some(last)].into_iter().flatten())
    };
    let properties = of(Some("r"));
    assert_eq!(properties.response_topic().as_deref(), Some("r"));
    assert_eq!(properties.with_response_topic(Some("a/r".into())), of(Some("a/r")));
    assert_eq!(properties.with_response_topic(None), of(None));
    assert_eq!(of(None).with_response_topic(Some("a/r".into())), of(None));
    assert_eq!(of(None).response_topic(), None);
}
