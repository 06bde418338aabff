//! How short the memory is.

/// How short the memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum MemoryLevel {
    /// Less than 80 % of the budget is used.
    #[default]
    Normal,
    /// Buffers shrink.
    Elevated,
    /// From 88 % on: what would stay in memory is refused.
    High,
    /// From 95 % on: connections are ended.
    Critical,
}

impl MemoryLevel {
    /// All levels, from the lowest.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Elevated, Self::High, Self::Critical];

    /// Its name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Elevated => "elevated",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The share of the budget in percent from which on it applies.
    const fn begins_at(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::Elevated => 80,
            Self::High => 88,
            Self::Critical => 95,
        }
    }

    /// The level that follows on this one when `used` of `max` bytes are used. A level ends only `HYSTERESIS` percent below its begin.
    pub fn next(self, used: u64, max: u64) -> Self {
        let percent = u64::try_from(u128::from(used) * 100 / u128::from(max.max(1))).unwrap_or(u64::MAX);
        let applies = |level: &Self| {
            let ends = if *level <= self { HYSTERESIS } else { 0 };
            percent >= level.begins_at().saturating_sub(ends)
        };
        Self::ALL.into_iter().rev().find(applies).unwrap_or_default()
    }
}

/// In percent of the budget.
const HYSTERESIS: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_begins_at_its_share_and_ends_below_it() {
        let mut level = MemoryLevel::default();
        let mut levels = |all: &[u64]| {
            let next = |used: &u64| {
                level = level.next(*used, 1_000);
                level.name()
            };
            all.iter().map(next).collect::<Vec<_>>()
        };
        assert_eq!(
            levels(&[0, 799, 800, 760, 750, 749]),
            ["normal", "normal", "elevated", "elevated", "elevated", "normal"]
        );
        assert_eq!(levels(&[880, 830, 829, 790]), ["high", "high", "elevated", "elevated"]);
        assert_eq!(levels(&[5_000, 950, 900, 899, 0]), ["critical", "critical", "critical", "high", "normal"]);
    }

    #[test]
    fn any_size_has_a_level() {
        assert_eq!(MemoryLevel::Normal.next(u64::MAX, u64::MAX), MemoryLevel::Critical);
        assert_eq!(MemoryLevel::Normal.next(1, 0), MemoryLevel::Critical);
        assert_eq!(MemoryLevel::Critical.next(0, u64::MAX), MemoryLevel::Normal);
    }
}
