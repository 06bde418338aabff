//! The types of packets.

/// The type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Kind {
    Connect,
    Connack,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Pingreq,
    Pingresp,
    Disconnect,
    Auth,
}

impl Kind {
    const ALL: [(Self, &str); 15] = [
        (Self::Connect, "CONNECT"),
        (Self::Connack, "CONNACK"),
        (Self::Publish, "PUBLISH"),
        (Self::Puback, "PUBACK"),
        (Self::Pubrec, "PUBREC"),
        (Self::Pubrel, "PUBREL"),
        (Self::Pubcomp, "PUBCOMP"),
        (Self::Subscribe, "SUBSCRIBE"),
        (Self::Suback, "SUBACK"),
        (Self::Unsubscribe, "UNSUBSCRIBE"),
        (Self::Unsuback, "UNSUBACK"),
        (Self::Pingreq, "PINGREQ"),
        (Self::Pingresp, "PINGRESP"),
        (Self::Disconnect, "DISCONNECT"),
        (Self::Auth, "AUTH"),
    ];

    /// The type in the first byte of a packet; type 0 doesn't exist.
    pub fn of(first_byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(first_byte >> 4).checked_sub(1)?).map(|(kind, _)| *kind)
    }

    /// The name in the standard.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The first byte of the packet with the required flags; for PUBLISH, those of QoS 0.
    pub fn first_byte(self) -> u8 {
        let number = Self::ALL.iter().zip(1u8..).find(|((kind, _), _)| *kind == self).map_or(0, |(_, number)| number);
        let flags = matches!(self, Self::Pubrel | Self::Subscribe | Self::Unsubscribe);
        number << 4 | if flags { 0b0010 } else { 0 }
    }
}

/// The first byte with these flags, or with the required ones.
pub(super) fn first_byte(kind: Kind, flags: Option<u8>) -> u8 {
    flags.map_or(kind.first_byte(), |flags| kind.first_byte() & 0xF0 | flags & 0x0F)
}
