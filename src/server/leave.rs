//! The end of the broker because another server serves the clients, or this process is to: the process goes on, with the same sockets.

use std::time::Duration;

use tokio::select;
use tokio::time::{Instant, timeout, timeout_at};

use super::handover::ended::Ended;
use super::handover::own::OwnSockets;
use super::listener::Acceptor;
use super::log::{self, log_line};
use super::replace::ping;
use super::shard::mailbox::Mail;
use super::shutdown::{self, Signals};
use super::stopper::Why;
use super::watchdog::Watchdog;
use super::{Server, ServerError};
use crate::broker::Farewell;
use crate::timestamp::Timestamp;

impl Server {
    /// Refers every client to the other server, and ends all threads of this broker. Connections that arrive from now on wait for what listens
    /// next at the sockets.
    pub(super) async fn leave(
        mut self,
        mut why: Why,
        (accepting, admin): (Option<Acceptor>, impl Sized),
        signals: Signals,
        mut watchdog: Watchdog,
    ) -> Result<Ended, ServerError> {
        log_leaving(&why);
        self.close_gate();
        // Before the listeners of this broker end, which would remove the files of Unix sockets.
        let sockets = self.own_sockets().and_then(OwnSockets::into_passed).map_err(ServerError::Start)?;
        drop(accepting);
        if why.is_fenced() {
            self.say_farewell(Farewell::Fenced(why.owner()));
        }
        let stopper = self.stopper.clone().unwrap_or_default();
        select! {
            // A store that does not answer must not keep them.
            _ended_or_not = timeout(ATTENDANTS_TIMEOUT, self.begin_stop()) => {}
            _ = stopper.fenced(), if !why.is_fenced() => {}
            () = ping(&mut watchdog) => {}
        }
        self.status.set_stopping();
        drop(admin);
        if !why.is_fenced() {
            let ended = select! {
                ended = self.end_as_told(&why) => ended,
                _ = stopper.fenced() => Ok(()),
                () = ping(&mut watchdog) => Ok(()),
            };
            match stopper.why().filter(Why::is_fenced) {
                None => ended?,
                Some(later) => {
                    log_leaving(&later);
                    why = later;
                }
            }
        }
        if why.is_fenced() {
            select! {
                () = self.end_fenced(&why) => {}
                () = ping(&mut watchdog) => {}
            }
        }
        log::summarize(Timestamp::NEVER);
        select! {
            ended = self.end_shards() => ended?,
            () = ping(&mut watchdog) => {}
        }
        self.end_tunnels().await;
        // One that arrives before the next broker of this process serves is not lost.
        signals.hold();
        let bans = self.bans.carried(self.clock.read().now);
        Ok(Ended::Told { why, sockets, loaded: Box::new(self.loaded), bans })
    }

    /// Ends the connections and the store.
    async fn end_as_told(&mut self, why: &Why) -> Result<(), ServerError> {
        match why {
            Why::Promoted => {
                self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::ShuttingDown(None, None)));
                self.await_drained(Instant::now() + REFUSED_TIMEOUT).await;
                Ok(())
            }
            // What was stored does not count, so nothing waits for it.
            Why::Fenced { .. } => Ok(()),
            Why::Moved { .. } => {
                let deadline = Instant::now() + self.config.server.drain_timeout;
                self.detach(Some(Farewell::Moved(why.owner())), deadline).await;
                self.anchors.write();
                if let Some(store) = self.store.clone() {
                    store.begin_close();
                    // A disk that does not answer must not keep the process.
                    shutdown::written(&store, deadline).await.inspect_err(|_| store.abandon())?;
                    if let Ok(cause) = self.failures.try_recv() {
                        return Err(ServerError::StoreFailed(cause));
                    }
                    store.release();
                }
                self.await_drained(deadline).await;
                Ok(())
            }
        }
    }

    /// Ends the connections, and waits for nothing that was stored.
    async fn end_fenced(&mut self, why: &Why) {
        if let (Some(store), Why::Fenced { reason, .. }) = (&self.store, why) {
            store.fence(reason);
        }
        self.say_farewell(Farewell::Fenced(why.owner()));
        self.await_drained(Instant::now() + FENCED_TIMEOUT).await;
    }

    fn say_farewell(&self, farewell: Farewell) {
        let mail = || Mail::ShuttingDown(Some(farewell.clone()), None);
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(mail()));
    }

    /// Waits until all connections have ended, at most until `deadline`.
    async fn await_drained(&mut self, deadline: Instant) {
        while self.shards_ended < self.mailboxes.len() {
            let Ok(Some(_)) = timeout_at(deadline, self.ended.recv()).await else { return };
            self.shards_ended += 1;
        }
    }

    /// Ends the threads of the shards, with what is left of their connections.
    async fn end_shards(&mut self) -> Result<(), ServerError> {
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::End));
        self.await_drained(Instant::now() + END_TIMEOUT).await;
        match self.shards_ended == self.mailboxes.len() {
            true => Ok(()),
            false => Err(ServerError::ShardStuck),
        }
    }
}

fn log_leaving(why: &Why) {
    match why {
        Why::Promoted => {
            log_line!(RoleChanged { role = "owner" }, "this server is to serve the clients, and is no standby any more");
        }
        Why::Fenced { reason, .. } => {
            log_line!(
                Fenced { reason = &**reason },
                "another server has taken over: all clients are disconnected, and nothing more is acknowledged: {reason}"
            );
        }
        Why::Moved { owner } => {
            let to = owner.as_deref().unwrap_or("another server");
            log_line!(RoleChanged { role = "standby" }, "{to} is to serve the clients: all are disconnected");
        }
    }
}

/// Bridges, sinks and the probe end within two seconds each, if the store answers.
const ATTENDANTS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long clients that were refused may take to close.
const REFUSED_TIMEOUT: Duration = Duration::from_millis(500);
/// How long clients may take to read DISCONNECT, and to close.
const FENCED_TIMEOUT: Duration = Duration::from_secs(1);
/// A shard ends within milliseconds, unless the machine is overloaded.
const END_TIMEOUT: Duration = Duration::from_secs(30);
