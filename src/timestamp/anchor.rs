//! How the broker's time continues after a restart.

use std::time::Duration;

use super::{Timestamp, WallTime};

/// The identifier that the kernel draws at each boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

/// What the clocks of the machine showed at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineTime {
    /// The boot; `None` if the kernel does not tell it.
    pub boot: Option<BootId>,
    /// The time since this boot, suspension included.
    pub since_boot: Duration,
    /// The wall clock.
    pub wall: WallTime,
    /// Whether the kernel's wall clock was synchronized with a time server or another reference.
    pub synchronized: bool,
}

/// The broker's time and that of the machine at the same moment. The store has the latest one. Each start stores a new one before it
/// stores a deadline: else the next start could count time twice for this deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The broker's time.
    pub time: Timestamp,
    /// The clocks of the machine.
    pub machine: MachineTime,
}

/// What decides how much time passed between an anchor and the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeRule {
    /// There is no anchor: the broker's time begins at the wall clock.
    First,
    /// The machine was not booted in between: its boot-time clock decides.
    SameBoot,
    /// The wall clock was synchronized at both ends: the difference decides.
    Synchronized,
    /// Nothing proves that time has passed, so none counts.
    Unknown,
}

impl TimeRule {
    /// The name for the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first-start",
            Self::SameBoot => "same-boot",
            Self::Synchronized => "synchronized-clocks",
            Self::Unknown => "unknown",
        }
    }
}

/// The broker's time at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// The time at which it continues.
    pub time: Timestamp,
    /// What decided.
    pub rule: TimeRule,
    /// How much time counts since the anchor.
    pub passed: Duration,
}

/// Continues the broker's time when the clocks of the machine show `now`. `earliest` is the latest past time in the store: it may be later
/// than the anchor, and the time is never before it.
pub fn resume(anchor: Option<&Anchor>, earliest: Timestamp, now: &MachineTime) -> Resumed {
    let Some(anchor) = anchor else {
        let time = Timestamp(now.wall.0).max(earliest);
        return Resumed { time, rule: TimeRule::First, passed: Duration::ZERO };
    };
    let then = &anchor.machine;
    // The boot-time clock of a restored snapshot of a machine, or of a container in a new time namespace, may be behind.
    let same_boot = now.boot.is_some() && now.boot == then.boot && now.since_boot >= then.since_boot;
    let (rule, passed) = if same_boot {
        (TimeRule::SameBoot, now.since_boot.saturating_sub(then.since_boot))
    } else if now.synchronized && then.synchronized {
        (TimeRule::Synchronized, now.wall.since(then.wall))
    } else {
        (TimeRule::Unknown, Duration::ZERO)
    };
    let time = (anchor.time + passed).max(earliest);
    Resumed { time, rule, passed: time.since(anchor.time) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;
    const TODAY: u64 = 1_790_000_000_000;

    fn at(boot: u8, since_boot: u64, wall: u64, synchronized: bool) -> MachineTime {
        let boot = Some(BootId([boot; 16]));
        MachineTime { boot, since_boot: Duration::from_millis(since_boot), wall: WallTime(wall), synchronized }
    }

    fn passed(then: MachineTime, now: MachineTime) -> (TimeRule, u64) {
        let anchor = Anchor { time: Timestamp(50), machine: then };
        let Resumed { time, rule, passed } = resume(Some(&anchor), Timestamp(0), &now);
        assert_eq!(time, Timestamp(50) + passed);
        (rule, time.0 - 50)
    }

    #[test]
    fn without_an_anchor_the_time_begins_at_the_wall_clock_but_not_before_the_stored_times() {
        let first = |earliest| resume(None, Timestamp(earliest), &at(1, 0, 7, false)).time;
        assert_eq!((first(3), first(9)), (Timestamp(7), Timestamp(9)));
    }

    #[test]
    fn within_a_boot_the_wall_clock_may_show_anything() {
        for (then, now) in [(0, TODAY), (TODAY, 0), (TODAY, TODAY), (TODAY, TODAY - HOUR)] {
            for synchronized in [false, true] {
                let result = passed(at(1, 1_000, then, synchronized), at(1, 4_000, now, true));
                assert_eq!(result, (TimeRule::SameBoot, 3_000));
            }
        }
    }

    #[test]
    fn after_another_boot_the_wall_clocks_count_if_both_were_synchronized() {
        let result = passed(at(1, 9_000, TODAY, true), at(2, 10, TODAY + HOUR, true));
        assert_eq!(result, (TimeRule::Synchronized, HOUR));
        let backwards = passed(at(1, 9_000, TODAY, true), at(2, 10, TODAY - HOUR, true));
        assert_eq!(backwards, (TimeRule::Synchronized, 0));
    }

    #[test]
    fn after_another_boot_nothing_passed_if_a_clock_was_not_synchronized() {
        for (then, now) in [(false, false), (false, true), (true, false)] {
            let result = passed(at(1, 9_000, 0, then), at(2, 99_000, TODAY, now));
            assert_eq!(result, (TimeRule::Unknown, 0));
        }
    }

    #[test]
    fn a_boot_time_clock_that_is_behind_or_a_boot_without_identifier_is_another_boot() {
        assert_eq!(passed(at(1, 9_000, 0, false), at(1, 10, TODAY, false)), (TimeRule::Unknown, 0));
        let nameless = |since| MachineTime { boot: None, ..at(1, since, 0, false) };
        assert_eq!(passed(nameless(1), nameless(5)), (TimeRule::Unknown, 0));
    }

    #[test]
    fn times_in_the_store_after_the_anchor_are_never_in_the_future() {
        let anchor = Anchor { time: Timestamp(50), machine: at(1, 0, 0, false) };
        let resumed = resume(Some(&anchor), Timestamp(80), &at(2, 0, TODAY, false));
        assert_eq!((resumed.time, resumed.passed), (Timestamp(80), Duration::from_millis(30)));
    }

    /// What happens to a machine and its broker.
    #[derive(Debug, Clone)]
    enum Step {
        /// Time passes while the broker runs.
        Run(u64),
        /// An anchor is stored.
        Store,
        /// The wall clock steps; that ends its synchronization.
        Wall(u64),
        /// The clock is synchronized.
        Synchronize,
        /// The broker is down for some time.
        Restart(u64),
        /// The machine is off for some time, and boots with the wall clock at this time.
        Boot(u64, Option<u64>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..2 * HOUR).prop_map(Step::Run),
            2 => Just(Step::Store),
            2 => (0..2 * TODAY).prop_map(Step::Wall),
            2 => Just(Step::Synchronize),
            2 => (0..2 * HOUR).prop_map(Step::Restart),
            2 => (0..2 * HOUR, proptest::option::of(0..2 * TODAY)).prop_map(|(off, wall)| Step::Boot(off, wall)),
        ];
        proptest::collection::vec(step, 1..60)
    }

    proptest! {
        /// The broker's time never runs faster than true time, and loses only what happened between the last anchor and a start that
        /// could not know. The clock of the machine follows `steps`.
        #[test]
        fn no_deadline_is_early_and_none_is_late_without_an_unknown_start(steps in steps()) {
            let (mut truth, mut booted, mut boot) = (TODAY, TODAY - HOUR, 0_u8);
            // The wall clock is right if it is synchronized.
            let (mut wall_error, mut synchronized) = (0_i64, true);
            let machine = |truth: u64, booted: u64, boot: u8, error: i64, synchronized: bool| {
                at(boot, truth - booted, truth.checked_add_signed(error).unwrap(), synchronized)
            };
            // The broker's time minus true time at the present run.
            let mut offset = 0_i64;
            let mut anchor = Anchor { time: Timestamp(truth), machine: machine(truth, booted, boot, 0, true) };
            let mut anchored_at = truth;
            let mut lost_max = 0_i64;
            for step in steps {
                let starts = match step {
                    Step::Run(time) => { truth += time; false }
                    Step::Store => {
                        let time = Timestamp(truth.checked_add_signed(offset).unwrap());
                        anchor = Anchor { time, machine: machine(truth, booted, boot, wall_error, synchronized) };
                        anchored_at = truth;
                        false
                    }
                    Step::Wall(to) => {
                        wall_error = i64::try_from(to).unwrap() - i64::try_from(truth).unwrap();
                        synchronized = false;
                        false
                    }
                    Step::Synchronize => { (wall_error, synchronized) = (0, true); false }
                    Step::Restart(down) => { truth += down; true }
                    Step::Boot(off, wall) => {
                        truth += off;
                        (booted, boot) = (truth, boot.wrapping_add(1));
                        synchronized = wall.is_none();
                        wall_error = wall.map_or(0, |wall| i64::try_from(wall).unwrap() - i64::try_from(truth).unwrap());
                        true
                    }
                };
                if starts {
                    let now = machine(truth, booted, boot, wall_error, synchronized);
                    let resumed = resume(Some(&anchor), anchor.time, &now);
                    let before = offset;
                    offset = i64::try_from(resumed.time.0).unwrap() - i64::try_from(truth).unwrap();
                    prop_assert!(resumed.time >= anchor.time);
                    prop_assert!(offset <= before, "time was counted that did not pass");
                    if resumed.rule == TimeRule::Unknown {
                        lost_max += i64::try_from(truth - anchored_at).unwrap();
                    }
                    prop_assert!(-offset <= lost_max, "{resumed:?} lost time without need");
                    // Each start stores an anchor before it stores a deadline.
                    (anchor, anchored_at) = (Anchor { time: resumed.time, machine: now }, truth);
                }
            }
        }
    }
}
