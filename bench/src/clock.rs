//! Reads the time, in one place.

use std::time::Instant;

/// The current monotonic time.
#[expect(clippy::disallowed_methods, reason = "the load generator's own clock; the broker's is no part of this crate")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
