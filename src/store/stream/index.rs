use super::super::format::{ALIGNMENT, HeaderError, u32_at, u64_at};
use super::format::{HEADER_BYTES, INDEX_MAGIC, StreamHeader, versioned};

/// Where the messages of a segment are: the position of one batch in each 64 KiB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    entries: Vec<IndexEntry>,
    /// The latest timestamp of a message.
    pub(super) newest: u64,
}

/// The index of a complete segment, as it is in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexFile {
    /// The header of the segment.
    pub(super) header: StreamHeader,
    /// The sequence after its last message.
    pub(super) end: u64,
    /// The offset behind its last batch.
    pub(super) length: u64,
    pub(super) index: Index,
}

/// The position of a batch: 16 bytes in memory and on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// Its sequence, from the first sequence of the segment.
    relative: u32,
    offset: u32,
    /// The latest timestamp of a message before it in the segment.
    before: u64,
}

/// A written batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indexed {
    pub(super) offset: u64,
    /// Of its first message.
    pub(super) sequence: u64,
    /// The latest timestamp of its messages.
    pub(super) newest: u64,
}

impl Index {
    /// Adds the next batch.
    pub(super) fn add(&mut self, header: &StreamHeader, batch: &Indexed) {
        let before = self.newest;
        self.newest = before.max(batch.newest);
        let last = self.entries.last().map(|entry| u64::from(entry.offset));
        if last.is_some_and(|last| batch.offset - last < BLOCK_BYTES) {
            return;
        }
        let relative = batch.sequence.checked_sub(header.first_sequence).map(u32::try_from);
        if let (Some(Ok(relative)), Ok(offset)) = (relative, u32::try_from(batch.offset)) {
            self.entries.push(IndexEntry { relative, offset, before });
        }
    }

    /// The offset of a batch at or before a sequence, and fewer than 64 KiB and a batch before it.
    pub(super) fn offset_of(&self, header: &StreamHeader, sequence: u64) -> u64 {
        let relative = sequence.saturating_sub(header.first_sequence);
        let entry = self.last_that(|entry| u64::from(entry.relative) <= relative);
        entry.map_or(HEADER_BYTES as u64, |entry| u64::from(entry.offset))
    }

    /// The sequence of a batch at or before the first message with a timestamp of at least `timestamp`.
    pub(super) fn sequence_at(&self, header: &StreamHeader, timestamp: u64) -> u64 {
        let entry = self.last_that(|entry| entry.before < timestamp);
        header.first_sequence.saturating_add(entry.map_or(0, |entry| u64::from(entry.relative)))
    }

    fn last_that(&self, is_before: impl Fn(&IndexEntry) -> bool) -> Option<&IndexEntry> {
        self.entries.partition_point(is_before).checked_sub(1).and_then(|at| self.entries.get(at))
    }

    /// The sequence of the first indexed batch at or behind an offset, and its offset.
    pub(super) fn first_behind(&self, header: &StreamHeader, offset: u64) -> Option<(u64, u64)> {
        let at = self.entries.partition_point(|entry| u64::from(entry.offset) < offset);
        let entry = self.entries.get(at)?;
        Some((header.first_sequence.saturating_add(u64::from(entry.relative)), u64::from(entry.offset)))
    }

    /// The sequence of the last indexed batch.
    pub(super) fn last(&self, header: &StreamHeader) -> u64 {
        let relative = self.entries.last().map_or(0, |entry| u64::from(entry.relative));
        header.first_sequence.saturating_add(relative)
    }

    /// Gives back memory, when the segment is complete.
    pub(super) fn complete(&mut self) {
        self.entries.shrink_to_fit();
    }

    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }
}

impl IndexFile {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = versioned(INDEX_MAGIC);
        bytes.extend_from_slice(&self.header.encode());
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.index.newest.to_le_bytes());
        for IndexEntry { relative, offset, before } in &self.index.entries {
            bytes.extend_from_slice(&relative.to_le_bytes());
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&before.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = StreamHeader::decode(bytes.get(VERSIONED_BYTES..).unwrap_or_default())?;
        Self::decode_fields(header, bytes).filter(Self::is_valid).ok_or(HeaderError::Damaged)
    }

    fn decode_fields(header: StreamHeader, bytes: &[u8]) -> Option<Self> {
        let (end, length) = (u64_at(bytes, FIELDS_AT)?, u64_at(bytes, FIELDS_AT + 8)?);
        let newest = u64_at(bytes, FIELDS_AT + 16)?;
        let (entries, crc) = bytes.get(FIELDS_AT + 24..)?.split_last_chunk::<4>()?;
        let covered = bytes.get(..bytes.len().checked_sub(crc.len())?)?;
        let chunks = entries.chunks_exact(ENTRY_BYTES);
        if crc32c::crc32c(covered) != u32_at(crc, 0)?
            || !bytes.starts_with(&versioned(INDEX_MAGIC))
            || !chunks.remainder().is_empty()
        {
            return None;
        }
        let decode = |entry: &[u8]| {
            Some(IndexEntry { relative: u32_at(entry, 0)?, offset: u32_at(entry, 4)?, before: u64_at(entry, 8)? })
        };
        let entries = chunks.map(decode).collect::<Option<Vec<_>>>()?;
        Some(Self { header, end, length, index: Index { entries, newest } })
    }

    /// Whether its entries ascend, and are inside the segment.
    fn is_valid(&self) -> bool {
        let Self { header, end, length, index } = self;
        let ascends = |pair: &[IndexEntry]| match pair {
            [a, b] => a.relative < b.relative && a.offset < b.offset && a.before <= b.before,
            _ => true,
        };
        let is_inside = |entry: &IndexEntry| {
            let offset = u64::from(entry.offset);
            (HEADER_BYTES as u64..*length).contains(&offset)
                && offset.is_multiple_of(ALIGNMENT as u64)
                && u64::from(entry.relative) < end.saturating_sub(header.first_sequence)
                && entry.before <= index.newest
        };
        *end >= header.first_sequence
            && *length >= HEADER_BYTES as u64
            && index.entries.windows(2).all(ascends)
            && index.entries.iter().all(is_inside)
    }
}

/// The file name of the index of a segment.
pub(super) fn index_name(number: u32) -> String {
    format!("{number:010}{SUFFIX}")
}

/// The number of the segment in the file name of an index.
pub(super) fn index_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (index_name(number) == name).then_some(number)
}

const SUFFIX: &str = ".idx";

/// An entry for each so many bytes.
pub(super) const BLOCK_BYTES: u64 = 64 << 10;

/// No valid index is longer: an entry for each block of the longest segment, and some more.
pub(super) const INDEX_FILE_BYTES_MAX: u64 = 1 << 20;

const VERSIONED_BYTES: usize = 16;
const FIELDS_AT: usize = VERSIONED_BYTES + HEADER_BYTES;
const ENTRY_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: StreamHeader =
        StreamHeader { number: 3, stream: 9, first_sequence: 17, previous_end: 17, salt: 5, compacted_to: None };

    fn index() -> Index {
        let mut index = Index::default();
        for (at, newest) in [(0, 100), (1, 300), (2, 200), (3, 400)] {
            let batch = Indexed { offset: 64 + at * 40_000, sequence: 17 + at * 10, newest };
            index.add(&HEADER, &batch);
        }
        index
    }

    #[test]
    fn a_batch_in_each_64_kib_is_indexed() {
        let index = index();
        assert_eq!(index.len(), 2);
        assert_eq!([17, 36, 37, 99].map(|sequence| index.offset_of(&HEADER, sequence)), [64, 64, 80_064, 80_064]);
        assert_eq!([0, 300, 301, 900].map(|timestamp| index.sequence_at(&HEADER, timestamp)), [17, 17, 37, 37]);
        assert_eq!(
            [64, 65, 80_065].map(|at| index.first_behind(&HEADER, at)),
            [Some((17, 64)), Some((37, 80_064)), None]
        );
        assert_eq!(std::mem::size_of::<IndexEntry>(), 16);
    }

    #[test]
    fn it_survives_a_round_trip_and_any_changed_bit_is_detected() {
        let file = IndexFile { header: HEADER, end: 57, length: 200_000, index: index() };
        let bytes = file.encode();
        assert_eq!(IndexFile::decode(&bytes), Ok(file));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(IndexFile::decode(&changed), Err(HeaderError::Damaged), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(IndexFile::decode(&bytes[..length]), Err(HeaderError::Damaged));
        }
    }

    #[test]
    fn only_the_canonical_name_is_a_name() {
        assert_eq!(index_number(&index_name(42)), Some(42));
        for name in ["42.idx", "+000000042.idx", "0000000042.seg", "9999999999.idx"] {
            assert_eq!(index_number(name), None, "{name}");
        }
    }
}
