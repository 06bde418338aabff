use std::time::Duration;

/// Decides whether a commit waits for more entries, in order to save CPU time.
///
/// A sync costs 25 to 60 µs of CPU time, and with it one or two threads wake up. On a disk that syncs in 0.1 ms, 10,000
/// messages a second from many clients would need almost as many commits, and most of a core. Such a commit waits until
/// the last one was [`INTERVAL`] ago, or a few times the measured duration of a sync. Nothing else ever waits:
///
/// - A lone client that waits for its acknowledgements causes no entry during a sync.
/// - Less than about 6,000 messages a second bring too little in that time.
/// - A disk whose sync takes longer than a third of [`INTERVAL`] lets enough entries accumulate by itself.
///
/// The wait ends earlier when as many entries are there as the last commit had, together with those that arrived during
/// its sync: clients that all wait for their acknowledgements send no more.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How long a commit takes: a smoothed value, in which rare long syncs count little.
    sync: Duration,
    /// Awaited announcements per second during syncs, smoothed.
    rate: f64,
    /// The awaited announcements of the last commit, and those that arrived while it was synced.
    last: u32,
}

/// How long a commit waits, and for how many announcements at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gathering {
    pub(super) patience: Duration,
    pub(super) awaited: u32,
}

impl Pace {
    /// A commit of so many awaited announcements was done in this time, and so many others arrived meanwhile.
    pub(super) fn committed(&mut self, took: Duration, awaited: u32, arrived: u32) {
        let rate = f64::from(arrived) / took.as_secs_f64().max(1e-6);
        if self.sync.is_zero() {
            self.sync = took;
        }
        let took = took.min(self.sync * OUTLIER);
        self.sync = (self.sync * (SMOOTHING - 1) + took) / SMOOTHING;
        self.rate += (rate - self.rate) / f64::from(SMOOTHING);
        self.last = awaited + arrived;
    }

    /// Nothing was awaited for a while, so the next message may be alone.
    pub(super) fn idle(&mut self) {
        self.rate = 0.0;
    }

    /// What the next commit waits for; `None` if it begins at once.
    pub(super) fn gathering(&self) -> Option<Gathering> {
        let patience = (self.sync * WAIT_FACTOR).min(INTERVAL.saturating_sub(self.sync));
        let is_worth_it = patience > 2 * self.sync && self.rate * patience.as_secs_f64() >= ARRIVALS_MIN;
        let gathering = Gathering { patience, awaited: self.last.min(AWAITED_MAX) };
        (is_worth_it && !self.sync.is_zero()).then_some(gathering)
    }
}

/// The time between the beginnings of two commits that is enough: 2,000 commits a second take about a tenth of a core.
const INTERVAL: Duration = Duration::from_micros(500);

/// The longest wait, in durations of a sync.
const WAIT_FACTOR: u32 = 4;

/// A wait itself costs a timer and a wake-up, so it must save more than one commit.
const ARRIVALS_MIN: f64 = 2.5;

/// With this many announcements, the cost of a commit does not matter.
const AWAITED_MAX: u32 = 16;

/// The weight of the past: about this many commits.
const SMOOTHING: u32 = 16;

/// A sync counts at most this many times the usual duration.
const OUTLIER: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(commits: u32, took: u64, awaited: u32, arrived: u32) -> Option<Gathering> {
        let mut pace = Pace::default();
        for _ in 0..commits {
            pace.committed(Duration::from_micros(took), awaited, arrived);
        }
        pace.gathering()
    }

    #[test]
    fn dense_commits_on_a_fast_disk_wait_a_few_syncs() {
        let gathering = after(100, 100, 1, 1).unwrap();
        assert_eq!(gathering, Gathering { patience: Duration::from_micros(400), awaited: 2 });
        assert_eq!(after(100, 20, 1, 1).unwrap().patience, Duration::from_micros(80), "bounded by the sync");
        assert_eq!(after(100, 150, 2, 2).unwrap().patience, Duration::from_micros(350), "bounded by the interval");
        assert_eq!(after(100, 100, 90, 60).unwrap().awaited, 16);
    }

    #[test]
    fn lone_clients_slow_clients_and_slow_disks_never_wait() {
        assert_eq!(after(0, 100, 1, 1), None, "nothing is known");
        assert_eq!(after(100, 100, 1, 0), None, "a lone client that waits for acknowledgements");
        for took in [170, 300, 1_000, 100_000] {
            assert_eq!(after(100, took, 10, 10), None, "a sync of {took} µs");
        }
        // 1,000 messages a second: one of ten arrives during a sync of 0.1 ms.
        let mut pace = Pace::default();
        for commit in 0..1_000 {
            pace.committed(Duration::from_micros(100), 1, u32::from(commit % 10 == 0));
            assert_eq!(pace.gathering(), None);
        }
    }

    #[test]
    fn the_first_messages_after_an_idle_time_do_not_wait() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            pace.committed(Duration::from_micros(100), 5, 5);
        }
        assert!(pace.gathering().is_some());
        pace.idle();
        for _ in 0..20 {
            assert_eq!(pace.gathering(), None);
            pace.committed(Duration::from_micros(100), 1, 0);
        }
    }

    #[test]
    fn a_rare_long_sync_changes_little() {
        let mut pace = Pace::default();
        for commit in 0..200 {
            let took = Duration::from_micros(if commit % 50 == 49 { 20_000 } else { 80 });
            pace.committed(took, 1, 1);
            if commit > 60 {
                assert!(pace.gathering().is_some_and(|gathering| gathering.patience < Duration::from_micros(450)));
            }
        }
        for _ in 0..100 {
            pace.committed(Duration::from_millis(2), 1, 1);
        }
        assert_eq!(pace.gathering(), None, "the disk has become slow");
    }
}
