use crate::codec::{PacketType, ReasonCode};

/// How a client broke the protocol. Each variant names the rule it enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A CONNECT on a connection that already had one. [MQTT-3.1.0-2]
    #[error("second CONNECT on one connection")]
    SecondConnect,
    /// More unacknowledged QoS 1 and 2 messages than our Receive Maximum. [MQTT-3.3.4-9]
    #[error("more than {receive_maximum} unacknowledged PUBLISH packets")]
    ReceiveMaximumExceeded {
        /// The value our CONNACK announced.
        receive_maximum: u16,
    },
    /// A Topic Alias above our Topic Alias Maximum. [MQTT-3.3.2-9]
    #[error("Topic Alias {alias} is above the Topic Alias Maximum {maximum}")]
    TopicAliasInvalid {
        /// What the client sent.
        alias: u16,
        /// The value our CONNACK announced.
        maximum: u16,
    },
    /// A Topic Alias without Topic Name that was never set on this connection.
    #[error("Topic Alias {alias} was never set")]
    TopicAliasUnknown {
        /// What the client sent.
        alias: u16,
    },
    /// A QoS above our Maximum QoS. [MQTT-3.2.2-11]
    #[error("PUBLISH above the Maximum QoS")]
    QosNotSupported,
    /// RETAIN although our CONNACK said that it is not available. [MQTT-3.2.2-14]
    #[error("retained PUBLISH although Retain Available is 0")]
    RetainNotSupported,
    /// An acknowledgement that doesn't go with the QoS or the state of the message it names. [MQTT-4.3.3-1]
    #[error("{packet} for a message that waits for another packet")]
    UnexpectedAck {
        /// What the client sent.
        packet: PacketType,
    },
    /// AUTH on a connection without Authentication Method, or with another one. [MQTT-4.12.0-7]
    #[error("AUTH does not go with the Authentication Method of CONNECT")]
    UnexpectedAuth,
    /// A Session Expiry Interval in DISCONNECT where CONNECT had 0.
    #[error("Session Expiry Interval in DISCONNECT although it was 0 in CONNECT")]
    SessionExpiryInDisconnect,
    /// A Maximum Packet Size that not even CONNACK keeps to. [MQTT-3.1.2-24]
    #[error("Maximum Packet Size is too small for CONNACK")]
    MaximumPacketSizeTooSmall,
    /// The payload of a QoS 0 PUBLISH is not the UTF-8 that its Payload Format Indicator says.
    #[error("payload is not UTF-8 as its Payload Format Indicator says")]
    PayloadFormatInvalid,
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
        }
    }
}
