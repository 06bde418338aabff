//! The fixed header of all packets.

use super::primitives::{check_shortest, variable_byte_integer};
use super::{DecodeError, PacketType, ProtocolVersion};

/// The size of the packet at the front of `input` in bytes, or `None` if its fixed header is incomplete or malformed. A
/// caller needs this many bytes before [`Decoder::decode`](super::Decoder::decode) can make progress.
pub fn frame_length(input: &[u8]) -> Option<usize> {
    FixedHeader::read(input).ok().flatten().map(|header| header.packet_size())
}

/// The sender of a decoded packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// The fixed header of a packet. [MQTT-2.1.1]
#[derive(Debug, Clone, Copy)]
pub(super) struct FixedHeader {
    pub(super) first_byte: u8,
    /// Size of the fixed header in bytes.
    pub(super) length: usize,
    /// The Remaining Length field.
    remaining_length: usize,
}

impl FixedHeader {
    /// Decodes the header at the front of `input`; `None` if it is incomplete.
    pub(super) fn read(input: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some((&first_byte, rest)) = input.split_first() else { return Ok(None) };
        let Some((remaining_length, length)) = variable_byte_integer(rest)? else { return Ok(None) };
        let remaining_length = usize::try_from(remaining_length).unwrap_or(usize::MAX);
        Ok(Some(Self { first_byte, length: 1 + length, remaining_length }))
    }

    /// Fails if the Remaining Length has more bytes than it needs, which 3.1 and 3.1.1 permit. [MQTT-1.5.5-1]
    pub(super) const fn check_shortest(self) -> Result<(), DecodeError> {
        check_shortest(self.remaining_length, self.length - 1)
    }

    /// Checks the flags of a CONNECT at the front of `input` as soon as enough of it has arrived: only 3.1 permits other
    /// values than 0, and the version follows the fixed header.
    pub(super) fn check_connect_flags(self, input: &[u8]) -> Result<(), DecodeError> {
        let flags = self.first_byte & FLAGS;
        let body = input.get(self.length..self.packet_size().min(input.len())).unwrap_or_default();
        if flags == 0 || ProtocolVersion::may_be_3_1(body) {
            return Ok(());
        }
        Err(DecodeError::FixedHeaderFlags { packet_type: PacketType::Connect, flags })
    }

    pub(super) const fn packet_size(self) -> usize {
        self.length + self.remaining_length
    }

    pub(super) fn check_size(self, maximum_packet_size: u32) -> Result<(), DecodeError> {
        let size = self.packet_size();
        if u32::try_from(size).is_ok_and(|size| size <= maximum_packet_size) {
            return Ok(());
        }
        Err(DecodeError::PacketTooLarge { size, maximum_packet_size })
    }
}

/// The packet type, if its flags are valid in `version`, which is unknown before CONNECT. The flags of CONNECT are
/// checked by [`FixedHeader::check_connect_flags`].
pub(super) fn check_first_byte(first_byte: u8, version: Option<ProtocolVersion>) -> Result<PacketType, DecodeError> {
    let number = first_byte >> 4;
    let packet_type = PacketType::new(number).ok_or(DecodeError::ReservedPacketType(number))?;
    let flags = first_byte & FLAGS;
    let ignores_unused = version.is_some_and(ProtocolVersion::ignores_unused);
    if packet_type == PacketType::Publish {
        match flags >> 1 {
            0b100 if !ignores_unused => Err(DecodeError::DupAtQos0), // [MQTT-3.3.1-2]
            0b011 | 0b111 => Err(DecodeError::PublishQos),           // [MQTT-3.3.1-4]
            _ => Ok(packet_type),
        }
    } else if first_byte == packet_type.first_byte() || ignores_unused || packet_type == PacketType::Connect {
        Ok(packet_type)
    } else {
        Err(DecodeError::FixedHeaderFlags { packet_type, flags })
    }
}

/// The flags in the first byte.
const FLAGS: u8 = 0b1111;
