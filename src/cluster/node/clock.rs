use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The time, for what lasts: that of the runtime, which tests control. Nothing that decides who the owner is depends on it.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970, for people.
#[expect(clippy::disallowed_methods, reason = "people want to know when it was")]
pub(super) fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
