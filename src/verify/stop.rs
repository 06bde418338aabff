//! SIGINT, SIGTERM and SIGHUP end the command after it has removed what it made.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::trouble::Trouble;

/// Whether a signal has arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes the signals over from their default actions.
    pub(super) fn on_signals() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        drop(entered);
        let stop = Self::default();
        let seen = stop.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
            });
            seen.0.store(true, Ordering::Relaxed);
        });
        Ok(stop)
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn check(&self) -> Result<(), Trouble> {
        if self.is_set() { Err(Trouble::Interrupted) } else { Ok(()) }
    }

    /// Waits until `until`, or until `is_so`; returns whether it is so.
    pub(super) fn wait(&self, until: Instant, mut is_so: impl FnMut() -> bool) -> Result<bool, Trouble> {
        loop {
            if is_so() {
                return Ok(true);
            }
            self.check()?;
            let now = Instant::now();
            if now >= until {
                return Ok(false);
            }
            thread::sleep(POLL.min(until - now));
        }
    }
}

const POLL: Duration = Duration::from_millis(2);
