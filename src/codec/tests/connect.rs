use std::num::NonZeroU32;

use super::*;
use crate::codec::{AnswerTerms, MessageProperty, Qos, ReasonCode};
use crate::topic::InvalidTopic;

/// The frame of a 3.1.1 CONNECT.
fn connect3(flags: u8, payload: &[u8]) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT\x04", &[flags], b"\0\x3C", payload])
}

/// The frame of a 5.0 CONNECT.
fn connect5(flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = [u8::try_from(properties.len()).unwrap()];
    packet(0x10, &[b"\0\x04MQTT\x05", &[flags], b"\0\x3C", &length, properties, payload])
}

#[track_caller]
fn connect_refused(frame: &[u8], error: DecodeError, reason_code: ReasonCode) {
    assert_eq!(decode_connect(frame), Err(error), "{frame:02x?}");
    assert_eq!(error.reason_code(), reason_code);
}

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL_ERROR: ReasonCode = ReasonCode::ProtocolError;

#[test]
fn all_fields_are_decoded() {
    let payload = b"\0\x02id\0\x02w/\0\x01x\0\x02me\0\x03\xFF\0p";
    let read = decode_connect(&connect3(0b1110_1110, payload)).unwrap();
    assert_eq!((read.version, read.clean_start, read.keep_alive), (V3, true, 60));
    assert_eq!(read.client_id, "id");
    assert_eq!(read.user_name.unwrap(), "me");
    assert_eq!(read.password.unwrap(), &b"\xFF\0p"[..]);
    let will = read.will.unwrap();
    assert_eq!(
        (will.topic.as_str(), &will.payload[..], will.qos, will.retain),
        ("w/", &b"x"[..], Qos::AtLeastOnce, true)
    );
}

#[test]
fn properties_of_connect_and_will_are_decoded() {
    let properties =
        b"\x11\0\0\0\x0A\x21\0\x05\x27\0\0\x01\0\x22\0\x07\x19\x01\x17\0\x26\0\x01k\0\x01v\x15\0\x01m\x16\0\x01d";
    let will = b"\x12\x18\0\0\0\x09\x01\x01\x02\0\0\0\x08\x03\0\x03a/b\0\x01w\0\x01x";
    let frame = connect5(0b0000_0110, properties, &[b"\0\x01c", &will[..]].concat());
    let read = decode_connect(&frame).unwrap();
    let properties = read.properties;
    assert_eq!(properties.session_expiry_interval, 10);
    assert_eq!(properties.receive_maximum.get(), 5);
    assert_eq!(properties.maximum_packet_size.unwrap().get(), 256);
    assert_eq!(properties.topic_alias_maximum, 7);
    assert!(properties.request_response_information && !properties.request_problem_information);
    assert_eq!(properties.user_properties.iter().collect::<Vec<_>>(), [("k", "v")]);
    assert!(properties.user_properties.contains("k", "v") && !properties.user_properties.contains("v", "k"));
    assert_eq!(properties.authentication_method.unwrap(), "m");
    assert_eq!(properties.authentication_data.unwrap(), &b"d"[..]);
    let will = read.will.unwrap();
    assert_eq!((will.will_delay_interval, will.message_expiry_interval), (9, Some(8)));
    let kept = [MessageProperty::PayloadFormatIndicator(true), MessageProperty::ContentType("a/b".into())];
    assert_eq!(will.properties.iter().collect::<Vec<_>>(), kept);
}

#[test]
fn a_3_1_1_session_without_clean_session_never_expires() {
    assert_eq!(decode_connect(&connect3(0, b"\0\x01c")).unwrap().properties.session_expiry_interval, u32::MAX);
    assert_eq!(decode_connect(&connect3(2, b"\0\x01c")).unwrap().properties.session_expiry_interval, 0);
    assert_eq!(decode_connect(&connect5(0, b"", b"\0\x01c")).unwrap().properties.session_expiry_interval, 0);
}

#[test]
fn version_3_1_is_accepted() {
    let read = decode_connect(&packet(0x10, &[b"\0\x06MQIsdp\x03\x02\0\0\0\x01c"])).unwrap();
    assert_eq!(read.version, V3_1);
    let empty = packet(0x10, &[b"\0\x06MQIsdp\x03\x02\0\0\0\0"]);
    connect_refused(
        &empty,
        DecodeError::ClientIdMissing { rule: V3_1.client_id_rule() },
        ReasonCode::ClientIdentifierNotValid,
    );
}

#[test]
fn mqtt5_3_1_2_2_unsupported_version_gets_a_response_in_the_closest_one() {
    for (protocol, error, answer_in) in [
        (b"\0\x04MQTT\x06".as_slice(), DecodeError::ProtocolLevel(6), V5),
        (b"\0\x04MQTT\x03", DecodeError::ProtocolLevel(3), V3),
        (b"\0\x04MQTT\x00", DecodeError::ProtocolLevel(0), V3),
        (b"\0\x04MQTT\x83", DecodeError::ProtocolLevel(0x83), V3),
        (b"\0\x04MQTT\x85", DecodeError::ProtocolLevel(0x85), V5),
        (b"\0\x04MQTT\xFF", DecodeError::ProtocolLevel(0xFF), V5),
        (b"\0\x06MQIsdp\x04", DecodeError::ProtocolLevel(4), V3),
        (b"\0\x06MQIsdp\x05", DecodeError::ProtocolLevel(5), V3),
        (b"\0\x06MQIsdp\x84", DecodeError::ProtocolLevel(0x84), V3),
        (b"\0\x04mqtt\x05", DecodeError::ProtocolName, V5), // covers: MQTT-3.1.2-1
        (b"\0\x04HTTP\x04", DecodeError::ProtocolName, V3),
        (b"\0\0\x04", DecodeError::ProtocolName, V3),
    ] {
        let mut decoder = Decoder::new(100);
        let result = decoder.decode(&mut Bytes::from(packet(0x10, &[protocol, b"\x02\0\0\0\0\x01c"])));
        assert_eq!(result, Err(error));
        assert_eq!(error.reason_code(), ReasonCode::UnsupportedProtocolVersion);
        assert_eq!(decoder.version(), Some(answer_in), "{protocol:?}");
    }
}

#[test]
fn the_bridge_bit_of_the_protocol_level_makes_a_bridge_of_3_1_or_3_1_1() {
    for (protocol, version, is_bridge) in [
        (b"\0\x06MQIsdp\x83".as_slice(), V3_1, true),
        (b"\0\x06MQIsdp\x03", V3_1, false),
        (b"\0\x04MQTT\x84", V3, true),
        (b"\0\x04MQTT\x04", V3, false),
    ] {
        let read = decode_connect(&packet(0x10, &[protocol, b"\x02\0\0\0\x01c"])).unwrap();
        assert_eq!((read.version, read.is_bridge), (version, is_bridge));
        let mut output = bytes::BytesMut::new();
        encode_client(&ClientPacket::Connect(Box::new(read.clone())), version, &mut output);
        assert_eq!(decode_connect(&output).unwrap(), read);
    }
}

#[test]
fn mqtt5_3_2_2_connect_that_is_too_large_gets_a_response_if_its_version_has_arrived() {
    let frame = connect3(0x02, &[b"\0\x64", [b'c'; 100].as_slice()].concat());
    for (arrived, version) in [(2, None), (8, None), (9, Some(V3)), (frame.len(), Some(V3))] {
        let mut decoder = Decoder::new(100);
        let result = decoder.decode(&mut Bytes::copy_from_slice(&frame[..arrived]));
        assert_eq!(result, Err(DecodeError::PacketTooLarge { size: frame.len(), maximum_packet_size: 100 }));
        assert_eq!((decoder.version(), decoder.has_connected()), (version, false), "{arrived} bytes");
    }
}

#[test]
fn version_is_known_if_the_rest_of_connect_is_malformed() {
    let mut decoder = Decoder::new(100);
    assert!(decoder.decode(&mut Bytes::from(connect5(1, b"", b"\0\x01c"))).is_err());
    assert_eq!(decoder.version(), Some(V5));
    let mut decoder = Decoder::new(100);
    assert_eq!(decoder.decode(&mut Bytes::from(packet(0x10, &[b"\0\x04MQ"]))), Err(DecodeError::Truncated));
    assert_eq!(decoder.version(), None);
}

#[test]
fn the_limits_of_a_malformed_connect_are_known_as_far_as_they_can_be_read() {
    let terms = |frame: &[u8]| {
        let mut decoder = Decoder::new(100);
        let mut input = Bytes::copy_from_slice(frame);
        assert!(decoder.decode(&mut input).is_err());
        decoder.answer_terms(&input)
    };
    let limits = b"\x27\0\0\0\x20\x17\0";
    let read = |size, problem_information| {
        let maximum_packet_size = NonZeroU32::new(size);
        Some(AnswerTerms { version: V5, maximum_packet_size, request_problem_information: problem_information })
    };
    let body = |flags: u8, properties: &[u8], rest: &[u8]| connect5(flags, properties, rest);
    assert_eq!(terms(&body(1, limits, b"\0\x01c")), read(32, false), "the flags are malformed");
    assert_eq!(terms(&body(2, limits, b"\0\x05c")), read(32, false), "the Client Identifier is malformed");
    assert_eq!(terms(&body(2, &[&limits[..], b"\x17\0"].concat(), b"\0\x01c")), read(32, false), "a repeated one");
    assert_eq!(terms(&body(2, b"\x27\0\0\0\x20\x99\x17\0", b"\0\x01c")), read(32, true), "an unknown one");
    assert_eq!(terms(&body(2, b"\x27\0\0\0\0", b"\0\x01c")), read(0, true), "a limit of 0");
    assert_eq!(terms(&packet(0x10, &[b"\0\x04MQTT\x05"])), read(0, true), "nothing after the protocol level");
    assert_eq!(terms(&connect3(3, b"\0\x01c")), Some(AnswerTerms::new(V3)));
    assert_eq!(terms(&packet(0x10, &[b"\0\x04MQ"])), None, "no protocol level");
    let mut decoder = connected(V5);
    let mut input = Bytes::from_static(b"\x10\0");
    assert!(decoder.decode(&mut input).is_err());
    assert_eq!(decoder.answer_terms(&input), None, "a later packet");
}

#[test]
fn mqtt5_3_1_2_3_reserved_flag_is_malformed() {
    connect_refused(&connect3(0x03, b"\0\x01c"), DecodeError::ConnectFlags(0x03), MALFORMED);
    connect_refused(&connect5(0x03, b"", b"\0\x01c"), DecodeError::ConnectFlags(0x03), MALFORMED);
}

#[test]
fn mqtt5_3_1_2_11_will_qos_and_retain_need_the_will_flag() {
    for flags in [0x0A, 0x12, 0x22, 0x2A] {
        connect_refused(&connect3(flags, b"\0\x01c"), DecodeError::ConnectFlags(flags), MALFORMED);
        // covers: MQTT-3.1.2-13
        connect_refused(&connect5(flags, b"", b"\0\x01c"), DecodeError::ConnectFlags(flags), MALFORMED);
    }
}

#[test]
fn mqtt5_3_1_2_12_will_qos_3_is_malformed() {
    connect_refused(&connect3(0x1E, b"\0\x01c\0\x01w\0\0"), DecodeError::ConnectFlags(0x1E), MALFORMED);
    connect_refused(&connect5(0x1E, b"", b"\0\x01c\0\0\x01w\0\0"), DecodeError::ConnectFlags(0x1E), MALFORMED);
}

#[test]
fn mqtt311_3_1_2_22_password_needs_a_user_name() {
    connect_refused(&connect3(0x42, b"\0\x01c\0\x01p"), DecodeError::ConnectFlags(0x42), MALFORMED);
    let read = decode_connect(&connect5(0x42, b"", b"\0\x01c\0\x01p")).unwrap();
    assert_eq!((read.user_name, read.password.unwrap()), (None, Bytes::from_static(b"p")));
}

#[test]
fn an_empty_user_name_is_present() {
    assert_eq!(decode_connect(&connect3(0x82, b"\0\x01c\0\0")).unwrap().user_name.unwrap(), "");
    assert_eq!(decode_connect(&connect3(0x02, b"\0\x01c")).unwrap().user_name, None);
}

#[test]
fn mqtt311_3_1_3_8_empty_client_identifier_needs_clean_session() {
    let missing = DecodeError::ClientIdMissing { rule: V3.client_id_rule() };
    connect_refused(&connect3(0x00, b"\0\0"), missing, ReasonCode::ClientIdentifierNotValid);
    // covers: MQTT-3.1.3-6
    assert_eq!(decode_connect(&connect3(0x02, b"\0\0")).unwrap().client_id, "");
    assert_eq!(decode_connect(&connect5(0x00, b"", b"\0\0")).unwrap().client_id, "");
}

#[test]
fn mqtt5_3_1_3_4_client_identifier_is_utf8() {
    connect_refused(&connect3(0x02, b"\0\x01\xFF"), DecodeError::Utf8, MALFORMED);
    connect_refused(&connect3(0x02, b"\0\x02a\0"), DecodeError::NullCharacter, MALFORMED);
    connect_refused(&connect5(0x02, b"", b"\0\x03\xED\xA0\x80"), DecodeError::Utf8, MALFORMED);
}

#[test]
fn mqtt5_3_1_3_12_user_name_is_utf8() {
    connect_refused(&connect3(0x82, b"\0\x01c\0\x01\xFF"), DecodeError::Utf8, MALFORMED);
    connect_refused(&connect5(0x82, b"", b"\0\x01c\0\x01\0"), DecodeError::NullCharacter, MALFORMED);
}

#[test]
fn mqtt5_3_1_3_11_will_topic_is_a_topic_name() {
    for (topic, error) in [
        (b"\0\x01#".as_slice(), DecodeError::TopicName(InvalidTopic::WildcardInName)),
        (b"\0\x03a/+", DecodeError::TopicName(InvalidTopic::WildcardInName)),
        (b"\0\0", DecodeError::TopicName(InvalidTopic::Empty)),
        (b"\0\x01\xC0", DecodeError::Utf8),
        (b"\0\x01\0", DecodeError::TopicName(InvalidTopic::NullCharacter)),
    ] {
        connect_refused(&connect3(0x06, &[b"\0\x01c", topic, b"\0\x01x"].concat()), error, MALFORMED);
        connect_refused(&connect5(0x06, b"", &[b"\0\x01c\0", topic, b"\0\x01x"].concat()), error, MALFORMED);
    }
}

#[test]
fn mqtt5_3_1_2_9_flagged_fields_must_be_present() {
    // The Will, the User Name, the Password; covers: MQTT-3.1.2-17, MQTT-3.1.2-19, MQTT-3.1.3-3
    for frame in [
        connect3(0x06, b"\0\x01c"),
        connect3(0x06, b"\0\x01c\0\x01w"),
        connect3(0x82, b"\0\x01c"),
        connect3(0xC2, b"\0\x01c\0\x01u"),
        connect3(0x02, b""),
        connect3(0x02, b"\0\x05c"),
        connect5(0x06, b"", b"\0\x01c\0\0\x01w"),
        connect5(0x42, b"", b"\0\x01c"),
        packet(0x10, &[b"\0\x04MQTT\x04\x02"]),
        packet(0x10, &[b"\0\x04MQTT\x05\x02\0\0"]),
        packet(0x10, &[b""]),
    ] {
        connect_refused(&frame, DecodeError::Truncated, MALFORMED);
    }
}

#[test]
fn mqtt5_3_1_2_16_fields_without_a_flag_are_extra_bytes() {
    // covers: MQTT-3.1.2-18
    connect_refused(&connect3(0x02, b"\0\x01c\0\x01u"), DecodeError::TrailingBytes, MALFORMED);
    connect_refused(&connect5(0x82, b"", b"\0\x01c\0\x01u\0\x01p"), DecodeError::TrailingBytes, MALFORMED);
}

#[test]
fn properties_of_connect_occur_once() {
    for property in [
        b"\x11\0\0\0\x01".as_slice(),
        b"\x21\0\x01",
        b"\x27\0\0\0\x01",
        b"\x22\0\x01",
        b"\x19\x01",
        b"\x17\x01",
        b"\x15\0\x01m",
        b"\x16\0\x01d",
    ] {
        let error = DecodeError::PropertyRepeated(property[0]);
        connect_refused(&connect5(0x02, &property.repeat(2), b"\0\x01c"), error, PROTOCOL_ERROR);
    }
    assert!(decode_connect(&connect5(0x02, &b"\x26\0\0\0\0".repeat(2), b"\0\x01c")).is_ok());
}

#[test]
fn will_properties_occur_once() {
    for property in
        [b"\x18\0\0\0\x01".as_slice(), b"\x01\x01", b"\x02\0\0\0\x01", b"\x03\0\x01c", b"\x08\0\x01r", b"\x09\0\x01d"]
    {
        let repeated = property.repeat(2);
        let length = [u8::try_from(repeated.len()).unwrap()];
        let frame = connect5(0x06, b"", &[b"\0\x01c", &length[..], &repeated, b"\0\x01w\0\x01x"].concat());
        connect_refused(&frame, DecodeError::PropertyRepeated(property[0]), PROTOCOL_ERROR);
    }
    let alias = connect5(0x06, b"", b"\0\x01c\x03\x23\0\x01\0\x01w\0\x01x");
    connect_refused(&alias, DecodeError::PropertyNotAllowed(0x23), MALFORMED);
    let delay_outside_will = connect5(0x02, b"\x18\0\0\0\x01", b"\0\x01c");
    connect_refused(&delay_outside_will, DecodeError::PropertyNotAllowed(0x18), MALFORMED);
    let wildcard = connect5(0x06, b"", b"\0\x01c\x04\x08\0\x01#\0\x01w\0\x01x");
    connect_refused(&wildcard, DecodeError::PropertyValue(0x08), PROTOCOL_ERROR);
}

#[test]
fn invalid_values_of_connect_properties_are_protocol_errors() {
    for property in [b"\x21\0\0".as_slice(), b"\x27\0\0\0\0", b"\x19\x02", b"\x17\x02"] {
        let error = DecodeError::PropertyValue(property[0]);
        connect_refused(&connect5(0x02, property, b"\0\x01c"), error, PROTOCOL_ERROR);
    }
    let data_alone = connect5(0x02, b"\x16\0\x01d", b"\0\x01c");
    connect_refused(&data_alone, DecodeError::AuthenticationMethodMissing, PROTOCOL_ERROR);
    let of_connack = connect5(0x02, b"\x24\x01", b"\0\x01c");
    connect_refused(&of_connack, DecodeError::PropertyNotAllowed(0x24), MALFORMED);
}

#[test]
fn a_connect_does_not_keep_the_read_buffer() {
    let input = Bytes::from(connect3(0x06, b"\0\x01c\0\x01w\0\x01x"));
    let read = Decoder::new(100).decode(&mut input.clone()).unwrap();
    assert!(read.is_some() && input.is_unique());
}
