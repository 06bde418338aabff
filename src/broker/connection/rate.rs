//! The rate limits of a client: messages and bytes per second. A client beyond them is not read for a while.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::broker::connection::pause::PauseReason;
use crate::broker::ids::ConnectionId;
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::timestamp::Timestamp;

/// What the clients with a rate limit have used. Empty without limits: then nothing is counted.
///
/// It has an entry for each connected client that has used anything, until its connection ends.
#[derive(Debug, Default)]
pub(in crate::broker) struct Rates {
    used: HashMap<ConnectionId, Used>,
}

#[derive(Debug, Default)]
struct Used {
    messages: Bucket,
    bytes: Bucket,
}

/// A token bucket that holds the tokens of one second, kept as one number: the time at which it will be full again, in nanoseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Takes `amount` tokens, also more than there are. Returns when to continue if there was none left.
    fn take(&mut self, amount: u64, per_second: NonZeroU32, now: Timestamp) -> Option<Timestamp> {
        let now = now.0.saturating_mul(NANOSECONDS);
        let cost = amount.saturating_mul(SECOND) / u64::from(per_second.get());
        let latest = now.saturating_add(SECOND + PAUSE_MAX);
        self.full_at = self.full_at.max(now).saturating_add(cost).min(latest);
        (self.full_at > now.saturating_add(SECOND)).then(|| self.continues_at())
    }

    /// When enough tokens will be there for [`SLICE`], so that a client that is always at its limit is paused twenty times a second, and
    /// not for each message.
    const fn continues_at(self) -> Timestamp {
        Timestamp(self.full_at.saturating_sub(SECOND - SLICE).div_ceil(NANOSECONDS))
    }
}

impl Shard {
    /// Whether [`Event::Received`](crate::broker::Event::Received) is wanted.
    pub fn limits_bytes(&self) -> bool {
        self.settings.client_bytes_per_second_max.is_some()
    }

    /// Counts bytes that were read from a client.
    pub(in crate::broker) fn on_received(&mut self, id: ConnectionId, bytes: usize, turn: &mut Turn<'_>) {
        let Some(maximum) = self.settings.client_bytes_per_second_max else { return };
        if self.connection(id).is_none_or(|connection| connection.session().is_none()) {
            return; // CONNECT has its own limits
        }
        let used = self.rates.used.entry(id).or_default();
        let continues_at = used.bytes.take(bytes as u64, maximum, turn.now);
        self.pause_for_rate(id, continues_at, turn);
    }

    /// Counts a PUBLISH of a client.
    pub(in crate::broker) fn count_message(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(maximum) = self.settings.client_messages_per_second_max else { return };
        if self.connection(id).is_none() {
            return; // the PUBLISH has ended it
        }
        let used = self.rates.used.entry(id).or_default();
        let continues_at = used.messages.take(1, maximum, turn.now);
        self.pause_for_rate(id, continues_at, turn);
    }

    fn pause_for_rate(&mut self, id: ConnectionId, continues_at: Option<Timestamp>, turn: &mut Turn<'_>) {
        let Some(continues_at) = continues_at else { return };
        let is_paused =
            self.connection(id).is_some_and(|connection| connection.pause_reasons().contains(PauseReason::RateLimited));
        if !is_paused {
            self.counters.rate_pauses += 1;
            self.pause(id, PauseReason::RateLimited, turn);
            self.timers.set(continues_at, Timer::RateAllows(id));
        }
    }

    /// The timer of a client beyond its rate is due.
    pub(in crate::broker) fn on_rate_allows(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(used) = self.rates.used.get(&id) else { return };
        // A packet that was read before the pause may have taken more meanwhile.
        let continues_at = used.messages.continues_at().max(used.bytes.continues_at());
        if continues_at > turn.now {
            self.timers.set(continues_at, Timer::RateAllows(id));
        } else {
            self.resume(id, PauseReason::RateLimited, turn);
        }
    }

    /// Forgets what an ended connection has used.
    pub(in crate::broker) fn forget_rate(&mut self, id: ConnectionId) {
        if !self.rates.used.is_empty() {
            self.rates.used.remove(&id);
        }
    }
}

/// In nanoseconds, as all of the following.
const SECOND: u64 = 1_000_000_000;
/// A millisecond.
const NANOSECONDS: u64 = 1_000_000;
/// What has accumulated when a client is read again.
const SLICE: u64 = 50_000_000;
/// The longest pause: one read of some megabytes at a limit of some bytes per second would otherwise take longer than Keep Alive is suspended.
const PAUSE_MAX: u64 = 60 * SECOND;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn per_second(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn one_second_is_saved_up_and_more_is_not() {
        for start in [0, 1_000_000] {
            let mut bucket = Bucket::default();
            let now = Timestamp(start);
            let taken = (0..100).take_while(|_| bucket.take(1, per_second(10), now).is_none()).count();
            assert_eq!(taken, 10);
        }
    }

    #[test]
    fn a_single_large_amount_pauses_for_a_bounded_time() {
        let mut bucket = Bucket::default();
        let until = bucket.take(u64::MAX, per_second(1), Timestamp(5)).unwrap();
        assert!(until <= Timestamp(5 + 61_000), "{until:?}");
        assert_eq!(Bucket::default().take(3_000, per_second(1_000), Timestamp(0)), Some(Timestamp(2_050)));
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_than_the_rate_and_one_second_is_taken(
            rate in 1..5_000_u32,
            amounts in prop::collection::vec((1..200_u64, 0..300_u64), 1..200),
        ) {
            let mut bucket = Bucket::default();
            let (mut now, mut taken) = (Timestamp(0), 0);
            for (amount, pause) in amounts {
                now = Timestamp(now.0 + pause);
                taken += amount;
                let continues_at = bucket.take(amount, per_second(rate), now);
                if let Some(continues_at) = continues_at {
                    prop_assert!(continues_at > now);
                    now = continues_at;
                }
                // The last amount may exceed the tokens, and a slice is saved up at most.
                let allowed = (now.0 + 1_000 + 50) as f64 / 1_000.0 * f64::from(rate) + 2.0;
                let capped = now.0 >= 60_000;
                prop_assert!(capped || taken as f64 <= allowed + amount as f64, "{taken} of {allowed} at {now:?}");
            }
        }
    }
}
