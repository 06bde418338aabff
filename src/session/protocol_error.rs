use crate::codec::{PacketType, ReasonCode};

/// How a client violated the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A second CONNECT on a connection. [MQTT-3.1.0-2]
    #[error("second CONNECT on one connection")]
    SecondConnect,
    /// More unacknowledged QoS 1 and 2 messages than our Receive Maximum. [MQTT-3.3.4-9]
    #[error("more than {receive_maximum} unacknowledged PUBLISH packets")]
    ReceiveMaximumExceeded {
        /// The value of our CONNACK.
        receive_maximum: u16,
    },
    /// A Topic Alias above our Topic Alias Maximum. [MQTT-3.3.2-9]
    #[error("Topic Alias {alias} is above the Topic Alias Maximum {maximum}")]
    TopicAliasInvalid {
        /// The received alias.
        alias: u16,
        /// The value of our CONNACK.
        maximum: u16,
    },
    /// A Topic Alias without a Topic Name that was not set on this connection.
    #[error("Topic Alias {alias} was not set on this connection")]
    TopicAliasUnknown {
        /// The received alias.
        alias: u16,
    },
    /// A QoS above our Maximum QoS. [MQTT-3.2.2-11]
    #[error("PUBLISH above the Maximum QoS")]
    QosNotSupported,
    /// RETAIN although Retain Available of our CONNACK is 0. [MQTT-3.2.2-14]
    #[error("retained PUBLISH although Retain Available is 0")]
    RetainNotSupported,
    /// An acknowledgement that doesn't match the QoS or the state of its message. [MQTT-4.3.3-1]
    #[error("{packet} for a message that waits for another packet")]
    UnexpectedAck {
        /// Type of the acknowledgement.
        packet: PacketType,
    },
    /// AUTH on a connection without an Authentication Method, or with a different one. [MQTT-4.12.0-7]
    #[error("AUTH does not match the Authentication Method of CONNECT")]
    UnexpectedAuth,
    /// A Session Expiry Interval in DISCONNECT where CONNECT had 0.
    #[error("Session Expiry Interval in DISCONNECT although it was 0 in CONNECT")]
    SessionExpiryInDisconnect,
    /// A Maximum Packet Size that is too small for CONNACK. [MQTT-3.1.2-24]
    #[error("Maximum Packet Size is too small for CONNACK")]
    MaximumPacketSizeTooSmall,
    /// The payload of a QoS 0 PUBLISH with Payload Format Indicator 1 is not UTF-8.
    #[error("payload is not UTF-8 although its Payload Format Indicator is 1")]
    PayloadFormatInvalid,
    /// A Topic Alias for a long Topic Name while memory is short: not the client's fault.
    #[error("memory is short: no Topic Alias for a long Topic Name")]
    MemoryShort,
}

impl ProtocolError {
    /// The Reason Code of the DISCONNECT that reports this error.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::SecondConnect
            | Self::TopicAliasUnknown { .. }
            | Self::UnexpectedAck { .. }
            | Self::UnexpectedAuth
            | Self::SessionExpiryInDisconnect => ReasonCode::ProtocolError,
            Self::ReceiveMaximumExceeded { .. } => ReasonCode::ReceiveMaximumExceeded,
            Self::TopicAliasInvalid { .. } => ReasonCode::TopicAliasInvalid,
            Self::QosNotSupported => ReasonCode::QosNotSupported,
            Self::RetainNotSupported => ReasonCode::RetainNotSupported,
            Self::MaximumPacketSizeTooSmall => ReasonCode::PacketTooLarge,
            Self::PayloadFormatInvalid => ReasonCode::PayloadFormatInvalid,
            Self::MemoryShort => ReasonCode::QuotaExceeded,
        }
    }
}
