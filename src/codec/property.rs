use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::DecodeError;
use super::limits::STRING_LENGTH_MAX;
use super::primitives::{Reader, put_binary, put_string, put_variable_byte_integer, variable_byte_integer_len};
use super::runs::Runs;

/// The User Properties of a packet that the broker composes, in their order. Those of a received packet are
/// [`EncodedUserProperties`](super::EncodedUserProperties), or part of [`MessageProperties`].
pub type UserProperties = Vec<(ByteString, ByteString)>;

/// The properties of an Application Message that are forwarded unaltered: Payload Format Indicator, Content Type,
/// Response Topic, Correlation Data and User Properties, in their order.
///
/// They are stored in their wire format, validated once, so forwarding is a copy. Message Expiry Interval, Topic Alias
/// and Subscription Identifiers are not included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageProperties {
    /// Boxed and never empty, because most messages have no properties.
    encoded: Option<Box<Bytes>>,
}

/// One property of [`MessageProperties`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's names say it")]
pub enum MessageProperty {
    /// `true`: the payload is UTF-8.
    PayloadFormatIndicator(bool),
    ContentType(ByteString),
    ResponseTopic(ByteString),
    CorrelationData(Bytes),
    UserProperty(ByteString, ByteString),
}

impl MessageProperties {
    /// Properties for a message of the broker. Values are truncated to 65,535 bytes, strings at a character boundary.
    pub fn from_properties(properties: impl IntoIterator<Item = MessageProperty>) -> Self {
        let mut encoded = BytesMut::new();
        for property in properties {
            property.encode(&mut encoded);
        }
        Self::from_encoded(encoded.freeze())
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.encoded.is_none()
    }

    /// Their length on the wire in bytes, without the property length.
    pub fn encoded_len(&self) -> usize {
        self.as_bytes().len()
    }

    /// The properties in order.
    pub fn iter(&self) -> impl Iterator<Item = MessageProperty> + '_ {
        let reader = self.encoded.as_deref().map(|encoded| Reader::new(encoded, 0..encoded.len()));
        // The bytes were validated before, so decoding doesn't fail.
        reader.into_iter().flat_map(|mut reader| std::iter::from_fn(move || MessageProperty::decode(&mut reader).ok()))
    }

    /// Whether the Payload Format Indicator is 1: the payload must be UTF-8.
    pub fn payload_is_utf8(&self) -> bool {
        // Fast path: most messages have no properties, and most others have this one first.
        !self.is_empty() && self.iter().any(|property| property == MessageProperty::PayloadFormatIndicator(true))
    }

    /// The Response Topic.
    pub fn response_topic(&self) -> Option<ByteString> {
        self.iter().find_map(|property| match property {
            MessageProperty::ResponseTopic(topic) => Some(topic),
            MessageProperty::PayloadFormatIndicator(_)
            | MessageProperty::ContentType(_)
            | MessageProperty::CorrelationData(_)
            | MessageProperty::UserProperty(..) => None,
        })
    }

    /// The same properties with another Response Topic in its place; `None` removes it.
    #[must_use]
    pub fn with_response_topic(&self, topic: Option<ByteString>) -> Self {
        Self::from_properties(self.iter().filter_map(|property| match property {
            MessageProperty::ResponseTopic(_) => topic.clone().map(MessageProperty::ResponseTopic),
            other @ (MessageProperty::PayloadFormatIndicator(_)
            | MessageProperty::ContentType(_)
            | MessageProperty::CorrelationData(_)
            | MessageProperty::UserProperty(..)) => Some(other),
        }))
    }

    /// The wire format without the property length, for storing.
    pub fn as_bytes(&self) -> &[u8] {
        self.encoded.as_deref().map_or(&[], |encoded| encoded)
    }

    /// Decodes the result of [`as_bytes`](Self::as_bytes).
    pub fn from_bytes(encoded: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&encoded, 0..encoded.len());
        while !reader.is_empty() {
            MessageProperty::decode(&mut reader)?;
        }
        Ok(Self::from_encoded(encoded))
    }

    pub(super) fn from_encoded(encoded: Bytes) -> Self {
        Self { encoded: (!encoded.is_empty()).then(|| Box::new(encoded)) }
    }
}

impl MessageProperty {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            PAYLOAD_FORMAT_INDICATOR => Self::PayloadFormatIndicator(reader.u8()? == 1),
            CONTENT_TYPE => Self::ContentType(reader.string()?),
            RESPONSE_TOPIC => Self::ResponseTopic(reader.string()?),
            CORRELATION_DATA => Self::CorrelationData(reader.binary()?),
            USER_PROPERTY => Self::UserProperty(reader.string()?, reader.string()?),
            other => return Err(DecodeError::PropertyNotAllowed(other)),
        })
    }

    fn encode(&self, output: &mut BytesMut) {
        match self {
            Self::PayloadFormatIndicator(is_utf8) => {
                put_byte_property(output, PAYLOAD_FORMAT_INDICATOR, u8::from(*is_utf8));
            }
            Self::ContentType(value) => put_string_property(output, CONTENT_TYPE, Some(value)),
            Self::ResponseTopic(value) => put_string_property(output, RESPONSE_TOPIC, Some(value)),
            Self::CorrelationData(value) => put_binary_property(output, CORRELATION_DATA, Some(value)),
            Self::UserProperty(name, value) => put_user_property(output, name, value),
        }
    }
}

/// Finds and validates the parts of a PUBLISH or of the Will Properties that are [`MessageProperties`].
#[derive(Debug, Default)]
pub(super) struct MessagePropertyRuns(Runs);

impl MessagePropertyRuns {
    /// Adds the property `id`, whose value follows in `reader`.
    pub(super) fn keep(&mut self, id: u8, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let start = reader.position() - 1;
        match id {
            PAYLOAD_FORMAT_INDICATOR => drop(flag(id, reader)?),
            CONTENT_TYPE => drop(reader.str()?),
            RESPONSE_TOPIC => {
                let topic = reader.str()?;
                if topic.is_empty() || topic.contains(['+', '#']) {
                    return Err(DecodeError::PropertyValue(id)); // [MQTT-3.3.2-14]
                }
            }
            CORRELATION_DATA => reader.skip_binary()?,
            USER_PROPERTY => reader.skip_string_pairs(USER_PROPERTY)?,
            other => return Err(DecodeError::PropertyNotAllowed(other)),
        }
        self.0.add(start..reader.position());
        Ok(())
    }

    /// The found properties, as a copy.
    pub(super) fn into_detached_properties(self, frame: &Bytes) -> MessageProperties {
        MessageProperties::from_encoded(Bytes::copy_from_slice(self.into_properties(frame).as_bytes()))
    }

    /// The found properties: a slice of `frame` if they are adjacent, which is the common case.
    pub(super) fn into_properties(self, frame: &Bytes) -> MessageProperties {
        MessageProperties::from_encoded(self.0.into_bytes(frame))
    }
}

/// The packet that contains properties, which determines the allowed ones. (Table 2-4)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Connect,
    Will,
    Connack,
    Publish,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

impl Place {
    /// A bit set of allowed identifiers.
    const fn allowed(self) -> u64 {
        match self {
            Self::Connect => CONNECT_PROPERTIES,
            Self::Will => MESSAGE_PROPERTIES | bit(WILL_DELAY_INTERVAL),
            Self::Connack => CONNACK_PROPERTIES,
            Self::Publish => MESSAGE_PROPERTIES | bit(TOPIC_ALIAS) | bit(SUBSCRIPTION_IDENTIFIER),
            Self::Acknowledgement => bit(REASON_STRING) | bit(USER_PROPERTY),
            Self::Subscribe => bit(SUBSCRIPTION_IDENTIFIER) | bit(USER_PROPERTY),
            Self::Unsubscribe => bit(USER_PROPERTY),
            Self::Disconnect => {
                bit(SESSION_EXPIRY_INTERVAL) | bit(REASON_STRING) | bit(USER_PROPERTY) | bit(SERVER_REFERENCE)
            }
            Self::Auth => {
                bit(AUTHENTICATION_METHOD) | bit(AUTHENTICATION_DATA) | bit(REASON_STRING) | bit(USER_PROPERTY)
            }
        }
    }

    /// The allowed identifiers that may occur more than once.
    const fn repeatable(self) -> u64 {
        match self {
            Self::Publish => bit(USER_PROPERTY) | bit(SUBSCRIPTION_IDENTIFIER),
            Self::Connect
            | Self::Will
            | Self::Connack
            | Self::Acknowledgement
            | Self::Subscribe
            | Self::Unsubscribe
            | Self::Disconnect
            | Self::Auth => bit(USER_PROPERTY),
        }
    }
}

/// Decodes a property length and the properties. `on_property` gets the identifier of each, and reads its value.
pub(super) fn decode_properties(
    reader: &mut Reader<'_>,
    place: Place,
    mut on_property: impl FnMut(u8, &mut Reader<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let length = reader.variable_byte_integer()?;
    if length == 0 {
        return Ok(());
    }
    let mut seen = 0;
    reader.within(usize::try_from(length).unwrap_or(usize::MAX), |reader| {
        while !reader.is_empty() {
            // An identifier is a Variable Byte Integer, but all defined ones have one byte.
            let id = reader.u8()?;
            let property = bit(id);
            if place.allowed() & property == 0 {
                return Err(DecodeError::PropertyNotAllowed(id));
            }
            if seen & property & !place.repeatable() != 0 {
                return Err(DecodeError::PropertyRepeated(id));
            }
            seen |= property;
            on_property(id, reader)?;
        }
        Ok(())
    })
}

/// The value of a property that must be 0 or 1.
pub(super) fn flag(id: u8, reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::PropertyValue(id)),
    }
}

/// The value of a User Property.
pub(super) fn user_property(reader: &mut Reader<'_>) -> Result<(ByteString, ByteString), DecodeError> {
    Ok((reader.string()?, reader.string()?))
}

/// Encodes a property length and the properties that `write` appends.
pub(super) fn put_properties(output: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let mut properties = BytesMut::new();
    write(&mut properties);
    put_variable_byte_integer(output, properties.len());
    output.put_slice(&properties);
}

pub(super) fn put_byte_property(output: &mut BytesMut, id: u8, value: u8) {
    output.put_slice(&[id, value]);
}

pub(super) fn put_u16_property(output: &mut BytesMut, id: u8, value: u16) {
    output.put_u8(id);
    output.put_u16(value);
}

pub(super) fn put_u32_property(output: &mut BytesMut, id: u8, value: u32) {
    output.put_u8(id);
    output.put_u32(value);
}

pub(super) fn put_string_property(output: &mut BytesMut, id: u8, value: Option<&ByteString>) {
    if let Some(value) = value {
        output.reserve(3 + value.len().min(STRING_LENGTH_MAX));
        output.put_u8(id);
        put_string(output, value);
    }
}

pub(super) fn put_binary_property(output: &mut BytesMut, id: u8, value: Option<&Bytes>) {
    if let Some(value) = value {
        output.put_u8(id);
        put_binary(output, value);
    }
}

pub(super) fn put_user_properties(output: &mut BytesMut, properties: &UserProperties) {
    for (name, value) in properties {
        put_user_property(output, name, value);
    }
}

pub(super) fn put_subscription_id(output: &mut BytesMut, id: u32) {
    output.put_u8(SUBSCRIPTION_IDENTIFIER);
    put_variable_byte_integer(output, usize::try_from(id).unwrap_or(usize::MAX));
}

/// The number of bytes that [`put_subscription_id`] appends.
pub(super) fn subscription_id_len(id: u32) -> usize {
    1 + variable_byte_integer_len(usize::try_from(id).unwrap_or(usize::MAX))
}

pub(super) fn put_user_property(output: &mut BytesMut, name: &str, value: &str) {
    output.put_u8(USER_PROPERTY);
    put_string(output, name);
    put_string(output, value);
}

/// Returns 0 for an undefined identifier.
const fn bit(id: u8) -> u64 {
    if id < 64 { 1 << id } else { 0 }
}

const MESSAGE_PROPERTIES: u64 = bit(PAYLOAD_FORMAT_INDICATOR)
    | bit(MESSAGE_EXPIRY_INTERVAL)
    | bit(CONTENT_TYPE)
    | bit(RESPONSE_TOPIC)
    | bit(CORRELATION_DATA)
    | bit(USER_PROPERTY);
const CONNECT_PROPERTIES: u64 = bit(SESSION_EXPIRY_INTERVAL)
    | bit(RECEIVE_MAXIMUM)
    | bit(MAXIMUM_PACKET_SIZE)
    | bit(TOPIC_ALIAS_MAXIMUM)
    | bit(REQUEST_RESPONSE_INFORMATION)
    | bit(REQUEST_PROBLEM_INFORMATION)
    | bit(USER_PROPERTY)
    | bit(AUTHENTICATION_METHOD)
    | bit(AUTHENTICATION_DATA);
const CONNACK_PROPERTIES: u64 = bit(SESSION_EXPIRY_INTERVAL)
    | bit(RECEIVE_MAXIMUM)
    | bit(MAXIMUM_QOS)
    | bit(RETAIN_AVAILABLE)
    | bit(MAXIMUM_PACKET_SIZE)
    | bit(ASSIGNED_CLIENT_IDENTIFIER)
    | bit(TOPIC_ALIAS_MAXIMUM)
    | bit(REASON_STRING)
    | bit(USER_PROPERTY)
    | bit(WILDCARD_SUBSCRIPTION_AVAILABLE)
    | bit(SUBSCRIPTION_IDENTIFIERS_AVAILABLE)
    | bit(SHARED_SUBSCRIPTION_AVAILABLE)
    | bit(SERVER_KEEP_ALIVE)
    | bit(RESPONSE_INFORMATION)
    | bit(SERVER_REFERENCE)
    | bit(AUTHENTICATION_METHOD)
    | bit(AUTHENTICATION_DATA);

pub(super) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
pub(super) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
pub(super) const CONTENT_TYPE: u8 = 0x03;
pub(super) const RESPONSE_TOPIC: u8 = 0x08;
pub(super) const CORRELATION_DATA: u8 = 0x09;
pub(super) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
pub(super) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const AUTHENTICATION_METHOD: u8 = 0x15;
pub(super) const AUTHENTICATION_DATA: u8 = 0x16;
pub(super) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
pub(super) const WILL_DELAY_INTERVAL: u8 = 0x18;
pub(super) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
pub(super) const RESPONSE_INFORMATION: u8 = 0x1A;
pub(super) const SERVER_REFERENCE: u8 = 0x1C;
pub(super) const REASON_STRING: u8 = 0x1F;
pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(super) const TOPIC_ALIAS: u8 = 0x23;
pub(super) const MAXIMUM_QOS: u8 = 0x24;
pub(super) const RETAIN_AVAILABLE: u8 = 0x25;
pub(super) const USER_PROPERTY: u8 = 0x26;
pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
pub(super) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
pub(super) const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
pub(super) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
