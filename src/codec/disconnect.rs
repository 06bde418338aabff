use bytes::{BufMut, BytesMut};
use bytestring::ByteString;

use super::frame::Sender;
use super::primitives::{Reader, put_packet};
use super::property::{
    Place, REASON_STRING, SERVER_REFERENCE, SESSION_EXPIRY_INTERVAL, USER_PROPERTY, decode_properties, put_properties,
    put_string_property, put_u32_property,
};
use super::user_properties::UserPropertyRuns;
use super::{DecodeError, EncodedUserProperties, PacketType, ProtocolVersion, ReasonCode};

/// A DISCONNECT packet, in either direction. [MQTT-3.14] The 3.1.1 encoder writes nothing, because a 3.1.1 Server sends
/// none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// [`ReasonCode::NormalDisconnection`] if the packet has none.
    pub reason_code: ReasonCode,
    /// In seconds; sent by a Client only. [MQTT-3.14.2-2]
    pub session_expiry_interval: Option<u32>,
    /// Reason String, a human-readable explanation.
    pub reason_string: Option<ByteString>,
    /// In the order of the packet.
    pub user_properties: EncodedUserProperties,
    /// Another Server to use; sent by a Server only.
    pub server_reference: Option<ByteString>,
}

impl Disconnect {
    /// A DISCONNECT without properties.
    pub const fn new(reason_code: ReasonCode) -> Self {
        Self {
            reason_code,
            session_expiry_interval: None,
            reason_string: None,
            user_properties: EncodedUserProperties::new(),
            server_reference: None,
        }
    }

    pub(super) fn decode(
        sender: Sender,
        version: ProtocolVersion,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        let mut disconnect = Self::new(ReasonCode::NormalDisconnection);
        if version.has_properties() && !reader.is_empty() {
            disconnect.reason_code = reader.reason_code(PacketType::Disconnect)?;
            if !reader.is_empty() {
                let mut kept = UserPropertyRuns::default();
                decode_properties(reader, Place::Disconnect, |id, reader| match id {
                    USER_PROPERTY => kept.keep(reader),
                    _ => disconnect.take(sender, id, reader),
                })?;
                disconnect.user_properties = kept.into_properties(reader.frame());
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn take(&mut self, sender: Sender, id: u8, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match (id, sender) {
            (SESSION_EXPIRY_INTERVAL, Sender::Server) | (SERVER_REFERENCE, Sender::Client) => {
                return Err(DecodeError::PropertyFromWrongSide(id)); // [MQTT-3.14.2-2]
            }
            (SESSION_EXPIRY_INTERVAL, Sender::Client) => self.session_expiry_interval = Some(reader.u32()?),
            (SERVER_REFERENCE, Sender::Server) => self.server_reference = Some(reader.string()?),
            (REASON_STRING, _) => self.reason_string = Some(reader.string()?),
            (other, _) => return Err(DecodeError::PropertyNotAllowed(other)),
        }
        Ok(())
    }

    /// Encodes the shortest form of the 5.0 packet.
    pub(super) fn encode(&self, output: &mut BytesMut) {
        let mut body = BytesMut::new();
        let bare = *self == Self::new(self.reason_code);
        if !bare || self.reason_code != ReasonCode::NormalDisconnection {
            body.put_u8(self.reason_code.number());
        }
        if !bare {
            put_properties(&mut body, |properties| {
                if let Some(seconds) = self.session_expiry_interval {
                    put_u32_property(properties, SESSION_EXPIRY_INTERVAL, seconds);
                }
                put_string_property(properties, REASON_STRING, self.reason_string.as_ref());
                self.user_properties.encode(properties);
                put_string_property(properties, SERVER_REFERENCE, self.server_reference.as_ref());
            });
        }
        put_packet(output, PacketType::Disconnect.first_byte(), &body);
    }
}
