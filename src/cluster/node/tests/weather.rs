//! What happens to requests and their answers on the way, from a seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::service::{Service, State};
use crate::cluster::EngineError;

/// Numbers that depend on a seed alone.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ 0x9E37_79B9_7F4A_7C15)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        mixed ^ (mixed >> 32)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}

/// How it is. The chances are those in a thousand.
pub(super) struct Weather {
    random: Random,
    /// The longest usual delay of a request or an answer, in milliseconds.
    delay: u64,
    /// Of a request, or an answer, that takes much longer.
    late: u64,
    /// Of a request that does not arrive.
    lost: u64,
    /// Of an answer that does not arrive.
    unanswered: u64,
    /// Of a read from a replica that is behind.
    stale: u64,
}

impl Weather {
    pub(super) fn new(seed: u64) -> Self {
        let mut weather = Self { random: Random::new(seed), delay: 1, late: 0, lost: 0, unanswered: 0, stale: 0 };
        weather.change();
        weather
    }

    /// Other weather: often a calm one.
    fn change(&mut self) {
        let random = &mut self.random;
        let chances: &[u64] = if random.below(2) == 0 { &[0] } else { &[0, 5, 50, 200] };
        let mut chance = || chances[usize::try_from(random.below(chances.len() as u64)).unwrap()];
        [self.late, self.lost, self.unanswered, self.stale] = [chance(), chance(), chance(), chance()];
        self.delay = [1, 5, 50, 300][usize::try_from(random.below(4)).unwrap()];
    }

    fn happens(&mut self, chance: u64) -> bool {
        self.random.below(1_000) < chance
    }

    fn delay(&mut self) -> Duration {
        let is_late = self.happens(self.late);
        let most = if is_late { LATE_MILLIS_MAX } else { self.delay };
        self.random.millis(1, most)
    }
}

/// Requests on their way. Those of a node arrive in the order in which they were sent.
#[derive(Default)]
pub(super) struct Line {
    weather: Option<Mutex<Weather>>,
    requests: Mutex<Requests>,
    sent: Notify,
}

#[derive(Default)]
struct Requests {
    on_their_way: BTreeMap<(Instant, u64), Request>,
    number: u64,
    /// When the last one of each node arrives.
    last: BTreeMap<String, Instant>,
}

struct Request {
    node: String,
    perform: Box<dyn FnOnce(&mut State) + Send>,
}

impl Line {
    pub(super) fn new(weather: Weather) -> Self {
        Self { weather: Some(Mutex::new(weather)), ..Self::default() }
    }

    /// Whether there is no weather.
    pub(super) fn is_calm(&self) -> bool {
        self.weather.is_none()
    }

    fn weather(&self) -> Option<MutexGuard<'_, Weather>> {
        self.weather.as_ref().map(|weather| weather.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self) {
        if let Some(mut weather) = self.weather() {
            weather.change();
        }
    }

    /// Requests and answers are late by milliseconds at most, and none is lost.
    pub(super) fn calm(&self) {
        if let Some(mut weather) = self.weather() {
            (weather.delay, weather.late, weather.lost, weather.unanswered, weather.stale) = (5, 0, 0, 0, 0);
        }
    }

    /// How many of the last entries the replica lacks that is asked next.
    pub(super) fn hidden(&self) -> u64 {
        let Some(mut weather) = self.weather() else { return 0 };
        let chance = weather.stale;
        if weather.happens(chance) { weather.random.below(20) } else { 0 }
    }

    /// Sends a request. The answer comes with its delay, or never.
    pub(super) fn send<T: Send + 'static>(
        &self,
        node: &str,
        work: impl FnOnce(&mut State) -> Result<T, EngineError> + Send + 'static,
    ) -> oneshot::Receiver<(Result<T, EngineError>, Duration)> {
        let (answer, answered) = oneshot::channel();
        let Some(mut weather) = self.weather() else { return answered };
        let (there, back) = (weather.delay(), weather.delay());
        let (lost, unanswered) = (weather.lost, weather.unanswered);
        let (is_lost, is_unanswered) = (weather.happens(lost), weather.happens(unanswered));
        drop(weather);
        if is_lost {
            return answered;
        }
        let perform = Box::new(move |state: &mut State| {
            let result = work(state);
            if !is_unanswered {
                let _ = answer.send((result, back)); // who asked may not wait any more
            }
        });
        let requests = &mut *self.requests();
        let last = requests.last.get(node).copied();
        let arrives = last.into_iter().fold(Instant::now() + there, Instant::max);
        requests.last.insert(node.to_owned(), arrives);
        requests.number += 1;
        requests.on_their_way.insert((arrives, requests.number), Request { node: node.to_owned(), perform });
        self.sent.notify_one();
        answered
    }
}

impl Service {
    /// Performs requests as they arrive, without end.
    pub(super) async fn receive(self: Arc<Self>) {
        loop {
            let next = self.line.requests().on_their_way.first_key_value().map(|((arrives, _), _)| *arrives);
            let Some(next) = next else {
                self.line.sent.notified().await;
                continue;
            };
            tokio::select! {
                biased;
                () = sleep_until(next) => {}
                () = self.line.sent.notified() => continue,
            }
            loop {
                let first = self
                    .line
                    .requests()
                    .on_their_way
                    .first_entry()
                    .and_then(|request| (request.key().0 <= Instant::now()).then(|| request.remove()));
                let Some(Request { node, perform }) = first else { break };
                let state = &mut *self.state();
                if !state.is_cut_off(&node) {
                    perform(state);
                }
            }
        }
    }
}

/// A request that is late arrives after its node has given up waiting.
const LATE_MILLIS_MAX: u64 = 4_000;
