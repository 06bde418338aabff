use bytes::Bytes;
use bytestring::ByteString;
use std::borrow::Borrow;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::primitives::Reader;
use super::property::{
    AUTHENTICATION_DATA, AUTHENTICATION_METHOD, MAXIMUM_PACKET_SIZE, MESSAGE_EXPIRY_INTERVAL, MessagePropertyRuns,
    Place, RECEIVE_MAXIMUM, REQUEST_PROBLEM_INFORMATION, REQUEST_RESPONSE_INFORMATION, SESSION_EXPIRY_INTERVAL,
    TOPIC_ALIAS_MAXIMUM, USER_PROPERTY, WILL_DELAY_INTERVAL, decode_properties, flag,
};
use super::user_properties::UserPropertyRuns;
use super::{AnswerTerms, DecodeError, EncodedUserProperties, Message, MessageProperties, ProtocolVersion, Qos};
use crate::timestamp::Stamp;
use crate::topic::TopicName;

/// A Client Identifier, the name of a Session. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub Arc<str>);

impl ClientId {
    /// The identifier as on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ClientId {
    fn from(client_id: &str) -> Self {
        Self(client_id.into())
    }
}

impl From<String> for ClientId {
    fn from(client_id: String) -> Self {
        Self(client_id.into())
    }
}

impl Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A User Name as it may be shown to people. One that has the form of a JSON Web Token is a secret: who reads it could use it.
pub fn shown_user_name(user_name: &str) -> &str {
    let is_token = user_name.starts_with("eyJ") && user_name.bytes().filter(|byte| *byte == b'.').count() == 2;
    if is_token { "(token)" } else { user_name }
}

/// A CONNECT packet. [MQTT-3.1]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version given by protocol name and level.
    pub version: ProtocolVersion,
    /// Whether the client is a bridge: in 3.1 and 3.1.1 its protocol level has the bit 0x80. The standard doesn't have this bit; bridges
    /// use it to get No Local and Retain As Published, which 5.0 has as Subscription Options.
    pub is_bridge: bool,
    /// The Client Identifier as sent. If it is empty, the Server assigns one.
    pub client_id: ByteString,
    /// Clean Start; Clean Session in 3.1.1.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 disables it.
    pub keep_alive: u16,
    /// The Will Message, if the Will Flag is set.
    pub will: Option<Will>,
    /// The User Name, if its flag is set; it may be empty.
    pub user_name: Option<ByteString>,
    /// The Password, if its flag is set; any bytes.
    pub password: Option<Bytes>,
    /// For 3.1.1, values that result in its behaviour (see [`ConnectProperties`]).
    pub properties: ConnectProperties,
}

/// The properties of CONNECT. An absent one is `None`, or has the default value of the standard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectProperties {
    /// In seconds; `u32::MAX` means that it never expires. The 3.1.1 decoder sets 0 for Clean Session 1 and `u32::MAX`
    /// for 0.
    pub session_expiry_interval: u32,
    /// Default 65,535.
    pub receive_maximum: NonZeroU16,
    /// In bytes, of the whole packet; `None` means no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Default 0: the Server must not use aliases.
    pub topic_alias_maximum: u16,
    /// Default `false`.
    pub request_response_information: bool,
    /// Default `true`.
    pub request_problem_information: bool,
    /// In the order of the packet.
    pub user_properties: EncodedUserProperties,
    /// The name of the method of enhanced authentication.
    pub authentication_method: Option<ByteString>,
    /// Present only with a method.
    pub authentication_data: Option<Bytes>,
}

impl Default for ConnectProperties {
    fn default() -> Self {
        Self {
            session_expiry_interval: 0,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: EncodedUserProperties::default(),
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// A Will Message, which the Server publishes if the connection ends without a normal DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Will Topic, without wildcards.
    pub topic: TopicName,
    /// Will Payload.
    pub payload: Bytes,
    /// Will QoS.
    pub qos: Qos,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub will_delay_interval: u32,
    /// Message Expiry Interval in seconds, counted from the publication.
    pub message_expiry_interval: Option<u32>,
    /// The properties of the message.
    pub properties: MessageProperties,
}

impl Connect {
    /// A CONNECT without Will, User Name and Password, with the default properties of the version.
    pub fn new(version: ProtocolVersion, client_id: impl Into<ByteString>, clean_start: bool) -> Self {
        let session_expiry_interval = version.session_expiry_interval(clean_start);
        Self {
            version,
            is_bridge: false,
            client_id: client_id.into(),
            clean_start,
            keep_alive: 0,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties { session_expiry_interval, ..ConnectProperties::default() },
        }
    }

    /// What the client accepts in the packets that are sent to it.
    pub const fn answer_terms(&self) -> AnswerTerms {
        AnswerTerms {
            version: self.version,
            maximum_packet_size: self.properties.maximum_packet_size,
            request_problem_information: self.properties.request_problem_information,
        }
    }

    /// What the client accepts, in a CONNECT that is malformed, as far as its properties can be read.
    pub(super) fn answer_terms_of_malformed(version: ProtocolVersion, reader: &mut Reader<'_>) -> AnswerTerms {
        let mut connect = Self::new(version, ByteString::new(), true);
        if version.has_properties() {
            let _malformed = skip_to_properties(reader).and_then(|()| {
                decode_properties(reader, Place::Connect, |id, reader| match id {
                    USER_PROPERTY => reader.str().and(reader.str()).map(drop),
                    _ => connect.properties.take(id, reader),
                })
            });
        }
        connect.answer_terms()
    }

    /// Decodes the body of the packet. Sets `answer_in` to the version of the CONNACK as soon as it is known.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        answer_in: &mut Option<ProtocolVersion>,
    ) -> Result<Self, DecodeError> {
        let (version, is_bridge) = ProtocolVersion::decode(reader, answer_in)?;
        let flags = ConnectFlags::new(reader.u8()?, version)?;
        let keep_alive = reader.u16()?;
        let mut connect = Self::new(version, ByteString::new(), flags.clean_start);
        connect.is_bridge = is_bridge;
        connect.keep_alive = keep_alive;
        if version.has_properties() {
            let mut kept = UserPropertyRuns::default();
            decode_properties(reader, Place::Connect, |id, reader| match id {
                USER_PROPERTY => kept.keep(reader),
                _ => connect.properties.take(id, reader),
            })?;
            connect.properties.user_properties = kept.into_properties(reader.frame());
            if connect.properties.authentication_data.is_some() && connect.properties.authentication_method.is_none() {
                return Err(DecodeError::AuthenticationMethodMissing);
            }
        }
        connect.client_id = reader.string()?;
        if connect.client_id.is_empty() && version.needs_client_id(flags.clean_start) {
            return Err(DecodeError::ClientIdMissing { rule: version.client_id_rule() });
        }
        if flags.will {
            connect.will = Some(Will::decode(reader, version, flags.will_qos, flags.will_retain)?);
        }
        let is_flexible = version.may_omit_credentials();
        if flags.user_name && !(is_flexible && reader.is_empty()) {
            connect.user_name = Some(reader.string()?);
        }
        if flags.password && !(is_flexible && reader.is_empty()) {
            connect.password = Some(reader.binary()?);
        }
        for is_announced in [flags.user_name, flags.password] {
            if is_flexible && !is_announced && !reader.is_empty() {
                reader.skip_binary()?;
            }
        }
        reader.finish()?;
        Ok(connect)
    }
}

impl ConnectProperties {
    fn take(&mut self, id: u8, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let not_zero = DecodeError::PropertyValue(id);
        match id {
            SESSION_EXPIRY_INTERVAL => self.session_expiry_interval = reader.u32()?,
            RECEIVE_MAXIMUM => self.receive_maximum = NonZeroU16::new(reader.u16()?).ok_or(not_zero)?,
            MAXIMUM_PACKET_SIZE => self.maximum_packet_size = Some(NonZeroU32::new(reader.u32()?).ok_or(not_zero)?),
            TOPIC_ALIAS_MAXIMUM => self.topic_alias_maximum = reader.u16()?,
            REQUEST_RESPONSE_INFORMATION => self.request_response_information = flag(id, reader)?,
            REQUEST_PROBLEM_INFORMATION => self.request_problem_information = flag(id, reader)?,
            // A copy, because the connection keeps it, and a slice would keep the packet.
            AUTHENTICATION_METHOD => self.authentication_method = Some(reader.str()?.into()),
            AUTHENTICATION_DATA => self.authentication_data = Some(reader.binary()?),
            other => return Err(DecodeError::PropertyNotAllowed(other)),
        }
        Ok(())
    }
}

impl Will {
    /// The Application Message of the Will.
    pub fn message(&self) -> Message {
        Message {
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            properties: self.properties.clone(),
            qos: self.qos,
            id: None,
            received: Stamp::NONE,
            is_noted: false,
            is_share_copy: false,
        }
    }

    fn decode(reader: &mut Reader<'_>, version: ProtocolVersion, qos: Qos, retain: bool) -> Result<Self, DecodeError> {
        let mut will_delay_interval = 0;
        let mut message_expiry_interval = None;
        let mut kept = MessagePropertyRuns::default();
        if version.has_properties() {
            decode_properties(reader, Place::Will, |id, reader| {
                match id {
                    WILL_DELAY_INTERVAL => will_delay_interval = reader.u32()?,
                    MESSAGE_EXPIRY_INTERVAL => message_expiry_interval = Some(reader.u32()?),
                    _ => kept.keep(id, reader)?,
                }
                Ok(())
            })?;
        }
        let topic = reader.topic_name()?;
        let payload = reader.binary()?;
        let properties = kept.into_properties(reader.frame());
        Ok(Self { topic, payload, qos, retain, will_delay_interval, message_expiry_interval, properties })
    }
}

/// Skips the protocol name and level, the Connect Flags and the Keep Alive.
fn skip_to_properties(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    reader.skip_binary()?;
    reader.u16()?;
    reader.u16()?;
    Ok(())
}

/// The validated Connect Flags. [MQTT-3.1.2.3]
struct ConnectFlags {
    clean_start: bool,
    will: bool,
    will_qos: Qos,
    will_retain: bool,
    password: bool,
    user_name: bool,
}

impl ConnectFlags {
    fn new(byte: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let malformed = DecodeError::ConnectFlags(byte);
        let unused = match (version.ignores_unused(), byte & WILL_FLAG) {
            (true, 0) => WILL_QOS_AND_RETAIN | RESERVED,
            (true, _) => RESERVED,
            (false, _) => 0,
        };
        let byte = byte & !unused;
        let is_set = |bit: u8| byte & 1 << bit != 0;
        let flags = Self {
            clean_start: is_set(1),
            will: is_set(2),
            will_qos: Qos::new(byte >> 3 & 0b11).ok_or(malformed)?, // [MQTT-3.1.2-12]
            will_retain: is_set(5),
            password: is_set(6),
            user_name: is_set(7),
        };
        let reserved = is_set(0); // [MQTT-3.1.2-3]
        let will_without = !flags.will && (flags.will_retain || flags.will_qos > Qos::AtMostOnce); // [MQTT-3.1.2-11]
        let password_alone = flags.password && !flags.user_name && !version.has_properties(); // [MQTT-3.1.2-22] of 3.1.1
        if reserved || will_without || password_alone { Err(malformed) } else { Ok(flags) }
    }
}

/// Bits of the Connect Flags.
const RESERVED: u8 = 0b0000_0001;
const WILL_FLAG: u8 = 0b0000_0100;
const WILL_QOS_AND_RETAIN: u8 = 0b0011_1000;
