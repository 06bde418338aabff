//! User Properties that are kept in their wire format.

use super::*;
use crate::codec::EncodedUserProperties;

#[test]
fn properties_are_found_by_name_and_keep_their_order() {
    let pairs = [("a", "1"), ("explain", "true"), ("a", "2"), ("", "")];
    let properties: EncodedUserProperties = pairs.into_iter().collect();
    assert_eq!(properties.iter().collect::<Vec<_>>(), pairs);
    assert!(pairs.iter().all(|(name, value)| properties.contains(name, value)));
    assert!(
        ![("A", "1"), ("1", "a"), ("explain", "2"), ("a", "")]
            .iter()
            .any(|(name, value)| properties.contains(name, value))
    );
    let none = EncodedUserProperties::new();
    assert!(none.is_empty() && none.iter().next().is_none() && !none.contains("a", ""));
    assert_eq!(none, Vec::<(&str, &str)>::new().into_iter().collect());
}

#[test]
fn values_of_65_535_bytes_are_read_back() {
    let long = "x".repeat(65_535);
    let properties: EncodedUserProperties = [(long.as_str(), long.as_str()), ("k", "v")].into_iter().collect();
    assert!(properties.contains(&long, &long) && properties.contains("k", "v"));
}

#[test]
fn properties_between_others_are_collected() {
    // CONNECT with a User Property before and behind a Session Expiry Interval.
    let frame = packet(0x10, &[b"\0\x04MQTT\x05\x02\0\0\x13\x26\0\x01a\0\x01b\x11\0\0\0\x05\x26\0\x01c\0\x01d\0\x01i"]);
    let connect = decode_connect(&frame).unwrap();
    assert_eq!(connect.properties.user_properties.iter().collect::<Vec<_>>(), [("a", "b"), ("c", "d")]);
    assert_eq!(connect.properties.session_expiry_interval, 5);
}

#[test]
fn mqtt5_1_5_7_1_every_user_property_is_validated() {
    for count in [0, 1, 5_000] {
        for (last, error) in [
            (b"\x26\0\x01a\0\x01\0".as_slice(), DecodeError::NullCharacter),
            (b"\x26\0\x01\0\0\x01a", DecodeError::NullCharacter),
            (b"\x26\0\x02a\0\0\x01b", DecodeError::NullCharacter),
            (b"\x26\0\x01a\0\x01\xFF", DecodeError::Utf8),
            (b"\x26\0\x02\xC3\x28\0\x01a", DecodeError::Utf8),
            (b"\x26\0\x01a\0\x02b", DecodeError::Truncated),
            (b"\x26\0\x01a", DecodeError::Truncated),
            (b"\x26\0\x01a\0\x01b\x26", DecodeError::Truncated),
        ] {
            let properties = [&b"\x26\0\x04name\0\x05value".repeat(count)[..], last].concat();
            let mut body = bytes::BytesMut::from(&b"\0\x04MQTT\x05\x02\0\0"[..]);
            crate::codec::primitives::put_variable_byte_integer(&mut body, properties.len());
            let frame = packet(0x10, &[&body, &properties, b"\0\x01i"]);
            assert_eq!(decode_connect(&frame), Err(error), "{count} {last:02x?}");
        }
    }
}

#[test]
fn properties_of_any_length_and_language_are_accepted() {
    for text in ["", "a", "é", "\u{10FFFF}", &"x".repeat(127), &"x".repeat(128), &"x".repeat(256), &"é".repeat(32_767)]
    {
        let properties: EncodedUserProperties = [("k", text), (text, "v"), (text, text)].into_iter().collect();
        let mut connect = Connect::new(V5, "c", true);
        connect.properties.user_properties = properties.clone();
        let mut output = bytes::BytesMut::new();
        encode_client(&ClientPacket::Connect(Box::new(connect)), V5, &mut output);
        let read = decode_connect(&output).unwrap();
        assert_eq!(read.properties.user_properties, properties);
        assert!(read.properties.user_properties.contains("k", text));
    }
}
