//! When a commit begins: the rules of `store/gap.rs` for a virtual clock.

/// Commits that follow each other fast begin [`GAP`] apart.
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

    /// How long the next commit waits.
    pub(crate) fn wait(&self, now: u64) -> u64 {
        let since = self.last.map_or(u64::MAX, |last| now - last);
        if self.interval < INTERVAL { GAP.saturating_sub(since) } else { 0 }
    }
}

const GAP: u64 = 2_000_000;
const INTERVAL: u64 = 5_000_000;
const IDLE: u64 = 50_000_000;
const SMOOTHING: u64 = 8;
