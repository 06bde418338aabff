use std::num::NonZeroU16;

use super::{
    Ack, Auth, Connack, Connect, Disconnect, OutgoingPublish, Publish, Suback, Subscribe, Unsuback, Unsubscribe,
};

/// The Packet Identifier of a PUBLISH at QoS 1 or 2, a SUBSCRIBE or an UNSUBSCRIBE: never 0.
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

/// Quality of Service: how often a message may and must arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl Qos {
    /// The level with this number, or `None` above 2.
    pub const fn new(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn level(self) -> u8 {
        self as u8
    }
}

/// The type of a MQTT Control Packet: the upper four bits of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "the standard's names say it")]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

/// A packet that a Client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's names say it")]
pub enum ClientPacket {
    Connect(Box<Connect>),
    Publish(Publish),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Subscribe(Box<Subscribe>),
    Unsubscribe(Box<Unsubscribe>),
    Pingreq,
    Disconnect(Box<Disconnect>),
    Auth(Box<Auth>),
}

/// A packet that a Server may send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's names say it")]
pub enum ServerPacket {
    Connack(Box<Connack>),
    Publish(OutgoingPublish),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Suback(Box<Suback>),
    Unsuback(Box<Unsuback>),
    Pingresp,
    Disconnect(Box<Disconnect>),
    Auth(Box<Auth>),
}
