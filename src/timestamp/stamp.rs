use std::time::Duration;

/// The time since the start of the process, in microseconds, or none. It has six bytes, so that it fits what structs have left of their last word.
/// Those who carry one need no clock for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stamp([u16; 3]);

impl Stamp {
    /// No time.
    pub const NONE: Self = Self([0; 3]);

    /// A time from one microsecond to eight years after the start; others become the nearest of these.
    #[expect(clippy::cast_possible_truncation, reason = "the three parts of 48 bits")]
    pub fn new(elapsed: Duration) -> Self {
        let microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).clamp(1, MAX);
        Self([microseconds as u16, (microseconds >> 16) as u16, (microseconds >> 32) as u16])
    }

    /// Whether it is a time.
    #[inline]
    pub const fn is_some(self) -> bool {
        let Self([low, middle, high]) = self;
        low | middle | high != 0
    }

    /// The time since the start.
    pub fn get(self) -> Option<Duration> {
        let Self([low, middle, high]) = self;
        let microseconds = u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32;
        (microseconds > 0).then(|| Duration::from_micros(microseconds))
    }
}

const MAX: u64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_the_microseconds_of_its_time() {
        for (microseconds, expected) in
            [(0, 1), (1, 1), (65_536, 65_536), (0x1234_5678_9ABC, 0x1234_5678_9ABC), (u64::MAX, MAX)]
        {
            let stamp = Stamp::new(Duration::from_micros(microseconds));
            assert_eq!((stamp.is_some(), stamp.get()), (true, Some(Duration::from_micros(expected))), "{microseconds}");
        }
        assert_eq!((Stamp::NONE.is_some(), Stamp::NONE.get()), (false, None));
        assert_eq!((size_of::<Stamp>(), align_of::<Stamp>()), (6, 2));
    }
}
