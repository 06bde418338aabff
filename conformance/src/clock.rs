//! Reads the time, in one place.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The current monotonic time.
#[expect(clippy::disallowed_methods, reason = "the suite's own clock; the broker's is no part of this crate")]
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since the Unix epoch: they make the Client Identifiers and topics of a run unique, and date its report.
#[expect(clippy::disallowed_methods, reason = "the suite's own clock; the broker's is no part of this crate")]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
