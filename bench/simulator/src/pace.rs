//! When a commit begins: the rules of `store/gap.rs` for a virtual clock.

/// Commits that follow each other fast begin [`GAP`] apart. Each waits for the one before, at most [`TURN`] after its beginning.
#[derive(Debug, Default)]
pub(crate) struct Gap {
    last: Option<u64>,
    /// Nanoseconds between the beginnings of commits, smoothed.
    interval: u64,
}

impl Gap {
    /// A commit begins.
    pub(crate) fn begins(&mut self, now: u64) {
        let since = self.last.replace(now).map_or(IDLE, |last| (now - last).min(IDLE));
        self.interval = if self.interval == 0 { IDLE } else { (self.interval * (SMOOTHING - 1) + since) / SMOOTHING };
    }

    /// How long the next commit waits. `is_under_way`: the last one is not replicated, and the next one is small.
    pub(crate) fn wait(&self, now: u64, is_under_way: bool) -> u64 {
        let since = self.last.map_or(u64::MAX, |last| now - last);
        let gap = if self.interval < INTERVAL { GAP } else { 0 };
        gap.max(if is_under_way { TURN } else { 0 }).saturating_sub(since)
    }
}

const GAP: u64 = 2_000_000;
const TURN: u64 = 10_000_000;
const INTERVAL: u64 = 5_000_000;
const IDLE: u64 = 50_000_000;
const SMOOTHING: u64 = 8;
