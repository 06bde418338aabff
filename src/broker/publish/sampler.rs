/// Draws a part of the messages.
#[derive(Debug)]
pub(in crate::broker) struct Sampler {
    state: u64,
}

impl Sampler {
    /// Each seed gives another sequence.
    pub(in crate::broker) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Whether the next message is in the sample. `per_million`: the expected number in a million messages. The numbers are those of SplitMix64,
    /// because every n-th message could always be of the same kind.
    pub(in crate::broker) fn draws(&mut self, per_million: u32) -> bool {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let number = mixed ^ (mixed >> 31);
        (number >> 32) * MILLION < u64::from(per_million) << 32
    }
}

const MILLION: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_is_drawn_is_that_of_the_settings() {
        for (per_million, least, most) in
            [(0, 0, 0), (10_000, 900, 1_100), (500_000, 49_000, 51_000), (1_000_000, 100_000, 100_000)]
        {
            let mut sampler = Sampler::new(7);
            let drawn = (0..100_000).filter(|_| sampler.draws(per_million)).count();
            assert!((least..=most).contains(&drawn), "{per_million}: {drawn}");
        }
    }
}
