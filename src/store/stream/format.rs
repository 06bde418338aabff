use super::super::entry::number_at;
use super::super::format::{HeaderError, SegmentHeader, VERSION as LOG_VERSION, u32_at, u64_at};

/// A message of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamMessage<'a> {
    /// Its number in the stream. The first one is 1.
    pub sequence: u64,
    /// Milliseconds of the wall clock since the Unix epoch. It may be before that of an earlier message.
    pub timestamp: u64,
    /// Up to 512 MiB that are not interpreted.
    pub body: &'a [u8],
}

/// The header of a segment of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamHeader {
    /// Segments are ordered by number.
    pub(super) number: u32,
    pub(super) stream: u32,
    pub(super) first_sequence: u64,
    /// The sequence after the last message before this segment. If it is not `first_sequence`, sequences were skipped.
    pub(super) previous_end: u64,
    /// A random number in each batch that clients can't know, so a payload can't be taken for a batch.
    pub(super) salt: u64,
    /// For a compacted segment, the sequence after the last message that it stands for: what is missing before was left out on purpose.
    pub(super) compacted_to: Option<u64>,
}

impl StreamHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let version = if self.compacted_to.is_some() { COMPACTED_VERSION } else { VERSION };
        let mut bytes = of_version(SEGMENT_MAGIC, version);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.stream.to_le_bytes());
        bytes.extend_from_slice(&self.first_sequence.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.previous_end.to_le_bytes());
        bytes.extend(self.compacted_to.iter().flat_map(|to| to.to_le_bytes()));
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        header.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        header
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let version = check_version(bytes, SEGMENT_MAGIC, COMPACTED_VERSION)?;
        Self::decode_fields(bytes, version).ok_or(HeaderError::Damaged)
    }

    fn decode_fields(bytes: &[u8], version: u32) -> Option<Self> {
        let header = Self {
            number: u32_at(bytes, 16)?,
            stream: u32_at(bytes, 20)?,
            first_sequence: u64_at(bytes, 24)?,
            salt: u64_at(bytes, 32)?,
            previous_end: u64_at(bytes, 40)?,
            compacted_to: (version == COMPACTED_VERSION).then(|| u64_at(bytes, 48)).flatten(),
        };
        let is_possible = header.compacted_to.is_none_or(|to| to >= header.first_sequence);
        (bytes.get(..HEADER_BYTES)? == header.encode() && is_possible).then_some(header)
    }

    /// The header that batches are sealed with, in the same way as those of the log.
    pub(super) const fn seal(&self) -> SegmentHeader {
        let Self { number, first_sequence, salt, .. } = *self;
        SegmentHeader { version: LOG_VERSION, number, first_sequence, salt }
    }
}

/// Appends a message to the body of a batch. `None` if it is too long.
pub(super) fn put(message: &StreamMessage<'_>, batch: &mut Vec<u8>) -> Option<()> {
    let length = u32::try_from(message.body.len()).ok().filter(|length| *length <= BODY_BYTES_MAX)?;
    batch.extend_from_slice(&length.to_le_bytes());
    batch.extend_from_slice(&message.timestamp.to_le_bytes());
    batch.extend_from_slice(message.body);
    Some(())
}

/// The messages of a batch, up to the first that can't be decoded.
#[derive(Debug)]
pub(super) struct Messages<'a> {
    rest: &'a [u8],
    /// Of the next message.
    sequence: u64,
    left: u32,
}

impl<'a> Messages<'a> {
    pub(super) const fn new(body: &'a [u8], sequence: u64, count: u32) -> Self {
        Self { rest: body, sequence, left: count }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = StreamMessage<'a>;

    fn next(&mut self) -> Option<StreamMessage<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (front, rest) = self.rest.split_first_chunk::<MESSAGE_BYTES>()?;
        let length = usize::try_from(u32_at(front, 0)?).ok()?;
        let (body, rest) = rest.split_at_checked(length)?;
        let message = StreamMessage { sequence: self.sequence, timestamp: u64_at(front, 4)?, body };
        self.rest = rest;
        self.sequence = self.sequence.saturating_add(1);
        Some(message)
    }
}

/// The file that says which messages were trimmed.
pub(super) fn encode_mark(stream: u32, oldest: u64) -> Vec<u8> {
    let mut bytes = versioned(MARK_MAGIC);
    bytes.extend_from_slice(&stream.to_le_bytes());
    bytes.extend_from_slice(&oldest.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The oldest sequence that was not trimmed.
pub(super) fn decode_mark(stream: u32, bytes: &[u8]) -> Result<u64, HeaderError> {
    check_version(bytes, MARK_MAGIC, VERSION)?;
    let oldest = u64_at(bytes, 20).ok_or(HeaderError::Damaged)?;
    if encode_mark(stream, oldest) == bytes { Ok(oldest) } else { Err(HeaderError::Damaged) }
}

/// Magic, format version and their checksum: the first 16 bytes of each file, in every version.
pub(super) fn versioned(magic: &[u8; 8]) -> Vec<u8> {
    of_version(magic, VERSION)
}

fn of_version(magic: &[u8; 8], version: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn check_version(bytes: &[u8], magic: &[u8; 8], latest: u32) -> Result<u32, HeaderError> {
    let crc = bytes.get(..12).map(crc32c::crc32c);
    if number_at(bytes, 0) != Some(*magic) || crc != u32_at(bytes, 12) {
        return Err(HeaderError::Damaged);
    }
    match u32_at(bytes, 8) {
        Some(version) if (VERSION..=latest).contains(&version) => Ok(version),
        Some(newer) if newer > latest => Err(HeaderError::Newer(newer)),
        _ => Err(HeaderError::Damaged),
    }
}

/// The format version of the files of a stream. Later versions keep the first 16 bytes unchanged.
pub(super) const VERSION: u32 = 1;
/// That of a compacted segment.
const COMPACTED_VERSION: u32 = 2;

pub(super) const HEADER_BYTES: usize = super::super::format::SEGMENT_HEADER_BYTES;

/// In front of the body of a message: its length and its timestamp.
pub(super) const MESSAGE_BYTES: usize = 12;

/// The longest body, in bytes.
pub(super) const BODY_BYTES_MAX: u32 = 512 << 20;

const SEGMENT_MAGIC: &[u8; 8] = b"OnceSt\r\n";
pub(super) const INDEX_MAGIC: &[u8; 8] = b"OnceSi\r\n";
const MARK_MAGIC: &[u8; 8] = b"OnceSo\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: StreamHeader = StreamHeader {
        number: 3,
        stream: 9,
        first_sequence: 17,
        previous_end: 15,
        salt: 0x0123_4567_89AB_CDEF,
        compacted_to: None,
    };

    #[test]
    fn a_header_survives_a_round_trip_and_any_changed_bit_is_detected() {
        let bytes = HEADER.encode();
        assert_eq!(StreamHeader::decode(&bytes), Ok(HEADER));
        for bit in 0..HEADER_BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(StreamHeader::decode(&changed), Err(HeaderError::Damaged), "bit {bit}");
        }
        assert_eq!(StreamHeader::decode(&bytes[..63]), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_newer_version_is_reported() {
        for mut bytes in [HEADER.encode().to_vec(), encode_mark(9, 1)] {
            bytes[8] = 9;
            let crc = crc32c::crc32c(&bytes[..12]);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            let error = StreamHeader::decode(&bytes).err().filter(|error| *error != HeaderError::Damaged);
            assert_eq!(error.or_else(|| decode_mark(9, &bytes).err()), Some(HeaderError::Newer(9)));
        }
    }

    #[test]
    fn a_mark_belongs_to_one_stream_and_any_changed_bit_is_detected() {
        let bytes = encode_mark(9, 1_000_000);
        assert_eq!(decode_mark(9, &bytes), Ok(1_000_000));
        assert_eq!(decode_mark(8, &bytes), Err(HeaderError::Damaged));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_mark(9, &changed), Err(HeaderError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn messages_survive_a_round_trip_and_end_at_the_first_that_is_cut() {
        let message = |sequence, body| StreamMessage { sequence, timestamp: sequence * 1000, body };
        let messages = [message(7, &b"one"[..]), message(8, b""), message(9, b"three")];
        let mut batch = Vec::new();
        messages.iter().for_each(|message| put(message, &mut batch).unwrap());
        assert_eq!(Messages::new(&batch, 7, 3).collect::<Vec<_>>(), messages);
        assert_eq!(Messages::new(&batch, 7, 2).count(), 2);
        for length in 0..batch.len() {
            let read: Vec<_> = Messages::new(&batch[..length], 7, 3).collect();
            assert_eq!(read, messages[..read.len()]);
            assert!(read.len() < 3);
        }
    }
}
