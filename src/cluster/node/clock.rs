use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The time, for what lasts. Nothing that decides who the owner is depends on it.
#[expect(clippy::disallowed_methods, reason = "how long other nodes are silent is real time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970, for people.
#[expect(clippy::disallowed_methods, reason = "people want to know when it was")]
pub(super) fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
