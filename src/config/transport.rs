use serde::{Deserialize, Serialize};

/// The transport that carries MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Plain TCP.
    #[default]
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// A Unix socket.
    Unix,
    /// A stream of QUIC, which is over UDP and always encrypted.
    Quic,
}

impl Transport {
    /// Whether it needs certificates.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Quic)
    }

    /// Whether it is over UDP, whose ports have nothing to do with those of TCP.
    pub const fn is_datagram(self) -> bool {
        matches!(self, Self::Quic)
    }
}
