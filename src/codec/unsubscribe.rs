use bytestring::ByteString;

use super::{PacketId, ReasonCode, UserProperties};
use crate::topic::Filter;

/// An UNSUBSCRIBE packet. [MQTT-3.10]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Answered by the UNSUBACK with the same. [MQTT-2.2.1-6]
    pub packet_id: PacketId,
    /// In order.
    pub user_properties: UserProperties,
    /// At least one. [MQTT-3.10.3-2]
    pub filters: Vec<Filter>,
}

/// An UNSUBACK packet. [MQTT-3.11]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuback {
    /// Of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order; 3.1.1 sends none.
    pub reason_codes: Vec<ReasonCode>,
    /// Why, for a person to read.
    pub reason_string: Option<ByteString>,
}
