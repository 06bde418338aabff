//! Entries that were taken to be written.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{BATCH_BYTES, BUFFERS_MAX, Batch, PendingEntries, State, Taken};

impl PendingEntries {
    /// Takes all pending entries.
    pub(in crate::store) fn take(&self) -> Taken {
        let mut state = self.lock();
        let bytes = mem::take(&mut state.bytes);
        state.taken_bytes += bytes;
        state.is_urgent = false;
        state.writing_since = state.awaited_since;
        state.taken_since = state.taken_since.or(state.awaited_since);
        Taken {
            batches: mem::take(&mut state.batches),
            tickets: mem::take(&mut state.tickets),
            wants_sync: mem::take(&mut state.wants_sync),
            has_numbered: mem::take(&mut state.has_numbered),
            copies: 0,
            awaited: mem::take(&mut state.awaited),
            awaited_since: state.awaited_since.take(),
            bytes,
        }
    }

    /// Records that all taken entries are stable, and recycles their buffers. Returns whether that ended the congestion.
    pub(in crate::store) fn complete(&self, batches: VecDeque<Batch>) -> bool {
        let mut state = self.lock();
        state.recycle(batches);
        state.taken_bytes = 0;
        state.taken_since = None;
        self.relieve(&state)
    }

    /// Recycles the buffers of entries that are written, and wait for a majority.
    pub(in crate::store) fn written(&self, batches: VecDeque<Batch>) {
        self.lock().recycle(batches);
    }

    /// Records that such entries of so many bytes are stable. `oldest`: since when the oldest awaited one of the others waits. Returns whether
    /// that ended the congestion.
    pub(in crate::store) fn completed(&self, bytes: usize, oldest: Option<Instant>) -> bool {
        let mut state = self.lock();
        state.taken_bytes = state.taken_bytes.saturating_sub(bytes);
        state.taken_since = oldest.or(state.writing_since);
        self.relieve(&state)
    }

    /// Ends the congestion if few bytes are pending. Returns whether it did.
    pub(super) fn relieve(&self, state: &State) -> bool {
        let bytes = state.bytes + state.taken_bytes + self.stream_bytes.load(Ordering::Relaxed);
        bytes <= self.pending_bytes_max / 2 && state.failure.is_none() && self.congested.swap(false, Ordering::Relaxed)
    }
}

impl State {
    fn recycle(&mut self, batches: VecDeque<Batch>) {
        self.writing_since = None;
        for Batch { mut bytes, .. } in batches {
            if self.buffers.len() < BUFFERS_MAX && bytes.capacity() <= 2 * BATCH_BYTES {
                bytes.clear();
                self.buffers.push(bytes);
            }
        }
    }
}
