use std::collections::VecDeque;

/// The last entries of a log, with their numbers. The oldest leave when there are too many, or when they have too many bytes.
#[derive(Debug)]
pub(in crate::broker) struct Ring<T> {
    /// By number, ascending; each with its bytes.
    entries: VecDeque<(u64, usize, T)>,
    bytes: usize,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Ring<T> {
    /// Adds an entry of `bytes` bytes of text. Its number is greater than that of all before.
    pub(in crate::broker) fn push(&mut self, number: u64, entry: T, bytes: usize) {
        let bytes = bytes + size_of::<(u64, usize, T)>();
        self.entries.push_back((number, bytes, entry));
        self.bytes += bytes;
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some((_, bytes, _)) = self.entries.pop_front() else { break };
            self.bytes -= bytes;
        }
        assert!(self.entries.len() <= ENTRIES_MAX && self.bytes <= BYTES_MAX, "the log is bounded");
    }

    /// The entry with this number, if it is still there.
    pub(in crate::broker) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.entries.binary_search_by_key(&number, |(number, ..)| *number).ok()?;
        self.entries.get_mut(place).map(|(.., entry)| entry)
    }

    /// The entries with numbers below `before`, newest first.
    pub(in crate::broker) fn newest_before(&self, before: Option<u64>) -> impl Iterator<Item = (u64, &T)> {
        let entries = self.entries.iter().rev().map(|(number, _, entry)| (*number, entry));
        entries.skip_while(move |(number, _)| before.is_some_and(|before| *number >= before))
    }
}

const ENTRIES_MAX: usize = 1_000;
/// About the bytes of as many entries with usual texts.
const BYTES_MAX: usize = 256 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_leave() {
        let mut ring = Ring::default();
        for number in 1..=ENTRIES_MAX as u64 + 5 {
            ring.push(number, number, 0);
        }
        assert_eq!(ring.entries.len(), ENTRIES_MAX);
        assert_eq!((ring.get_mut(5).copied(), ring.get_mut(6).copied()), (None, Some(6)));
        assert_eq!(ring.newest_before(Some(8)).map(|(number, _)| number).collect::<Vec<_>>(), [7, 6]);
        ring.push(9_999, 0, BYTES_MAX / 2);
        assert!(ring.bytes <= BYTES_MAX);
        ring.push(10_000, 0, 2 * BYTES_MAX);
        assert_eq!((ring.entries.len(), ring.bytes), (0, 0), "an entry that is too large is not kept");
    }
}
