//! Waiting for conditions, for at most [`PATIENCE`].

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// The time limit for anything, generous because many tests run concurrently on few cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait for something that must not happen, if no other event rules it out.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// The current time.
#[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Repeats `ask` until it returns a value, or fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(now() < deadline, "timeout while waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the exit of a process. If it doesn't exit, kills it and fails the test.
#[track_caller]
pub(crate) fn wait_for_end(what: &str, child: &mut Child) -> ExitStatus {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if now() >= deadline {
            drop(child.kill());
            drop(child.wait());
            panic!("{what} did not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}
