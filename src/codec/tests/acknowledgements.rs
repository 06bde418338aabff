use super::*;
use crate::codec::{Ack, Auth, Disconnect, PacketId, ReasonCode};

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;

#[test]
fn acknowledgements_may_omit_reason_code_and_properties() {
    let ack = |reason_code| Ack::new(PacketId::new(0x0102).unwrap(), reason_code);
    for version in VERSIONS {
        assert_eq!(decode(version, b"\x40\x02\x01\x02"), Ok(ClientPacket::Puback(ack(ReasonCode::Success))));
        assert_eq!(decode(version, b"\x50\x02\x01\x02"), Ok(ClientPacket::Pubrec(ack(ReasonCode::Success))));
        assert_eq!(decode(version, b"\x62\x02\x01\x02"), Ok(ClientPacket::Pubrel(ack(ReasonCode::Success))));
        assert_eq!(decode(version, b"\x70\x02\x01\x02"), Ok(ClientPacket::Pubcomp(ack(ReasonCode::Success))));
    }
    assert_eq!(decode(V5, b"\x50\x03\x01\x02\x80"), Ok(ClientPacket::Pubrec(ack(ReasonCode::UnspecifiedError))));
    let not_found = ack(ReasonCode::PacketIdentifierNotFound);
    assert_eq!(decode(V5, b"\x62\x04\x01\x02\x92\0"), Ok(ClientPacket::Pubrel(not_found)));
    let checked_and_left_out = ack(ReasonCode::Success);
    let frame = b"\x40\x0F\x01\x02\0\x0B\x1F\0\x01r\x26\0\x01k\0\x01v";
    assert_eq!(decode(V5, frame), Ok(ClientPacket::Puback(checked_and_left_out)));
}

#[test]
fn acknowledgements_of_3_1_1_are_two_bytes() {
    for first_byte in [PUBACK, PUBREC, PUBREL, PUBCOMP] {
        refused(V3, &packet(first_byte, &[b"\0\x01\0"]), DecodeError::TrailingBytes);
        for version in VERSIONS {
            refused(version, &packet(first_byte, &[b"\0"]), DecodeError::Truncated);
            refused(version, &packet(first_byte, &[b""]), DecodeError::Truncated);
        }
    }
}

#[test]
fn mqtt5_2_2_1_3_acknowledged_packet_identifier_is_not_0() {
    for first_byte in [PUBACK, PUBREC, PUBREL, PUBCOMP] {
        for version in VERSIONS {
            refused(version, &packet(first_byte, &[b"\0\0"]), DecodeError::PacketIdZero);
        }
    }
    assert_eq!(DecodeError::PacketIdZero.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn mqtt5_3_4_2_1_only_the_reason_codes_of_the_packet() {
    for number in 0..=0xFF {
        let publish_codes = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
        let release_codes = [0x00, 0x92]; // covers: MQTT-3.6.2-1, MQTT-3.7.2-1
        for (first_byte, codes) in [
            (PUBACK, &publish_codes[..]),
            (PUBREC, &publish_codes), // covers: MQTT-3.5.2-1
            (PUBREL, &release_codes),
            (PUBCOMP, &release_codes),
        ] {
            let frame = packet(first_byte, &[&[0, 1, number]]);
            let result = decode(V5, &frame);
            let expected = if codes.contains(&number) { Ok(()) } else { Err(DecodeError::ReasonCode(number)) };
            assert_eq!(result.map(drop), expected);
        }
    }
    assert_eq!(DecodeError::ReasonCode(3).reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn acknowledgements_have_a_reason_string_once() {
    refused(V5, b"\x40\x0C\0\x01\0\x08\x1F\0\x01r\x1F\0\x01r", DecodeError::PropertyRepeated(0x1F));
    refused(V5, b"\x40\x07\0\x01\0\x03\x23\0\x01", DecodeError::PropertyNotAllowed(0x23));
    refused(V5, b"\x40\x08\0\x01\0\x04\x1F\0\x01\0", DecodeError::NullCharacter);
}

#[test]
fn disconnect_may_omit_reason_code_and_properties() {
    let disconnect = |reason_code| Ok(ClientPacket::Disconnect(Box::new(Disconnect::new(reason_code))));
    for version in VERSIONS {
        assert_eq!(decode(version, b"\xE0\x00"), disconnect(ReasonCode::NormalDisconnection));
    }
    assert_eq!(decode(V5, b"\xE0\x01\x04"), disconnect(ReasonCode::DisconnectWithWillMessage));
    assert_eq!(decode(V5, b"\xE0\x02\x04\x00"), disconnect(ReasonCode::DisconnectWithWillMessage));
    assert_eq!(decode(V5, b"\xE0\x01\x8C"), disconnect(ReasonCode::BadAuthenticationMethod));
    let with_expiry = Disconnect { session_expiry_interval: Some(7), ..Disconnect::new(ReasonCode::Success) };
    assert_eq!(decode(V5, b"\xE0\x07\0\x05\x11\0\0\0\x07"), Ok(ClientPacket::Disconnect(Box::new(with_expiry))));
}

#[test]
fn mqtt5_3_14_2_1_only_the_reason_codes_of_disconnect() {
    for number in [0x01, 0x02, 0x03, 0x10, 0x18, 0x84, 0x85, 0x86, 0x91, 0x92, 0xFF] {
        refused(V5, &[0xE0, 1, number], DecodeError::ReasonCode(number));
    }
}

#[test]
fn disconnect_of_a_client_has_no_server_reference() {
    let error = DecodeError::PropertyFromWrongSide(0x1C);
    refused(V5, b"\xE0\x06\0\x04\x1C\0\x01s", error);
    assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
    let repeated = b"\xE0\x0C\0\x0A\x11\0\0\0\x01\x11\0\0\0\x01";
    refused(V5, repeated, DecodeError::PropertyRepeated(0x11));
}

#[test]
fn auth_has_a_method_or_is_empty() {
    let auth = Auth::new(ReasonCode::ContinueAuthentication, Some("m".into()));
    assert_eq!(decode(V5, b"\xF0\x06\x18\x04\x15\0\x01m"), Ok(ClientPacket::Auth(Box::new(auth))));
    let empty = Auth::new(ReasonCode::Success, None);
    assert_eq!(decode(V5, b"\xF0\x00"), Ok(ClientPacket::Auth(Box::new(empty))));
    refused(V5, b"\xF0\x02\x18\0", DecodeError::AuthenticationMethodMissing);
    refused(V5, b"\xF0\x01\x18", DecodeError::AuthenticationMethodMissing);
    refused(V5, b"\xF0\x06\x18\x04\x16\0\x01d", DecodeError::AuthenticationMethodMissing);
    refused(V5, b"\xF0\x0A\x18\x08\x15\0\x01m\x15\0\x01m", DecodeError::PropertyRepeated(0x15));
    refused(V5, b"\xF0\x06\x18\x04\x1C\0\x01s", DecodeError::PropertyNotAllowed(0x1C));
    assert_eq!(DecodeError::AuthenticationMethodMissing.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn mqtt5_3_15_2_1_only_the_reason_codes_of_auth() {
    for number in [0x01, 0x04, 0x80, 0x81, 0x87] {
        refused(V5, &packet(0xF0, &[&[number], b"\x04\x15\0\x01m"]), DecodeError::ReasonCode(number));
    }
}
