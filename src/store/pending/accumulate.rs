//! Entries that wait for more of them, because a commit of a replicated log costs about the same for many as for one.

use std::time::Duration;

use super::{ENOUGH_BYTES, PendingEntries, WaitsFor};

impl PendingEntries {
    /// Lets entries accumulate for `gap`, or until there are [`ENOUGH_BYTES`].
    pub(in crate::store) fn accumulate(&self, gap: Duration) {
        self.wait_for_enough(WaitsFor::Enough, gap, || true);
    }

    /// Lets entries accumulate while `is_under_way`, until [`end_turn`](Self::end_turn) is called, but not longer than `patience`.
    pub(in crate::store) fn wait_for_turn(&self, patience: Duration, is_under_way: impl Fn() -> bool) {
        self.wait_for_enough(WaitsFor::Turn, patience, is_under_way);
    }

    fn wait_for_enough(&self, what: WaitsFor, patience: Duration, waits: impl Fn() -> bool) {
        let state = self.lock();
        if !state.tickets.is_empty() && state.bytes < ENOUGH_BYTES && !state.is_ending() && waits() {
            drop(self.wait_for(what, Some(patience), state));
        }
    }

    /// A majority has all that was shipped.
    pub(in crate::store) fn end_turn(&self) {
        let mut state = self.lock();
        if state.commit_waits == WaitsFor::Turn {
            state.commit_waits = WaitsFor::Nothing;
            drop(state);
            self.wake.notify_one();
        }
    }
}
