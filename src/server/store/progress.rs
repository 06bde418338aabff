//! How often a long start is logged.

use std::cell::Cell;
use std::time::Duration;

/// Limits the log lines about a long start to one per second.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When the last line was logged, as the time since the start.
    logged_at: Cell<Duration>,
}

impl Progress {
    /// Whether a line is due, at this time since the start.
    pub(super) fn is_due(&self, elapsed: Duration) -> bool {
        let is_due = elapsed.saturating_sub(self.logged_at.get()) >= PROGRESS_INTERVAL;
        if is_due {
            self.logged_at.set(elapsed);
        }
        is_due
    }
}

const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_logged_once_a_second() {
        let progress = Progress::default();
        let times = [100, 900, 1_100, 1_900, 2_050, 2_200, 7_000, 7_500].map(Duration::from_millis);
        let due: Vec<_> = times.into_iter().filter(|elapsed| progress.is_due(*elapsed)).collect();
        assert_eq!(due, [1_100, 2_200, 7_000].map(Duration::from_millis));
    }
}
