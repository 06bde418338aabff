//! The backlog of a receiver: whether its publishers are paused, and for how long they may still be.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::broker::ids::{ConnectionId, Origin};
use crate::routing::ShardId;
use crate::timestamp::Timestamp;

/// Whether a receiver reads its messages as fast as they come. It allocates nothing before the receiver first falls behind.
#[derive(Debug, Default)]
pub(in crate::broker) struct Backlog(Option<Box<BacklogState>>);

#[derive(Debug)]
struct BacklogState {
    state: State,
    /// The publishers that are paused for this receiver.
    publishers: Publishers,
    budget: PauseBudget,
    /// How many publishers the next slice resumes, from 1 to [`SLICE_MAX`].
    slice: usize,
    /// When the last slice was resumed.
    resumed_at: Option<Timestamp>,
    /// Whether a message was dropped since then.
    has_dropped: bool,
    /// The time of the latest timer for the end of a pause.
    armed: Timestamp,
}

/// The paused publishers of one receiver, each once. Lookup takes constant time, because every client may publish to the same receiver.
#[derive(Debug, Default)]
struct Publishers {
    in_order: VecDeque<Origin>,
    known: HashSet<(ShardId, ConnectionId), RandomState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No publisher is paused.
    KeepingUp,
    /// Publishers are paused, until `until` at most.
    Pausing {
        until: Timestamp,
        /// The time from which the pause is charged to the budget; `None`: not charged, because this is the only receiver of all paused publishers.
        charged_since: Option<Timestamp>,
    },
    /// No publisher is paused. Until the receiver catches up, excess messages are dropped at QoS 0 and queued at QoS 1 and 2.
    Slow,
}

/// The time for which publishers may still be paused: a token bucket. The default is a full bucket.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct PauseBudget {
    /// In milliseconds, multiplied by [`RECEIVER_SHARE`] or [`SHARD_SHARE`].
    left: u64,
    /// When `left` was last updated.
    at: Timestamp,
}

/// Whether the publisher of a message to a full receiver is paused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PauseDecision {
    /// Paused; other publishers are paused for the receiver already.
    Join,
    /// Paused, until this time at most.
    Until(Timestamp),
    /// Not paused: the receiver is slow.
    AlreadySlow,
    /// Not paused: the receiver becomes slow now. These publishers are to be resumed.
    BecomesSlow(Vec<Origin>),
}

/// The publishers to be resumed when the receiver has caught up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) publishers: Vec<Origin>,
    /// Whether others wait for the next slice, which the caller resumes after [`SLICE_INTERVAL`] if the receiver is still caught up.
    pub(super) more: bool,
}

impl Backlog {
    /// Whether publishers are paused for it, or it is slow.
    pub(super) fn is_congested(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.state != State::KeepingUp)
    }

    /// Whether it has used up its budget and has not caught up since.
    pub(super) fn is_slow(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.state == State::Slow)
    }

    /// Decides for a full receiver whether the publisher `origin` of a message to it is paused.
    pub(super) fn decide(&mut self, origin: Option<Origin>, mut time: PauseBudgets<'_>) -> PauseDecision {
        let inner = self.0.get_or_insert_with(Box::default);
        let is_charged = !origin.is_some_and(|origin| origin.is_sole);
        match inner.state {
            State::Slow => PauseDecision::AlreadySlow,
            State::Pausing { until, charged_since: None } if is_charged => inner.charge_from(Some(until), &mut time),
            State::Pausing { .. } => PauseDecision::Join,
            State::KeepingUp if is_charged => inner.charge_from(None, &mut time),
            State::KeepingUp => {
                let until = time.now + time.grace;
                inner.state = State::Pausing { until, charged_since: None };
                PauseDecision::Until(until)
            }
        }
    }

    /// Adds a paused publisher. Returns `false` if it is paused already, or if the receiver pauses no publishers.
    pub(super) fn add(&mut self, origin: Origin) -> bool {
        let Some(inner) = self.0.as_mut().filter(|inner| matches!(inner.state, State::Pausing { .. })) else {
            return false;
        };
        inner.publishers.add(origin)
    }

    /// The receiver has caught up. Returns the next slice of its publishers: all at once would fill its outgoing buffer with one message
    /// each, and beyond the buffer QoS 0 messages are dropped.
    ///
    /// The others stay paused. A receiver that has caught up may pause them for the grace again, if the pause is not charged.
    pub(super) fn caught_up(&mut self, mut time: PauseBudgets<'_>) -> Slice {
        let Some(inner) = &mut self.0 else { return Slice::default() };
        let now = time.now;
        if let State::Pausing { until, charged_since } = inner.state
            && until > now
        {
            if inner.resumed_at == Some(now) {
                return Slice { publishers: Vec::new(), more: true };
            }
            inner.adapt_slice(now);
            if inner.publishers.in_order.len() > inner.slice {
                if charged_since.is_none() {
                    inner.state = State::Pausing { until: now + time.grace, charged_since };
                }
                return Slice { publishers: inner.publishers.take(inner.slice), more: true };
            }
        }
        Slice { publishers: inner.stop(State::KeepingUp, &mut time), more: false }
    }

    /// Ends a pause. Returns all publishers, which are to be resumed.
    pub(super) fn end(&mut self, mut time: PauseBudgets<'_>) -> Vec<Origin> {
        self.0.as_mut().map(|inner| inner.stop(State::KeepingUp, &mut time)).unwrap_or_default()
    }

    /// A message to the receiver was dropped. If it was sent by a publisher of the last slice, the slice was too large for the outgoing buffer.
    pub(super) fn dropped(&mut self) {
        if let Some(inner) = self.0.as_mut().filter(|inner| matches!(inner.state, State::Pausing { .. })) {
            inner.has_dropped = true;
        }
    }

    /// The time at which the caller sets a timer for the end of the pause; `None`: there is no pause, or a timer is set already.
    pub(super) fn arm(&mut self, now: Timestamp) -> Option<Timestamp> {
        let inner = self.0.as_mut()?;
        let State::Pausing { until, .. } = inner.state else { return None };
        let is_armed = now < inner.armed && inner.armed <= until;
        (!is_armed).then(|| {
            inner.armed = until;
            until
        })
    }

    /// Makes the receiver slow if the time for its pause is over. Returns the publishers to be resumed.
    pub(super) fn end_if_due(&mut self, mut time: PauseBudgets<'_>) -> Vec<Origin> {
        let is_due =
            |inner: &&mut Box<BacklogState>| matches!(inner.state, State::Pausing { until, .. } if until <= time.now);
        let due = self.0.as_mut().filter(is_due);
        due.map(|inner| inner.stop(State::Slow, &mut time)).unwrap_or_default()
    }

    /// Whether a publisher is paused for this receiver.
    #[cfg(test)]
    pub(in crate::broker) fn pauses(&self, origin: Origin) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.publishers.in_order.contains(&origin))
    }
}

impl Default for BacklogState {
    fn default() -> Self {
        Self {
            state: State::KeepingUp,
            publishers: Publishers::default(),
            budget: PauseBudget::default(),
            slice: SLICE_MAX,
            resumed_at: None,
            has_dropped: false,
            armed: Timestamp::default(),
        }
    }
}

impl BacklogState {
    /// Charges the pause to the budget from now on, because a paused publisher has other receivers. If too little is left, the receiver
    /// becomes slow.
    fn charge_from(&mut self, at_most: Option<Timestamp>, time: &mut PauseBudgets<'_>) -> PauseDecision {
        let left = time.left(&mut self.budget);
        if left < time.grace / PAUSE_MIN_SHARE {
            return PauseDecision::BecomesSlow(self.stop(State::Slow, time));
        }
        let until = at_most.unwrap_or(time.now + left).min(time.now + left);
        time.begin(until.since(time.now));
        self.state = State::Pausing { until, charged_since: Some(time.now) };
        PauseDecision::Until(until)
    }

    /// Begins a slice: half as large as the last one if a message was dropped since, otherwise twice as large.
    fn adapt_slice(&mut self, now: Timestamp) {
        let dropped = std::mem::take(&mut self.has_dropped);
        self.slice = if dropped { (self.slice / 2).max(1) } else { (self.slice * 2).min(SLICE_MAX) };
        self.resumed_at = Some(now);
    }

    /// Ends the pause, charges its time to the budget, and returns the paused publishers.
    fn stop(&mut self, state: State, time: &mut PauseBudgets<'_>) -> Vec<Origin> {
        if let State::Pausing { charged_since: Some(since), until } = self.state {
            time.end(&mut self.budget, since, until);
        }
        self.state = state;
        std::mem::take(&mut self.publishers).in_order.into()
    }
}

impl Publishers {
    /// Adds a publisher. Returns `false` if it was present.
    fn add(&mut self, origin: Origin) -> bool {
        let is_new = self.known.insert((origin.shard, origin.connection));
        if is_new {
            self.in_order.push_back(origin);
        }
        is_new
    }

    /// Removes and returns the first `count` publishers.
    fn take(&mut self, count: usize) -> Vec<Origin> {
        let taken: Vec<Origin> = self.in_order.drain(..count.min(self.in_order.len())).collect();
        for origin in &taken {
            self.known.remove(&(origin.shard, origin.connection));
        }
        taken
    }
}

/// The budgets that a receiver's pauses are charged to: that of the receiver, which [`Backlog`] has, and that of all receivers of the shard.
pub(super) struct PauseBudgets<'a> {
    pub(super) now: Timestamp,
    pub(super) grace: Duration,
    pub(super) of_shard: &'a mut PauseBudget,
}

impl PauseBudgets<'_> {
    /// How long a receiver with this budget may pause its publishers from now on.
    fn left(&mut self, own: &mut PauseBudget) -> Duration {
        let of_shard = self.of_shard.refilled(self.now, self.grace, SHARD_SHARE);
        own.refilled(self.now, self.grace, RECEIVER_SHARE).min(of_shard).min(self.grace / PAUSE_MAX_SHARE)
    }

    /// Reserves a pause of at most `pause` in the budget of the shard.
    fn begin(&mut self, pause: Duration) {
        self.of_shard.spend(milliseconds(pause).saturating_mul(SHARD_SHARE), self.now);
    }

    /// Charges a pause that began at `since` to the receiver's budget, and returns the unused reservation up to `until` to the shard's.
    fn end(&mut self, own: &mut PauseBudget, since: Timestamp, until: Timestamp) {
        own.spend(milliseconds(self.now.since(since)).saturating_mul(RECEIVER_SHARE), self.now);
        let unused = milliseconds(until.since(self.now)).saturating_mul(SHARD_SHARE);
        self.of_shard.left = self.of_shard.left.saturating_add(unused);
    }
}

impl PauseBudget {
    /// Refills the budget with one part in `share` of the time that has passed, up to `grace`, and returns it.
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

/// In the long run, a receiver may pause its publishers for one part in `RECEIVER_SHARE` of the time, and all receivers of a shard together
/// for one part in `SHARD_SHARE`.
const RECEIVER_SHARE: u64 = 50;
const SHARD_SHARE: u64 = 20;

/// One pause lasts for at most one part in `PAUSE_MAX_SHARE` of the grace, which bounds the delay of other receivers. It begins only with at
/// least one part in [`PAUSE_MIN_SHARE`] left, so that a slow receiver causes few pauses rather than many short ones.
const PAUSE_MAX_SHARE: u32 = 10;
const PAUSE_MIN_SHARE: u32 = 20;

/// The greatest number of publishers that are resumed at once.
const SLICE_MAX: usize = 64;

/// The time between two slices, in which the publishers of the first send.
pub(super) const SLICE_INTERVAL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::ids::ConnectionId;
    use crate::routing::ShardId;

    const GRACE: Duration = Duration::from_millis(400);

    fn publisher(slot: u32, is_sole: bool) -> Option<Origin> {
        Some(Origin { is_sole, ..Origin::new(ShardId(0), ConnectionId { slot, generation: 0 }) })
    }

    fn time(milliseconds: u64, of_shard: &mut PauseBudget) -> PauseBudgets<'_> {
        PauseBudgets { now: Timestamp(BEGIN + milliseconds), grace: GRACE, of_shard }
    }

    const BEGIN: u64 = 1_000_000;

    /// Simulates receivers that are full again as soon as they have caught up, which takes `draining` milliseconds. Returns for how many of
    /// `total` milliseconds a publisher is paused for any of them.
    fn waited(receivers: usize, draining: u64, total: u64, is_sole: bool) -> u64 {
        let (mut of_shard, mut waited) = (PauseBudget::default(), 0);
        let mut backlogs: Vec<Backlog> = (0..receivers).map(|_| Backlog::default()).collect();
        for now in 0..total {
            let mut is_paused = false;
            for (number, backlog) in backlogs.iter_mut().enumerate() {
                backlog.end_if_due(time(now, &mut of_shard));
                if (now + number as u64).is_multiple_of(draining) {
                    backlog.caught_up(time(now, &mut of_shard));
                    let origin = publisher(1, is_sole);
                    match backlog.decide(origin, time(now, &mut of_shard)) {
                        PauseDecision::Until(_) => assert!(backlog.add(origin.unwrap())),
                        PauseDecision::BecomesSlow(publishers) => assert!(publishers.is_empty()),
                        PauseDecision::AlreadySlow | PauseDecision::Join => panic!(),
                    }
                }
                is_paused |= backlog.pauses(publisher(1, is_sole).unwrap());
            }
            waited += u64::from(is_paused);
        }
        waited
    }

    #[test]
    fn receiver_that_is_always_full_uses_its_grace_and_then_a_fiftieth_of_the_time() {
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
    fn all_receivers_of_a_shard_together_use_a_twentieth_of_the_time() {
        for receivers in [5, 20, 100] {
            let total = 20_000;
            let waited = waited(receivers, 64, total, false);
            assert!(waited <= 400 + total / 20 + 50, "{waited} of {total} ms for {receivers}");
        }
    }

    #[test]
    fn publisher_with_a_sole_receiver_is_paused_without_charge_and_for_the_grace_at_most() {
        assert_eq!(waited(1, 64, 64_000, true), 64_000);
        assert_eq!(waited(1, 1_000, 64_000, true), 64 * 400);
    }

    #[test]
    fn paused_publisher_is_added_once_and_a_pause_ends_in_time() {
        let (mut backlog, shard) = (Backlog::default(), &mut PauseBudget::default());
        assert_eq!(backlog.decide(publisher(1, false), time(0, shard)), PauseDecision::Until(Timestamp(BEGIN + 40)));
        assert!(backlog.add(publisher(1, false).unwrap()));
        assert!(!backlog.add(publisher(1, false).unwrap()));
        assert_eq!(backlog.decide(publisher(2, false), time(1, shard)), PauseDecision::Join);
        assert!(backlog.add(publisher(2, false).unwrap()));
        assert_eq!(backlog.end_if_due(time(39, shard)), []);
        assert_eq!(backlog.end_if_due(time(40, shard)).len(), 2);
        assert!(backlog.is_slow());
        assert_eq!(backlog.decide(publisher(1, true), time(51, shard)), PauseDecision::AlreadySlow);
        assert_eq!(backlog.caught_up(time(100, shard)), Slice::default());
        assert!(!backlog.is_congested());
    }

    #[test]
    fn a_publisher_is_found_without_a_search_through_the_others() {
        let (mut backlog, shard) = (Backlog::default(), &mut PauseBudget::default());
        backlog.decide(publisher(0, true), time(0, shard));
        let all = 0..200_000;
        assert!(all.clone().all(|slot| backlog.add(publisher(slot, true).unwrap())));
        assert!(!all.clone().any(|slot| backlog.add(publisher(slot, true).unwrap())));
        let released = backlog.end(time(1, shard));
        assert!(released.iter().map(|origin| origin.connection.slot).eq(all), "in the order in which they were paused");
    }

    #[test]
    fn publishers_are_resumed_in_slices_and_a_slice_that_was_too_large_is_halved() {
        let (mut backlog, shard) = (Backlog::default(), &mut PauseBudget::default());
        backlog.decide(publisher(0, true), time(0, shard));
        assert!((0..200).all(|slot| backlog.add(publisher(slot, true).unwrap())));
        let mut slices = Vec::new();
        for now in 1..7 {
            let slice = backlog.caught_up(time(now, shard));
            slices.push(slice.publishers.len());
            assert_eq!(slice.more, now < 5, "{now}");
            assert_eq!(backlog.caught_up(time(now, shard)).publishers, [], "one slice at a time");
            if now < 3 {
                backlog.dropped();
                backlog.dropped();
            }
        }
        assert_eq!(slices, [64, 32, 16, 32, 56, 0]);
        assert!(!backlog.is_congested());
    }

    #[test]
    fn receiver_that_catches_up_pauses_for_the_grace_again_if_that_is_not_charged() {
        for is_sole in [true, false] {
            let (mut backlog, shard) = (Backlog::default(), &mut PauseBudget::default());
            backlog.decide(publisher(0, is_sole), time(0, shard));
            assert!((0..200).all(|slot| backlog.add(publisher(slot, is_sole).unwrap())));
            assert!(backlog.caught_up(time(30, shard)).more);
            assert_eq!(backlog.end_if_due(time(39, shard)), []);
            let end = if is_sole { 430 } else { 40 };
            assert_eq!(backlog.caught_up(time(end, shard)).publishers.len(), 136, "it is over: all at once");
        }
    }

    #[test]
    fn timer_of_a_pause_is_set_once_until_it_is_due() {
        let (mut backlog, shard) = (Backlog::default(), &mut PauseBudget::default());
        let arm = |backlog: &mut Backlog, now| backlog.arm(Timestamp(BEGIN + now)).map(|at| at.0 - BEGIN);
        assert_eq!(arm(&mut backlog, 0), None);
        backlog.decide(publisher(1, true), time(0, shard));
        assert_eq!(arm(&mut backlog, 0), Some(400));
        backlog.end(time(1, shard));
        backlog.decide(publisher(1, true), time(2, shard));
        assert_eq!(arm(&mut backlog, 2), None, "when the first timer is due, the next one is set");
        assert_eq!(arm(&mut backlog, 400), Some(402));
        backlog.end(time(401, shard));
        backlog.decide(publisher(1, false), time(401, shard));
        assert_eq!(arm(&mut backlog, 401), None);
        backlog.end(time(401, shard));
        assert_eq!(arm(&mut backlog, 402), None);
    }

    #[test]
    fn pause_is_charged_when_a_publisher_with_other_receivers_joins() {
        let (mut backlog, shard) = (Backlog::default(), &mut PauseBudget::default());
        for begin in (0..800).step_by(50) {
            backlog.caught_up(time(begin, shard));
            backlog.decide(publisher(1, false), time(begin, shard));
            backlog.end_if_due(time(begin + 50, shard));
        }
        backlog.caught_up(time(900, shard));
        // The budget is used up: a publisher with a sole receiver is still paused, and is resumed when a publisher with others comes.
        assert_eq!(
            backlog.decide(publisher(1, true), time(910, shard)),
            PauseDecision::Until(Timestamp(BEGIN + 910 + 400))
        );
        assert!(backlog.add(publisher(1, true).unwrap()));
        let released = vec![publisher(1, true).unwrap()];
        assert_eq!(backlog.decide(publisher(2, false), time(920, shard)), PauseDecision::BecomesSlow(released));
        assert!(backlog.is_slow());
    }
}
