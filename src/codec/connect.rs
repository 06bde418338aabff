use bytes::Bytes;
use bytestring::ByteString;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::{MessageProperties, ProtocolVersion, Qos, UserProperties};
use crate::topic::TopicName;

/// The Client Identifier: the name of a Session. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub Arc<str>);

/// A CONNECT packet. [MQTT-3.1]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version named by protocol name and level.
    pub version: ProtocolVersion,
    /// The Client Identifier as sent: may be empty, then the Server assigns one.
    pub client_id: ByteString,
    /// Clean Start; Clean Session in 3.1.1.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive: u16,
    /// The Will Message, if the Will Flag is set.
    pub will: Option<Will>,
    /// The User Name, if its flag is set: an empty one is not none.
    pub user_name: Option<ByteString>,
    /// The Password: any bytes.
    pub password: Option<Bytes>,
    /// What only 5.0 says; for 3.1.1 the values that give its behaviour (see [`ConnectProperties`]).
    pub properties: ConnectProperties,
}

/// The properties of CONNECT. Absent ones are `None` unless the standard gives a default value, which stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectProperties {
    /// In seconds; `u32::MAX` never expires. The 3.1.1 decoder puts 0 for Clean Session 1 and `u32::MAX` for 0.
    pub session_expiry_interval: u32,
    /// Default 65,535.
    pub receive_maximum: NonZeroU16,
    /// In bytes, of the whole packet; absent: no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Default 0: no aliases towards the Client.
    pub topic_alias_maximum: u16,
    /// Default `false`.
    pub request_response_information: bool,
    /// Default `true`.
    pub request_problem_information: bool,
    /// In order.
    pub user_properties: UserProperties,
    /// Enhanced authentication, by its name.
    pub authentication_method: Option<ByteString>,
    /// Never without a method.
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
            user_properties: UserProperties::default(),
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// A Will Message: what the Server publishes when the connection ends without a normal DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Will Topic: no wildcards.
    pub topic: TopicName,
    /// Will Payload.
    pub payload: Bytes,
    /// Will QoS.
    pub qos: Qos,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub will_delay_interval: u32,
    /// Message Expiry Interval in seconds, counted from publication.
    pub message_expiry_interval: Option<u32>,
    /// The properties that go with the message.
    pub properties: MessageProperties,
}
