//! Continues the broker's time from the store, and keeps it there.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{RecordBytes, Recovered, StoredAnchor};
use crate::config::{AfterUnknownTime, Config};
use crate::server::clock::Clock;
use crate::server::log::log_line;
use crate::server::store::fetch::keys;
use crate::store::{Entry, Level, Room, Store, Urgency};
use crate::timestamp::{Anchor, MachineTime, Resumed, TimeRule, Timestamp};

/// The anchors of the broker's time in the store.
///
/// A new one is stored at the start, before any deadline of this run; then after 1, 2, 4, … seconds and every minute, so that at least half
/// of the time of each run counts, and after a loss of power at most a minute is unknown; when the wall clock steps or its synchronization changes, because the next start compares wall clocks; and at the end.
/// It is written, but not synced: a later record that is synced takes it along, and without such a record no deadline depends on it.
#[derive(Debug)]
pub(in crate::server) struct Anchors {
    store: Option<Arc<Store>>,
    clock: Clock,
    /// The time at the start.
    started: Timestamp,
    /// The source of its entries, which is not a shard.
    source: usize,
    written: u64,
    last: Anchor,
    /// Until when the anchors have [`StoredAnchor::expires_messages`].
    expires_messages_until: Option<Timestamp>,
}

/// Continues the time of the previous run, logs what decided, and stores the first anchor. If the time that passed is unknown, stored
/// messages expire by setting.
pub(in crate::server) fn resume(
    config: &Config,
    store: Option<Arc<Store>>,
    recovered: &mut Recovered,
    shards: usize,
) -> Anchors {
    let stored = recovered.anchor;
    let (clock, resumed) = Clock::resume(stored.map(|stored| stored.anchor).as_ref(), recovered.latest);
    let is_unknown = resumed.rule == TimeRule::Unknown || stored.is_some_and(|stored| stored.expires_messages);
    let expires = is_unknown && config.mqtt.message_expiry_after_unknown_time == AfterUnknownTime::Expire;
    if expires {
        recovered.expire_messages();
    }
    let last = clock.anchor();
    let expires_messages_until = expires.then(|| last.time + EXPIRY_TIME);
    let mut anchors =
        Anchors { store, clock, started: last.time, source: shards, written: 0, last, expires_messages_until };
    if anchors.store.is_some() {
        log_resumed(&resumed, &last.machine);
        // It may use the reserve of a full disk: a deadline without an anchor before it could be early.
        anchors.store(Room::Reserve);
    }
    anchors
}

impl Anchors {
    pub(in crate::server) const fn clock(&self) -> Clock {
        self.clock
    }

    /// Stores an anchor if it is time for one. Called once a second.
    pub(in crate::server) fn tick(&mut self) {
        let now = self.clock.anchor();
        let interval = self.last.time.since(self.started).clamp(INTERVAL_MIN, INTERVAL_MAX);
        if is_due(&self.last, &now, interval) {
            self.write();
        }
    }

    /// Stores an anchor. On a full disk, or after a failure of the store, the last one stays.
    pub(in crate::server) fn write(&mut self) {
        self.store(Room::Ordinary);
    }

    fn store(&mut self, room: Room) {
        self.last = self.clock.anchor();
        let Some(store) = &self.store else { return };
        let expires_messages = self.expires_messages_until.is_some_and(|until| self.last.time < until);
        let RecordBytes { body, puts, .. } = StoredAnchor { anchor: self.last, expires_messages }.to_bytes();
        self.written += 1;
        let (puts, level) = (keys(&puts), Level::Crash);
        let entry = Entry { body: &body, puts: &puts, parts: &[], deletes: &[], ends: None, level, room };
        if store.append_unannounced(self.source, self.written, Urgency::Unawaited, &entry).is_ok() {
            store.announce(Urgency::Unawaited);
        }
    }
}

/// Whether `now` is to be stored after `last`: after this interval, or earlier if the wall clock has stepped or the synchronization changed.
fn is_due(last: &Anchor, now: &Anchor, interval: Duration) -> bool {
    let (then, machine) = (&last.machine, &now.machine);
    // When the machine was booted, by the wall clock.
    let booted = |machine: &MachineTime| {
        i128::from(machine.wall.0) - i128::try_from(machine.since_boot.as_millis()).unwrap_or_default()
    };
    now.time.since(last.time) >= interval
        || machine.synchronized != then.synchronized
        || booted(machine).abs_diff(booted(then)) > STEP_MIN
}

fn log_resumed(resumed: &Resumed, machine: &MachineTime) {
    let Resumed { rule, passed, .. } = *resumed;
    let (rule_name, synchronized, passed_ms) = (rule.name(), machine.synchronized, milliseconds(passed));
    let sentence = match rule {
        TimeRule::First => "deadlines count from the wall clock at this first start".to_owned(),
        TimeRule::SameBoot => {
            format!("{passed:?} have passed since the last run, by the boot-time clock of the machine")
        }
        TimeRule::Synchronized => format!(
            "{passed:?} have passed since the last run, by the wall clock, which was synchronized then and is now"
        ),
        TimeRule::Unknown => {
            "the time since the last run is unknown and does not count: the machine was booted, and its wall \
                              clock was not synchronized at both ends"
                .to_owned()
        }
    };
    log_line!(TimeResumed { rule = rule_name, passed_ms, synchronized }, "time: {sentence}");
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The time between two anchors: a write of some hundred bytes. First as long as the broker has been running.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// A greater change of the wall clock, in milliseconds, is a step. Slewing changes less within [`INTERVAL_MAX`].
const STEP_MIN: u128 = 1_000;
/// How long the next start expires messages again, because their removal may not be in the store.
const EXPIRY_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::WallTime;

    #[test]
    fn an_anchor_is_due_each_minute_and_when_the_wall_clock_steps_or_its_synchronization_changes() {
        let at = |time: u64, wall: u64, synchronized| {
            let machine =
                MachineTime { boot: None, since_boot: Duration::from_millis(time), wall: WallTime(wall), synchronized };
            Anchor { time: Timestamp(time), machine }
        };
        let due = |last: &Anchor, now: &Anchor| is_due(last, now, INTERVAL_MAX);
        let last = at(100_000, 5_000_000, true);
        assert!(!due(&last, &at(159_999, 5_059_999, true)));
        assert!(due(&last, &at(160_000, 5_060_000, true)));
        assert!(due(&last, &at(101_000, 5_001_000, false)));
        assert!(!due(&last, &at(101_000, 5_001_900, true)), "slewed");
        assert!(due(&last, &at(101_000, 5_002_500, true)), "stepped forwards");
        assert!(due(&last, &at(101_000, 0, true)), "stepped backwards");
    }
}
