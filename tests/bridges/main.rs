//! Bridges of the real binary: to another OnceMQ and to mosquitto, with default settings, over every transport, and with `kill -9` of either
//! side.
//!
//! `ONCEMQ_BRIDGE_ROUNDS` sets the number of kills of each test.

#![cfg(test)]

#[path = "../clients/certificates.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod certificates;
mod client;
mod kills;
mod loops;
mod marks;
mod node;
mod operate;
mod overheard;
mod passing;
mod scripted;
mod secured;

use std::time::{Duration, Instant};

/// The time limit for anything, generous because many tests run concurrently on few cores.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for something that must not happen.
const SILENCE: Duration = Duration::from_millis(500);

/// The current time.
#[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Repeats `ask` until it returns a value, or fails after [`PATIENCE`].
#[track_caller]
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(now() < deadline, "timeout while waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
