//! What clients with a rate limit have used: token buckets. [`rate_limits`](super::rate_limits) fills and asks them.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::broker::ids::ConnectionId;
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

impl Rates {
    /// Takes bytes. Returns when to continue if there was none left.
    pub(super) fn take_bytes(
        &mut self,
        id: ConnectionId,
        bytes: usize,
        per_second: NonZeroU32,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.used.entry(id).or_default().bytes.take(bytes as u64, per_second, now)
    }

    /// Takes a message. Returns when to continue if there was none left.
    pub(super) fn take_message(
        &mut self,
        id: ConnectionId,
        per_second: NonZeroU32,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.used.entry(id).or_default().messages.take(1, per_second, now)
    }

    /// When a client beyond its limits may continue.
    pub(super) fn continues_at(&self, id: ConnectionId) -> Option<Timestamp> {
        let used = self.used.get(&id)?;
        Some(used.messages.continues_at().max(used.bytes.continues_at()))
    }

    /// Forgets what an ended connection has used.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        if !self.used.is_empty() {
            self.used.remove(&id);
        }
    }
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
