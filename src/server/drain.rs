//! The end of the broker: disconnects every client, and closes the store.

use tokio::time::{Instant, timeout};
use tokio::{pin, select};

use super::Server;
use super::error::ServerError;
use super::handover::ended::Ended;
use super::log::{self, log_line};
use super::shard::mailbox::Mail;
use super::shutdown::{Signals, closed};
use super::watchdog::Watchdog;
use crate::timestamp::Timestamp;

impl Server {
    /// Ends the broker. `failure`: the cause, if that is a failure of the store; `listening`: what accepts connections and requests.
    pub(super) async fn end(
        mut self,
        failure: Option<String>,
        listening: impl Sized,
        mut signals: Signals,
        mut watchdog: Watchdog,
    ) -> Result<Ended, ServerError> {
        self.close_gate();
        self.begin_stop().await;
        self.notify(&[sd_notify::NotifyState::Stopping]);
        log_line!(Stopping {}, "stopping: no new connections are accepted, and all clients are disconnected");
        drop(listening);
        // Their other descriptors too: a client that connects now is to be refused.
        self.listeners.clear();
        self.end_cells(&mut signals, &mut watchdog).await?;
        let stopped = self.stop(&mut signals, watchdog).await;
        self.end_tunnels().await;
        // A failure of the store is the cause of the end, whatever ended the drain.
        match failure.or_else(|| self.failures.try_recv().ok()) {
            Some(cause) => Err(ServerError::StoreFailed(cause)),
            None => stopped.map(|()| Ended::Stopped),
        }
    }

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
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::ShuttingDown(None, None)));
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
