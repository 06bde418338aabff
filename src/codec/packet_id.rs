use std::num::NonZeroU16;

/// The Packet Identifier of a PUBLISH at QoS 1 or 2, a SUBSCRIBE or an UNSUBSCRIBE. It is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// The identifier with this number, or `None` for 0, which the standard forbids. [MQTT-2.2.1-3]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self.0.get()
    }
}
