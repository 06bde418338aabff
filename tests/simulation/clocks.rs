//! The clocks of the machine, which step, are synchronized or not, and start again with each boot; and the broker's time.

use std::time::Duration;

use oncemq::broker::{Recovered, StoredAnchor};
use oncemq::store::sim::Loss;
use oncemq::timestamp::{Anchor, BootId, MachineTime, Resumed, TimeRule, Timestamp, WallTime, resume};

use crate::rng::Rng;
use crate::world::{Step, World};

/// The clocks of the machine.
#[derive(Debug)]
pub(crate) struct Clocks {
    boot: u8,
    booted_at: u64,
    /// The right wall clock is [`WALL`] ahead of the time of the world; this one is so many milliseconds later. 0 while it is synchronized.
    wall_error: i64,
    synchronized: bool,
    /// The broker's time is so many milliseconds ahead of that of the world.
    offset: i64,
    /// The downtimes that did not count: when the broker started again, and how much time the broker's clock lost.
    lost: Vec<(u64, u64)>,
    /// All stored anchors, each with `offset` and the length of `lost` at that time. A crash may lose those of whole runs, and with them all
    /// their records; then it is as if these runs had not been.
    stored: Vec<(Anchor, i64, usize)>,
}

impl Clocks {
    pub(crate) const fn new(now: u64) -> Self {
        let (wall_error, synchronized) = (0, true);
        Self { boot: 0, booted_at: now, wall_error, synchronized, offset: 0, lost: Vec::new(), stored: Vec::new() }
    }

    /// How much time the broker's clock lost after this time of the world: by so much deadlines may be late that were set then.
    pub(crate) fn lost_since(&self, then: u64) -> u64 {
        self.lost.iter().filter(|(at, _)| *at > then).map(|(_, time)| time).sum()
    }

    fn machine_time(&self, now: u64) -> MachineTime {
        MachineTime {
            boot: Some(BootId([self.boot; 16])),
            since_boot: Duration::from_millis(now - self.booted_at),
            wall: WallTime((now + WALL).checked_add_signed(self.wall_error).unwrap()),
            synchronized: self.synchronized,
        }
    }

    /// Steps the wall clock, which ends its synchronization, or synchronizes it.
    fn change(&mut self, rng: &mut Rng) {
        self.synchronized = rng.percent(50);
        let error = i64::try_from(rng.between(0, WALL)).unwrap();
        self.wall_error = match rng.index(3) {
            _ if self.synchronized => 0,
            0 => -error,
            1 => error,
            _ => -i64::try_from(WALL).unwrap(),
        };
    }

    /// The machine may boot while the broker is down.
    fn restart(&mut self, now: u64, loss: Loss, rng: &mut Rng) {
        if loss == Loss::Power || rng.percent(30) {
            self.boot = self.boot.wrapping_add(1);
            self.booted_at = now;
        }
        if rng.percent(60) {
            self.change(rng);
        }
    }

    /// Continues the broker's time at a start.
    fn resume(&mut self, now: u64, recovered: &Recovered) -> Result<Resumed, String> {
        let anchor = recovered.anchor.map(|stored| stored.anchor);
        let resumed = resume(anchor.as_ref(), recovered.latest, &self.machine_time(now));
        if resumed.rule == TimeRule::First {
            // A crash has lost everything; or power loss took the first anchor of the first run, whose time was that of the wall clock.
            let is_empty = recovered.sessions.is_empty() && recovered.latest == Timestamp::default();
            let is_first = self.lost.is_empty();
            return if is_empty || is_first {
                Ok(resumed)
            } else {
                Err("there is state without an anchor of the time".to_owned())
            };
        }
        let of_run = self.stored.iter().rfind(|(stored, ..)| Some(*stored) == anchor).ok_or("an unknown anchor")?;
        let (_, before, losses) = *of_run;
        self.lost.truncate(losses);
        let offset = i64::try_from(resumed.time.0).unwrap() - i64::try_from(now).unwrap();
        let lost = u64::try_from(before - offset)
            .map_err(|_| format!("{resumed:?} counts time that did not pass: {offset} after {before}"))?;
        if lost > 0 && resumed.rule != TimeRule::Unknown {
            return Err(format!("{resumed:?} loses {lost} ms, which are known"));
        }
        self.offset = offset;
        self.lost.push((now, lost));
        Ok(resumed)
    }
}

impl World {
    /// The broker's time.
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp(self.now.checked_add_signed(self.clocks.offset).unwrap())
    }

    /// When the broker's time reaches `time`, if it runs until then.
    pub(crate) fn when(&self, time: Timestamp) -> u64 {
        time.0.checked_add_signed(-self.clocks.offset).unwrap_or_default()
    }

    /// Stores the first anchor, as each start does before it stores a deadline.
    pub(crate) fn begin_anchors(&mut self) {
        if self.mix.crash_every.is_some() {
            self.store_anchor();
        }
    }

    /// Changes the clocks of the machine from time to time, and stores an anchor.
    pub(crate) fn store_anchor(&mut self) {
        let machine = self.clocks.machine_time(self.now);
        let anchor = Anchor { time: self.time(), machine };
        self.trace.note(self.now, None, || format!("stores {anchor:?}"));
        self.clocks.stored.push((anchor, self.clocks.offset, self.clocks.lost.len()));
        self.log.append_anchor(&StoredAnchor { anchor, expires_messages: false });
        self.sync_soon();
        if self.crash_rng.percent(20) {
            self.clocks.change(&mut self.crash_rng);
        }
        let interval = self.crash_rng.pick(&[20, 200, 1_000]);
        self.schedule(interval, Step::Anchor);
    }

    /// Continues the broker's time after a crash.
    pub(crate) fn resume_time(&mut self, recovered: &Recovered) -> Result<(), String> {
        self.clocks.restart(self.now, self.mix.loss, &mut self.crash_rng);
        let resumed = self.clocks.resume(self.now, recovered)?;
        self.trace.note(self.now, None, || format!("the time is {resumed:?}"));
        Ok(())
    }
}

/// What a right wall clock is ahead of the time of the world, in milliseconds.
const WALL: u64 = 1_790_000_000_000;
