use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::entry::Commit;

/// A batch of the log, put together from the parts in which it was shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// The log sequence of its first entry.
    pub(super) first_sequence: u64,
    /// The number of its entries; 0: the commit with which an owner begins, which has none.
    pub(super) entries: u32,
    /// Its bytes.
    pub(super) bytes: Bytes,
}

/// Puts the parts of batches together.
///
/// Parts follow each other in the stream. What a former owner has shipped of a batch that it did not finish is dropped at the entry of its
/// successor: by every copy, because all see the same entries.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    bytes: BytesMut,
    /// The part that is expected next, and the batch to which it belongs.
    under_way: Option<(u16, u64)>,
}

/// A part that does not follow the one before it, or with which a batch would be larger than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misplaced;

impl Assembly {
    /// Whether it has no part of a batch.
    pub(super) const fn is_empty(&self) -> bool {
        self.under_way.is_none()
    }

    /// Forgets the parts of a batch that has no end.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes the next commit of the log. Returns the batch, if it is whole.
    ///
    /// # Errors
    /// The part does not belong here. No owner writes this.
    pub(super) fn push(&mut self, commit: Commit) -> Result<Option<Batch>, Misplaced> {
        let Commit { first_sequence, entries, part, parts, batch, .. } = commit;
        if part == 0 {
            // What was before it has no end: another owner came in between.
            self.clear();
        }
        let expected = self.under_way.map_or((0, first_sequence), |(part, sequence)| (part, sequence));
        if (part, first_sequence) != expected || self.bytes.len() + batch.len() > BATCH_BYTES_MAX {
            return Err(Misplaced);
        }
        if part + 1 < parts {
            self.under_way = Some((part + 1, first_sequence));
            self.bytes.extend_from_slice(&batch);
            return Ok(None);
        }
        let bytes = if part == 0 {
            batch
        } else {
            self.bytes.extend_from_slice(&batch);
            std::mem::take(&mut self.bytes).freeze()
        };
        self.clear();
        Ok(Some(Batch { first_sequence, entries, bytes }))
    }
}

/// Divides a batch of `bytes` bytes into parts of at most [`PART_BYTES`], and returns the range of each. An empty batch has one empty part.
pub(super) fn parts_of(bytes: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    let parts = bytes.div_ceil(PART_BYTES).max(1);
    (0..parts).map(move |part| part * PART_BYTES..bytes.min((part + 1) * PART_BYTES))
}

/// The most bytes of a batch that is put together: twice the largest entry of a store.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// The largest part in bytes: a message with it, its header and those of the engine is below 1 MiB, what a server of NATS takes by default.
pub(super) const PART_BYTES: usize = (1 << 20) - (4 << 10);

/// The most bytes that an engine must take as one entry.
pub(super) const ENTRY_BYTES_MAX: usize = PART_BYTES + (1 << 10);

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(first_sequence: u64, bytes: &Bytes) -> Vec<Commit> {
        let ranges = parts_of(bytes.len());
        let parts = u16::try_from(ranges.len()).unwrap();
        let part = |(part, range): (usize, Range<usize>)| Commit {
            epoch: 1,
            previous: 0,
            number: 1,
            first_sequence,
            entries: 3,
            part: u16::try_from(part).unwrap(),
            parts,
            batch: bytes.slice(range),
        };
        ranges.enumerate().map(part).collect()
    }

    #[test]
    fn a_batch_is_what_it_was_before_it_was_divided() {
        for length in [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES] {
            let bytes = Bytes::from_iter((0..length).map(|byte| byte.to_le_bytes()[0]));
            let mut assembly = Assembly::default();
            let batches: Vec<Batch> =
                parts(7, &bytes).into_iter().filter_map(|part| assembly.push(part).unwrap()).collect();
            assert_eq!(batches, [Batch { first_sequence: 7, entries: 3, bytes }], "{length}");
            assert!(assembly.is_empty());
        }
    }

    #[test]
    fn a_part_that_does_not_follow_is_refused() {
        let bytes = Bytes::from(vec![1; 2 * PART_BYTES]);
        let [first, second] = parts(7, &bytes).try_into().unwrap();
        let mut assembly = Assembly::default();
        assert_eq!(assembly.push(second.clone()), Err(Misplaced), "the first is missing");
        assert_eq!(assembly.push(first.clone()), Ok(None));
        assert_eq!(assembly.push(first), Ok(None), "the batch of another owner");
        assert_eq!(assembly.push(Commit { first_sequence: 8, ..second.clone() }), Err(Misplaced), "of another batch");
        assert!(assembly.push(second).unwrap().is_some());
    }
}
