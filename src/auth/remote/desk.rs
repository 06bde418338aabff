use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytestring::ByteString;
use tokio::time::Instant;

use super::super::fair_queue::FairQueue;
use super::super::source::Source;

/// The requests to one service: a number of them is under way, and the others wait in an order that is fair between sources.
///
/// Those under way are served by as many lanes: each takes the next request when one is done, and ends when none waits. Invariant: no request
/// waits while fewer than `requests_max` lanes are there.
#[derive(Debug)]
pub(in crate::auth) struct Desk<T> {
    state: Mutex<State<T>>,
    health: Mutex<Health>,
    busy: AtomicU64,
    abandoned: AtomicU64,
}

#[derive(Debug)]
struct State<T> {
    queue: FairQueue<T>,
    lanes: usize,
    requests_max: usize,
}

/// What a desk has done since the start, and what it has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::auth) struct DeskCounts {
    pub(super) busy: u64,
    pub(super) abandoned: u64,
    pub(super) under_way: u64,
    pub(super) waiting: u64,
}

/// The place of a request in the queue of a desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) struct Place {
    source: Source,
    number: u64,
}

/// What came of a request that was added.
#[derive(Debug)]
pub(in crate::auth) struct Entered<T> {
    pub(in crate::auth) place: Place,
    /// Requests that gave way, because too many wait.
    pub(in crate::auth) displaced: Vec<T>,
    /// The first request of a new lane.
    pub(in crate::auth) lane: Option<T>,
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        let state = State { queue: FairQueue::new(QUEUED_BYTES_MAX), lanes: 0, requests_max: 1 };
        Self {
            state: Mutex::new(state),
            health: Mutex::default(),
            busy: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
        }
    }
}

impl<T> Desk<T> {
    /// Adds a request of this source and weight in bytes.
    pub(in crate::auth) fn enter(
        &self,
        request: T,
        (source, weight): (Source, usize),
        requests_max: usize,
    ) -> Entered<T> {
        let mut state = self.state();
        state.requests_max = requests_max;
        let (number, displaced) = state.queue.push(source, weight, request);
        let lane = if state.lanes < requests_max { state.queue.pop() } else { None };
        state.lanes += usize::from(lane.is_some());
        drop(state);
        self.busy.fetch_add(displaced.len() as u64, Ordering::Relaxed);
        Entered { place: Place { source, number }, displaced, lane }
    }

    /// Removes a request whose client has gone, if it waits.
    pub(in crate::auth) fn remove(&self, Place { source, number }: Place) -> Option<T> {
        let removed = self.state().queue.remove(source, number);
        removed.inspect(|_| self.count_abandoned())
    }

    /// The next request of a lane; `None`: the lane ends.
    pub(in crate::auth) fn next(&self) -> Option<T> {
        let mut state = self.state();
        let next = if state.lanes <= state.requests_max { state.queue.pop() } else { None };
        state.lanes -= usize::from(next.is_none());
        next
    }

    /// Counts a request that was refused because it has waited too long.
    pub(in crate::auth) fn count_busy(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that ended because its client had gone.
    pub(in crate::auth) fn count_abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::auth) fn counts(&self) -> DeskCounts {
        let state = self.state();
        let (under_way, waiting) = (state.lanes as u64, state.queue.len() as u64);
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DeskCounts { busy: get(&self.busy), abandoned: get(&self.abandoned), under_way, waiting }
    }

    /// Notes whether the service has answered. Returns what the log should say, if it should.
    pub(in crate::auth) fn note(&self, fault: Option<&str>, now: Instant) -> Option<Notice> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).note(fault, now)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a service answers, for the log.
#[derive(Debug, Default)]
struct Health {
    /// When the log said something last.
    logged: Option<Instant>,
    /// What it said.
    says_failing: bool,
    /// The faults since then.
    faults: u64,
}

/// What the log says about a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It does not answer.
    Failing {
        /// The last fault.
        cause: String,
        /// The number of requests without an answer since the last notice.
        requests: u64,
    },
    /// It answers again.
    Well,
}

impl Health {
    fn note(&mut self, fault: Option<&str>, now: Instant) -> Option<Notice> {
        self.faults += u64::from(fault.is_some());
        if self.logged.is_some_and(|logged| now.duration_since(logged) < PAUSE) {
            return None;
        }
        let notice = match fault {
            Some(cause) => Notice::Failing { cause: cause.to_owned(), requests: std::mem::take(&mut self.faults) },
            None if self.says_failing => Notice::Well,
            None => return None,
        };
        self.says_failing = fault.is_some();
        self.logged = Some(now);
        Some(notice)
    }
}

/// The desks of all providers, by name. A desk stays at a reload, so that no more requests than its provider allows are under way.
#[derive(Debug)]
pub(in crate::auth) struct Desks<T>(Mutex<HashMap<ByteString, Arc<Desk<T>>>>);

impl<T> Default for Desks<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Desks<T> {
    /// The desk of a provider. Their number is that of all names that providers had since the start.
    pub(in crate::auth) fn of(&self, provider: &ByteString) -> Arc<Desk<T>> {
        let mut desks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = desks.get(provider) {
            return Arc::clone(desk);
        }
        Arc::clone(desks.entry(provider.clone()).or_default())
    }
}

/// More than 20,000 requests of common sizes.
const QUEUED_BYTES_MAX: usize = 16 << 20;
/// The log has a line about a service once in this time at most.
const PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::of(Some([192, 0, 2, last].into()))
    }

    #[test]
    fn as_many_requests_as_allowed_are_under_way_and_the_others_wait_in_turn() {
        let desk = Desk::default();
        let enter = |number: u8, from| desk.enter(number, (source(from), 1), 2);
        assert_eq!([enter(1, 1).lane, enter(2, 1).lane, enter(3, 1).lane], [Some(1), Some(2), None]);
        let place = enter(4, 1).place;
        assert_eq!([enter(5, 1).lane, enter(6, 2).lane], [None, None]);
        assert_eq!((desk.remove(place), desk.remove(place)), (Some(4), None));
        let counts = DeskCounts { abandoned: 1, under_way: 2, waiting: 3, ..DeskCounts::default() };
        assert_eq!(desk.counts(), counts);
        assert_eq!([desk.next(), desk.next(), desk.next()], [Some(3), Some(6), Some(5)]);
        assert_eq!([desk.next(), desk.next()], [None, None], "both lanes end");
        assert_eq!(desk.counts().under_way, 0);
        assert_eq!(enter(7, 1).lane, Some(7));
    }

    #[test]
    fn a_reload_with_another_number_applies_to_the_lanes_that_are_there() {
        let desk = Desk::default();
        for number in 0..4 {
            assert_eq!(desk.enter(number, (source(1), 1), 4).lane, Some(number));
        }
        assert!(desk.enter(4, (source(1), 1), 1).lane.is_none());
        assert_eq!([desk.next(), desk.next(), desk.next(), desk.next()], [None, None, None, Some(4)]);
    }

    #[test]
    fn what_is_beyond_the_bytes_gives_way() {
        let desk = Desk::default();
        desk.enter(0, (source(1), 1), 1);
        assert!(desk.enter(1, (source(1), QUEUED_BYTES_MAX), 1).displaced.is_empty());
        assert_eq!(desk.enter(2, (source(2), 8), 1).displaced, [1]);
        assert_eq!(desk.counts().busy, 1);
    }

    #[test]
    fn the_log_says_when_a_service_fails_and_is_well_again_at_a_bounded_rate() {
        let mut health = Health::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let failing = |requests| Some(Notice::Failing { cause: "gone".to_owned(), requests });
        assert_eq!(health.note(None, at(0)), None);
        assert_eq!(health.note(Some("gone"), at(0)), failing(1));
        for ms in 0..1_000 {
            assert_eq!(health.note((ms % 2 == 0).then_some("gone"), at(ms)), None);
        }
        assert_eq!(health.note(Some("gone"), at(10_000)), failing(501));
        assert_eq!(health.note(None, at(19_999)), None);
        assert_eq!(health.note(None, at(20_000)), Some(Notice::Well));
        assert_eq!(health.note(None, at(40_000)), None);
    }
}
