use bytes::{Bytes, BytesMut};
use std::ops::Range;

/// The parts of a packet that are kept in their wire format, as ranges of its frame in ascending order.
#[derive(Debug, Default)]
pub(super) struct Runs {
    first: Range<usize>,
    more: Vec<Range<usize>>,
}

impl Runs {
    /// Adds a part that is not empty and begins behind the parts before it.
    pub(super) fn add(&mut self, part: Range<usize>) {
        let run = self.more.last_mut().unwrap_or(&mut self.first);
        if run.end == 0 {
            *run = part;
        } else if run.end == part.start {
            run.end = part.end;
        } else {
            self.more.push(part);
        }
    }

    /// The parts together: a slice of `frame` if they are adjacent, which is the common case.
    pub(super) fn into_bytes(self, frame: &Bytes) -> Bytes {
        if self.first.is_empty() {
            return Bytes::new();
        }
        if self.more.is_empty() {
            return frame.slice(self.first);
        }
        let mut parts = BytesMut::new();
        for run in std::iter::once(self.first).chain(self.more) {
            parts.extend_from_slice(frame.get(run).unwrap_or_default());
        }
        parts.freeze()
    }
}
