/// The last entries of a kind, each at a position that counts all entries since the start.
///
/// Its memory grows with its entries up to `max` of them; then a new one takes the place of the oldest.
#[derive(Debug)]
pub(super) struct Ring<T> {
    entries: Vec<T>,
    max: usize,
    /// The index of the next entry.
    at: usize,
    /// The position of the next entry.
    end: u64,
}

impl<T: Copy> Ring<T> {
    pub(super) const fn new(max: usize) -> Self {
        Self { entries: Vec::new(), max, at: 0, end: 0 }
    }

    /// Adds an entry. Returns its position.
    #[inline]
    pub(super) fn push(&mut self, entry: T) -> u64 {
        if self.entries.len() < self.max {
            self.grow(entry);
        } else if let Some(oldest) = self.entries.get_mut(self.at) {
            *oldest = entry;
            self.at += 1;
        }
        if self.at == self.max {
            self.at = 0;
        }
        self.end += 1;
        self.end - 1
    }

    #[inline(never)]
    fn grow(&mut self, entry: T) {
        let (length, left) = (self.entries.len(), self.max - self.entries.len());
        if length == self.entries.capacity() {
            self.entries.reserve_exact(left.min(length.max(GROWTH_MIN)));
        }
        self.entries.push(entry);
        self.at += 1;
    }

    /// The position of the oldest entry.
    pub(super) const fn begin(&self) -> u64 {
        self.end - self.entries.len() as u64
    }

    /// The position of the next entry.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    pub(super) const fn max(&self) -> usize {
        self.max
    }

    #[inline]
    pub(super) fn get(&self, position: u64) -> Option<&T> {
        self.entries.get(self.index(position)?)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, position: u64) -> Option<&mut T> {
        let index = self.index(position)?;
        self.entries.get_mut(index)
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.get(self.end.checked_sub(1)?)
    }

    /// The entries from this position on, with their positions.
    pub(super) fn from(&self, position: u64) -> impl Iterator<Item = (u64, &T)> {
        (position.max(self.begin())..self.end).filter_map(|position| Some((position, self.get(position)?)))
    }

    /// The first position whose entry is not before what is sought. The entries before it come first.
    pub(super) fn partition_point(&self, is_before: impl Fn(&T) -> bool) -> u64 {
        let (mut low, mut high) = (self.begin(), self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(&is_before) { low = middle + 1 } else { high = middle }
        }
        low
    }

    #[inline]
    fn index(&self, position: u64) -> Option<usize> {
        let back = usize::try_from(self.end.checked_sub(position)?).ok()?;
        let length = self.entries.len();
        let end = if self.at == 0 { length } else { self.at };
        match back {
            0 => None,
            back if back <= end => Some(end - back),
            back if back <= length => Some(end + length - back),
            _ => None,
        }
    }

    /// Changes the greatest number of entries, and forgets the oldest ones that are too many.
    pub(super) fn set_max(&mut self, max: usize) {
        if max == self.max {
            return;
        }
        let kept = self.end.saturating_sub(max as u64).max(self.begin());
        let entries: Vec<T> = self.from(kept).map(|(_, entry)| *entry).collect();
        self.at = if entries.len() == max { 0 } else { entries.len() };
        (self.entries, self.max) = (entries, max);
    }

    /// Forgets all entries, and frees their memory.
    pub(super) fn clear(&mut self) {
        (self.entries, self.at) = (Vec::new(), 0);
    }
}

/// The entries for which room is allocated at first.
const GROWTH_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The oracle is the list of all entries, of which the last ones count.
        #[test]
        fn the_last_entries_are_found_at_their_positions(
            steps in prop::collection::vec(prop_oneof![8 => Just(None), 1 => (0_usize..9).prop_map(Some)], 0..80),
        ) {
            let (mut ring, mut all, mut kept) = (Ring::new(5), Vec::new(), 0);
            for step in steps {
                match step {
                    None => {
                        prop_assert_eq!(ring.push(all.len()), all.len() as u64);
                        all.push(all.len());
                        kept = (kept + 1).min(ring.max());
                    }
                    Some(8) => {
                        ring.clear();
                        kept = 0;
                    }
                    Some(max) => {
                        ring.set_max(max);
                        kept = kept.min(max);
                    }
                }
                let first = all.len() - kept;
                prop_assert_eq!((ring.begin(), ring.end()), (first as u64, all.len() as u64));
                for position in 0..all.len() + 2 {
                    let expected = all.get(position).filter(|_| position >= first);
                    prop_assert_eq!(ring.get(position as u64), expected);
                    prop_assert_eq!(ring.get_mut(position as u64).map(|entry| *entry), expected.copied());
                    let point = ring.partition_point(|entry| *entry < position);
                    prop_assert_eq!(point, position.clamp(first, all.len()) as u64);
                }
                let listed: Vec<_> = ring.from(0).map(|(_, entry)| *entry).collect();
                prop_assert_eq!(&listed[..], &all[first..]);
                prop_assert_eq!(ring.last(), all.last().filter(|_| kept > 0));
            }
        }
    }
}
