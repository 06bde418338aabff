use std::time::Duration;

use crate::timestamp::Timestamp;

/// The start time of a shard, the time of its last `$SYS` topics, and whether it is shutting down.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    /// The time of its first event.
    started: Option<Timestamp>,
    sys_published: Timestamp,
    is_shutting_down: bool,
}

impl Lifecycle {
    /// Notes the time of the first event. Returns `true` for the first event.
    #[inline]
    pub(super) const fn begin(&mut self, now: Timestamp) -> bool {
        let is_first = self.started.is_none();
        if is_first {
            self.started = Some(now);
        }
        is_first
    }

    /// The time since the first event.
    pub(super) fn uptime(&self, now: Timestamp) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now.since(started))
    }

    /// Returns `true` if `interval` has passed since the `$SYS` topics were last published. Zero: never.
    pub(super) fn begin_sys_topics(&mut self, now: Timestamp, interval: Duration) -> bool {
        let is_due = !interval.is_zero() && now.since(self.sys_published) >= interval;
        if is_due {
            self.sys_published = now;
        }
        is_due
    }

    /// Makes the shard refuse new connections.
    pub(super) const fn shut_down(&mut self) {
        self.is_shutting_down = true;
    }

    pub(super) const fn is_shutting_down(&self) -> bool {
        self.is_shutting_down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_counts_from_the_first_event() {
        let mut lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.uptime(Timestamp(5_000)), Duration::ZERO);
        assert!(lifecycle.begin(Timestamp(1_000)) && !lifecycle.begin(Timestamp(2_000)));
        assert_eq!(lifecycle.uptime(Timestamp(5_000)), Duration::from_secs(4));
    }

    #[test]
    fn sys_topics_are_due_once_in_each_interval() {
        let mut lifecycle = Lifecycle::default();
        let mut due = |seconds: u64, interval| {
            lifecycle.begin_sys_topics(Timestamp(seconds * 1_000), Duration::from_secs(interval))
        };
        assert_eq!([due(100, 10), due(109, 10), due(110, 10), due(111, 10)], [true, false, true, false]);
        assert!(!due(1_000, 0));
    }
}
