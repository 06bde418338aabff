use bytestring::ByteString;

use super::{PacketId, ReasonCode, UserProperties};

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
}
