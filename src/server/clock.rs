//! The one file that reads the time.

use std::time::{Duration, Instant, SystemTime};

use crate::timestamp::Timestamp;

/// The time of this process: the wall clock at its start plus a monotonic clock, so that it never goes backwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_at: Timestamp,
}

/// One reading of a [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reading {
    /// The time that the broker is given.
    pub(super) now: Timestamp,
    /// Since the start, with the resolution that a latency needs.
    pub(super) elapsed: Duration,
}

impl Clock {
    /// Starts at the wall clock's time, or at `earliest` if that is later: no stored time may lie in the future.
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
        // At most a day ahead, so that no addition overflows: a later deadline is checked again then.
        let elapsed = self.started.elapsed();
        self.started + timestamp.since(self.started_at).clamp(elapsed, elapsed + DAY)
    }
}

const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_behind_what_was_stored() {
        let future = Timestamp(u64::MAX / 2);
        let clock = Clock::start(future);
        assert!(clock.read().now >= future);
        assert!(clock.read() <= clock.read());
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once_and_one_at_the_end_of_time_within_a_day() {
        let clock = Clock::start(Timestamp(0));
        let past = clock.instant_of(Timestamp(0));
        let end = clock.instant_of(Timestamp(u64::MAX));
        assert!(past <= clock.started + clock.read().elapsed);
        assert!(end <= clock.started + clock.read().elapsed + DAY);
    }
}
