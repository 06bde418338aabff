use bytes::Bytes;
use bytestring::ByteString;
use std::num::{NonZeroU16, NonZeroU32};

use super::{Qos, ReasonCode, UserProperties};

/// A CONNACK packet. [MQTT-3.2]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connack {
    /// Whether the Server goes on with a stored Session.
    pub session_present: bool,
    /// The Connect Reason Code; the 3.1.1 encoder sends the nearest Return Code.
    pub reason_code: ReasonCode,
    /// What only 5.0 says; the 3.1.1 encoder leaves it out.
    pub properties: ConnackProperties,
}

/// The properties of CONNACK: `None` (or `true`, for what is available) is left out on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's names say it")]
pub struct ConnackProperties {
    /// Seconds; sent when it differs from what the Client asked for.
    pub session_expiry_interval: Option<u32>,
    pub receive_maximum: Option<NonZeroU16>,
    /// Sent when below [`Qos::ExactlyOnce`].
    pub maximum_qos: Qos,
    pub retain_available: bool,
    pub maximum_packet_size: Option<NonZeroU32>,
    pub assigned_client_identifier: Option<ByteString>,
    /// Sent when above 0.
    pub topic_alias_maximum: u16,
    pub reason_string: Option<ByteString>,
    pub user_properties: UserProperties,
    pub wildcard_subscription_available: bool,
    pub subscription_identifiers_available: bool,
    pub shared_subscription_available: bool,
    /// Seconds.
    pub server_keep_alive: Option<u16>,
    pub response_information: Option<ByteString>,
    pub server_reference: Option<ByteString>,
    pub authentication_method: Option<ByteString>,
    pub authentication_data: Option<Bytes>,
}

impl Default for ConnackProperties {
    fn default() -> Self {
        Self {
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_maximum: 0,
            reason_string: None,
            user_properties: UserProperties::default(),
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}
