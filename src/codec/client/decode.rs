use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

use super::answers::{connack, suback, unsuback};
use crate::codec::frame::{FixedHeader, Sender, check_first_byte};
use crate::codec::last_topic::LastTopic;
use crate::codec::primitives::Reader;
use crate::codec::publish::PublishHeader;
use crate::codec::{
    Ack, AliasUse, Auth, DecodeError, Disconnect, Matched, OutgoingPublish, PacketType, ProtocolVersion, Publish,
    ServerPacket, TopicAlias,
};
use crate::topic::TopicName;

/// Decodes the packets of a Server.
///
/// It is as strict as the [`Decoder`](crate::codec::Decoder) for Clients: any bytes yield a packet that the standard
/// allows at this point, or a [`DecodeError`], after which decoding can't continue. It buffers no bytes: the caller
/// keeps an incomplete packet and passes it again with the bytes that follow. It stores the Topic Names of Topic
/// Aliases, at most as many as the Client allowed, and replaces the aliases by them.
#[derive(Debug, Clone)]
pub struct ServerDecoder {
    version: ProtocolVersion,
    maximum_packet_size: u32,
    topic_alias_maximum: u16,
    has_connack: bool,
    last_topic: LastTopic,
    topics: HashMap<TopicAlias, TopicName>,
}

/// What [`ServerDecoder::decode_oversized`] has found at the front of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oversized {
    /// No such packet, or too few bytes to tell.
    No,
    /// The beginning of such a packet, without all of its Topic Name and Packet Identifier.
    Incomplete,
    /// Such a packet without its payload, and its size in bytes.
    Publish(Box<OutgoingPublish>, usize),
}

impl ServerDecoder {
    /// A decoder for a connection on which the Client sends a CONNECT of this version. A packet may have up to
    /// `maximum_packet_size` bytes including its fixed header, and a Topic Alias may be up to `topic_alias_maximum`;
    /// both must not exceed the values in CONNECT.
    pub fn new(version: ProtocolVersion, maximum_packet_size: u32, topic_alias_maximum: u16) -> Self {
        Self {
            version,
            maximum_packet_size,
            topic_alias_maximum,
            has_connack: false,
            last_topic: LastTopic::default(),
            topics: HashMap::new(),
        }
    }

    /// Removes one packet from the front of `input`, or returns `None` if it is incomplete.
    ///
    /// The first byte and the size are checked as soon as they have arrived. A PUBLISH at QoS 0, a large payload and
    /// the properties of acknowledgements are slices of `input`; other packets own their bytes.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<ServerPacket>, DecodeError> {
        let Some(&first_byte) = input.first() else { return Ok(None) };
        let packet_type = self.check_first_byte(first_byte)?;
        let Some(header) = FixedHeader::read(input)? else { return Ok(None) };
        header.check_size(self.maximum_packet_size)?; // [MQTT-3.1.2-24]
        if self.version.has_properties() {
            header.check_shortest()?;
        }
        let Some(whole) = input.get(..header.packet_size()) else { return Ok(None) };
        let copy;
        let frame = if is_kept(packet_type) {
            copy = Bytes::copy_from_slice(whole);
            &copy
        } else {
            &*input
        };
        let mut reader = Reader::new(frame, header.length..header.packet_size());
        let packet = self.decode_packet(packet_type, first_byte, &mut reader)?;
        reader.finish()?;
        self.has_connack |= packet_type == PacketType::Connack;
        input.advance(header.packet_size());
        Ok(Some(packet))
    }

    /// Looks for a PUBLISH at the front of `input` that exceeds the Maximum Packet Size: a Server of 3.1 and 3.1.1 does not know that there is
    /// one. Instead of ending the connection, the caller may skip the packet, whose bytes it must then take off its input itself. It needs no more
    /// of it than the Topic Name and the Packet Identifier.
    ///
    /// # Errors
    /// As of [`decode`](Self::decode), as far as these concern what was read.
    pub fn decode_oversized(&mut self, input: &[u8]) -> Result<Oversized, DecodeError> {
        let Some(&first_byte) = input.first() else { return Ok(Oversized::No) };
        if self.version.has_properties() || self.check_first_byte(first_byte)? != PacketType::Publish {
            return Ok(Oversized::No);
        }
        let Some(header) = FixedHeader::read(input)? else { return Ok(Oversized::No) };
        if header.check_size(self.maximum_packet_size).is_ok() {
            return Ok(Oversized::No);
        }
        let topic_length = input.get(header.length..).and_then(|body| body.first_chunk());
        let Some(topic_length) = topic_length else { return Ok(Oversized::Incomplete) };
        let id_length = if first_byte & QOS == 0 { 0 } else { 2 };
        let end = header.length + 2 + usize::from(u16::from_be_bytes(*topic_length)) + id_length;
        // Beyond the end of the packet, it is too short for its Topic Name.
        let Some(head) = input.get(..end.min(header.packet_size())) else { return Ok(Oversized::Incomplete) };
        let head = Bytes::copy_from_slice(head);
        let publish = self.decode_publish(first_byte, &mut Reader::new(&head, header.length..head.len()))?;
        Ok(Oversized::Publish(Box::new(publish), header.packet_size()))
    }

    /// The packet type, if the Server may send it at this point.
    fn check_first_byte(&self, first_byte: u8) -> Result<PacketType, DecodeError> {
        let packet_type = check_first_byte(first_byte, Some(self.version))?;
        match packet_type {
            PacketType::Connect | PacketType::Subscribe | PacketType::Unsubscribe | PacketType::Pingreq => {
                Err(DecodeError::WrongDirection(packet_type))
            }
            PacketType::Disconnect if !self.version.has_properties() => Err(DecodeError::WrongDirection(packet_type)),
            PacketType::Auth if !self.version.has_properties() => {
                Err(DecodeError::ReservedPacketType(packet_type.number()))
            }
            PacketType::Connack if self.has_connack => Err(DecodeError::SecondConnack), // [MQTT-3.2.0-2]
            PacketType::Connack | PacketType::Auth => Ok(packet_type),
            _ if !self.has_connack => Err(DecodeError::ExpectedConnack(packet_type)), // [MQTT-3.2.0-1]
            PacketType::Publish
            | PacketType::Puback
            | PacketType::Pubrec
            | PacketType::Pubrel
            | PacketType::Pubcomp
            | PacketType::Suback
            | PacketType::Unsuback
            | PacketType::Pingresp
            | PacketType::Disconnect => Ok(packet_type),
        }
    }

    fn decode_packet(
        &mut self,
        packet_type: PacketType,
        first_byte: u8,
        reader: &mut Reader<'_>,
    ) -> Result<ServerPacket, DecodeError> {
        let version = self.version;
        Ok(match packet_type {
            PacketType::Publish => ServerPacket::Publish(self.decode_publish(first_byte, reader)?),
            PacketType::Puback => ServerPacket::Puback(Ack::decode_with_details(packet_type, version, reader)?),
            PacketType::Pubrec => ServerPacket::Pubrec(Ack::decode_with_details(packet_type, version, reader)?),
            PacketType::Pubrel => ServerPacket::Pubrel(Ack::decode_with_details(packet_type, version, reader)?),
            PacketType::Pubcomp => ServerPacket::Pubcomp(Ack::decode_with_details(packet_type, version, reader)?),
            PacketType::Connack => ServerPacket::Connack(Box::new(connack(reader, version)?)),
            PacketType::Suback => ServerPacket::Suback(Box::new(suback(reader, version)?)),
            PacketType::Unsuback => ServerPacket::Unsuback(Box::new(unsuback(reader, version)?)),
            PacketType::Pingresp => ServerPacket::Pingresp,
            PacketType::Disconnect => {
                ServerPacket::Disconnect(Box::new(Disconnect::decode(Sender::Server, version, reader)?))
            }
            PacketType::Auth => ServerPacket::Auth(Box::new(Auth::decode(reader)?)),
            PacketType::Connect | PacketType::Subscribe | PacketType::Unsubscribe | PacketType::Pingreq => {
                return Err(DecodeError::WrongDirection(packet_type));
            }
        })
    }

    fn decode_publish(&mut self, first_byte: u8, reader: &mut Reader<'_>) -> Result<OutgoingPublish, DecodeError> {
        let mut subscription_ids = SmallVec::new();
        let header = PublishHeader { first_byte, version: self.version, sender: Sender::Server };
        let mut publish = Publish::decode(header, reader, &mut self.last_topic, &mut subscription_ids)?;
        if let Some((alias, alias_use)) = publish.topic_alias {
            let maximum = self.topic_alias_maximum;
            if alias.get() > maximum {
                return Err(DecodeError::TopicAliasAboveMaximum { alias: alias.get(), maximum }); // [MQTT-3.1.2-26]
            }
            match alias_use {
                // A copy, because a slice would keep the read buffer in memory.
                AliasUse::Set => drop(self.topics.insert(alias, publish.message.topic.detached())),
                AliasUse::Known => {
                    let topic = self.topics.get(&alias).cloned().ok_or(DecodeError::TopicMissing)?;
                    Arc::make_mut(&mut publish.message).topic = topic;
                }
            }
        }
        Ok(OutgoingPublish {
            topic_start: 0,
            message: publish.message,
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            topic_alias: publish.topic_alias,
            message_expiry_interval: publish.message_expiry_interval,
            matched: Matched::new(subscription_ids, None),
            message_id: false,
        })
    }
}

/// Whether parts of the packet are stored for long; then its bytes are copied, so that it doesn't keep the read buffer
/// in memory.
const fn is_kept(packet_type: PacketType) -> bool {
    matches!(packet_type, PacketType::Connack | PacketType::Disconnect | PacketType::Auth)
}

/// The bits of the QoS in the first byte of a PUBLISH.
const QOS: u8 = 0b0110;
