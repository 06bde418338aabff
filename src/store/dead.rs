//! The segments of a replicated log that have no live entries, and are freed only when the mark lets them.

use std::collections::VecDeque;

use super::index::Index;

/// Segments without live entries at the front of the log, each with the end of the log when that was found.
///
/// What replaced the entries of such a segment is below that end. So as long as the log may be cut below it, the segment is needed. Empty if the
/// log is not replicated.
#[derive(Debug, Default)]
pub(super) struct DeadSegments(VecDeque<(u32, u64)>);

impl DeadSegments {
    /// Adds those that have become dead. `end`: the sequence behind the last entry that the index has; `tail`: the current segment.
    pub(super) fn find(&mut self, index: &Index, tail: u32, end: u64) {
        let others = index.segments().skip(self.0.len());
        let dead = others.take_while(|(segment, usage)| *segment != tail && usage.live_keys == 0);
        self.0.extend(dead.map(|(segment, _)| (segment, end)));
    }

    /// Removes the oldest segment from the index, if the log is never cut below `marked` and that suffices.
    pub(super) fn take(&mut self, index: &mut Index, marked: u64) -> Option<u32> {
        self.first_end().filter(|end| *end <= marked)?;
        let (segment, _) = self.0.pop_front()?;
        index.remove_segment(segment);
        Some(segment)
    }

    /// The end of the log when the oldest one was found.
    pub(super) fn first_end(&self) -> Option<u64> {
        self.0.front().map(|(_, end)| *end)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self, index: &Index) -> u64 {
        index.segments().take(self.0.len()).map(|(_, usage)| usage.bytes).sum()
    }
}
