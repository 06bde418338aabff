use std::time::{Duration, Instant, SystemTime};

use crate::histogram::LatencyHistogram;

/// How long the store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// For each commit with an awaited entry: the time from appending the first of these to its commit. The others waited less.
    pub commit: LatencyHistogram,
    /// The time of each sync of a segment.
    pub sync: LatencyHistogram,
    /// The bytes of the entries that were appended and are not stable.
    pub pending_bytes: u64,
    /// How long the oldest awaited entry that is not stable has waited; zero if there is none.
    pub lag: Duration,
}

/// The wall clock in milliseconds since the Unix epoch. It decides which messages of streams are too old, which were accepted by the same clock.
#[expect(clippy::disallowed_methods, reason = "the age of messages of streams is that of the wall clock")]
pub(super) fn wall_time() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// The time now. Only durations are computed from it: how long the committing thread waits, and what is measured.
#[expect(clippy::disallowed_methods, reason = "durations that decide nothing that is stored")]
pub(super) fn now() -> Instant {
    Instant::now()
}
