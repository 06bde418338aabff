use std::num::NonZeroU16;

use bytestring::ByteString;

use crate::codec::{ProtocolVersion, Qos};

/// What applies to the clients of one listener, in place of what the [`Settings`](super::Settings) say for all. What is `None` is as for all.
///
/// It is looked up by the name of the listener at CONNECT; a connected client keeps what its CONNACK announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTerms {
    /// The name of the listener: see [`Peer::listener`](super::Peer::listener).
    pub name: ByteString,
    /// The versions of MQTT that are accepted; `None`: all. CONNECT with another one is refused in the words of its version.
    pub protocol_versions: Option<Vec<ProtocolVersion>>,
    /// Whether the broker assigns a Client Identifier to a client that sends none. Otherwise its CONNECT is refused. [MQTT-3.1.3-8]
    pub assigns_client_ids: bool,
    /// The prefix of assigned Client Identifiers.
    pub assigned_client_id_prefix: Option<ByteString>,
    /// Maximum QoS announced and enforced.
    pub maximum_qos: Option<Qos>,
    /// Retain Available.
    pub retain_available: Option<bool>,
    /// Topic Alias Maximum announced to clients.
    pub topic_alias_maximum: Option<u16>,
    /// The greatest number of Topic Aliases that the broker assigns to one client.
    pub topic_alias_maximum_outgoing: Option<u16>,
    /// The longest Keep Alive, in seconds.
    pub keep_alive_max: Option<NonZeroU16>,
}

impl ListenerTerms {
    /// A listener at which all is as for all clients.
    pub const fn new(name: ByteString) -> Self {
        Self {
            name,
            protocol_versions: None,
            assigns_client_ids: true,
            assigned_client_id_prefix: None,
            maximum_qos: None,
            retain_available: None,
            topic_alias_maximum: None,
            topic_alias_maximum_outgoing: None,
            keep_alive_max: None,
        }
    }

    /// Whether clients of this version are accepted.
    pub(in crate::broker) fn accepts(&self, version: ProtocolVersion) -> bool {
        self.protocol_versions.as_ref().is_none_or(|versions| versions.contains(&version))
    }
}
