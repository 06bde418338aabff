use bytes::BytesMut;
use bytestring::ByteString;

use super::primitives::Reader;
use super::property::{Place, decode_properties};
use super::subscribe::encode_acknowledgement;
use super::user_properties::UserPropertyRuns;
use super::{DecodeError, EncodedUserProperties, PacketId, PacketType, ProtocolVersion, ReasonCode};
use crate::topic::Filter;

/// An UNSUBSCRIBE packet. [MQTT-3.10]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The UNSUBACK has the same one. [MQTT-2.2.1-6]
    pub packet_id: PacketId,
    /// In the order of the packet.
    pub user_properties: EncodedUserProperties,
    /// At least one filter. [MQTT-3.10.3-2]
    pub filters: Vec<Filter>,
}

/// An UNSUBACK packet. [MQTT-3.11]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuback {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order; not encoded in 3.1.1.
    pub reason_codes: Vec<ReasonCode>,
    /// Reason String, a human-readable explanation.
    pub reason_string: Option<ByteString>,
}

impl Unsubscribe {
    /// Decodes the body of the packet.
    pub(super) fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let mut kept = UserPropertyRuns::default();
        if version.has_properties() {
            decode_properties(reader, Place::Unsubscribe, |_, reader| kept.keep(reader))?;
        }
        let user_properties = kept.into_properties(reader.frame());
        let mut filters = Vec::new();
        while !reader.is_empty() {
            filters.push(reader.filter()?);
        }
        if filters.is_empty() {
            return Err(DecodeError::TopicFilterMissing(PacketType::Unsubscribe));
        }
        Ok(Self { packet_id, user_properties, filters })
    }
}

impl Unsuback {
    /// An UNSUBACK without properties.
    pub const fn new(packet_id: PacketId, reason_codes: Vec<ReasonCode>) -> Self {
        Self { packet_id, reason_codes, reason_string: None }
    }

    /// Encodes the 5.0 packet.
    pub(super) fn encode(&self, output: &mut BytesMut) {
        encode_acknowledgement(PacketType::Unsuback, self.packet_id, &self.reason_string, &self.reason_codes, output);
    }
}
