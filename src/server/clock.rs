//! The only file that reads the time.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use rtime_clock::adjtime::{Timex, adjtimex};

use crate::timestamp::{Anchor, BootId, MachineTime, Resumed, Timestamp, WallTime, resume};

/// The broker's time in this process: the time at its start, plus what passed since then by the boot-time clock of the kernel. It never
/// runs backwards, ignores steps of the wall clock, and counts while the machine is suspended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// The boot-time clock at the start.
    started: Duration,
    started_at: Timestamp,
    boot: Option<BootId>,
}

/// One reading of a [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reading {
    /// The broker's time.
    pub(super) now: Timestamp,
    /// The time since the start, with the resolution of the kernel's clock; for latencies.
    pub(super) elapsed: Duration,
}

impl Clock {
    /// Starts with this time.
    pub(crate) fn start(at: Timestamp) -> Self {
        Self { started: since_boot(), started_at: at, boot: boot_id() }
    }

    /// Continues the time of the previous run. `earliest` is the latest past time in the store.
    pub(super) fn resume(anchor: Option<&Anchor>, earliest: Timestamp) -> (Self, Resumed) {
        let now = machine_time(boot_id());
        let resumed = resume(anchor, earliest, &now);
        (Self { started: now.since_boot, started_at: resumed.time, boot: now.boot }, resumed)
    }

    /// The time at the start.
    #[cfg(test)]
    pub(super) const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The time now.
    pub(super) fn read(&self) -> Reading {
        let elapsed = since_boot().saturating_sub(self.started);
        Reading { now: self.started_at + elapsed, elapsed }
    }

    /// A time of this clock, by another one of the process.
    pub(super) fn convert(&self, time: Timestamp, other: &Self) -> Timestamp {
        let moment = |clock: &Self| u64::try_from(clock.started.as_millis()).unwrap_or(u64::MAX);
        let since_boot = i128::from(time.0) - i128::from(self.started_at.0) + i128::from(moment(self));
        let converted = since_boot + i128::from(other.started_at.0) - i128::from(moment(other));
        Timestamp(u64::try_from(converted.max(0)).unwrap_or(u64::MAX))
    }

    /// The time now, with that of the machine.
    pub(super) fn anchor(&self) -> Anchor {
        let machine = machine_time(self.boot);
        Anchor { time: self.started_at + machine.since_boot.saturating_sub(self.started), machine }
    }

    /// What the wall clock would have shown at `time` if it had always been as right as now.
    pub(super) fn wall_of(&self, time: Timestamp) -> WallTime {
        let (now, wall) = (self.read().now, wall_time());
        WallTime(if time > now { wall.0.saturating_add(time.0 - now.0) } else { wall.0.saturating_sub(now.0 - time.0) })
    }

    /// What the wall clock would have shown at the start if it had always been as right as now.
    pub(super) fn wall_of_start(&self) -> WallTime {
        self.wall_of(self.started_at)
    }

    /// The instant at which [`read`](Self::read) reaches `timestamp`, for a timer. The timer's clock stands still while the machine is
    /// suspended, so the timer may be late then.
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the time")]
    pub(super) fn instant_of(&self, timestamp: Timestamp) -> Instant {
        // At most a day ahead, so that the addition can't overflow; the timer re-arms for a later deadline.
        let due = timestamp.since(self.started_at);
        let wait = due.saturating_sub(since_boot().saturating_sub(self.started));
        Instant::now() + wait.min(DAY)
    }
}

/// The wall clock now.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads the time")]
pub(crate) fn wall_time() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The boot-time clock: the time since the boot, suspension included. A read costs as much as one of the monotonic clock.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn machine_time(boot: Option<BootId>) -> MachineTime {
    MachineTime { boot, since_boot: since_boot(), wall: wall_time(), synchronized: is_synchronized() }
}

/// Whether the kernel's clock is synchronized. NTP clients tell the kernel: systemd-timesyncd, ntpd, and chronyd with `rtcsync`.
pub fn is_synchronized() -> bool {
    let mut time = Timex::new();
    match adjtimex(&mut time) {
        Ok(state) => state != TIME_ERROR && time.0.status & STA_UNSYNC == 0,
        // A sandbox forbids the question. systemd-timesyncd answers it with a file, too.
        Err(_) => Path::new(TIMESYNC_FILE).exists(),
    }
}

fn boot_id() -> Option<BootId> {
    parse_boot_id(&fs::read_to_string(BOOT_ID_FILE).ok()?)
}

/// Reads a UUID.
fn parse_boot_id(text: &str) -> Option<BootId> {
    let digits = text.trim_ascii().replace('-', "");
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(BootId(number.to_be_bytes()))
}

const DAY: Duration = Duration::from_secs(86_400);
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
const TIMESYNC_FILE: &str = "/run/systemd/timesync/synchronized";
/// See adjtimex(2).
const TIME_ERROR: i32 = 5;
const STA_UNSYNC: i32 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_at_the_given_time_and_never_runs_backwards() {
        let future = Timestamp(u64::MAX / 2);
        let clock = Clock::start(future);
        assert_eq!(clock.started_at(), future);
        assert!(clock.read().now >= future);
        assert!(clock.read() <= clock.read());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the time")]
    fn a_past_deadline_is_due_at_once_and_the_latest_one_within_a_day() {
        let clock = Clock::start(Timestamp(5_000));
        let before = Instant::now();
        let due = [0, 5_000, 65_000, u64::MAX].map(|at| clock.instant_of(Timestamp(at)));
        assert!(due[0] <= Instant::now() && due[1] <= Instant::now());
        assert!(due[2] > before + Duration::from_secs(50) && due[2] <= Instant::now() + Duration::from_secs(60));
        assert!(due[3] <= Instant::now() + DAY);
    }

    #[test]
    fn the_next_start_continues_where_the_anchor_was_stored() {
        let clock = Clock::start(Timestamp(5_000));
        let anchor = clock.anchor();
        assert!(anchor.machine.boot.is_some());
        let (next, resumed) = Clock::resume(Some(&anchor), Timestamp(0));
        assert_eq!(resumed.rule, crate::timestamp::TimeRule::SameBoot);
        assert!(next.started_at() >= anchor.time && resumed.passed < Duration::from_secs(60));
    }

    #[test]
    fn times_are_shown_relative_to_the_wall_clock() {
        let clock = Clock::start(Timestamp(5_000_000));
        let (start, later) = (clock.wall_of_start(), clock.wall_of(Timestamp(8_000_000)));
        assert!(wall_time().since(start) < Duration::from_secs(60));
        assert!(later.0.abs_diff(start.0 + 3_000_000) < 1_000);
    }

    #[test]
    fn a_boot_identifier_is_a_uuid() {
        let id = parse_boot_id("088e9b82-a3a4-4bb6-b337-acb1c6e0f019\n");
        assert_eq!(id.map(|id| (id.0[0], id.0[15])), Some((0x08, 0x19)));
        for bad in ["", "088e9b82", "088e9b82-a3a4-4bb6-b337-acb1c6e0f0zz", "+88e9b82-a3a4-4bb6-b337-acb1c6e0f0199"] {
            assert_eq!(parse_boot_id(bad), None, "{bad}");
        }
    }
}
