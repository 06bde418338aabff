use super::entry::number_at;

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The format version of its entries.
    pub(super) version: u32,
    /// Segments are ordered by number.
    pub(super) number: u32,
    /// The sequence of its first entry. Entries of older segments at or above this sequence are not part of the log.
    pub(super) first_sequence: u64,
    /// A random number in each batch that clients can't know, so old payloads in recycled space can't be taken for
    /// batches.
    pub(super) salt: u64,
}

/// Why a file is not a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// It has no valid segment header.
    Damaged,
    /// A later version of the broker wrote the store.
    Newer(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        let version_crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&version_crc.to_le_bytes());
        bytes.extend_from_slice(&u64::from(self.number).to_le_bytes());
        bytes.extend_from_slice(&self.first_sequence.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut header = [0; SEGMENT_HEADER_BYTES];
        for (to, from) in header.iter_mut().zip(bytes) {
            *to = from;
        }
        header
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let version = version(bytes).ok_or(HeaderError::Damaged)?;
        if version > VERSION {
            return Err(HeaderError::Newer(version));
        }
        Self::decode_fields(bytes, version).ok_or(HeaderError::Damaged)
    }

    fn decode_fields(bytes: &[u8], version: u32) -> Option<Self> {
        if crc32c::crc32c(bytes.get(..40)?) != u32_at(bytes, 40)? {
            return None;
        }
        let number = u32::try_from(u64_at(bytes, 16)?).ok()?;
        Some(Self { version, number, first_sequence: u64_at(bytes, 24)?, salt: u64_at(bytes, 32)? })
    }

    /// The initial value of the checksums of its batches.
    fn seed(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.salt.to_le_bytes()), &u64::from(self.number).to_le_bytes())
    }

    fn body_crc(&self, sequence: u64, body: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.seed(), &sequence.to_le_bytes()), body)
    }
}

/// The header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) body_bytes: u32,
    /// The sequence of its first entry.
    pub(super) sequence: u64,
    /// When the batch was written, all entries before this sequence had been reported stable: if one of them is
    /// missing, the file is damaged. Missing entries at or above it were never reported.
    pub(super) acknowledged: u64,
    pub(super) entries: u32,
    body_crc: u32,
}

impl BatchHeader {
    /// Decodes the batch header at the start of `bytes`; `None` if there is no valid one for this segment.
    pub(super) fn decode(segment: &SegmentHeader, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        if u64_at(bytes, 0)? != segment.salt
            || crc32c::crc32c_append(segment.seed(), bytes.get(12..)?) != u32_at(bytes, 8)?
        {
            return None;
        }
        Some(Self {
            body_bytes: u32_at(bytes, 12)?,
            sequence: u64_at(bytes, 16)?,
            acknowledged: u64_at(bytes, 24)?,
            entries: u32_at(bytes, 32)?,
            body_crc: u32_at(bytes, 36)?,
        })
    }

    /// Whether `body` matches the checksum.
    pub(super) fn is_of(&self, segment: &SegmentHeader, body: &[u8]) -> bool {
        segment.body_crc(self.sequence, body) == self.body_crc
    }

    /// The sequence after the last entry of the batch.
    pub(super) fn end(&self) -> u64 {
        self.sequence.saturating_add(u64::from(self.entries))
    }
}

/// Fills in the header of a batch: `bytes` has space for the header, followed by the entries. `None` if there are too
/// many.
pub(super) fn seal_batch(
    segment: &SegmentHeader,
    sequence: u64,
    acknowledged: u64,
    entries: u32,
    bytes: &mut Vec<u8>,
) -> Option<()> {
    let body = bytes.get(BATCH_HEADER_BYTES..)?;
    let mut header = Vec::with_capacity(BATCH_HEADER_BYTES);
    header.extend_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
    header.extend_from_slice(&sequence.to_le_bytes());
    header.extend_from_slice(&acknowledged.to_le_bytes());
    header.extend_from_slice(&entries.to_le_bytes());
    header.extend_from_slice(&segment.body_crc(sequence, body).to_le_bytes());
    let crc = crc32c::crc32c_append(segment.seed(), &header);
    let front = segment.salt.to_le_bytes().into_iter().chain(crc.to_le_bytes()).chain(header);
    for (to, from) in bytes.iter_mut().zip(front) {
        *to = from;
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    Some(())
}

/// The format version in the first bytes of a segment, also of a later version.
fn version(bytes: &[u8]) -> Option<u32> {
    if bytes.get(..8)? != MAGIC || crc32c::crc32c(bytes.get(..12)?) != u32_at(bytes, 12)? {
        return None;
    }
    u32_at(bytes, 8)
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    number_at(bytes, offset).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    number_at(bytes, offset).map(u64::from_le_bytes)
}

/// The file name of a segment.
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:010}.seg")
}

/// The segment number in a file name, if it is the name of a segment.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The format version. Later versions keep the first 16 bytes of a segment unchanged.
pub(super) const VERSION: u32 = 2;

pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
pub(super) const BATCH_HEADER_BYTES: usize = 40;

/// Batches are aligned to this many bytes, so that recovery can search for one behind a damaged one.
pub(super) const ALIGNMENT: usize = 8;

/// With the largest entry at the end, every offset fits 32 bits.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

const MAGIC: &[u8; 8] = b"OnceMQ\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader =
        SegmentHeader { version: VERSION, number: 3, first_sequence: 17, salt: 0x0123_4567_89AB_CDEF };

    #[test]
    fn a_header_survives_a_round_trip_and_any_changed_bit_is_detected() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(HEADER));
        for bit in 0..44 * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&changed), Err(HeaderError::Damaged), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&bytes[..43]), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_newer_version_is_reported() {
        let mut bytes = HEADER.encode();
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Newer(9)));
    }

    #[test]
    fn a_batch_belongs_to_one_segment_and_any_changed_bit_is_detected() {
        let mut bytes = vec![0; BATCH_HEADER_BYTES];
        bytes.extend_from_slice(b"entries");
        seal_batch(&HEADER, 17, 12, 2, &mut bytes).unwrap();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        let reads = |segment: &SegmentHeader, bytes: &[u8]| {
            BatchHeader::decode(segment, bytes).is_some_and(|header| header.is_of(segment, &bytes[40..47]))
        };
        assert!(reads(&HEADER, &bytes));
        let header = BatchHeader::decode(&HEADER, &bytes).unwrap();
        assert_eq!((header.sequence, header.acknowledged, header.entries, header.body_bytes), (17, 12, 2, 7));
        assert!(!reads(&SegmentHeader { number: 4, ..HEADER }, &bytes));
        assert!(!reads(&SegmentHeader { salt: 1, ..HEADER }, &bytes));
        for bit in 0..47 * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!reads(&HEADER, &changed), "bit {bit}");
        }
    }

    #[test]
    fn only_the_canonical_name_is_a_segment_name() {
        assert_eq!(segment_number(&segment_name(42)), Some(42));
        for name in ["42.seg", "+000000042.seg", "0000000042.free", "9999999999.seg", "lock"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
