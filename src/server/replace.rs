//! The end of the broker because another process takes its place.

use std::io;
use std::mem;

use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::handover::ended::Ended;
use super::handover::own::OwnSockets;
use super::handover::predecessor::{Outcome, Predecessor, Successor};
use super::listener::Acceptor;
use super::log::{self, log_line};
use super::shard::mailbox::Mail;
use super::shutdown::{self, Signals};
use super::watchdog::Watchdog;
use super::{Server, ServerError};
use crate::broker::Farewell;
use crate::timestamp::Timestamp;

impl Server {
    /// Disconnects every client, unlocks the store for the other process, and waits until that serves the clients. See
    /// [`handover`](super::handover).
    ///
    /// The store is closed as soon as no client is connected. Whether the clients have closed their connections too does not matter to it,
    /// so a client that doesn't delays nobody.
    pub(super) async fn hand_over(
        mut self,
        mut successor: Successor,
        (accepting, admin): (Option<Acceptor>, impl Sized),
        mut signals: Signals,
        mut watchdog: Watchdog,
    ) -> Result<Ended, ServerError> {
        let process = successor.process;
        log_line!(
            HandoverBegun { process },
            "process {process} takes over: all clients are disconnected, and new connections wait for it"
        );
        self.begin_stop().await;
        // Before the listeners of this process end, which would remove the files of Unix sockets.
        let sockets = self.own_sockets().and_then(OwnSockets::into_passed).map_err(ServerError::Start)?;
        drop(accepting);
        // The other process answers what operators ask from now on.
        drop(admin);
        let deadline = Instant::now() + self.config.server.drain_timeout;
        select! {
            () = self.detach(None, deadline) => {}
            () = signals.stop() => return Err(ServerError::Interrupted),
            () = ping(&mut watchdog) => {}
        }
        log::summarize(Timestamp::NEVER);
        self.anchors.write();
        if let Some(store) = self.store.clone() {
            store.begin_close();
            let closed = shutdown::closed(&store, deadline, &mut signals).await;
            // A disk that does not answer must not keep the process, whose end unlocks the store.
            closed.inspect_err(|_| store.abandon())?;
            if let Ok(cause) = self.failures.try_recv() {
                return Err(ServerError::StoreFailed(cause));
            }
            store.release();
        }
        successor.release().await;
        select! {
            outcome = successor.outcome() => match outcome {
                Outcome::Ready => {}
                Outcome::Gone => {
                    let reason = format!("process {process} ended before it was ready");
                    log_line!(HandoverFailed { reason = &*reason }, "{reason}: this one serves again");
                    return Ok(Ended::TakenBack { sockets, loaded: Box::new(self.loaded) });
                }
            },
            () = signals.stop() => return Ok(Ended::Stopped),
            () = ping(&mut watchdog) => {}
        }
        log_line!(HandoverCompleted { process }, "process {process} serves the clients: this one ends");
        self.await_shards(deadline).await;
        Ok(Ended::HandedOver)
    }

    /// Waits for a process that takes over; without a store there is nothing to take over, and what can be ended from elsewhere is not its own.
    pub(super) fn predecessor(&self) -> Predecessor {
        match (&self.store, &self.stopper) {
            (Some(_), None) => Predecessor::listen(&self.config.server.data),
            (None, _) | (Some(_), Some(_)) => Predecessor::default(),
        }
    }

    /// The sockets that listen now, for another process.
    pub(super) fn own_sockets(&self) -> io::Result<OwnSockets> {
        OwnSockets::of(&self.listeners, &self.admin_sockets)
    }

    /// Disconnects every client, and waits until the shards have passed all records of that to the store.
    pub(super) async fn detach(&mut self, farewell: Option<Farewell>, deadline: Instant) {
        let (sender, mut detached) = mpsc::channel(self.mailboxes.len());
        let mail = || Mail::ShuttingDown(farewell.clone(), Some(sender.clone()));
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(mail()));
        drop(sender);
        let all = async {
            for _ in 0..self.mailboxes.len() {
                detached.recv().await;
            }
        };
        // What a shard does later is not acknowledged to any client, because the store refuses it.
        let _ = timeout_at(deadline, all).await;
    }

    /// Waits until the clients have closed their connections.
    async fn await_shards(&mut self, deadline: Instant) {
        let shards = self.mailboxes.len();
        let mut ended = mem::replace(&mut self.ended, mpsc::channel(1).1);
        let all = async {
            for _ in 0..shards {
                ended.recv().await;
            }
        };
        let _ = timeout_at(deadline, all).await;
    }
}

/// Tells systemd's watchdog that the broker is alive, for ever.
pub(super) async fn ping(watchdog: &mut Watchdog) {
    loop {
        watchdog.wait().await;
        watchdog.send();
    }
}
