use bytes::Bytes;
use bytestring::ByteString;

use super::{ReasonCode, UserProperties};

/// An AUTH packet, in either direction. [MQTT-3.15]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// 0x00 Success, 0x18 Continue authentication or 0x19 Re-authenticate. [MQTT-3.15.2-1]
    pub reason_code: ReasonCode,
    /// `None` only in an incoming packet cut short after the fixed header, which the session judges.
    pub authentication_method: Option<ByteString>,
    /// Opaque to all but the method.
    pub authentication_data: Option<Bytes>,
    /// Why, for a person to read.
    pub reason_string: Option<ByteString>,
    /// In order.
    pub user_properties: UserProperties,
}
