use bytes::{BufMut, BytesMut};

use super::{
    Ack, Auth, Connack, Connect, Disconnect, OutgoingPublish, PacketType, ProtocolVersion, Publish, Suback, Subscribe,
    Unsuback, Unsubscribe, v3,
};

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
    /// The type of the packet.
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
    /// The type of the packet.
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

    /// The number of bytes that [`encode`] appends. The caller compares it with the Client's Maximum Packet Size and
    /// with [`PACKET_SIZE_MAX`](super::limits::PACKET_SIZE_MAX).
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        if let Self::Publish(publish) = self {
            return publish.encoded_len(version);
        }
        let mut output = BytesMut::new();
        encode(self, version, &mut output);
        output.len()
    }
}

/// Appends `packet` to `output`. Appends nothing if the version can't represent it: DISCONNECT and AUTH in 3.1.1, and a
/// CONNACK without a corresponding Return Code. [MQTT-3.2.2-6 of 3.1.1]
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
        ServerPacket::Connack(connack) => v3::encode_connack(connack, version, output),
        ServerPacket::Suback(suback) => v3::encode_suback(suback, output),
        ServerPacket::Unsuback(unsuback) => v3::encode_unsuback(unsuback, output),
        ServerPacket::Disconnect(_) | ServerPacket::Auth(_) => {}
    }
}
