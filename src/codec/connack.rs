use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use std::num::{NonZeroU16, NonZeroU32};

use super::primitives::put_packet;
use super::property::{
    ASSIGNED_CLIENT_IDENTIFIER, AUTHENTICATION_DATA, AUTHENTICATION_METHOD, MAXIMUM_PACKET_SIZE, MAXIMUM_QOS,
    REASON_STRING, RECEIVE_MAXIMUM, RESPONSE_INFORMATION, RETAIN_AVAILABLE, SERVER_KEEP_ALIVE, SERVER_REFERENCE,
    SESSION_EXPIRY_INTERVAL, SHARED_SUBSCRIPTION_AVAILABLE, SUBSCRIPTION_IDENTIFIERS_AVAILABLE, TOPIC_ALIAS_MAXIMUM,
    WILDCARD_SUBSCRIPTION_AVAILABLE, put_binary_property, put_byte_property, put_properties, put_string_property,
    put_u16_property, put_u32_property, put_user_properties,
};
use super::{PacketType, Qos, ReasonCode, UserProperties};

/// A CONNACK packet. [MQTT-3.2]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connack {
    /// Whether the Server resumes a stored Session.
    pub session_present: bool,
    /// The Connect Reason Code; the 3.1.1 encoder sends the closest Return Code.
    pub reason_code: ReasonCode,
    /// Encoded in 5.0 only.
    pub properties: ConnackProperties,
}

/// The properties of CONNACK. `None`, or `true` for available features, is not encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's names say it")]
pub struct ConnackProperties {
    /// In seconds; sent if it differs from the requested value.
    pub session_expiry_interval: Option<u32>,
    pub receive_maximum: Option<NonZeroU16>,
    /// Sent if below [`Qos::ExactlyOnce`].
    pub maximum_qos: Qos,
    pub retain_available: bool,
    pub maximum_packet_size: Option<NonZeroU32>,
    pub assigned_client_identifier: Option<ByteString>,
    /// Sent if above 0.
    pub topic_alias_maximum: u16,
    pub reason_string: Option<ByteString>,
    pub user_properties: UserProperties,
    pub wildcard_subscription_available: bool,
    pub subscription_identifiers_available: bool,
    pub shared_subscription_available: bool,
    /// In seconds.
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

impl Connack {
    /// Accepts the connection, with default properties.
    pub fn accepted(session_present: bool) -> Self {
        Self { session_present, reason_code: ReasonCode::Success, properties: ConnackProperties::default() }
    }

    /// Refuses the connection. [MQTT-3.2.2-6]
    pub fn refused(reason_code: ReasonCode) -> Self {
        Self { session_present: false, reason_code, properties: ConnackProperties::default() }
    }

    /// Encodes the 5.0 packet.
    pub(super) fn encode(&self, output: &mut BytesMut) {
        let mut body = BytesMut::new();
        body.put_slice(&[u8::from(self.session_present), self.reason_code.number()]);
        put_properties(&mut body, |properties| self.properties.encode(properties));
        put_packet(output, PacketType::Connack.first_byte(), &body);
    }
}

impl ConnackProperties {
    fn encode(&self, output: &mut BytesMut) {
        if let Some(seconds) = self.session_expiry_interval {
            put_u32_property(output, SESSION_EXPIRY_INTERVAL, seconds);
        }
        if let Some(receive_maximum) = self.receive_maximum {
            put_u16_property(output, RECEIVE_MAXIMUM, receive_maximum.get());
        }
        if self.maximum_qos < Qos::ExactlyOnce {
            put_byte_property(output, MAXIMUM_QOS, self.maximum_qos.level());
        }
        put_unavailable(output, RETAIN_AVAILABLE, self.retain_available);
        if let Some(maximum_packet_size) = self.maximum_packet_size {
            put_u32_property(output, MAXIMUM_PACKET_SIZE, maximum_packet_size.get());
        }
        put_string_property(output, ASSIGNED_CLIENT_IDENTIFIER, self.assigned_client_identifier.as_ref());
        if self.topic_alias_maximum > 0 {
            put_u16_property(output, TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        }
        put_string_property(output, REASON_STRING, self.reason_string.as_ref());
        put_user_properties(output, &self.user_properties);
        put_unavailable(output, WILDCARD_SUBSCRIPTION_AVAILABLE, self.wildcard_subscription_available);
        put_unavailable(output, SUBSCRIPTION_IDENTIFIERS_AVAILABLE, self.subscription_identifiers_available);
        put_unavailable(output, SHARED_SUBSCRIPTION_AVAILABLE, self.shared_subscription_available);
        if let Some(seconds) = self.server_keep_alive {
            put_u16_property(output, SERVER_KEEP_ALIVE, seconds);
        }
        put_string_property(output, RESPONSE_INFORMATION, self.response_information.as_ref());
        put_string_property(output, SERVER_REFERENCE, self.server_reference.as_ref());
        put_string_property(output, AUTHENTICATION_METHOD, self.authentication_method.as_ref());
        put_binary_property(output, AUTHENTICATION_DATA, self.authentication_data.as_ref());
    }
}

/// Encodes the property only if the feature is unavailable.
fn put_unavailable(output: &mut BytesMut, id: u8, available: bool) {
    if !available {
        put_byte_property(output, id, 0);
    }
}
