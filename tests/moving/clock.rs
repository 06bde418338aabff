//! The time, and waiting.

use std::thread;
use std::time::{Duration, Instant};

/// The time limit for what must happen, generous because many tests run at the same time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait for what must not happen.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

#[expect(clippy::disallowed_methods, reason = "what is tested here are processes in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Repeats `ask` until it returns a value; `None` after [`PATIENCE`].
pub(crate) fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.is_some() || now() >= deadline {
            return answer;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
