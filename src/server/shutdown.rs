use std::io;

use tokio::select;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal requests of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// SIGTERM or SIGINT: drain and stop; a second one stops at once.
    Stop,
    /// SIGHUP: reload certificates, password file and ACL file.
    Reload,
}

/// The signals of this process. A signal that arrives after [`Signals::listen`] is not lost.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Replaces the default action of these signals, which would end the process.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next request. Cancel safe.
    pub(super) async fn next(&mut self) -> Request {
        select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hang_up.recv() => Request::Reload,
        }
    }

    /// Waits for a request to stop and ignores others.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}
