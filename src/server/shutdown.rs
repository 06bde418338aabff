//! The end of the process: signals, and the drain.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio::{pin, select};

use super::Server;
use super::error::ServerError;
use super::log::{self, log_line};
use super::shard::mailbox::Mail;
use super::watchdog::Watchdog;
use crate::store::Store;
use crate::timestamp::Timestamp;

/// What a signal requests of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// SIGTERM or SIGINT: drain and stop; a second one stops at once.
    Stop,
    /// SIGHUP: reload the configuration and all files.
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

impl Server {
    /// Disconnects every client and closes the store.
    pub(super) async fn stop(&mut self, signals: &mut Signals, watchdog: Watchdog) -> Result<(), ServerError> {
        let deadline = Instant::now() + self.config.server.drain_timeout;
        let drained = self.drain(signals.stop(), watchdog).await;
        log::summarize(Timestamp::NEVER);
        self.anchors.write();
        let Some(store) = self.store.clone() else { return drained };
        store.begin_close();
        let closed = match drained {
            Ok(()) => closed(&store, deadline, signals).await,
            Err(interrupted) => Err(interrupted),
        };
        // A disk that does not answer must not keep the process.
        closed.inspect_err(|_| store.abandon())
    }

    /// Disconnects every client, and waits until all connections are closed, at most for `server.drain_timeout`. A second signal ends
    /// the wait with [`ServerError::Interrupted`].
    pub(super) async fn drain(
        &mut self,
        stop_at_once: impl Future<Output = ()>,
        mut watchdog: Watchdog,
    ) -> Result<(), ServerError> {
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::ShuttingDown));
        let shards = self.mailboxes.len();
        let ended = &mut self.ended;
        let all_ended = timeout(self.config.server.drain_timeout, async {
            for _ in 0..shards {
                ended.recv().await;
            }
        });
        pin!(all_ended, stop_at_once);
        loop {
            select! {
                result = &mut all_ended => {
                    match result {
                        Ok(()) => log_line!(Stopped {}, "stopped"),
                        Err(_) => {
                            log_line!(DrainTimedOut {}, "stopped: some clients took longer than server.drain_timeout");
                        }
                    }
                    return Ok(());
                }
                () = &mut stop_at_once => return Err(ServerError::Interrupted),
                () = watchdog.wait() => watchdog.send(),
            }
        }
    }
}

/// Waits until a store that is being closed has written everything, at most until `deadline` but at least [`CLOSE_MIN`]. A signal ends the
/// wait.
pub(super) async fn closed(store: &Store, deadline: Instant, signals: &mut Signals) -> Result<(), ServerError> {
    let deadline = deadline.max(Instant::now() + CLOSE_MIN);
    let ended = async {
        while !store.has_ended() {
            sleep(CLOSE_POLL).await;
        }
    };
    select! {
        ended = timeout_at(deadline, ended) => ended.map_err(|_| ServerError::StoreStuck),
        () = signals.stop() => Err(ServerError::Interrupted),
    }
}

/// The store is closed after the drain, which may have taken all the time.
const CLOSE_MIN: Duration = Duration::from_secs(1);
const CLOSE_POLL: Duration = Duration::from_millis(2);
