use bytes::{BufMut, BytesMut};
use std::fmt;
use std::num::NonZeroU16;

use super::{
    Ack, Auth, Connack, Connect, Disconnect, OutgoingPublish, ProtocolVersion, Publish, Suback, Subscribe, Unsuback,
    Unsubscribe, v3,
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

impl PacketType {
    /// The type with this number, or `None` for 0 and above 15.
    pub const fn new(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The standard's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Suback => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Unsuback => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The first byte of such a packet: PUBLISH has no flag set, the others have those the standard fixes. [MQTT-2.1.3-1]
    pub(super) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            Self::Connect
            | Self::Connack
            | Self::Publish
            | Self::Puback
            | Self::Pubrec
            | Self::Pubcomp
            | Self::Suback
            | Self::Unsuback
            | Self::Pingreq
            | Self::Pingresp
            | Self::Disconnect
            | Self::Auth => 0,
        };
        self.number() << 4 | flags
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
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

impl ClientPacket {
    /// Its type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Pingreq => PacketType::Pingreq,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
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

impl ServerPacket {
    /// Its type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// The bytes that [`encode`] writes: to be compared with the Client's Maximum Packet Size, and with
    /// [`PACKET_SIZE_MAX`](super::limits::PACKET_SIZE_MAX).
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        if let Self::Publish(publish) = self {
            return publish.encoded_len(version);
        }
        let mut output = BytesMut::new();
        encode(self, version, &mut output);
        output.len()
    }
}

/// Appends `packet` to `output`, and nothing if the version has no such packet or no way to say it: DISCONNECT and AUTH
/// in 3.1.1, and a CONNACK whose Reason Code has no Return Code there. [MQTT-3.2.2-6 of 3.1.1]
pub fn encode(packet: &ServerPacket, version: ProtocolVersion, output: &mut BytesMut) {
    let packet_type = packet.packet_type();
    match packet {
        ServerPacket::Publish(publish) => publish.encode(version, output),
        ServerPacket::Puback(ack)
        | ServerPacket::Pubrec(ack)
        | ServerPacket::Pubrel(ack)
        | ServerPacket::Pubcomp(ack) => ack.encode(packet_type, version, output),
        ServerPacket::Pingresp => output.put_slice(&[packet_type.first_byte(), 0]),
        ServerPacket::Connack(connack) if version.has_properties() => connack.encode(output),
        ServerPacket::Suback(suback) if version.has_properties() => suback.encode(output),
        ServerPacket::Unsuback(unsuback) if version.has_properties() => unsuback.encode(output),
        ServerPacket::Disconnect(disconnect) if version.has_properties() => disconnect.encode(output),
        ServerPacket::Auth(auth) if version.has_properties() => auth.encode(output),
        ServerPacket::Connack(connack) => v3::encode_connack(connack, output),
        ServerPacket::Suback(suback) => v3::encode_suback(suback, output),
        ServerPacket::Unsuback(unsuback) => v3::encode_unsuback(unsuback, output),
        ServerPacket::Disconnect(_) | ServerPacket::Auth(_) => {}
    }
}
