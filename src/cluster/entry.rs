use bytes::{BufMut as _, Bytes, BytesMut};
use thiserror::Error;

/// An entry of the stream, as its bytes say.
///
/// Layout, integers in little-endian order: kind (1 byte: 1 commit, 2 epoch), epoch (8); of a commit: previous (8), number (8), first log sequence (8), log
/// entries (4), part (2), parts (2); of an epoch: nonce (16), length of the name (2), name; then CRC-32C (4) of the cell (2) and all of these and,
/// of a commit, of the batch that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A commit, or a part of one.
    Commit(Commit),
    /// A node became the owner.
    Epoch(Epoch),
}

/// A commit of the owner's log, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The epoch of its author.
    pub epoch: u64,
    /// The position of the entry that it follows: the commit before it, or the epoch entry of its author. If another entry is there, this one is not
    /// part of the log.
    pub previous: u64,
    /// 1, 2, 3, … without gaps, over all epochs, for the commits that are part of the log.
    pub number: u64,
    /// The log sequence of its first entry.
    pub first_sequence: u64,
    /// The number of log entries.
    pub entries: u32,
    /// Which part of the commit this is, from 0. A commit is applied when all its parts are there.
    pub part: u16,
    /// The number of parts, at least 1.
    pub parts: u16,
    /// The batch, or a part of it, as it is in the log.
    pub batch: Bytes,
}

/// A node became the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Each owner has a higher one than all before it; at least 1.
    pub epoch: u64,
    /// A random number, so that the author recognizes its own entry.
    pub nonce: u128,
    /// The name of the node, at most 65,535 bytes.
    pub node: String,
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EntryError {
    /// The checksum does not fit, or the bytes end too early.
    #[error("damaged")]
    Damaged,
    /// A later version wrote it.
    #[error("of an unknown kind {0}")]
    Kind(u8),
}

impl Commit {
    /// The bytes for the stream of this cell.
    pub fn encode(&self, cell: u16) -> Bytes {
        let mut bytes = BytesMut::with_capacity(COMMIT_HEADER_BYTES + CRC_BYTES + self.batch.len());
        bytes.put_u8(COMMIT);
        bytes.put_u64_le(self.epoch);
        bytes.put_u64_le(self.previous);
        bytes.put_u64_le(self.number);
        bytes.put_u64_le(self.first_sequence);
        bytes.put_u32_le(self.entries);
        bytes.put_u16_le(self.part);
        bytes.put_u16_le(self.parts);
        let crc = checksum(cell, &bytes, &self.batch);
        bytes.put_u32_le(crc);
        bytes.put_slice(&self.batch);
        bytes.freeze()
    }
}

impl Epoch {
    /// The bytes for the stream of this cell.
    pub fn encode(&self, cell: u16) -> Bytes {
        let mut bytes = BytesMut::with_capacity(EPOCH_HEADER_BYTES + self.node.len() + CRC_BYTES);
        bytes.put_u8(EPOCH);
        bytes.put_u64_le(self.epoch);
        bytes.put_u128_le(self.nonce);
        let mut length = self.node.len().min(usize::from(u16::MAX));
        while !self.node.is_char_boundary(length) {
            length -= 1;
        }
        bytes.put_u16_le(u16::try_from(length).unwrap_or(u16::MAX));
        bytes.put_slice(self.node.get(..length).unwrap_or_default().as_bytes());
        let crc = checksum(cell, &bytes, &[]);
        bytes.put_u32_le(crc);
        bytes.freeze()
    }
}

impl Entry {
    /// Decodes an entry of the stream of this cell.
    ///
    /// # Errors
    /// The bytes are damaged, belong to another cell, or are of a later version.
    pub fn decode(cell: u16, bytes: &Bytes) -> Result<Self, EntryError> {
        match bytes.first() {
            Some(&COMMIT) => Self::decode_commit(cell, bytes),
            Some(&EPOCH) => Self::decode_epoch(cell, bytes),
            Some(&kind) => Err(EntryError::Kind(kind)),
            None => Err(EntryError::Damaged),
        }
    }

    fn decode_commit(cell: u16, bytes: &Bytes) -> Result<Self, EntryError> {
        let (header, rest) = bytes.split_at_checked(COMMIT_HEADER_BYTES).ok_or(EntryError::Damaged)?;
        let (crc, batch) = rest.split_at_checked(CRC_BYTES).ok_or(EntryError::Damaged)?;
        if crc != checksum(cell, header, batch).to_le_bytes() {
            return Err(EntryError::Damaged);
        }
        let mut fields = Fields(header.get(1..).unwrap_or_default());
        let commit = Commit {
            epoch: u64::from_le_bytes(fields.take()?),
            previous: u64::from_le_bytes(fields.take()?),
            number: u64::from_le_bytes(fields.take()?),
            first_sequence: u64::from_le_bytes(fields.take()?),
            entries: u32::from_le_bytes(fields.take()?),
            part: u16::from_le_bytes(fields.take()?),
            parts: u16::from_le_bytes(fields.take()?),
            batch: bytes.slice(COMMIT_HEADER_BYTES + CRC_BYTES..),
        };
        if commit.part >= commit.parts { Err(EntryError::Damaged) } else { Ok(Self::Commit(commit)) }
    }

    fn decode_epoch(cell: u16, bytes: &Bytes) -> Result<Self, EntryError> {
        let length = bytes.len().checked_sub(CRC_BYTES).ok_or(EntryError::Damaged)?;
        let (body, crc) = bytes.split_at_checked(length).ok_or(EntryError::Damaged)?;
        if crc != checksum(cell, body, &[]).to_le_bytes() {
            return Err(EntryError::Damaged);
        }
        let mut fields = Fields(body.get(1..).unwrap_or_default());
        let epoch = u64::from_le_bytes(fields.take()?);
        let nonce = u128::from_le_bytes(fields.take()?);
        let length = u16::from_le_bytes(fields.take()?);
        let name = str::from_utf8(fields.0).map_err(|_| EntryError::Damaged)?;
        if name.len() != usize::from(length) {
            return Err(EntryError::Damaged);
        }
        Ok(Self::Epoch(Epoch { epoch, nonce, node: name.to_owned() }))
    }
}

/// The rest of a header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(EntryError::Damaged)?;
        self.0 = rest;
        Ok(*field)
    }
}

fn checksum(cell: u16, header: &[u8], batch: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&cell.to_le_bytes()), header), batch)
}

const COMMIT: u8 = 1;
const EPOCH: u8 = 2;
const COMMIT_HEADER_BYTES: usize = 41;
const EPOCH_HEADER_BYTES: usize = 27;
const CRC_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_a_round_trip_and_no_change_of_a_bit_is_accepted() {
        let batch = Bytes::from_static(b"a batch");
        let commit =
            Commit { epoch: 3, previous: 11, number: 7, first_sequence: 40, entries: 2, part: 1, parts: 2, batch };
        let epoch = Epoch { epoch: 4, nonce: 5 << 70, node: "nö".to_owned() };
        let both = [(commit.encode(9), Entry::Commit(commit)), (epoch.encode(9), Entry::Epoch(epoch))];
        for (bytes, entry) in both {
            assert_eq!(Entry::decode(9, &bytes), Ok(entry));
            assert_eq!(Entry::decode(8, &bytes), Err(EntryError::Damaged), "of another cell");
            for length in 0..bytes.len() {
                assert_eq!(Entry::decode(9, &bytes.slice(..length)), Err(EntryError::Damaged), "{length} bytes");
            }
            for bit in 0..8 * bytes.len() {
                let mut changed = bytes.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(Entry::decode(9, &changed.into()).is_err(), "bit {bit}");
            }
        }
    }
}
