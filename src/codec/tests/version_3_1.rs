//! What the text of 3.1 leaves open or permits, and 3.1.1 and 5.0 refuse; and the Remaining Length, which only 5.0 requires
//! to be short.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::codec::{Connack, PacketType, Qos, ReasonCode, Suback, encode};

/// A CONNECT of 3.1 with these flags.
fn connect31(first_byte: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    packet(first_byte, &[b"\0\x06MQIsdp\x03", &[flags, 0, 60], payload])
}

/// Packets without a body that depends on the version, and the flags that 3.1.1 and 5.0 require.
const FRAMES: [(PacketType, &[u8]); 8] = [
    (PacketType::Puback, b"\x40\x02\0\x07"),
    (PacketType::Pubrec, b"\x50\x02\0\x07"),
    (PacketType::Pubrel, b"\x62\x02\0\x07"),
    (PacketType::Pubcomp, b"\x70\x02\0\x07"),
    (PacketType::Subscribe, b"\x82\x06\0\x07\0\x01t\x01"),
    (PacketType::Unsubscribe, b"\xA2\x05\0\x07\0\x01t"),
    (PacketType::Pingreq, b"\xC0\0"),
    (PacketType::Disconnect, b"\xE0\0"),
];

#[test]
fn mqtt31_2_1_dup_and_qos_and_retain_are_hints_or_not_used_outside_publish() {
    for (packet_type, frame) in FRAMES {
        for flags in 0..16 {
            let mut changed = frame.to_vec();
            changed[0] = frame[0] & 0xF0 | flags;
            assert_eq!(decode(V3_1, &changed), decode(V3_1, frame), "{changed:02x?}");
            if changed[0] != frame[0] {
                // covers: MQTT-2.2.2-1, MQTT-2.2.2-2
                let error = DecodeError::FixedHeaderFlags { packet_type, flags };
                refused(V3, &changed, error);
                refused(V5, &changed, error);
            }
        }
    }
}

#[test]
fn mqtt31_3_1_flags_of_connect_are_not_used() {
    let plain = decode_connect(&connect31(0x10, 0x02, b"\0\x01c")).unwrap();
    for flags in 1..16 {
        let frame = connect31(0x10 | flags, 0x02, b"\0\x01c");
        assert_eq!(decode_connect(&frame), Ok(plain.clone()));
        let error = DecodeError::FixedHeaderFlags { packet_type: PacketType::Connect, flags };
        for other in
            [b"\0\x04MQTT\x04\x02\0\0\0\x01c".as_slice(), b"\0\x04MQTT\x05\x02\0\0\0\0\x01c", b"\0\x06MQIsdp\x04"]
        {
            let mut decoder = Decoder::new(100);
            assert_eq!(decoder.decode(&mut Bytes::from(packet(0x10 | flags, &[other]))), Err(error));
            assert_eq!(decoder.version(), None, "such a CONNECT gets no response");
        }
    }
}

#[test]
fn flags_of_connect_are_refused_as_soon_as_it_can_not_be_3_1() {
    let error = DecodeError::FixedHeaderFlags { packet_type: PacketType::Connect, flags: 6 };
    let decode = |bytes: &'static [u8]| Decoder::new(100).decode(&mut Bytes::from_static(bytes));
    for begun in [b"\x16".as_slice(), b"\x16\x0E", b"\x16\x0E\0", b"\x16\x0E\0\x06MQI", b"\x16\x0E\0\x06MQIsdp"] {
        assert_eq!(decode(begun), Ok(None));
    }
    assert_eq!(decode(b"\x16\x0E\0\x04"), Err(error));
    assert_eq!(decode(b"\x16\x0E\0\x06MQIsdp\x05"), Err(error));
    // The beginning of a TLS handshake.
    assert_eq!(decode(b"\x16\x03\x01"), Err(error));
}

#[test]
fn mqtt31_2_1_dup_at_qos_0_means_nothing() {
    let ClientPacket::Publish(publish) = decode(V3_1, b"\x38\x04\0\x01tx").unwrap() else { panic!("not a PUBLISH") };
    assert!(!publish.dup);
    refused(V3, b"\x38\x04\0\x01tx", DecodeError::DupAtQos0);
    refused(V5, b"\x38\x05\0\x01t\0x", DecodeError::DupAtQos0);
}

#[test]
fn mqtt31_2_1_qos_3_is_reserved() {
    for version in VERSIONS {
        for first_byte in [0x36, 0x37, 0x3E] {
            refused(version, &[first_byte, 4, 0, 1, b't', 0], DecodeError::PublishQos);
        }
    }
    let requested = b"\x82\x06\0\x07\0\x01t\x03";
    refused(V3_1, requested, DecodeError::SubscriptionOptions(3));
    refused(V3_1, b"\x82\x06\0\x07\0\x01t\xFF", DecodeError::SubscriptionOptions(3));
}

#[test]
fn mqtt31_3_8_upper_bits_of_a_requested_qos_are_not_used() {
    for byte in [0x04, 0x08, 0x40, 0x80, 0xFC] {
        let frame = [&b"\x82\x06\0\x07\0\x01t"[..], &[byte | 1]].concat();
        let ClientPacket::Subscribe(subscribe) = decode(V3_1, &frame).unwrap() else { panic!("not a SUBSCRIBE") };
        assert_eq!(subscribe.subscriptions[0].options.qos, Qos::AtLeastOnce);
        refused(V3, &frame, DecodeError::SubscriptionOptions(byte | 1));
    }
}

#[test]
fn mqtt31_3_1_user_name_and_password_may_be_missing_in_spite_of_their_flags() {
    for (flags, payload, user_name, password) in [
        (0x82, b"\0\x01c".as_slice(), None, None),
        (0xC2, b"\0\x01c", None, None),
        (0xC2, b"\0\x01c\0\x01u", Some("u"), None),
        (0xC2, b"\0\x01c\0\x01u\0\x01p", Some("u"), Some("p")),
        (0xC2, b"\0\x01c\0\0\0\0", Some(""), Some("")),
    ] {
        let read = decode_connect(&connect31(0x10, flags, payload)).unwrap();
        assert_eq!((read.user_name.as_deref(), read.password), (user_name, password.map(Bytes::from)));
    }
    // A Will needs its fields, and a string its bytes.
    for (flags, payload) in
        [(0x86, b"\0\x01c".as_slice()), (0x86, b"\0\x01c\0\x01w"), (0x82, b"\0\x01c\0"), (0x82, b"\0\x01c\0\x02u")]
    {
        assert_eq!(decode_connect(&connect31(0x10, flags, payload)), Err(DecodeError::Truncated));
    }
}

#[test]
fn mqtt31_3_1_user_name_and_password_without_their_flags_are_disregarded() {
    for (flags, payload, user_name) in [
        (0x02, b"\0\x01c\0\x01u".as_slice(), None),
        (0x02, b"\0\x01c\0\x01u\0\x01p", None),
        (0x82, b"\0\x01c\0\x01u\0\x01p", Some("u")),
    ] {
        let read = decode_connect(&connect31(0x10, flags, payload)).unwrap();
        assert_eq!((read.user_name.as_deref(), read.password), (user_name, None));
    }
    let refused = |flags, payload| decode_connect(&connect31(0x10, flags, payload));
    assert_eq!(refused(0x02, b"\0\x01c\0\0\0\0\0\0"), Err(DecodeError::TrailingBytes));
    assert_eq!(refused(0xC2, b"\0\x01c\0\0\0\0\0\0"), Err(DecodeError::TrailingBytes));
    assert_eq!(refused(0x02, b"\0\x01c\0\x02u"), Err(DecodeError::Truncated));
    // "It is not valid to supply a password without supplying a user name."
    assert_eq!(refused(0x42, b"\0\x01c\0\x01p"), Err(DecodeError::ConnectFlags(0x42)));
}

#[test]
fn mqtt31_3_1_will_qos_and_retain_without_a_will_are_disregarded_and_bit_0_is_not_used() {
    let plain = decode_connect(&connect31(0x10, 0x02, b"\0\x01c")).unwrap();
    for flags in [0x03, 0x0A, 0x12, 0x1A, 0x22, 0x3B] {
        assert_eq!(decode_connect(&connect31(0x10, flags, b"\0\x01c")), Ok(plain.clone()));
        let newer = packet(0x10, &[b"\0\x04MQTT\x04", &[flags, 0, 60], b"\0\x01c"]);
        assert_eq!(decode_connect(&newer), Err(DecodeError::ConnectFlags(flags)));
    }
    let will = decode_connect(&connect31(0x10, 0x2F, b"\0\x01c\0\x01w\0\x01x")).unwrap().will.unwrap();
    assert_eq!((will.qos, will.retain), (Qos::AtLeastOnce, true));
    let reserved_qos = connect31(0x10, 0x1E, b"\0\x01c\0\x01w\0\x01x");
    assert_eq!(decode_connect(&reserved_qos), Err(DecodeError::ConnectFlags(0x1E)));
}

#[test]
fn mqtt31_3_1_client_identifier_has_1_to_23_characters_and_longer_ones_are_accepted() {
    let error = decode_connect(&connect31(0x10, 0x02, b"\0\0")).unwrap_err();
    assert_eq!(error.to_string(), "empty client identifier: MQTT 3.1 asks for 1 to 23 characters");
    assert_eq!(error.reason_code(), ReasonCode::ClientIdentifierNotValid);
    let long = decode_connect(&connect31(0x10, 0x02, &[b"\0\x18".as_slice(), &[b'x'; 24]].concat())).unwrap();
    assert_eq!(long.client_id.len(), 24);
}

/// Other bytes than a string can hold stay refused, because such strings would be sent on to clients of 3.1.1 and 5.0.
#[test]
fn mqtt31_2_5_strings_are_utf8_without_the_null_character_and_message_id_0_is_invalid() {
    for text in [b"\0\x01\xFF".as_slice(), b"\0\x02\xC0\x80", b"\0\x06\xED\xA0\xBD\xED\xB8\x80"] {
        assert_eq!(decode_connect(&connect31(0x10, 0x02, text)), Err(DecodeError::Utf8));
    }
    assert_eq!(decode_connect(&connect31(0x10, 0x02, b"\0\x01\0")), Err(DecodeError::NullCharacter));
    refused(V3_1, b"\x32\x05\0\x01t\0\0", DecodeError::PacketIdZero);
    refused(V3_1, b"\x82\x06\0\0\0\x01t\x01", DecodeError::PacketIdZero);
    refused(V3_1, b"\x62\x02\0\0", DecodeError::PacketIdZero);
    refused(V3_1, b"\x82\x02\0\x01", DecodeError::TopicFilterMissing(PacketType::Subscribe));
    refused(V3_1, b"\xC0\x01\0", DecodeError::TrailingBytes);
}

#[test]
fn mqtt31_3_2_connack_has_no_session_present() {
    for (version, flags) in [(V3_1, 0), (V3, 1)] {
        let mut output = bytes::BytesMut::new();
        encode(&ServerPacket::Connack(Box::new(Connack::accepted(true))), version, &mut output);
        assert_eq!(&output[..], [0x20, 2, flags, 0]);
    }
    assert!(decode_server(V3_1, b"\x20\x02\xFF\0").is_ok(), "the byte is reserved");
}

#[test]
fn mqtt31_3_9_a_refused_subscription_reads_as_qos_0_in_the_used_bits() {
    let mut output = bytes::BytesMut::new();
    let id = crate::codec::PacketId::new(7).unwrap();
    let suback = Suback::new(id, vec![ReasonCode::NotAuthorized, ReasonCode::GrantedQos2]);
    encode(&ServerPacket::Suback(Box::new(suback)), V3_1, &mut output);
    assert_eq!(&output[..], [0x90, 4, 0, 7, 0x80, 2]);
    assert_eq!(output[4] & 0b11, 0);
}

/// The frame with a Remaining Length of `length` bytes, from which its value is at most 127.
fn with_long_length(frame: &[u8], length: usize) -> Vec<u8> {
    let (first_byte, rest) = frame.split_first().unwrap();
    let (remaining_length, body) = rest.split_first().unwrap();
    let mut long = vec![*first_byte, *remaining_length | 0x80];
    long.resize(length, 0x80);
    long.push(0);
    [&long[..], body].concat()
}

#[test]
fn mqtt311_2_2_3_a_remaining_length_may_have_more_bytes_than_it_needs() {
    for length in 2..=4 {
        for (_, frame) in FRAMES {
            let long = with_long_length(frame, length);
            assert_eq!(long.len(), frame.len() + length - 1);
            for version in [V3_1, V3] {
                assert_eq!(decode(version, &long), decode(version, frame), "{long:02x?}");
            }
            refused(V5, &long, DecodeError::VariableByteInteger);
        }
        let publish = with_long_length(b"\x32\x07\0\x01t\0\x07hi", length);
        assert_eq!(decode(V3, &publish), decode(V3, b"\x32\x07\0\x01t\0\x07hi"));
    }
    for version in VERSIONS {
        refused(version, b"\xC0\x80\x80\x80\x80\0", DecodeError::VariableByteInteger);
    }
}

#[test]
fn mqtt311_2_2_3_a_long_remaining_length_of_connect_depends_on_its_version() {
    for length in 2..=4 {
        let connect = |body: &[u8]| decode_connect(&with_long_length(&packet(0x10, &[body]), length));
        assert_eq!(connect(b"\0\x06MQIsdp\x03\x02\0\0\0\x01c").unwrap().version, V3_1);
        assert_eq!(connect(b"\0\x04MQTT\x04\x02\0\0\0\x01c").unwrap().version, V3);
        // covers: MQTT-1.5.5-1
        assert_eq!(connect(b"\0\x04MQTT\x05\x02\0\0\0\0\x01c"), Err(DecodeError::VariableByteInteger));
    }
    let mut decoder = Decoder::new(100);
    let long = with_long_length(&packet(0x10, &[b"\0\x04MQTT\x05\x02\0\0\0\0\x01c"]), 2);
    assert!(decoder.decode(&mut Bytes::from(long)).is_err());
    assert_eq!((decoder.version(), decoder.has_connected()), (Some(V5), false), "the error is reported in 5.0");
}

proptest! {
    /// What 3.1 tolerates never makes a packet of 3.1.1 legal: a frame that 3.1.1 accepts decodes to the same in 3.1, and
    /// one that it refuses in spite of 3.1 has a bit or byte that only 3.1 ignores.
    #[test]
    fn mqtt311_2_2_2_2_tolerance_is_for_3_1_alone((_, frame) in super::strategies::frame_like()) {
        let read = |version| connected(version).decode(&mut Bytes::copy_from_slice(&frame));
        let (old, new) = (read(V3_1), read(V3));
        if new.is_ok() {
            prop_assert_eq!(&old, &new);
        } else if old.is_ok() {
            let is_expected = matches!(
                new,
                Err(DecodeError::FixedHeaderFlags { .. } | DecodeError::DupAtQos0 | DecodeError::SubscriptionOptions(_))
            );
            prop_assert!(is_expected, "{:?}", new);
        }
    }

    /// 5.0 accepts no packet whose header differs from the one that it would be encoded with.
    #[test]
    fn mqtt5_2_1_3_1_header_of_5_0_is_canonical((_, frame) in super::strategies::frame_like()) {
        let mut rest = Bytes::copy_from_slice(&frame);
        if let Ok(Some(packet)) = connected(V5).decode(&mut rest) {
            let length = frame.len() - rest.len();
            let mut output = bytes::BytesMut::new();
            crate::codec::primitives::put_packet(&mut output, frame[0], &frame[length - body_len(&frame)..length]);
            prop_assert_eq!(&output[..], &frame[..length]);
            if !matches!(packet, ClientPacket::Publish(_)) {
                prop_assert_eq!(frame[0], packet.packet_type().first_byte());
            }
        }
    }
}

/// The Remaining Length of a complete packet.
fn body_len(frame: &[u8]) -> usize {
    let (length, _) = crate::codec::primitives::variable_byte_integer(&frame[1..]).unwrap().unwrap();
    usize::try_from(length).unwrap()
}
