use bytes::Bytes;

use super::*;
use crate::codec::{PacketType, ReasonCode, frame_length};

#[test]
fn mqtt5_2_1_3_1_other_flags_than_the_required_ones_are_malformed() {
    for (first_byte, packet_type) in [
        (0x41, PacketType::Puback),
        (0x52, PacketType::Pubrec),
        (0x60, PacketType::Pubrel),
        (0x63, PacketType::Pubrel),
        (0x78, PacketType::Pubcomp),
        (0x80, PacketType::Subscribe), // covers: MQTT-3.8.1-1
        (0x8A, PacketType::Subscribe),
        (0xA0, PacketType::Unsubscribe), // covers: MQTT-3.10.1-1
        (0xA3, PacketType::Unsubscribe),
        (0xC1, PacketType::Pingreq),
        (0xE1, PacketType::Disconnect), // covers: MQTT-3.14.1-1
        (0xF4, PacketType::Auth),       // covers: MQTT-3.15.1-1
    ] {
        let error = DecodeError::FixedHeaderFlags { packet_type, flags: first_byte & 0xF };
        for version in [V3, V5] {
            refused(version, &[first_byte, 2, 0, 1], error);
        }
        assert_eq!(error.reason_code(), ReasonCode::MalformedPacket);
    }
    let connect = DecodeError::FixedHeaderFlags { packet_type: PacketType::Connect, flags: 1 };
    let frame = packet(0x11, &[b"\0\x04MQTT\x05\x02\0\0\0\0\x01c"]);
    assert_eq!(decode_connect(&frame), Err(connect));
}

#[test]
fn reserved_packet_types_are_malformed() {
    for version in VERSIONS {
        refused(version, &[0x00, 0], DecodeError::ReservedPacketType(0));
    }
    refused(V3, &[0xF0, 0], DecodeError::ReservedPacketType(15));
    assert_eq!(DecodeError::ReservedPacketType(0).reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn packets_that_only_a_server_sends_are_protocol_errors() {
    for packet_type in [PacketType::Connack, PacketType::Suback, PacketType::Unsuback, PacketType::Pingresp] {
        let error = DecodeError::WrongDirection(packet_type);
        for version in VERSIONS {
            refused(version, &[packet_type.first_byte()], error);
        }
        assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
    }
}

#[test]
fn mqtt5_3_1_0_1_first_packet_must_be_connect() {
    for first_byte in [0x20, 0x30, 0x40, 0x82, 0xC0, 0xE0, 0xF0] {
        let error = Decoder::new(100).decode(&mut Bytes::from(vec![first_byte])).unwrap_err();
        assert_eq!(error, DecodeError::ExpectedConnect(PacketType::new(first_byte >> 4).unwrap()));
        assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
    }
}

#[test]
fn mqtt5_3_1_0_2_second_connect_is_a_protocol_error() {
    for version in VERSIONS {
        refused(version, &[0x10], DecodeError::SecondConnect);
    }
    assert_eq!(DecodeError::SecondConnect.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn mqtt5_1_5_5_1_overlong_variable_byte_integers_are_malformed() {
    refused(V5, b"\xC0\x80\x00", DecodeError::VariableByteInteger);
    refused(V5, b"\xC0\x80\x80\x80\x80", DecodeError::VariableByteInteger);
    refused(V5, b"\xC0\xFF\xFF\xFF\xFF\x01", DecodeError::VariableByteInteger);
    refused(V5, b"\x30\x85\x00\0\x01t\0x", DecodeError::VariableByteInteger);
    // The property length and the Subscription Identifier.
    refused(V5, b"\x30\x06\0\x01t\x80\x00x", DecodeError::VariableByteInteger);
    refused(V5, b"\x82\x0A\0\x01\x03\x0B\x81\x00\0\x01t\0", DecodeError::VariableByteInteger);
    assert_eq!(DecodeError::VariableByteInteger.reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn mqtt5_3_2_2_15_packet_over_the_maximum_is_refused_by_its_header_alone() {
    let mut decoder = Decoder::new(20);
    decoder.decode(&mut Bytes::from(packet(0x10, &[b"\0\x04MQTT\x04\x02\0\0\0\x01c"]))).unwrap().unwrap();
    // 18 bytes and the fixed header of two.
    assert_eq!(decoder.decode(&mut Bytes::from_static(b"\x30\x12")), Ok(None));
    let error = DecodeError::PacketTooLarge { size: 21, maximum_packet_size: 20 };
    assert_eq!(decoder.decode(&mut Bytes::from_static(b"\x30\x13")), Err(error));
    assert_eq!(error.reason_code(), ReasonCode::PacketTooLarge);
}

#[test]
fn no_bytes_are_consumed_before_the_packet_is_complete() {
    let frame = b"\x32\x08\0\x03a/b\0\x07x";
    let mut decoder = connected(V3);
    for length in 0..frame.len() {
        let mut input = Bytes::copy_from_slice(&frame[..length]);
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert_eq!(input.len(), length);
        assert_eq!(frame_length(&input), (length >= 2).then_some(10));
    }
    let mut input = Bytes::from([&frame[..], b"\xC0\x00", b"\xE0"].concat());
    assert!(matches!(decoder.decode(&mut input), Ok(Some(ClientPacket::Publish(_)))));
    assert_eq!(decoder.decode(&mut input), Ok(Some(ClientPacket::Pingreq)));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!(&input[..], b"\xE0");
}

#[test]
fn bytes_after_the_last_field_are_malformed() {
    for version in VERSIONS {
        refused(version, b"\xC0\x01\0", DecodeError::TrailingBytes);
    }
    refused(V3, b"\xE0\x01\0", DecodeError::TrailingBytes);
    refused(V3, b"\x40\x03\0\x01\0", DecodeError::TrailingBytes);
    refused(V5, b"\x40\x05\0\x01\0\0\0", DecodeError::TrailingBytes);
    refused(V5, b"\xE0\x03\0\0\0", DecodeError::TrailingBytes);
    refused(V5, b"\xF0\x07\x18\x04\x15\0\x01m\0", DecodeError::TrailingBytes);
    assert_eq!(decode_connect(b"\x10\x0E\0\x04MQTT\x04\x02\0\0\0\x01c\0"), Err(DecodeError::TrailingBytes));
    assert_eq!(decode_connect(b"\x10\x0F\0\x04MQTT\x05\x02\0\0\0\0\x01c\0"), Err(DecodeError::TrailingBytes));
    assert_eq!(DecodeError::TrailingBytes.reason_code(), ReasonCode::MalformedPacket);
}
