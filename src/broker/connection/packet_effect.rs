use crate::codec::ClientPacket;

/// What a packet of a client may cost the broker, if its client reads nothing or the store is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum PacketEffect {
    /// Nothing: an acknowledgement that ends something.
    None,
    /// A response.
    Response,
    /// A response or deliveries, and a record of what is new.
    Record,
    /// Deliveries, and perhaps a record, but no response: a PUBLISH at QoS 0.
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
