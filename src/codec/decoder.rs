use std::sync::Arc;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use super::frame::{FixedHeader, Sender, check_first_byte};
use super::last_topic::LastTopic;
use super::primitives::Reader;
use super::property::SUBSCRIPTION_IDENTIFIER;
use super::publish::PublishHeader;
use super::share_copy::published;
use super::{
    Ack, AnswerTerms, Auth, ClientPacket, Connect, DecodeError, Disconnect, PacketType, ProtocolVersion, Publish,
    Subscribe, Unsubscribe,
};

/// Decodes the packets of a Client.
///
/// It buffers no bytes: the caller keeps an incomplete packet and passes it again with the bytes that follow. After an
/// error, decoding can't continue.
#[derive(Debug, Clone)]
pub struct Decoder {
    version: Option<ProtocolVersion>,
    maximum_packet_size: u32,
    has_connected: bool,
    has_failed: bool,
    last_topic: LastTopic,
    /// Whether the packets are those of another cell, which says with which QoS a message was published.
    is_of_cell: bool,
}

impl Decoder {
    /// A decoder for a new connection that accepts packets of up to `maximum_packet_size` bytes, including the fixed
    /// header.
    pub fn new(maximum_packet_size: u32) -> Self {
        let last_topic = LastTopic::default();
        Self {
            version: None,
            maximum_packet_size,
            has_connected: false,
            has_failed: false,
            last_topic,
            is_of_cell: false,
        }
    }

    /// A decoder for the packets of another cell: those of 5.0, without CONNECT, and of any size.
    pub fn of_cell() -> Self {
        Self { is_of_cell: true, ..Self::connected(ProtocolVersion::V5) }
    }

    /// A decoder for the packets that follow a CONNECT of this version, of any size.
    pub fn connected(version: ProtocolVersion) -> Self {
        Self { version: Some(version), has_connected: true, ..Self::new(u32::MAX) }
    }

    /// The version in which to respond: that of CONNECT, or for an unsupported version the closest one. `None` before
    /// CONNECT, and after one that is malformed before its protocol level; then no response is sent.
    pub const fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// What the response to a CONNECT that cannot be decoded may have; `None` if no response is sent, or if the error is
    /// in a later packet. `input` begins with that packet.
    pub fn answer_terms(&self, input: &Bytes) -> Option<AnswerTerms> {
        let version = self.version.filter(|_| !self.has_connected)?;
        let Ok(Some(header)) = FixedHeader::read(input) else { return Some(AnswerTerms::new(version)) };
        let reader = &mut Reader::new(input, header.length..header.packet_size());
        Some(Connect::answer_terms_of_malformed(version, reader))
    }

    /// Whether a complete CONNECT was decoded.
    pub const fn has_connected(&self) -> bool {
        self.has_connected
    }

    /// Whether decoding failed.
    pub const fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Removes one packet from the front of `input`, or returns `None` if it is incomplete.
    ///
    /// The first byte and the size are checked as soon as they have arrived. A PUBLISH at QoS 0 and a large payload are
    /// slices of `input` ([`Message::detach`](super::Message::detach)); other packets own their bytes.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<ClientPacket>, DecodeError> {
        let result = self.decode_front(input);
        self.has_failed |= result.is_err();
        result
    }

    #[inline(always)]
    fn decode_front(&mut self, input: &mut Bytes) -> Result<Option<ClientPacket>, DecodeError> {
        let Some(&first_byte) = input.first() else { return Ok(None) };
        let packet_type = self.check_first_byte(first_byte)?;
        let Some(header) = FixedHeader::read(input)? else { return Ok(None) };
        header.check_size(self.maximum_packet_size).inspect_err(|_| self.peek_version(header, input))?;
        match self.version {
            Some(ProtocolVersion::V5) => header.check_shortest()?,
            None => header.check_connect_flags(input)?,
            Some(ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1) => {}
        }
        if input.len() < header.packet_size() {
            return Ok(None);
        }
        // Returned without unpacking, because copying a packet is expensive at the rate of PUBLISH.
        let result = self.decode_packet(packet_type, header, input);
        if result.is_ok() {
            input.advance(header.packet_size());
        }
        result
    }

    /// Finds the version in which to refuse a CONNECT that is too large, if the version is among the bytes that have arrived.
    #[cold]
    fn peek_version(&mut self, header: FixedHeader, input: &Bytes) {
        if self.version.is_none() {
            let reader = &mut Reader::new(input, header.length..input.len());
            // An unknown version also sets the version of the response.
            let _ = ProtocolVersion::decode(reader, &mut self.version);
        }
    }

    fn check_first_byte(&self, first_byte: u8) -> Result<PacketType, DecodeError> {
        let packet_type = check_first_byte(first_byte, self.version)?;
        match (self.version, packet_type) {
            (None, PacketType::Connect) => Ok(packet_type),
            (None, _) => Err(DecodeError::ExpectedConnect(packet_type)), // [MQTT-3.1.0-1]
            (Some(_), PacketType::Connect) => Err(DecodeError::SecondConnect), // [MQTT-3.1.0-2]
            (Some(version), PacketType::Auth) if !version.has_properties() => {
                Err(DecodeError::ReservedPacketType(packet_type.number()))
            }
            (_, PacketType::Connack | PacketType::Suback | PacketType::Unsuback | PacketType::Pingresp) => {
                Err(DecodeError::WrongDirection(packet_type))
            }
            _ => Ok(packet_type),
        }
    }

    /// Decodes the packet at the front of `input`, which is complete.
    fn decode_packet(
        &mut self,
        packet_type: PacketType,
        header: FixedHeader,
        input: &Bytes,
    ) -> Result<Option<ClientPacket>, DecodeError> {
        let version = self.version.unwrap_or(ProtocolVersion::V5);
        let copy;
        let frame = if is_kept(packet_type) {
            copy = Bytes::copy_from_slice(input.get(..header.packet_size()).unwrap_or_default());
            &copy
        } else {
            input
        };
        let reader = &mut Reader::new(frame, header.length..header.packet_size());
        Ok(Some(match packet_type {
            PacketType::Publish => {
                let mut none = SmallVec::new();
                let sender = if self.is_of_cell { Sender::Server } else { Sender::Client };
                let header = PublishHeader { first_byte: header.first_byte, version, sender };
                let mut publish = Publish::decode(header, reader, &mut self.last_topic, &mut none)?;
                if self.is_of_cell {
                    let message = Arc::make_mut(&mut publish.message);
                    let published = published(&none).ok_or(DecodeError::PropertyValue(SUBSCRIPTION_IDENTIFIER))?;
                    (message.qos, message.is_share_copy) = published;
                }
                ClientPacket::Publish(publish)
            }
            PacketType::Puback => ClientPacket::Puback(Ack::decode(packet_type, version, reader)?),
            PacketType::Pubrec => ClientPacket::Pubrec(Ack::decode(packet_type, version, reader)?),
            PacketType::Pubrel => ClientPacket::Pubrel(Ack::decode(packet_type, version, reader)?),
            PacketType::Pubcomp => ClientPacket::Pubcomp(Ack::decode(packet_type, version, reader)?),
            PacketType::Pingreq => reader.finish().map(|()| ClientPacket::Pingreq)?,
            PacketType::Connect => {
                let connect = Connect::decode(reader, &mut self.version)?;
                if connect.version.has_properties() {
                    header.check_shortest()?;
                }
                self.has_connected = true;
                ClientPacket::Connect(Box::new(connect))
            }
            PacketType::Subscribe => ClientPacket::Subscribe(Box::new(Subscribe::decode(version, reader)?)),
            PacketType::Unsubscribe => ClientPacket::Unsubscribe(Box::new(Unsubscribe::decode(version, reader)?)),
            PacketType::Disconnect => {
                ClientPacket::Disconnect(Box::new(Disconnect::decode(Sender::Client, version, reader)?))
            }
            PacketType::Auth => ClientPacket::Auth(Box::new(Auth::decode(reader)?)),
            PacketType::Connack | PacketType::Suback | PacketType::Unsuback | PacketType::Pingresp => {
                return Err(DecodeError::WrongDirection(packet_type));
            }
        }))
    }
}

/// Whether parts of the packet are stored for long; then its bytes are copied, so that it doesn't keep the read buffer
/// in memory.
const fn is_kept(packet_type: PacketType) -> bool {
    matches!(
        packet_type,
        PacketType::Connect
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::Disconnect
            | PacketType::Auth
    )
}
