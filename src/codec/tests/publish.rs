use std::num::NonZeroU16;

use super::*;
use crate::codec::{AliasUse, Message, MessageProperty, PacketId, Publish, Qos, ReasonCode, TopicAlias};
use crate::topic::{InvalidTopic, TopicName};

fn publish(version: ProtocolVersion, frame: &[u8]) -> Publish {
    match decode(version, frame) {
        Ok(ClientPacket::Publish(publish)) => publish,
        other => panic!("not a PUBLISH: {other:?}"),
    }
}

/// A 5.0 PUBLISH at QoS 0 to `t` with these properties.
fn with_properties(properties: &[u8]) -> Vec<u8> {
    packet(0x30, &[b"\0\x01t", &[u8::try_from(properties.len()).unwrap()], properties, b"payload"])
}

fn alias(number: u16, alias_use: AliasUse) -> Option<(TopicAlias, AliasUse)> {
    Some((NonZeroU16::new(number)?, alias_use))
}

#[test]
fn all_fields_are_decoded() {
    let read = publish(V3, b"\x3D\x0C\0\x03a/b\0\x07hello");
    assert_eq!((read.dup, read.qos, read.retain), (true, Qos::ExactlyOnce, true));
    assert_eq!(read.message.topic, TopicName::new("a/b".into()).unwrap());
    assert_eq!(read.packet_id, PacketId::new(7));
    assert_eq!(&read.message.payload[..], b"hello");
    let read = publish(V5, &with_properties(b"\x23\0\x09\x26\0\x01k\0\x01v\x02\0\0\0\x3C"));
    assert_eq!(read.topic_alias, alias(9, AliasUse::Set));
    assert_eq!(read.message_expiry_interval, Some(60));
    assert_eq!(
        read.message.properties.iter().collect::<Vec<_>>(),
        [MessageProperty::UserProperty("k".into(), "v".into())]
    );
    assert_eq!(&read.message.payload[..], b"payload");
}

#[test]
fn mqtt5_3_3_1_2_dup_is_0_at_qos_0() {
    for version in [V3, V5] {
        refused(version, b"\x38\x04\0\x01t\0", DecodeError::DupAtQos0);
    }
    assert_eq!(DecodeError::DupAtQos0.reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn mqtt5_3_3_1_4_qos_3_is_malformed() {
    for version in VERSIONS {
        refused(version, b"\x36\x06\0\x01t\0\x01\0", DecodeError::PublishQos);
        refused(version, b"\x3E", DecodeError::PublishQos);
    }
    assert_eq!(DecodeError::PublishQos.reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn mqtt5_2_2_1_3_packet_identifier_is_not_0() {
    for version in VERSIONS {
        refused(version, b"\x32\x06\0\x01t\0\0\0", DecodeError::PacketIdZero);
        refused(version, b"\x34\x06\0\x01t\0\0\0", DecodeError::PacketIdZero);
    }
}

#[test]
fn mqtt5_3_3_2_1_topic_name_is_utf8() {
    for bad in [b"\xFF".as_slice(), b"\xC0\x80", b"\xED\xA0\x80", b"\xED\xBF\xBF", b"\xF4\x90\x80\x80", b"a\xC3"] {
        let length = [0, u8::try_from(bad.len()).unwrap()];
        // covers: MQTT-1.5.4-1
        for version in VERSIONS {
            refused(version, &packet(0x30, &[&length, bad, b"\0"]), DecodeError::Utf8);
        }
    }
    assert_eq!(DecodeError::Utf8.reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn mqtt5_1_5_4_2_null_character_is_malformed() {
    for version in VERSIONS {
        refused(version, b"\x30\x06\0\x03a\0b\0", DecodeError::TopicName(InvalidTopic::NullCharacter));
    }
    refused(V5, &with_properties(b"\x26\0\x01\0\0\x01v"), DecodeError::NullCharacter);
    assert_eq!(DecodeError::NullCharacter.reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn mqtt5_1_5_4_3_byte_order_mark_is_kept() {
    let read = publish(V3, b"\x30\x06\0\x04\xEF\xBB\xBFt");
    assert_eq!(read.message.topic.as_str(), "\u{FEFF}t");
}

#[test]
fn mqtt5_3_3_2_2_wildcards_in_a_topic_name_are_malformed() {
    let error = DecodeError::TopicName(InvalidTopic::WildcardInName);
    for version in VERSIONS {
        refused(version, b"\x30\x06\0\x03a/+\0", error);
        refused(version, b"\x30\x06\0\x03a/#\0", error);
        refused(version, b"\x30\x04\0\x01#\0", error);
    }
    assert_eq!(error.reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn mqtt5_4_7_3_1_empty_topic_name_needs_an_alias() {
    refused(V3, b"\x30\x03\0\0x", DecodeError::TopicName(InvalidTopic::Empty));
    refused(V5, b"\x30\x03\0\0\0", DecodeError::TopicMissing);
    assert_eq!(DecodeError::TopicMissing.reason_code(), ReasonCode::ProtocolError);
    let read = publish(V5, b"\x30\x06\0\0\x03\x23\0\x01");
    assert_eq!(read.topic_alias, alias(1, AliasUse::Known));
}

#[test]
fn mqtt5_3_3_2_8_topic_alias_0_is_invalid() {
    refused(V5, &with_properties(b"\x23\0\0"), DecodeError::TopicAliasZero);
    assert_eq!(DecodeError::TopicAliasZero.reason_code(), ReasonCode::TopicAliasInvalid);
}

#[test]
fn mqtt5_3_3_4_6_client_sends_no_subscription_identifier() {
    let error = DecodeError::PropertyFromWrongSide(0x0B);
    refused(V5, &with_properties(b"\x0B\x01"), error);
    assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn mqtt5_3_3_2_14_wildcards_in_the_response_topic_are_a_protocol_error() {
    let error = DecodeError::PropertyValue(0x08);
    refused(V5, &with_properties(b"\x08\0\x03a/#"), error);
    refused(V5, &with_properties(b"\x08\0\x01+"), error);
    refused(V5, &with_properties(b"\x08\0\0"), error); // covers: MQTT-4.7.3-1
    assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn payload_format_indicator_is_0_or_1() {
    let error = DecodeError::PropertyValue(0x01);
    refused(V5, &with_properties(b"\x01\x02"), error);
    refused(V5, &with_properties(b"\x01\x07"), error);
    assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
    assert!(publish(V5, &with_properties(b"\x01\x01")).message.properties.payload_is_utf8());
    assert!(!publish(V5, &with_properties(b"\x01\x00")).message.properties.payload_is_utf8());
    assert!(!publish(V5, &with_properties(b"")).message.properties.payload_is_utf8());
}

#[test]
fn repeated_properties_are_protocol_errors() {
    for property in
        [b"\x01\x01".as_slice(), b"\x02\0\0\0\x01", b"\x03\0\x01c", b"\x08\0\x01r", b"\x09\0\x01d", b"\x23\0\x01"]
    {
        let error = DecodeError::PropertyRepeated(property[0]);
        refused(V5, &with_properties(&property.repeat(2)), error);
        accepted(V5, &with_properties(property));
        assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
    }
}

#[test]
fn properties_of_other_packets_are_malformed() {
    for id in (0x00..=0xFF).filter(|id| ![0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26].contains(id)) {
        let error = DecodeError::PropertyNotAllowed(id);
        refused(V5, &with_properties(&[id, 0, 0, 0, 0]), error);
        assert_eq!(error.reason_code(), ReasonCode::MalformedPacket);
    }
}

#[test]
fn properties_end_at_their_length() {
    // The property length exceeds the packet; a property exceeds the property length; a truncated property.
    refused(V5, b"\x30\x04\0\x01t\x05", DecodeError::Truncated);
    refused(V5, b"\x30\x0A\0\x01t\x04\x03\0\x05hello", DecodeError::Truncated);
    refused(V5, b"\x30\x09\0\x01t\x02\x02\0\0\0\x01", DecodeError::Truncated);
    refused(V5, b"\x30\x05\0\x01t\x01\x01", DecodeError::Truncated);
    // covers: MQTT-2.2.2-1
    refused(V5, b"\x30\x03\0\x01t", DecodeError::Truncated);
    assert_eq!(DecodeError::Truncated.reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn fields_end_with_the_packet() {
    for version in VERSIONS {
        refused(version, b"\x30\x00", DecodeError::Truncated);
        refused(version, b"\x30\x01\0", DecodeError::Truncated);
        refused(version, b"\x30\x04\0\x03ab", DecodeError::Truncated);
        refused(version, b"\x32\x04\0\x01t\0", DecodeError::Truncated);
    }
}

#[test]
fn mqtt5_3_3_2_18_user_properties_keep_their_order_without_other_properties() {
    let properties = b"\x26\0\x01a\0\x011\x23\0\x01\x26\0\x01b\0\x012\x02\0\0\0\x05\x26\0\x01a\0\x013";
    let read = publish(V5, &with_properties(properties));
    let expected = [("a", "1"), ("b", "2"), ("a", "3")];
    let expected = expected.map(|(name, value)| MessageProperty::UserProperty(name.into(), value.into()));
    assert_eq!(read.message.properties.iter().collect::<Vec<_>>(), expected);
    assert_eq!((read.topic_alias, read.message_expiry_interval), (alias(1, AliasUse::Set), Some(5)));
}

#[test]
fn a_publish_has_slices_of_the_input() {
    let input = Bytes::from(with_properties(b"\x26\0\x01k\0\x01v"));
    let Ok(Some(ClientPacket::Publish(read))) = connected(V5).decode(&mut input.clone()) else { panic!() };
    let within = |part: &[u8]| input.as_ptr_range().contains(&part.as_ptr());
    let message = Message::clone(&read.message);
    assert!(within(message.topic.as_str().as_bytes()));
    assert!(within(&message.payload));
    let mut detached = message.clone();
    detached.detach();
    assert_eq!(detached, message);
    assert!(!within(&detached.payload));
}
