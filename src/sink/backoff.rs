use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// Pauses between attempts: each twice as long as the one before, between two bounds, and shortened by up to a half, so that what failed together
/// is not tried again together.
#[derive(Debug)]
pub(super) struct Backoff {
    random: ChaCha8Rng,
    min: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(seed: u64, (min, max): (Duration, Duration)) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), min, max }
    }

    /// The pause after this number of failures, at least 1.
    pub(super) fn pause(&mut self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.min.saturating_mul(factor).min(self.max);
        let half = whole / 2;
        half + half.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pause_is_from_half_to_the_whole_of_its_bound(seed: u64, failures in 1_u32..100, min in 1_u64..5_000, more in 0_u64..500_000) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + more));
            let pause = Backoff::new(seed, (min, max)).pause(failures);
            let bound = min.saturating_mul(2_u32.saturating_pow(failures - 1)).min(max);
            prop_assert!(pause >= bound / 2 && pause <= bound, "{pause:?} of {bound:?}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_pauses() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed, (Duration::from_secs(1), Duration::from_secs(60)));
            (1..9).map(|failures| backoff.pause(failures)).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }
}
