use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use bytestring::ByteString;

use super::primitives::{Reader, put_packet};
use super::property::{
    Place, REASON_STRING, USER_PROPERTY, decode_properties, put_properties, put_string_property, put_user_properties,
    user_property,
};
use super::{DecodeError, PacketId, PacketType, ProtocolVersion, ReasonCode, UserProperties};

/// A PUBACK, PUBREC, PUBREL or PUBCOMP packet. They differ by packet type only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The Packet Identifier of the acknowledged PUBLISH. [MQTT-2.2.1-5]
    pub packet_id: PacketId,
    /// Always [`ReasonCode::Success`] in 3.1.1, which has no Reason Codes here.
    pub reason_code: ReasonCode,
    /// Boxed, because few packets have it. In incoming packets it is validated and discarded.
    pub details: Option<Box<AckDetails>>,
}

/// The properties of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckDetails {
    /// Reason String, a human-readable explanation.
    pub reason_string: Option<ByteString>,
    /// In the order of the packet.
    pub user_properties: UserProperties,
    /// Further ones, which [`complete`](Self::complete) adds. They are not encoded before.
    pub late: Option<Late>,
}

/// User Properties that are not known before the packet is sent.
#[derive(Debug, Clone)]
pub struct Late(pub Arc<dyn LateUserProperties>);

/// What knows them then.
pub trait LateUserProperties: fmt::Debug + Send + Sync {
    /// The properties, in the order of the packet.
    fn user_properties(&self) -> UserProperties;
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Late {}

impl Ack {
    /// An acknowledgement without properties.
    pub const fn new(packet_id: PacketId, reason_code: ReasonCode) -> Self {
        Self { packet_id, reason_code, details: None }
    }

    /// Decodes the body of the packet. Properties are validated and discarded.
    pub(super) fn decode(
        packet_type: PacketType,
        version: ProtocolVersion,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        let mut ack = Self::new(reader.packet_id()?, ReasonCode::Success);
        if version.has_properties() && !reader.is_empty() {
            ack.reason_code = reader.reason_code(packet_type)?;
            if !reader.is_empty() {
                decode_properties(reader, Place::Acknowledgement, |id, reader| match id {
                    REASON_STRING => reader.str().map(drop),
                    _ => reader.skip_string_pairs(USER_PROPERTY),
                })?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    /// Decodes the body of the packet, with its properties.
    pub(super) fn decode_with_details(
        packet_type: PacketType,
        version: ProtocolVersion,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        let mut ack = Self::new(reader.packet_id()?, ReasonCode::Success);
        if version.has_properties() && !reader.is_empty() {
            ack.reason_code = reader.reason_code(packet_type)?;
            if !reader.is_empty() {
                ack.details = AckDetails::decode(reader)?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    /// Encodes the shortest form of the packet. `packet_type` is one of the four.
    pub(super) fn encode(&self, packet_type: PacketType, version: ProtocolVersion, output: &mut BytesMut) {
        let first_byte = packet_type.first_byte();
        let [high, low] = self.packet_id.number().to_be_bytes();
        match &self.details {
            _ if !version.has_properties() => output.put_slice(&[first_byte, 2, high, low]),
            None if self.reason_code == ReasonCode::Success => output.put_slice(&[first_byte, 2, high, low]),
            None => output.put_slice(&[first_byte, 3, high, low, self.reason_code.number()]),
            Some(details) => {
                let mut body = BytesMut::new();
                body.put_slice(&[high, low, self.reason_code.number()]);
                put_properties(&mut body, |properties| {
                    put_string_property(properties, REASON_STRING, details.reason_string.as_ref());
                    put_user_properties(properties, &details.user_properties);
                });
                put_packet(output, first_byte, &body);
            }
        }
    }
}

impl AckDetails {
    /// The most bytes that they add to the packet.
    pub fn encoded_len_max(&self) -> usize {
        let pairs = self.user_properties.iter().map(|(name, value)| name.len() + value.len() + USER_PROPERTY_BYTES);
        self.reason_string.as_ref().map_or(0, |text| text.len() + REASON_STRING_BYTES) + pairs.sum::<usize>()
    }

    /// The same with the properties that are known by now; `None`: there are none.
    #[must_use]
    pub fn complete(&self) -> Option<Self> {
        let further = self.late.as_ref()?.0.user_properties();
        let user_properties = self.user_properties.iter().cloned().chain(further).collect();
        Some(Self { user_properties, late: None, ..self.clone() })
    }

    /// Returns `None` if there are no properties.
    fn decode(reader: &mut Reader<'_>) -> Result<Option<Box<Self>>, DecodeError> {
        let mut details = Self::default();
        decode_properties(reader, Place::Acknowledgement, |id, reader| {
            match id {
                REASON_STRING => details.reason_string = Some(reader.string()?),
                _ => details.user_properties.push(user_property(reader)?),
            }
            Ok(())
        })?;
        Ok((details != Self::default()).then(|| Box::new(details)))
    }
}

/// Identifier and length of a Reason String, and the length of all properties.
const REASON_STRING_BYTES: usize = 7;
/// Identifier and lengths of a User Property.
const USER_PROPERTY_BYTES: usize = 5;
