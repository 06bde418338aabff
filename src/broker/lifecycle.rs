use std::time::Duration;

use crate::timestamp::Timestamp;

/// Since when a shard runs, when it last published `$SYS` topics, and whether it still accepts connections.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    /// The time of its first event.
    started: Option<Timestamp>,
    sys_published: Timestamp,
    is_shutting_down: bool,
}

impl Lifecycle {
    /// Notes the time of an event. `true` if it is the first.
    #[inline]
    pub(super) const fn begin(&mut self, now: Timestamp) -> bool {
        let is_first = self.started.is_none();
        if is_first {
            self.started = Some(now);
        }
        is_first
    }

    /// How long the shard runs.
    pub(super) fn uptime(&self, now: Timestamp) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now.since(started))
    }

    /// Whether the `$SYS` topics are to be published now, which they are every `interval`; if that is zero, never.
    pub(super) fn begin_sys_topics(&mut self, now: Timestamp, interval: Duration) -> bool {
        let is_due = !interval.is_zero() && now.since(self.sys_published) >= interval;
        if is_due {
            self.sys_published = now;
        }
        is_due
    }

    /// From now on no connection is accepted.
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
    fn shard_runs_since_its_first_event() {
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
