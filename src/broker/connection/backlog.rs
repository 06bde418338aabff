//! What a receiver that is behind knows of itself: whether publishers wait for it, and how long they still may.

use std::collections::HashSet;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::broker::ids::{ConnectionId, Origin};
use crate::routing::ShardId;
use crate::timestamp::Timestamp;

/// Whether a receiver keeps up with what it is sent. It owns no memory before it was behind once.
#[derive(Debug, Default)]
pub(in crate::broker) struct Backlog(Option<Box<Behind>>);

#[derive(Debug)]
struct Behind {
    state: State,
    publishers: Publishers,
    budget: HoldBudget,
}

/// The publishers that wait for a receiver, each once. It may be the receiver of all clients there are, so they are not looked through for
/// each message.
#[derive(Debug, Default)]
struct Publishers {
    in_order: Vec<Origin>,
    known: HashSet<(ShardId, ConnectionId), RandomState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has caught up.
    KeepsUp,
    /// Publishers wait for it, but not longer than until then.
    Holds {
        until: Timestamp,
        /// Since when it costs something of the budget; `None`: it delays nobody but those whose only receiver it is.
        charged_since: Option<Timestamp>,
    },
    /// Nobody waits any more, and what is too much is dropped or queued until it has caught up.
    Slow,
}

/// How long publishers may still be made wait: a token bucket. The default one is full.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct HoldBudget {
    /// In milliseconds, times [`RECEIVER_SHARE`] or [`SHARD_SHARE`].
    left: u64,
    /// As of then.
    at: Timestamp,
}

/// What becomes of a publisher of a receiver that is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// It waits, as others do.
    Goes,
    /// It waits, and until then at the most.
    Until(Timestamp),
    /// Nobody waits for a receiver that is slow.
    No,
    /// The receiver is slow from now on: these wait no longer.
    Slow(Vec<Origin>),
}

impl Backlog {
    /// Whether publishers wait for it, or would have to if it were not slow.
    pub(super) fn is_congested(&self) -> bool {
        self.0.as_ref().is_some_and(|behind| behind.state != State::KeepsUp)
    }

    /// Whether nobody waits for it although it is behind.
    pub(super) fn is_slow(&self) -> bool {
        self.0.as_ref().is_some_and(|behind| behind.state == State::Slow)
    }

    /// It is full: whether the publisher `origin` of a message to it is to wait.
    pub(super) fn hold(&mut self, origin: Option<Origin>, mut time: HoldTime<'_>) -> Holding {
        let new = || {
            Box::new(Behind { state: State::KeepsUp, publishers: Publishers::default(), budget: HoldBudget::default() })
        };
        let behind = self.0.get_or_insert_with(new);
        let is_charged = !origin.is_some_and(|origin| origin.is_sole);
        match behind.state {
            State::Slow => Holding::No,
            State::Holds { until, charged_since: None } if is_charged => behind.charge_from(Some(until), &mut time),
            State::Holds { .. } => Holding::Goes,
            State::KeepsUp if is_charged => behind.charge_from(None, &mut time),
            State::KeepsUp => {
                let until = time.now + time.grace;
                behind.state = State::Holds { until, charged_since: None };
                Holding::Until(until)
            }
        }
    }

    /// Adds a publisher that waits. `false` if it does already, or if nobody does.
    pub(super) fn add(&mut self, origin: Origin) -> bool {
        let Some(behind) = self.0.as_mut().filter(|behind| matches!(behind.state, State::Holds { .. })) else {
            return false;
        };
        behind.publishers.add(origin)
    }

    /// It has caught up: returns those that waited.
    pub(super) fn caught_up(&mut self, mut time: HoldTime<'_>) -> Vec<Origin> {
        self.0.as_mut().map(|behind| behind.stop(State::KeepsUp, &mut time)).unwrap_or_default()
    }

    /// If its time is over, it is slow from now on: returns those that waited.
    pub(super) fn end_if_due(&mut self, mut time: HoldTime<'_>) -> Vec<Origin> {
        let is_due =
            |behind: &&mut Box<Behind>| matches!(behind.state, State::Holds { until, .. } if until <= time.now);
        let due = self.0.as_mut().filter(is_due);
        due.map(|behind| behind.stop(State::Slow, &mut time)).unwrap_or_default()
    }

    /// Whether a publisher waits for this receiver.
    #[cfg(test)]
    pub(in crate::broker) fn holds(&self, origin: Origin) -> bool {
        self.0.as_ref().is_some_and(|behind| behind.publishers.in_order.contains(&origin))
    }
}

impl Behind {
    /// Publishers wait that others may wait for: from now on it costs something, if there is enough left.
    fn charge_from(&mut self, at_most: Option<Timestamp>, time: &mut HoldTime<'_>) -> Holding {
        let left = time.left(&mut self.budget);
        if left < time.grace / HOLD_MIN_SHARE {
            return Holding::Slow(self.stop(State::Slow, time));
        }
        let until = at_most.unwrap_or(time.now + left).min(time.now + left);
        time.begin(until.since(time.now));
        self.state = State::Holds { until, charged_since: Some(time.now) };
        Holding::Until(until)
    }

    /// Pays for the time that publishers have waited, and returns them.
    fn stop(&mut self, state: State, time: &mut HoldTime<'_>) -> Vec<Origin> {
        if let State::Holds { charged_since: Some(since), until } = self.state {
            time.end(&mut self.budget, since, until);
        }
        self.state = state;
        std::mem::take(&mut self.publishers).in_order
    }
}

impl Publishers {
    /// Adds one. `false` if it was there.
    fn add(&mut self, origin: Origin) -> bool {
        let is_new = self.known.insert((origin.shard, origin.connection));
        if is_new {
            self.in_order.push(origin);
        }
        is_new
    }
}

/// The budgets that the holds of a receiver draw on: its own, and that of all receivers of its shard.
pub(super) struct HoldTime<'a> {
    pub(super) now: Timestamp,
    pub(super) grace: Duration,
    pub(super) of_shard: &'a mut HoldBudget,
}

impl HoldTime<'_> {
    /// How long a receiver with this budget may have publishers wait from now on.
    fn left(&mut self, own: &mut HoldBudget) -> Duration {
        let of_shard = self.of_shard.refilled(self.now, self.grace, SHARD_SHARE);
        own.refilled(self.now, self.grace, RECEIVER_SHARE).min(of_shard).min(self.grace / HOLD_MAX_SHARE)
    }

    /// Publishers wait for so long at the most: what the shard has for that is taken, so that others don't take it as well.
    fn begin(&mut self, hold: Duration) {
        self.of_shard.spend(milliseconds(hold).saturating_mul(SHARD_SHARE), self.now);
    }

    /// They waited since then, and might have until then.
    fn end(&mut self, own: &mut HoldBudget, since: Timestamp, until: Timestamp) {
        own.spend(milliseconds(self.now.since(since)).saturating_mul(RECEIVER_SHARE), self.now);
        let unused = milliseconds(until.since(self.now)).saturating_mul(SHARD_SHARE);
        self.of_shard.left = self.of_shard.left.saturating_add(unused);
    }
}

impl HoldBudget {
    /// What is left of it after it was refilled with one part in `share` of the time that has passed.
    fn refilled(&mut self, now: Timestamp, grace: Duration, share: u64) -> Duration {
        let capacity = milliseconds(grace).saturating_mul(share);
        self.left = self.left.saturating_add(milliseconds(now.since(self.at))).min(capacity);
        self.at = self.at.max(now);
        Duration::from_millis(self.left / share)
    }

    fn spend(&mut self, spent: u64, now: Timestamp) {
        self.left = self.left.saturating_sub(spent);
        self.at = self.at.max(now);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A receiver may have publishers wait for one part in so many of all time, and all receivers of a shard together for this one.
const RECEIVER_SHARE: u64 = 50;
const SHARD_SHARE: u64 = 20;

/// For this part of the grace at the most at a time, so that what others get is late by no more; and not at all with less than
/// [`HOLD_MIN_SHARE`] left, so that a slow receiver stops its publishers seldom rather than briefly and again and again.
const HOLD_MAX_SHARE: u32 = 10;
const HOLD_MIN_SHARE: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::ids::ConnectionId;
    use crate::routing::ShardId;

    const GRACE: Duration = Duration::from_millis(400);

    fn publisher(slot: u32, is_sole: bool) -> Option<Origin> {
        Some(Origin { is_sole, ..Origin::new(ShardId(0), ConnectionId { slot, generation: 0 }) })
    }

    fn time(milliseconds: u64, of_shard: &mut HoldBudget) -> HoldTime<'_> {
        HoldTime { now: Timestamp(BEGIN + milliseconds), grace: GRACE, of_shard }
    }

    const BEGIN: u64 = 1_000_000;

    /// Receivers that are full again as soon as they have caught up, which takes `draining` each time. Returns for how many milliseconds
    /// of `total` publishers wait for any of them.
    fn waited(receivers: usize, draining: u64, total: u64, is_sole: bool) -> u64 {
        let (mut of_shard, mut waited) = (HoldBudget::default(), 0);
        let mut backlogs: Vec<Backlog> = (0..receivers).map(|_| Backlog::default()).collect();
        for now in 0..total {
            let mut is_held = false;
            for (number, backlog) in backlogs.iter_mut().enumerate() {
                backlog.end_if_due(time(now, &mut of_shard));
                if (now + number as u64).is_multiple_of(draining) {
                    backlog.caught_up(time(now, &mut of_shard));
                    let origin = publisher(1, is_sole);
                    match backlog.hold(origin, time(now, &mut of_shard)) {
                        Holding::Until(_) => assert!(backlog.add(origin.unwrap())),
                        Holding::Slow(publishers) => assert!(publishers.is_empty()),
                        Holding::No | Holding::Goes => panic!(),
                    }
                }
                is_held |= backlog.holds(publisher(1, is_sole).unwrap());
            }
            waited += u64::from(is_held);
        }
        waited
    }

    #[test]
    fn receiver_that_is_always_full_takes_its_grace_and_then_a_fiftieth_of_all_time() {
        for draining in [10, 64, 400] {
            let total = 100_000;
            let waited = waited(1, draining, total, false);
            assert!(
                (total / 60..=400 + total / 50 + 50).contains(&waited),
                "{waited} of {total} ms, {draining} ms each"
            );
        }
    }

    #[test]
    fn all_receivers_of_a_shard_together_take_a_twentieth_of_all_time() {
        for receivers in [5, 20, 100] {
            let total = 20_000;
            let waited = waited(receivers, 64, total, false);
            assert!(waited <= 400 + total / 20 + 50, "{waited} of {total} ms for {receivers}");
        }
    }

    #[test]
    fn publisher_with_no_other_receiver_waits_as_long_as_it_takes_and_for_the_grace_at_most_each_time() {
        assert_eq!(waited(1, 64, 64_000, true), 64_000);
        assert_eq!(waited(1, 1_000, 64_000, true), 64 * 400);
    }

    #[test]
    fn publisher_that_waits_already_waits_once_and_a_hold_ends_in_time() {
        let (mut backlog, shard) = (Backlog::default(), &mut HoldBudget::default());
        assert_eq!(backlog.hold(publisher(1, false), time(0, shard)), Holding::Until(Timestamp(BEGIN + 40)));
        assert!(backlog.add(publisher(1, false).unwrap()));
        assert!(!backlog.add(publisher(1, false).unwrap()));
        assert_eq!(backlog.hold(publisher(2, false), time(1, shard)), Holding::Goes);
        assert!(backlog.add(publisher(2, false).unwrap()));
        assert_eq!(backlog.end_if_due(time(39, shard)), []);
        assert_eq!(backlog.end_if_due(time(40, shard)).len(), 2);
        assert!(backlog.is_slow());
        assert_eq!(backlog.hold(publisher(1, true), time(51, shard)), Holding::No);
        assert_eq!(backlog.caught_up(time(100, shard)), []);
        assert!(!backlog.is_congested());
    }

    #[test]
    fn receiver_of_very_many_publishers_looks_none_of_them_through() {
        let (mut backlog, shard) = (Backlog::default(), &mut HoldBudget::default());
        backlog.hold(publisher(0, true), time(0, shard));
        let all = 0..200_000;
        assert!(all.clone().all(|slot| backlog.add(publisher(slot, true).unwrap())));
        assert!(!all.clone().any(|slot| backlog.add(publisher(slot, true).unwrap())));
        let released = backlog.caught_up(time(1, shard));
        assert!(released.iter().map(|origin| origin.connection.slot).eq(all), "in the order in which they came");
    }

    #[test]
    fn another_publisher_makes_a_hold_cost_something() {
        let (mut backlog, shard) = (Backlog::default(), &mut HoldBudget::default());
        for begin in (0..800).step_by(50) {
            backlog.caught_up(time(begin, shard));
            backlog.hold(publisher(1, false), time(begin, shard));
            backlog.end_if_due(time(begin + 50, shard));
        }
        backlog.caught_up(time(900, shard));
        // Nothing is left: the one that waits for this receiver alone goes as well when another comes.
        assert_eq!(backlog.hold(publisher(1, true), time(910, shard)), Holding::Until(Timestamp(BEGIN + 910 + 400)));
        assert!(backlog.add(publisher(1, true).unwrap()));
        let released = vec![publisher(1, true).unwrap()];
        assert_eq!(backlog.hold(publisher(2, false), time(920, shard)), Holding::Slow(released));
        assert!(backlog.is_slow());
    }
}
