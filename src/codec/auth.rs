use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::primitives::{Reader, put_packet};
use super::property::{
    AUTHENTICATION_DATA, AUTHENTICATION_METHOD, Place, REASON_STRING, decode_properties, put_binary_property,
    put_properties, put_string_property,
};
use super::user_properties::UserPropertyRuns;
use super::{DecodeError, EncodedUserProperties, PacketType, ReasonCode};

/// An AUTH packet, in either direction. [MQTT-3.15]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// 0x00 Success, 0x18 Continue authentication or 0x19 Re-authenticate. [MQTT-3.15.2-1]
    pub reason_code: ReasonCode,
    /// `None` only in an incoming packet without Reason Code and properties, which the session rejects.
    pub authentication_method: Option<ByteString>,
    /// Data whose content depends on the method.
    pub authentication_data: Option<Bytes>,
    /// Reason String, a human-readable explanation.
    pub reason_string: Option<ByteString>,
    /// In the order of the packet.
    pub user_properties: EncodedUserProperties,
}

impl Auth {
    /// An AUTH without data and further properties.
    pub const fn new(reason_code: ReasonCode, authentication_method: Option<ByteString>) -> Self {
        Self {
            reason_code,
            authentication_method,
            authentication_data: None,
            reason_string: None,
            user_properties: EncodedUserProperties::new(),
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut auth = Self::new(ReasonCode::Success, None);
        if reader.is_empty() {
            return Ok(auth);
        }
        auth.reason_code = reader.reason_code(PacketType::Auth)?;
        if !reader.is_empty() {
            let mut kept = UserPropertyRuns::default();
            decode_properties(reader, Place::Auth, |id, reader| {
                match id {
                    AUTHENTICATION_METHOD => auth.authentication_method = Some(reader.string()?),
                    AUTHENTICATION_DATA => auth.authentication_data = Some(reader.binary()?),
                    REASON_STRING => auth.reason_string = Some(reader.string()?),
                    _ => kept.keep(reader)?,
                }
                Ok(())
            })?;
            auth.user_properties = kept.into_properties(reader.frame());
        }
        if auth.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationMethodMissing);
        }
        reader.finish()?;
        Ok(auth)
    }

    pub(super) fn encode(&self, output: &mut BytesMut) {
        let mut body = BytesMut::new();
        if *self != Self::new(ReasonCode::Success, None) {
            body.put_u8(self.reason_code.number());
            put_properties(&mut body, |properties| {
                put_string_property(properties, AUTHENTICATION_METHOD, self.authentication_method.as_ref());
                put_binary_property(properties, AUTHENTICATION_DATA, self.authentication_data.as_ref());
                put_string_property(properties, REASON_STRING, self.reason_string.as_ref());
                self.user_properties.encode(properties);
            });
        }
        put_packet(output, PacketType::Auth.first_byte(), &body);
    }
}
