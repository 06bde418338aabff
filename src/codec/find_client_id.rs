use super::PacketType;
use super::frame::FixedHeader;
use super::primitives::variable_byte_integer;

/// The Client Identifier in the first bytes of a connection, which need not be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundClientId<'a> {
    /// It is not among these bytes, of which there are fewer than [`CLIENT_ID_WITHIN`].
    NeedMore,
    /// As sent; it may be empty. The rest of the packet may still be missing or malformed.
    Found(&'a str),
    /// They are no CONNECT that a [`Decoder`](super::Decoder) accepts, or its properties are longer than 64 KiB.
    Unfindable,
}

/// The Client Identifier is found, or cannot be found, within this number of bytes.
pub const CLIENT_ID_WITHIN: usize = HEADERS_MAX + PROPERTIES_MAX + 2 + u16::MAX as usize;

/// Finds the Client Identifier of the CONNECT that a connection begins with.
pub fn find_client_id(input: &[u8]) -> FoundClientId<'_> {
    match find(input) {
        Ok(client_id) => FoundClientId::Found(client_id),
        Err(Missing::More) => FoundClientId::NeedMore,
        Err(Missing::Never) => FoundClientId::Unfindable,
    }
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    More,
    Never,
}

/// Reads a packet of which only the beginning may have arrived.
struct Beginning<'a> {
    arrived: &'a [u8],
    /// The bytes of the packet behind those that were read.
    left: usize,
}

impl<'a> Beginning<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Missing> {
        self.left = self.left.checked_sub(length).ok_or(Missing::Never)?;
        let (taken, rest) = self.arrived.split_at_checked(length).ok_or(Missing::More)?;
        self.arrived = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Missing> {
        self.take(1)?.first().copied().ok_or(Missing::Never)
    }

    /// A field behind its length.
    fn binary(&mut self) -> Result<&'a [u8], Missing> {
        let length = self.take(2)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }

    fn skip_properties(&mut self) -> Result<(), Missing> {
        let missing = if self.left <= self.arrived.len() { Missing::Never } else { Missing::More };
        let field = self.arrived.get(..self.left).unwrap_or(self.arrived);
        let (length, bytes) = variable_byte_integer(field).map_err(|_| Missing::Never)?.ok_or(missing)?;
        self.take(bytes)?;
        match usize::try_from(length) {
            Ok(length @ ..=PROPERTIES_MAX) => self.take(length).map(drop),
            Ok(_) | Err(_) => Err(Missing::Never),
        }
    }
}

fn find(input: &[u8]) -> Result<&str, Missing> {
    let first = *input.first().ok_or(Missing::More)?;
    if PacketType::new(first >> 4) != Some(PacketType::Connect) {
        return Err(Missing::Never);
    }
    let header = FixedHeader::read(input).map_err(|_| Missing::Never)?.ok_or(Missing::More)?;
    let mut packet = Beginning {
        arrived: input.get(header.length..).unwrap_or_default(),
        left: header.packet_size().saturating_sub(header.length),
    };
    // The names that there are have 4 and 6 characters.
    let name_length = packet.take(2)?;
    if !matches!(name_length, [0, 4 | 6]) {
        return Err(Missing::Never);
    }
    let name = packet.take(name_length.last().copied().unwrap_or_default().into())?;
    if !matches!(name, b"MQTT" | b"MQIsdp") {
        return Err(Missing::Never);
    }
    let level = packet.u8()?;
    let _flags_and_keep_alive = packet.take(3)?;
    if name == b"MQTT" && level == 5 {
        packet.skip_properties()?;
    }
    str::from_utf8(packet.binary()?).map_err(|_| Missing::Never)
}

/// More than a fixed header, the protocol name and level, the flags, Keep Alive and the length of the properties.
const HEADERS_MAX: usize = 32;
/// The most bytes of properties before it.
const PROPERTIES_MAX: usize = 64 << 10;
