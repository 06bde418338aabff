use std::time::{Duration, Instant};

/// Decides whether a commit of a replicated log waits, in order to save CPU time of the servers that replicate it.
///
/// Each commit is an entry of the engine, and a small one costs its servers about a millisecond of CPU time, whatever its size. Where commits follow
/// each other faster than [`INTERVAL`], on average, each begins [`GAP`] after the last one at the earliest. All wait for the one before to be replicated, but
/// not longer than [`TURN`] after it began: the more the servers have to do, the more entries are in a commit. So a message now and then and the steps of one
/// handshake at QoS 2 do not wait.
#[derive(Debug, Default)]
pub(super) struct Gap {
    /// When the last commit began.
    last: Option<Instant>,
    /// The time between the beginnings of commits, smoothed. Idle times count as [`IDLE`].
    interval: Duration,
}

impl Gap {
    /// A commit begins.
    pub(super) fn begins(&mut self, now: Instant) {
        let since = self.last.replace(now).map_or(IDLE, |last| now.duration_since(last).min(IDLE));
        self.interval =
            if self.interval.is_zero() { IDLE } else { (self.interval * (SMOOTHING - 1) + since) / SMOOTHING };
    }

    /// How long the next commit waits; `None` if it begins at once.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let since = now.duration_since(self.last?);
        (self.interval < INTERVAL).then(|| GAP.saturating_sub(since)).filter(|wait| !wait.is_zero())
    }

    /// How long the next commit may wait for the last one to be replicated; `None` if it does not.
    pub(super) fn turn(&self, now: Instant) -> Option<Duration> {
        Some(TURN.saturating_sub(now.duration_since(self.last?))).filter(|wait| !wait.is_zero())
    }
}

/// The shortest time between the beginnings of two commits: 500 a second took 0.68 of a core of the three servers (docs/PERFORMANCE.md).
const GAP: Duration = Duration::from_millis(2);

/// The longest time between the beginnings of two commits of which the first is not replicated yet, so that a server that is far away or slow does not
/// bound the rate of commits.
const TURN: Duration = Duration::from_millis(10);

/// Commits that are further apart on average do not wait: 200 a second.
const INTERVAL: Duration = Duration::from_millis(5);

/// A longer time without a commit counts as this one, so that the first commits after it do not wait.
const IDLE: Duration = Duration::from_millis(50);

/// The weight of the past: about this many commits.
const SMOOTHING: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// The times at which commits begin if an entry arrives every `interval`.
    fn begins(gap: &mut Gap, start: Instant, interval: Duration, arrivals: u32) -> Vec<Duration> {
        let mut begun = Vec::new();
        let mut ready = Duration::ZERO;
        for arrival in 0..arrivals {
            let arrived = interval * arrival;
            if arrived < ready {
                continue; // it is in the commit that waits
            }
            ready = arrived + gap.wait(start + arrived).unwrap_or_default();
            gap.begins(start + ready);
            begun.push(ready);
        }
        begun
    }

    fn now() -> Instant {
        super::super::timing::now()
    }

    #[test]
    fn dense_commits_begin_two_milliseconds_apart() {
        let (mut gap, start) = (Gap::default(), now());
        let begun = begins(&mut gap, start, Duration::from_micros(200), 10_000);
        let settled: Vec<_> = begun.iter().filter(|at| **at > Duration::from_millis(100)).collect();
        assert!(settled.windows(2).all(|pair| *pair[1] - *pair[0] >= GAP), "{settled:?}");
        assert!(
            settled.windows(2).all(|pair| *pair[1] - *pair[0] <= GAP + Duration::from_micros(200)),
            "no longer than that"
        );
    }

    #[test]
    fn few_commits_never_wait() {
        for micros in [5_100, 10_000, 60_000, 1_000_000] {
            let (mut gap, interval) = (Gap::default(), Duration::from_micros(micros));
            let expected: Vec<_> = (0..1_000).map(|arrival| interval * arrival).collect();
            assert_eq!(begins(&mut gap, now(), interval, 1_000), expected);
        }
    }

    #[test]
    fn the_first_commits_after_an_idle_time_do_not_wait() {
        let (mut gap, start) = (Gap::default(), now());
        begins(&mut gap, start, Duration::from_millis(1), 2_000);
        assert!(gap.wait(start + Duration::from_millis(1_999)).is_some());
        let later = start + Duration::from_secs(3);
        for step in 0..4 {
            let at = later + Duration::from_micros(800) * step;
            assert_eq!(gap.wait(at), None, "step {step}");
            gap.begins(at);
        }
    }
}
