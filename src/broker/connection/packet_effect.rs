use crate::codec::ClientPacket;

/// The resources that a packet of a client may occupy while the client reads nothing or the store is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum PacketEffect {
    /// None: PUBACK or PUBCOMP.
    None,
    /// A response in the outgoing buffer.
    Response,
    /// A response or deliveries, and a record.
    Record,
    /// Deliveries, and a record if RETAIN is set, but no response: PUBLISH at QoS 0.
    Unanswered,
}

impl PacketEffect {
    #[inline]
    pub(in crate::broker) const fn of(packet: &ClientPacket) -> Self {
        match packet {
            ClientPacket::Publish(publish) if publish.packet_id.is_none() => Self::Unanswered,
            ClientPacket::Publish(_) | ClientPacket::Subscribe(_) | ClientPacket::Unsubscribe(_) => Self::Record,
            ClientPacket::Pubrec(_)
            | ClientPacket::Pubrel(_)
            | ClientPacket::Pingreq
            | ClientPacket::Auth(_)
            | ClientPacket::Connect(_)
            | ClientPacket::Disconnect(_) => Self::Response,
            ClientPacket::Puback(_) | ClientPacket::Pubcomp(_) => Self::None,
        }
    }

    pub(in crate::broker) const fn may_record(self) -> bool {
        matches!(self, Self::Record | Self::Unanswered)
    }

    pub(in crate::broker) const fn is_answered(self) -> bool {
        matches!(self, Self::Response | Self::Record)
    }
}
