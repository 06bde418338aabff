//! Points in time: the broker's own time, in which all deadlines are, and the wall clock, which people see.

mod anchor;
mod stamp;

use std::ops::Add;
use std::time::Duration;

pub use anchor::{Anchor, BootId, MachineTime, Resumed, TimeRule, resume};
pub use stamp::Stamp;

/// The broker's time in milliseconds. It counts time that passed: it never runs backwards and ignores steps of the wall clock. It begins at
/// the wall clock of the first start, and [`resume`] continues it at each later one, so one type serves Keep Alive and deadlines that
/// survive a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Later than any other time.
    pub const NEVER: Self = Self(u64::MAX);

    /// The duration from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`NEVER`](Self::NEVER).
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A reading of the wall clock in milliseconds since the Unix epoch. It may be wrong and may step, so no deadline depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WallTime(pub u64);

impl WallTime {
    /// The duration from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
