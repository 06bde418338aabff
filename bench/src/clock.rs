//! The one place that reads the time.

use std::time::Instant;

/// The monotonic time.
#[expect(clippy::disallowed_methods, reason = "the load generator's own clock; the broker's is no part of this crate")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
