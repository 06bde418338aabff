//! The MQTT packets that a load generator sends and receives.

use std::fmt;

use clap::ValueEnum;

/// A Quality of Service level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::enum_variant_names, reason = "the standard's names")]
pub(crate) enum QoS {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl QoS {
    /// The level with this number, if there is one.
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The number of the level.
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// The version of MQTT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    #[default]
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5.0")]
    V5,
}

/// A packet from a broker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Connack { session_present: bool, return_code: u8 },
    Publish(Publish<'a>),
    Puback(u16),
    Pubrec(u16),
    Pubrel(u16),
    Pubcomp(u16),
    Suback { return_codes: &'a [u8] },
}

/// A received PUBLISH.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) topic: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// Why bytes from a broker are not a valid packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// A Remaining Length of more than four bytes.
    RemainingLength,
    /// A packet type that only clients send, or wrong flags.
    FirstByte(u8),
    /// The body is shorter or longer than its packet type allows.
    Body(u8),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemainingLength => write!(f, "the broker sent a remaining length of more than four bytes"),
            Self::FirstByte(byte) => write!(f, "the broker sent a packet that starts with 0x{byte:02X}"),
            Self::Body(byte) => write!(f, "the broker sent a malformed packet of type {}", byte >> 4),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A complete packet of either side, not decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) first: u8,
    pub(crate) body: &'a [u8],
    pub(crate) bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of `bytes`, or `None` if it is incomplete.
    pub(crate) fn split(bytes: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let Some((&first, after_first)) = bytes.split_first() else { return Ok(None) };
        let Some((body_len, length_len)) = decode_remaining_length(after_first)? else { return Ok(None) };
        let Some(bytes) = bytes.get(..1 + length_len + body_len) else { return Ok(None) };
        Ok(bytes.get(1 + length_len..).map(|body| Self { first, body, bytes }))
    }

    /// Decodes the packet, if a broker may send it.
    pub(crate) fn decode(&self, protocol: Protocol) -> Result<Packet<'a>, DecodeError> {
        decode_body(self.first, self.body, protocol)
    }
}

/// Appends a CONNECT without Will and credentials.
pub(crate) fn encode_connect(output: &mut Vec<u8>, client_id: &str, session: SessionKind, protocol: Protocol) {
    let flags: u8 = match session {
        SessionKind::Clean => 0b0000_0010,
        SessionKind::Durable => 0,
    };
    let id = string(client_id);
    let (level, properties): (u8, &[u8]) = match (protocol, session) {
        (Protocol::V311, _) => (4, b""),
        (Protocol::V5, SessionKind::Clean) => (5, b"\x00"),
        (Protocol::V5, SessionKind::Durable) => (5, SESSION_NEVER_EXPIRES),
    };
    output.push(0x10);
    encode_remaining_length(output, VARIABLE_HEADER_LEN + properties.len() + id.len());
    output.extend_from_slice(b"\x00\x04MQTT");
    output.extend_from_slice(&[level, flags]);
    output.extend_from_slice(&KEEP_ALIVE_SECONDS.to_be_bytes());
    output.extend_from_slice(properties);
    output.extend_from_slice(&id);
}

/// Clean Session of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionKind {
    /// Clean Session 1: nothing outlives the connection.
    Clean,
    /// Clean Session 0: subscriptions and queued messages outlive the connection.
    Durable,
}

/// Appends a SUBSCRIBE of all `filters` at one QoS.
pub(crate) fn encode_subscribe(output: &mut Vec<u8>, packet_id: u16, filters: &[String], qos: QoS, protocol: Protocol) {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend_from_slice(no_properties(protocol));
    for filter in filters {
        body.extend_from_slice(&string(filter));
        body.push(qos.bits());
    }
    output.push(0x82);
    encode_remaining_length(output, body.len());
    output.extend_from_slice(&body);
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(crate) fn encode_ack(output: &mut Vec<u8>, ack: Ack, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    output.extend_from_slice(&[ack.first_byte(), 2, high, low]);
}

/// Appends a PUBACK of MQTT 5.0 that refuses the message.
pub(crate) fn encode_refusal(output: &mut Vec<u8>, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    output.extend_from_slice(&[Ack::Puback.first_byte(), 3, high, low, IMPLEMENTATION_SPECIFIC_ERROR]);
}

/// Appends a batch: one PUBLISH of MQTT 5.0 whose payload are the PUBLISH packets of `messages`.
pub(crate) fn encode_batch(output: &mut Vec<u8>, qos: QoS, packet_id: u16, messages: &[u8]) {
    let properties = [&[0x03][..], &string(BATCH_TYPE)].concat();
    let topic = string(BATCH_TOPIC);
    output.push(0x30 | (qos.bits() << 1));
    encode_remaining_length(output, topic.len() + 2 + 1 + properties.len() + messages.len());
    output.extend_from_slice(&topic);
    output.extend_from_slice(&packet_id.to_be_bytes());
    encode_remaining_length(output, properties.len());
    output.extend_from_slice(&properties);
    output.extend_from_slice(messages);
}

/// The packets whose body is a Packet Identifier only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

impl Ack {
    const fn first_byte(self) -> u8 {
        match self {
            Self::Puback => 0x40,
            Self::Pubrec => 0x50,
            Self::Pubrel => 0x62,
            Self::Pubcomp => 0x70,
        }
    }
}

/// Appends a DISCONNECT.
pub(crate) fn encode_disconnect(output: &mut Vec<u8>) {
    output.extend_from_slice(&[0xE0, 0]);
}

/// The beginning of a PUBLISH, up to the topic. The Packet Identifier, if any, the properties and the payload follow.
pub(crate) fn publish_head(topic: &str, qos: QoS, retain: Retain, payload_len: usize, properties: &[u8]) -> Vec<u8> {
    let topic = string(topic);
    let packet_id_len = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let mut head = vec![0x30 | (qos.bits() << 1) | u8::from(retain == Retain::Keep)];
    encode_remaining_length(&mut head, topic.len() + packet_id_len + properties.len() + payload_len);
    head.extend_from_slice(&topic);
    head
}

/// The encoding of no properties.
pub(crate) const fn no_properties(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::V311 => b"",
        Protocol::V5 => b"\x00",
    }
}

/// The properties of a PUBLISH of MQTT 5.0 that asks for a receipt.
pub(crate) fn receipt_properties() -> Vec<u8> {
    let property = [&[0x26][..], &string("receipt-to"), &string("bench/receipts")].concat();
    let mut properties = Vec::new();
    encode_remaining_length(&mut properties, property.len());
    properties.extend_from_slice(&property);
    properties
}

/// The RETAIN flag of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retain {
    Keep,
    PassOn,
}

fn decode_remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().take(REMAINING_LENGTH_MAX).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < REMAINING_LENGTH_MAX { Ok(None) } else { Err(DecodeError::RemainingLength) }
}

fn encode_remaining_length(output: &mut Vec<u8>, mut length: usize) {
    loop {
        let [byte, ..] = (length & 0x7F).to_le_bytes();
        length >>= 7;
        if length == 0 {
            output.push(byte);
            return;
        }
        output.push(byte | 0x80);
    }
}

fn decode_body(first: u8, body: &[u8], protocol: Protocol) -> Result<Packet<'_>, DecodeError> {
    let malformed = DecodeError::Body(first);
    if first & 0xF0 == 0x30 {
        return decode_publish(first, body, protocol).ok_or(malformed).map(Packet::Publish);
    }
    if first == 0x90 {
        let rest = body.get(2..).and_then(|rest| behind_properties(rest, protocol));
        let return_codes = rest.filter(|codes| !codes.is_empty()).ok_or(malformed)?;
        return Ok(Packet::Suback { return_codes });
    }
    let (high, low) = match (body, protocol) {
        (&[high, low], _) | (&[high, low, ..], Protocol::V5) => (high, low),
        (_, Protocol::V311 | Protocol::V5) => return Err(malformed),
    };
    let packet_id = u16::from_be_bytes([high, low]);
    match first {
        0x20 => Ok(Packet::Connack { session_present: high == 1, return_code: low }),
        0x40 => Ok(Packet::Puback(packet_id)),
        0x50 => Ok(Packet::Pubrec(packet_id)),
        0x62 => Ok(Packet::Pubrel(packet_id)),
        0x70 => Ok(Packet::Pubcomp(packet_id)),
        byte => Err(DecodeError::FirstByte(byte)),
    }
}

fn decode_publish(first: u8, body: &[u8], protocol: Protocol) -> Option<Publish<'_>> {
    let qos = QoS::from_bits((first >> 1) & 0b11)?;
    let (topic_len, after_length) = body.split_first_chunk::<2>()?;
    let (topic, after_topic) = after_length.split_at_checked(usize::from(u16::from_be_bytes(*topic_len)))?;
    let (packet_id, payload) = if qos == QoS::AtMostOnce {
        (0, after_topic)
    } else {
        let (packet_id, payload) = after_topic.split_first_chunk::<2>()?;
        (u16::from_be_bytes(*packet_id), payload)
    };
    let payload = behind_properties(payload, protocol)?;
    Some(Publish { qos, retain: first & 1 == 1, packet_id, topic, payload })
}

/// What follows the properties, if the version has any.
fn behind_properties(bytes: &[u8], protocol: Protocol) -> Option<&[u8]> {
    match protocol {
        Protocol::V311 => Some(bytes),
        Protocol::V5 => {
            let (properties_len, length_len) = decode_remaining_length(bytes).ok()??;
            bytes.get(length_len.checked_add(properties_len)?..)
        }
    }
}

/// A length-prefixed string, truncated at the maximum length; all strings are the generator's own.
fn string(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut encoded = length.to_be_bytes().to_vec();
    encoded.extend(bytes.iter().take(usize::from(length)));
    encoded
}

/// Length of protocol name, level, flags and Keep Alive of a CONNECT.
const VARIABLE_HEADER_LEN: usize = 10;
/// Longer than any run, so no PINGREQ is needed.
const KEEP_ALIVE_SECONDS: u16 = 3_600;
/// The properties of a CONNECT with a Session Expiry Interval of 0xFFFFFFFF.
const SESSION_NEVER_EXPIRES: &[u8] = b"\x05\x11\xFF\xFF\xFF\xFF";
const BATCH_TOPIC: &str = "$batch";
/// The Content Type of a batch of PUBLISH packets.
const BATCH_TYPE: &str = "application/vnd.oncemq.mqtt5-publish";
const IMPLEMENTATION_SPECIFIC_ERROR: u8 = 0x83;
/// The maximum number of bytes of a Remaining Length.
const REMAINING_LENGTH_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, DecodeError> {
        let Some(frame) = Frame::split(bytes)? else { return Ok(None) };
        Ok(Some((frame.decode(Protocol::V311)?, frame.bytes.len())))
    }

    fn publish_frame(qos: QoS, packet_id: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = publish_head("a/b", qos, Retain::PassOn, payload.len(), b"");
        if qos != QoS::AtMostOnce {
            frame.extend_from_slice(&packet_id.to_be_bytes());
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn mqtt311_3_1_connect_has_the_bytes_of_the_standard() {
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, "ab", SessionKind::Clean, Protocol::V311);
        assert_eq!(bytes, b"\x10\x0E\x00\x04MQTT\x04\x02\x0E\x10\x00\x02ab");
        bytes.clear();
        encode_connect(&mut bytes, "ab", SessionKind::Durable, Protocol::V311);
        assert_eq!(bytes.get(9), Some(&0));
    }

    #[test]
    fn mqtt311_3_8_subscribe_carries_every_filter_with_its_qos() {
        let mut bytes = Vec::new();
        encode_subscribe(&mut bytes, 0x0102, &["a/+".into(), "#".into()], QoS::ExactlyOnce, Protocol::V311);
        assert_eq!(bytes, b"\x82\x0C\x01\x02\x00\x03a/+\x02\x00\x01#\x02");
    }

    #[test]
    fn packets_of_mqtt_5_have_properties() {
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, "ab", SessionKind::Durable, Protocol::V5);
        assert_eq!(bytes, b"\x10\x14\x00\x04MQTT\x05\x00\x0E\x10\x05\x11\xFF\xFF\xFF\xFF\x00\x02ab");
        bytes.clear();
        encode_subscribe(&mut bytes, 0x0102, &["#".into()], QoS::AtLeastOnce, Protocol::V5);
        assert_eq!(bytes, b"\x82\x07\x01\x02\x00\x00\x01#\x01");
        bytes.clear();
        encode_refusal(&mut bytes, 0x0102);
        assert_eq!(bytes, b"\x40\x03\x01\x02\x83");
        let decode = |bytes| Frame::split(bytes).unwrap().unwrap().decode(Protocol::V5);
        let connack = Packet::Connack { session_present: false, return_code: 0 };
        assert_eq!(decode(b"\x20\x06\x00\x00\x03\x21\x00\x0A"), Ok(connack));
        assert_eq!(decode(b"\x90\x04\x00\x01\x00\x01"), Ok(Packet::Suback { return_codes: &[1] }));
        assert_eq!(decode(b"\x40\x03\x01\x02\x10"), Ok(Packet::Puback(0x0102)));
        let publish = Publish { qos: QoS::AtLeastOnce, retain: false, packet_id: 9, topic: b"a", payload: b"xy" };
        assert_eq!(decode(b"\x32\x0A\x00\x01a\x00\x09\x02\x01\x01xy"), Ok(Packet::Publish(publish)));
        assert_eq!(decode(b"\x32\x06\x00\x01a\x00\x09\x02"), Err(DecodeError::Body(0x32)));
    }

    #[test]
    fn a_message_asks_for_a_receipt_with_a_user_property() {
        let properties = receipt_properties();
        let mut bytes = publish_head("a", QoS::AtLeastOnce, Retain::PassOn, 1, &properties);
        bytes.extend_from_slice(&[0, 7]);
        bytes.extend_from_slice(&properties);
        bytes.push(b'x');
        let publish = Publish { qos: QoS::AtLeastOnce, retain: false, packet_id: 7, topic: b"a", payload: b"x" };
        assert_eq!(Frame::split(&bytes).unwrap().unwrap().decode(Protocol::V5), Ok(Packet::Publish(publish)));
        assert_eq!(properties, b"\x1D\x26\x00\x0Areceipt-to\x00\x0Ebench/receipts");
    }

    #[test]
    fn a_batch_is_a_publish_whose_payload_are_packets() {
        let mut messages = publish_head("a", QoS::AtMostOnce, Retain::PassOn, 1, no_properties(Protocol::V5));
        messages.extend_from_slice(b"\x00x");
        assert_eq!(messages, b"\x30\x05\x00\x01a\x00x");
        let mut bytes = Vec::new();
        encode_batch(&mut bytes, QoS::AtLeastOnce, 7, &messages);
        let packet = Frame::split(&bytes).unwrap().unwrap().decode(Protocol::V5);
        let batch =
            Publish { qos: QoS::AtLeastOnce, retain: false, packet_id: 7, topic: b"$batch", payload: &messages };
        assert_eq!(packet, Ok(Packet::Publish(batch)));
    }

    #[test]
    fn acknowledgements_survive_a_round_trip() {
        for (ack, packet) in [
            (Ack::Puback, Packet::Puback(0xABCD)),
            (Ack::Pubrec, Packet::Pubrec(0xABCD)),
            (Ack::Pubrel, Packet::Pubrel(0xABCD)),
            (Ack::Pubcomp, Packet::Pubcomp(0xABCD)),
        ] {
            let mut bytes = Vec::new();
            encode_ack(&mut bytes, ack, 0xABCD);
            assert_eq!(decode(&bytes), Ok(Some((packet, 4))));
        }
    }

    #[test]
    fn a_publish_survives_a_round_trip_at_every_qos_and_length_size() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for payload_len in [0, 1, 122, 123, 16_376, 16_377, 70_000] {
                let payload = vec![7; payload_len];
                let frame = publish_frame(qos, 9, &payload);
                let packet_id = if qos == QoS::AtMostOnce { 0 } else { 9 };
                let publish = Publish { qos, retain: false, packet_id, topic: b"a/b", payload: &payload };
                assert_eq!(decode(&frame), Ok(Some((Packet::Publish(publish), frame.len()))));
            }
        }
    }

    #[test]
    fn every_prefix_of_a_packet_is_incomplete() {
        let frame = publish_frame(QoS::AtLeastOnce, 9, &[7; 300]);
        for end in 0..frame.len() {
            assert_eq!(decode(&frame[..end]), Ok(None), "{end} bytes");
        }
    }

    #[test]
    fn the_first_of_two_packets_is_split_off() {
        let bytes = b"\x20\x02\x01\x00\x90\x03\x00\x01\x80";
        let connack = Packet::Connack { session_present: true, return_code: 0 };
        assert_eq!(decode(bytes), Ok(Some((connack, 4))));
        assert_eq!(decode(&bytes[4..]), Ok(Some((Packet::Suback { return_codes: &[0x80] }, 5))));
    }

    #[test]
    fn a_packet_that_no_broker_may_send_is_an_error() {
        assert_eq!(decode(b"\x30\xFF\xFF\xFF\xFF"), Err(DecodeError::RemainingLength));
        assert_eq!(decode(b"\x82\x02\x00\x01"), Err(DecodeError::FirstByte(0x82)));
        assert_eq!(decode(b"\x60\x02\x00\x01"), Err(DecodeError::FirstByte(0x60)));
        assert_eq!(decode(b"\x40\x03\x00\x01\x00"), Err(DecodeError::Body(0x40)));
        assert_eq!(decode(b"\x36\x05\x00\x01a\x00\x01"), Err(DecodeError::Body(0x36)));
        assert_eq!(decode(b"\x30\x03\x00\x02a"), Err(DecodeError::Body(0x30)));
        assert_eq!(decode(b"\x32\x04\x00\x01a\x00"), Err(DecodeError::Body(0x32)));
        assert_eq!(decode(b"\x90\x02\x00\x01"), Err(DecodeError::Body(0x90)));
    }

    #[test]
    fn any_bytes_decode_are_incomplete_or_fail() {
        let mut state = 0x9E37_79B9_u32;
        for _ in 0..100_000 {
            let bytes: Vec<u8> = (0..12)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state.to_be_bytes()[0]
                })
                .collect();
            if let Ok(Some((_, frame_len))) = decode(&bytes) {
                assert!(frame_len <= bytes.len());
            }
        }
    }
}
