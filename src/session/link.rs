use std::num::{NonZeroU16, NonZeroU32};

use super::alias::{InboundAliases, OutboundAliases};
use crate::codec::{ProtocolVersion, ServerPacket};

/// What a Network Connection means to its Session: what was negotiated, and what ends with it.
#[derive(Debug)]
pub struct Link {
    /// The version the client speaks.
    pub version: ProtocolVersion,
    /// PUBLISH packets at QoS 1 and 2 that may be unacknowledged towards the client: the smaller of its Receive Maximum and our window.
    pub send_maximum: NonZeroU16,
    /// The client's Maximum Packet Size.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Whether a Reason String may go with acknowledgements. [MQTT-3.1.2-29]
    pub request_problem_information: bool,
    /// Whether the client wants the identity of each message.
    pub(super) message_ids: bool,
    /// Whether CONNACK has left: nothing else may before. [MQTT-3.2.0-1]
    pub(super) open: bool,
    /// Bytes of queued messages that may be put before the transport.
    pub(super) room: usize,
    /// The aliases that the client sets.
    pub(super) inbound_aliases: InboundAliases,
    /// The aliases that we set.
    pub(super) outbound_aliases: OutboundAliases,
}

impl Link {
    /// A connection of this version with the standard's defaults and a window of `send_maximum`, and no aliases.
    pub fn new(version: ProtocolVersion, send_maximum: NonZeroU16) -> Self {
        Self {
            version,
            send_maximum,
            maximum_packet_size: None,
            request_problem_information: true,
            message_ids: false,
            open: false,
            room: 0,
            inbound_aliases: InboundAliases::new(0),
            outbound_aliases: OutboundAliases::new(0),
        }
    }

    /// Allows aliases up to these numbers: what we announced to the client, and what it announced to us or fewer.
    pub fn with_aliases(mut self, inbound: u16, outbound: u16) -> Self {
        self.inbound_aliases = InboundAliases::new(inbound);
        self.outbound_aliases = OutboundAliases::new(outbound);
        self
    }

    /// Whether a packet is within the client's Maximum Packet Size. [MQTT-3.1.2-24]
    pub(super) fn takes(&self, packet: &ServerPacket) -> bool {
        self.maximum_packet_size.is_none_or(|maximum| packet.encoded_len(self.version) <= maximum.get() as usize)
    }
}
