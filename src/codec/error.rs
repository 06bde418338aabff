use super::{PacketType, ReasonCode};
use crate::topic::InvalidTopic;

/// How a packet violates the standard. Any violation ends the Network Connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Packet type 0, or 15 in 3.1.1.
    #[error("reserved packet type {0}")]
    ReservedPacketType(u8),
    /// Flags of the fixed header that the standard forbids. [MQTT-2.1.3-1]
    #[error("flags {flags:#06b} in the fixed header of {packet_type}")]
    FixedHeaderFlags {
        /// Type of the packet.
        packet_type: PacketType,
        /// The lower four bits of the first byte.
        flags: u8,
    },
    /// A PUBLISH with both QoS bits set. [MQTT-3.3.1-4]
    #[error("PUBLISH at QoS 3")]
    PublishQos,
    /// A PUBLISH with DUP at QoS 0. [MQTT-3.3.1-2]
    #[error("PUBLISH with DUP at QoS 0")]
    DupAtQos0,
    /// A Variable Byte Integer of more than four bytes, or in 5.0 longer than its value needs. [MQTT-1.5.5-1]
    #[error("overlong variable byte integer")]
    VariableByteInteger,
    /// A packet larger than the Maximum Packet Size.
    #[error("packet of {size} bytes exceeds the maximum of {maximum_packet_size}")]
    PacketTooLarge {
        /// Size of the whole packet in bytes, including the fixed header.
        size: usize,
        /// The limit in bytes.
        maximum_packet_size: u32,
    },
    /// The first packet was not CONNECT. [MQTT-3.1.0-1]
    #[error("{0} before CONNECT")]
    ExpectedConnect(PacketType),
    /// A second CONNECT on a connection. [MQTT-3.1.0-2]
    #[error("second CONNECT on one connection")]
    SecondConnect,
    /// A packet from the Server before CONNACK. [MQTT-3.2.0-1]
    #[error("{0} before CONNACK")]
    ExpectedConnack(PacketType),
    /// A second CONNACK on a connection. [MQTT-3.2.0-2]
    #[error("second CONNACK on one connection")]
    SecondConnack,
    /// A packet that only the other side may send.
    #[error("{0} from the wrong side")]
    WrongDirection(PacketType),
    /// A field that exceeds the packet or its properties.
    #[error("a field exceeds the end of the packet")]
    Truncated,
    /// Bytes behind the last field.
    #[error("extra bytes after the last field")]
    TrailingBytes,
    /// Ill-formed UTF-8. [MQTT-1.5.4-1]
    #[error("a string is not UTF-8")]
    Utf8,
    /// U+0000 in a string. [MQTT-1.5.4-2]
    #[error("a string contains U+0000")]
    NullCharacter,
    /// A protocol name other than MQTT's. [MQTT-3.1.2-1]
    #[error("unknown protocol name")]
    ProtocolName,
    /// A protocol level without a supported version. [MQTT-3.1.2-2]
    #[error("unsupported protocol level {0}")]
    ProtocolLevel(u8),
    /// A reserved bit is set, or Will QoS or Will Retain without a Will, or Will QoS 3, or in 3.1.1 a Password without
    /// User Name. [MQTT-3.1.2-3]
    #[error("connect flags {0:#010b}")]
    ConnectFlags(u8),
    /// An empty Client Identifier where the version requires one. [MQTT-3.1.3-8 of 3.1.1]
    #[error("empty client identifier: {rule}")]
    ClientIdMissing {
        /// What the version asks for.
        rule: &'static str,
    },
    /// Packet Identifier 0. [MQTT-2.2.1-3]
    #[error("packet identifier 0")]
    PacketIdZero,
    /// An invalid Topic Name, such as an empty one or one with wildcards. [MQTT-3.3.2-2]
    #[error("topic name: {0}")]
    TopicName(InvalidTopic),
    /// A PUBLISH with neither Topic Name nor Topic Alias.
    #[error("neither topic name nor topic alias")]
    TopicMissing,
    /// A Topic Alias of 0. [MQTT-3.3.2-8]
    #[error("topic alias 0")]
    TopicAliasZero,
    /// A Topic Alias from the Server above the Client's Topic Alias Maximum. [MQTT-3.1.2-26]
    #[error("topic alias {alias} is above the maximum of {maximum}")]
    TopicAliasAboveMaximum {
        /// The received alias.
        alias: u16,
        /// The limit.
        maximum: u16,
    },
    /// An invalid Topic Filter. [MQTT-4.7.1-1]
    #[error("topic filter: {0}")]
    TopicFilter(InvalidTopic),
    /// A SUBSCRIBE or UNSUBSCRIBE without a Topic Filter. [MQTT-3.8.3-2]
    #[error("no topic filter in {0}")]
    TopicFilterMissing(PacketType),
    /// Reserved bits set in the Subscription Options. [MQTT-3.8.3-5]
    #[error("subscription options {0:#010b}")]
    SubscriptionOptions(u8),
    /// Maximum QoS 3 or Retain Handling 3.
    #[error("subscription options {0:#010b} with an invalid value")]
    SubscriptionOptionValue(u8),
    /// No Local on a Shared Subscription. [MQTT-3.8.3-4]
    #[error("no local on a shared subscription")]
    NoLocalOnShared,
    /// A property that is unknown or not allowed in the packet.
    #[error("property {0:#04x} is not valid for this packet")]
    PropertyNotAllowed(u8),
    /// A property that may occur once occurred again.
    #[error("property {0:#04x} more than once")]
    PropertyRepeated(u8),
    /// A property with a value outside its range.
    #[error("property {0:#04x} with an invalid value")]
    PropertyValue(u8),
    /// A property that only the other side may send. [MQTT-3.3.4-6]
    #[error("property {0:#04x} from the wrong side")]
    PropertyFromWrongSide(u8),
    /// Authentication Data, or AUTH, without an Authentication Method.
    #[error("no authentication method")]
    AuthenticationMethodMissing,
    /// A Reason Code that is not allowed in the packet. [MQTT-3.4.2-1]
    #[error("reason code {0:#04x} is not valid for this packet")]
    ReasonCode(u8),
}

impl DecodeError {
    /// The Reason Code of the CONNACK or DISCONNECT that reports this error.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::ReservedPacketType(_)
            | Self::FixedHeaderFlags { .. }
            | Self::PublishQos
            | Self::DupAtQos0
            | Self::VariableByteInteger
            | Self::Truncated
            | Self::TrailingBytes
            | Self::Utf8
            | Self::NullCharacter
            | Self::ConnectFlags(_)
            | Self::TopicName(_)
            | Self::TopicFilter(_)
            | Self::SubscriptionOptions(_)
            | Self::PropertyNotAllowed(_) => ReasonCode::MalformedPacket,
            Self::ExpectedConnect(_)
            | Self::SecondConnect
            | Self::ExpectedConnack(_)
            | Self::SecondConnack
            | Self::WrongDirection(_)
            | Self::PacketIdZero
            | Self::TopicMissing
            | Self::TopicFilterMissing(_)
            | Self::SubscriptionOptionValue(_)
            | Self::NoLocalOnShared
            | Self::PropertyRepeated(_)
            | Self::PropertyValue(_)
            | Self::PropertyFromWrongSide(_)
            | Self::AuthenticationMethodMissing
            | Self::ReasonCode(_) => ReasonCode::ProtocolError,
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::ProtocolLevel(_) => ReasonCode::UnsupportedProtocolVersion,
            Self::ClientIdMissing { .. } => ReasonCode::ClientIdentifierNotValid,
            Self::TopicAliasZero | Self::TopicAliasAboveMaximum { .. } => ReasonCode::TopicAliasInvalid,
        }
    }
}
