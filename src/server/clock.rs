//! The only file that reads the time.

use std::time::{Duration, Instant, SystemTime};

use crate::timestamp::Timestamp;

/// The time of this process: the wall clock at its start plus a monotonic clock. It never runs backwards, and ignores later corrections
/// of the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_at: Timestamp,
}

/// One reading of a [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reading {
    /// The time for the broker, in milliseconds since the Unix epoch.
    pub(super) now: Timestamp,
    /// The time since the start, with the resolution of the monotonic clock; for latencies.
    pub(super) elapsed: Duration,
}

impl Clock {
    /// Starts at the time of the wall clock, or at `earliest` if that is later.
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the time")]
    pub(crate) fn start(earliest: Timestamp) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
        Self { started: Instant::now(), started_at: wall.max(earliest) }
    }

    /// The time at the start.
    pub(super) const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The time now.
    pub(super) fn read(&self) -> Reading {
        let elapsed = self.started.elapsed();
        Reading { now: self.started_at + elapsed, elapsed }
    }

    /// The instant at which [`read`](Self::read) reaches `timestamp`, for a timer.
    pub(super) fn instant_of(&self, timestamp: Timestamp) -> Instant {
        // At most a day ahead, so that the addition can't overflow; the timer re-arms for a later deadline.
        let elapsed = self.started.elapsed();
        self.started + timestamp.since(self.started_at).clamp(elapsed, elapsed + DAY)
    }
}

const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_no_earlier_than_the_given_time() {
        let future = Timestamp(u64::MAX / 2);
        let clock = Clock::start(future);
        assert!(clock.read().now >= future);
        assert!(clock.read() <= clock.read());
    }

    #[test]
    fn a_past_deadline_is_due_at_once_and_the_latest_one_within_a_day() {
        let clock = Clock::start(Timestamp(0));
        let past = clock.instant_of(Timestamp(0));
        let end = clock.instant_of(Timestamp(u64::MAX));
        assert!(past <= clock.started + clock.read().elapsed);
        assert!(end <= clock.started + clock.read().elapsed + DAY);
    }
}
