use bytes::{BufMut, BytesMut};
use bytestring::ByteString;

use super::primitives::{Reader, put_packet};
use super::property::{
    Place, REASON_STRING, decode_properties, put_properties, put_string_property, put_user_properties, user_property,
};
use super::{DecodeError, PacketId, PacketType, ProtocolVersion, ReasonCode, UserProperties};

/// A PUBACK, PUBREC, PUBREL or PUBCOMP packet: they differ by type only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The Packet Identifier of the PUBLISH it belongs to. [MQTT-2.2.1-5]
    pub packet_id: PacketId,
    /// [`ReasonCode::Success`] for 3.1.1, which has no place for another.
    pub reason_code: ReasonCode,
    /// Boxed, because it is nearly always absent; incoming ones are checked and left out.
    pub details: Option<Box<AckDetails>>,
}

/// The properties of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckDetails {
    /// Why, for a person to read.
    pub reason_string: Option<ByteString>,
    /// In order.
    pub user_properties: UserProperties,
}

impl Ack {
    /// An acknowledgement without properties.
    pub const fn new(packet_id: PacketId, reason_code: ReasonCode) -> Self {
        Self { packet_id, reason_code, details: None }
    }

    /// Reads what follows the fixed header; properties are checked and left out.
    pub(super) fn decode(
        packet_type: PacketType,
        version: ProtocolVersion,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        let mut ack = Self::decode_with_details(packet_type, version, reader)?;
        ack.details = None;
        Ok(ack)
    }

    /// Reads what follows the fixed header.
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

    /// Writes the packet in the shortest form. `packet_type` is one of the four.
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
    /// `None` if there are no properties.
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
