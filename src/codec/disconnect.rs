use bytestring::ByteString;

use super::{ReasonCode, UserProperties};

/// A DISCONNECT packet, in either direction. [MQTT-3.14] The 3.1.1 encoder writes nothing: there, a Server has no DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// [`ReasonCode::NormalDisconnection`] when the packet has none.
    pub reason_code: ReasonCode,
    /// Seconds; from a Client only. [MQTT-3.14.2-2]
    pub session_expiry_interval: Option<u32>,
    /// Why, for a person to read.
    pub reason_string: Option<ByteString>,
    /// In order.
    pub user_properties: UserProperties,
    /// Another Server to use; from a Server only.
    pub server_reference: Option<ByteString>,
}
