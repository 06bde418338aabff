use bytes::{BufMut, Bytes, BytesMut};

use super::primitives::Reader;
use super::property::{USER_PROPERTY, put_user_property};
use super::runs::Runs;
use super::{DecodeError, MessageProperties};

/// User Properties that are not forwarded, in the order of their packet.
///
/// They are stored in their wire format, validated once, and decoded only when they are read: a packet with thousands
/// of them needs no memory for each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodedUserProperties {
    /// Boxed and never empty, because most packets have none.
    encoded: Option<Box<Bytes>>,
}

impl EncodedUserProperties {
    /// Without any property.
    pub const fn new() -> Self {
        Self { encoded: None }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.encoded.is_none()
    }

    /// Whether a property has this name and this value.
    pub fn contains(&self, name: &str, value: &str) -> bool {
        self.raw().any(|property| property == (name.as_bytes(), value.as_bytes()))
    }

    /// Name and value of each property, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        // The bytes were validated before, so decoding doesn't fail.
        self.raw().map_while(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)))
    }

    /// Appends them without a property length.
    pub(super) fn encode(&self, output: &mut BytesMut) {
        output.put_slice(self.as_bytes());
    }

    fn as_bytes(&self) -> &[u8] {
        self.encoded.as_deref().map_or(&[], |encoded| encoded)
    }

    fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.as_bytes();
        std::iter::from_fn(move || {
            let (_, property) = rest.split_first()?;
            let (name, property) = split_prefixed(property)?;
            let value;
            (value, rest) = split_prefixed(property)?;
            Some((name, value))
        })
    }

    fn from_encoded(encoded: Bytes) -> Self {
        Self { encoded: (!encoded.is_empty()).then(|| Box::new(encoded)) }
    }
}

/// Names and values are truncated to 65,535 bytes, at a character boundary.
impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for EncodedUserProperties {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(properties: I) -> Self {
        let mut encoded = BytesMut::new();
        for (name, value) in properties {
            put_user_property(&mut encoded, name.as_ref(), value.as_ref());
        }
        Self::from_encoded(encoded.freeze())
    }
}

impl MessageProperties {
    /// The same properties behind these User Properties of the broker. Those of the message are forwarded unaltered, also those of the same
    /// names. [MQTT-3.3.2-17] Names and values are truncated to 65,535 bytes.
    #[must_use]
    pub fn behind_user_properties<'a>(&self, properties: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let length: usize = properties.clone().map(|(name, value)| 5 + name.len() + value.len()).sum();
        let mut encoded = BytesMut::with_capacity(length + self.encoded_len());
        for (name, value) in properties {
            put_user_property(&mut encoded, name, value);
        }
        encoded.put_slice(self.as_bytes());
        Self::from_encoded(encoded.freeze())
    }
}

/// Finds and validates the User Properties of a packet.
#[derive(Debug, Default)]
pub(super) struct UserPropertyRuns(Runs);

impl UserPropertyRuns {
    /// Adds the property whose value follows in `reader`, behind its identifier.
    pub(super) fn keep(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let start = reader.position() - 1;
        reader.skip_string_pairs(USER_PROPERTY)?;
        self.0.add(start..reader.position());
        Ok(())
    }

    /// The found properties: a slice of `frame` if they are adjacent.
    pub(super) fn into_properties(self, frame: &Bytes) -> EncodedUserProperties {
        EncodedUserProperties::from_encoded(self.0.into_bytes(frame))
    }
}

/// Splits the bytes that a Two Byte Integer announces from those behind them.
pub(super) fn split_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
