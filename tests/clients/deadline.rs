//! Waiting: always for something, never for longer than [`PATIENCE`].

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before the test fails: generous, since tests run at once on few cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long something that must not happen is waited for, where nothing shows that it can't happen any more.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// The time.
#[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the end of a process; one that doesn't end is killed, and the test fails.
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
