use super::*;
use crate::codec::{
    EncodedUserProperties, PacketId, PacketType, Qos, ReasonCode, RetainHandling, Subscribe, SubscriptionOptions,
    Unsubscribe,
};
use crate::topic::{Filter, InvalidTopic};

/// The frame of a SUBSCRIBE with one subscription.
fn subscribe(version: ProtocolVersion, filter: &[u8], options: u8) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { b"\0" } else { b"" };
    let length = u16::try_from(filter.len()).unwrap().to_be_bytes();
    packet(0x82, &[b"\0\x01", properties, &length, filter, &[options]])
}

/// The frame of an UNSUBSCRIBE with one filter.
fn unsubscribe(version: ProtocolVersion, filter: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { b"\0" } else { b"" };
    let length = u16::try_from(filter.len()).unwrap().to_be_bytes();
    packet(0xA2, &[b"\0\x01", properties, &length, filter])
}

fn decode_subscribe(version: ProtocolVersion, frame: &[u8]) -> Subscribe {
    match decode(version, frame) {
        Ok(ClientPacket::Subscribe(subscribe)) => *subscribe,
        other => panic!("not a SUBSCRIBE: {other:?}"),
    }
}

#[test]
fn several_filters_are_decoded_in_order() {
    let frame = b"\x82\x0F\x01\x04\0\x03a/+\0\0\x01#\x01\0\x01c\x02";
    let frame = [&frame[..], b""].concat();
    let read = decode_subscribe(V3, &packet(0x82, &[&frame[2..]]));
    assert_eq!(read.packet_id, PacketId::new(0x0104).unwrap());
    let read: Vec<_> = read.subscriptions.iter().map(|one| (one.filter.to_string(), one.options)).collect();
    let plain = SubscriptionOptions::new;
    let expected = [("a/+", Qos::AtMostOnce), ("#", Qos::AtLeastOnce), ("c", Qos::ExactlyOnce)];
    assert_eq!(read, expected.map(|(filter, qos)| (filter.to_owned(), plain(qos))));
    let frame = b"\0\x07\0\0\x01a\0\x03b/#";
    let Ok(ClientPacket::Unsubscribe(read)) = decode(V5, &packet(0xA2, &[frame])) else { panic!() };
    let filters = ["a", "b/#"].map(|filter| Filter::new(filter.into()).unwrap());
    let expected = Unsubscribe {
        packet_id: PacketId::new(7).unwrap(),
        user_properties: EncodedUserProperties::new(),
        filters: filters.into(),
    };
    assert_eq!(*read, expected);
}

#[test]
fn all_subscription_options_are_decoded() {
    let read = decode_subscribe(V5, &subscribe(V5, b"t", 0b0010_1110));
    let options = SubscriptionOptions {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    assert_eq!(read.subscriptions[0].options, options);
}

#[test]
fn mqtt5_3_8_3_2_subscribe_without_filters_is_a_protocol_error() {
    let error = DecodeError::TopicFilterMissing(PacketType::Subscribe);
    refused(V5, b"\x82\x03\0\x01\0", error);
    refused(V3, b"\x82\x02\0\x01", error); // covers: MQTT-3.8.3-3 of 3.1.1
    assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn mqtt5_3_10_3_2_unsubscribe_without_filters_is_a_protocol_error() {
    let error = DecodeError::TopicFilterMissing(PacketType::Unsubscribe);
    refused(V5, b"\xA2\x03\0\x01\0", error);
    refused(V3, b"\xA2\x02\0\x01", error);
    assert_eq!(error.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn mqtt5_3_8_3_5_reserved_option_bits_are_malformed() {
    for options in [0x40, 0x80, 0xC1] {
        refused(V5, &subscribe(V5, b"t", options), DecodeError::SubscriptionOptions(options));
    }
    // covers: MQTT-3.8.3-4 of 3.1.1
    for options in [0x03, 0x04, 0x08, 0x10, 0x20, 0x80] {
        refused(V3, &subscribe(V3, b"t", options), DecodeError::SubscriptionOptions(options));
    }
    assert_eq!(DecodeError::SubscriptionOptions(0x40).reason_code(), ReasonCode::MalformedPacket);
}

#[test]
fn qos_3_and_retain_handling_3_are_protocol_errors() {
    refused(V5, &subscribe(V5, b"t", 0x03), DecodeError::SubscriptionOptionValue(0x03));
    refused(V5, &subscribe(V5, b"t", 0x30), DecodeError::SubscriptionOptionValue(0x30));
    assert_eq!(DecodeError::SubscriptionOptionValue(3).reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn mqtt5_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error() {
    refused(V5, &subscribe(V5, b"$share/g/t", 0b0101), DecodeError::NoLocalOnShared);
    accepted(V5, &subscribe(V5, b"$share/g/t", 0b0001));
    accepted(V5, &subscribe(V5, b"t", 0b0101));
    assert_eq!(DecodeError::NoLocalOnShared.reason_code(), ReasonCode::ProtocolError);
}

#[test]
fn mqtt5_4_7_1_1_invalid_filters_are_malformed() {
    for (filter, cause) in [
        (b"".as_slice(), InvalidTopic::Empty), // covers: MQTT-4.7.3-1
        (b"a#b", InvalidTopic::MisplacedMultiLevelWildcard),
        (b"a/#/b", InvalidTopic::MisplacedMultiLevelWildcard),
        (b"a#", InvalidTopic::MisplacedMultiLevelWildcard),
        (b"a+/b", InvalidTopic::MisplacedSingleLevelWildcard), // covers: MQTT-4.7.1-2
        (b"+a", InvalidTopic::MisplacedSingleLevelWildcard),
        (b"$share/g", InvalidTopic::ShareWithoutFilter), // covers: MQTT-4.8.2-2
        (b"$share/g/", InvalidTopic::ShareWithoutFilter),
        (b"$share//a", InvalidTopic::EmptyShareName), // covers: MQTT-4.8.2-1
        (b"$share/+/a", InvalidTopic::ShareNameCharacter),
        (b"$share/g/a#", InvalidTopic::MisplacedMultiLevelWildcard),
    ] {
        let error = DecodeError::TopicFilter(cause);
        for version in VERSIONS {
            refused(version, &subscribe(version, filter, 0), error);
            refused(version, &unsubscribe(version, filter), error);
        }
        assert_eq!(error.reason_code(), ReasonCode::MalformedPacket);
    }
}

#[test]
fn mqtt5_3_8_3_1_filters_are_utf8() {
    let null_character = DecodeError::TopicFilter(InvalidTopic::NullCharacter);
    for version in VERSIONS {
        refused(version, &subscribe(version, b"a\xFF", 0), DecodeError::Utf8);
        refused(version, &subscribe(version, b"a\0", 0), null_character); // covers: MQTT-4.7.3-2
        refused(version, &unsubscribe(version, b"\xED\xA0\x80"), DecodeError::Utf8); // covers: MQTT-3.10.3-1
        refused(version, &unsubscribe(version, b"\0"), null_character);
    }
}

#[test]
fn mqtt5_2_2_1_3_subscribe_and_unsubscribe_have_a_packet_identifier() {
    refused(V3, b"\x82\x06\0\0\0\x01t\0", DecodeError::PacketIdZero);
    refused(V5, b"\x82\x07\0\0\0\0\x01t\0", DecodeError::PacketIdZero);
    refused(V3, b"\xA2\x05\0\0\0\x01t", DecodeError::PacketIdZero);
    refused(V5, b"\xA2\x06\0\0\0\0\x01t", DecodeError::PacketIdZero);
    for version in VERSIONS {
        refused(version, b"\x82\x00", DecodeError::Truncated);
        refused(version, b"\xA2\x01\0", DecodeError::Truncated);
    }
}

#[test]
fn filters_and_options_end_with_the_packet() {
    refused(V3, b"\x82\x05\0\x01\0\x01t", DecodeError::Truncated);
    refused(V5, b"\x82\x06\0\x01\0\0\x01t", DecodeError::Truncated);
    refused(V3, b"\x82\x07\0\x01\0\x04t\0\0", DecodeError::Truncated);
    refused(V3, b"\xA2\x05\0\x01\0\x02t", DecodeError::Truncated);
    refused(V3, b"\xA2\x06\0\x01\0\x01t\0", DecodeError::Truncated);
}

#[test]
fn subscription_identifier_is_1_to_268_435_455_and_occurs_once() {
    let with = |properties: &[u8]| {
        packet(0x82, &[b"\0\x01", &[u8::try_from(properties.len()).unwrap()], properties, b"\0\x01t\0"])
    };
    refused(V5, &with(b"\x0B\0"), DecodeError::PropertyValue(0x0B));
    refused(V5, &with(b"\x0B\x01\x0B\x02"), DecodeError::PropertyRepeated(0x0B));
    refused(V5, &with(b"\x0B\xFF\xFF\xFF\xFF\x01"), DecodeError::VariableByteInteger);
    refused(V5, &with(b"\x1F\0\x01r"), DecodeError::PropertyNotAllowed(0x1F));
    let read = decode_subscribe(V5, &with(b"\x0B\xFF\xFF\xFF\x7F"));
    assert_eq!(read.subscription_id.map(std::num::NonZeroU32::get), Some(268_435_455));
    refused(V5, b"\xA2\x08\0\x01\x02\x0B\x01\0\x01t", DecodeError::PropertyNotAllowed(0x0B));
}

#[test]
fn subscribed_filters_do_not_keep_the_read_buffer() {
    for version in VERSIONS {
        let mut decoder = connected(version);
        let input = Bytes::from(subscribe(version, b"a/long/filter", 0));
        let Ok(Some(ClientPacket::Subscribe(read))) = decoder.decode(&mut input.clone()) else { panic!() };
        assert!(input.is_unique(), "{version:?}");
        assert_eq!(read.subscriptions[0].filter.topic_filter.as_str(), "a/long/filter");
    }
}
