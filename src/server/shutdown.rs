use std::future::pending;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::select;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout_at};

use super::cells::Cells;
use super::error::ServerError;
use super::log::log_line;
use super::stopper::all_told;
use crate::store::Store;

/// What a signal requests of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// SIGTERM or SIGINT: drain and stop; a second one stops at once.
    Stop,
    /// SIGHUP: reload the configuration and all files.
    Reload,
}

/// From now on SIGHUP does not end this process: one that arrives before the broker serves is carried out when it does. SIGTERM and SIGINT still end it
/// at once.
///
/// # Errors
/// The system refuses the handler, or has no descriptor left.
pub fn hold_hang_up() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(signal(SignalKind::hangup())?);
    Ok(())
}

/// SIGHUP, from [`hold_hang_up`] to [`Signals::listen`]. Signals belong to the process.
static HELD: Mutex<Option<Signal>> = Mutex::new(None);
/// All signals, between two brokers of this process.
static HELD_SIGNALS: Mutex<Option<Received>> = Mutex::new(None);

/// The signals of this process. A signal that arrives after [`Signals::listen`] is not lost.
#[derive(Debug, Default)]
pub(super) struct Signals(Option<Received>);

#[derive(Debug)]
struct Received {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Replaces the default action of these signals, which would end the process. The default is to get none, because another server of the process does.
    pub(super) fn listen() -> io::Result<Self> {
        if let Some(signals) = HELD_SIGNALS.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(Self(Some(signals)));
        }
        let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Self(Some(Received {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: held.map_or_else(|| signal(SignalKind::hangup()), Ok)?,
        })))
    }

    /// Keeps them for the next broker of this process, which carries out those that arrive meanwhile.
    pub(super) fn hold(self) {
        if let Some(received) = self.0 {
            *HELD_SIGNALS.lock().unwrap_or_else(PoisonError::into_inner) = Some(received);
        }
    }

    /// The next request. Cancel safe.
    pub(super) async fn next(&mut self) -> Request {
        let Self(Some(Received { terminate, interrupt, hang_up })) = self else { return pending().await };
        select! {
            _ = terminate.recv() => Request::Stop,
            _ = interrupt.recv() => Request::Stop,
            _ = hang_up.recv() => Request::Reload,
        }
    }

    /// The next request, also that of the server of a cell that ends the process. Cancel safe.
    pub(super) async fn next_or_end(&mut self, cells: Option<&Cells>) -> Request {
        select! {
            request = self.next() => request,
            () = all_told(cells) => Request::Stop,
        }
    }

    /// Waits for a request to stop and ignores others.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Request::Stop {}
    }
}

/// Waits until a store that is being closed has written everything, at most until `deadline` but at least [`CLOSE_MIN`]. A signal ends the
/// wait.
pub(super) async fn closed(store: &Store, deadline: Instant, signals: &mut Signals) -> Result<(), ServerError> {
    select! {
        written = written(store, deadline) => written,
        () = signals.stop() => Err(ServerError::Interrupted),
    }
}

/// The same without signals. A replicated store that waits for a majority until then waits no more: what it has not acknowledged may be gone, as after a
/// crash, and clients send it again.
pub(super) async fn written(store: &Store, deadline: Instant) -> Result<(), ServerError> {
    let deadline = deadline.max(Instant::now() + CLOSE_MIN);
    let ended = async {
        while !store.has_ended() {
            sleep(CLOSE_POLL).await;
        }
    };
    match timeout_at(deadline, ended).await {
        Ok(()) => Ok(()),
        Err(_) if store.waits_for_majority() => {
            log_line!(
                NotReplicated {},
                "no majority of the cluster was reached within server.drain_timeout: what was not acknowledged may be lost"
            );
            store.fence("no majority was reached before the end");
            Ok(())
        }
        Err(_) => Err(ServerError::StoreStuck),
    }
}

/// The store is closed after the drain, which may have taken all the time.
const CLOSE_MIN: Duration = Duration::from_secs(1);
const CLOSE_POLL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Entry, Hooks, Key, Level, Mark, Options, Replica, Replication, Room};

    /// A majority that is not reached.
    struct Nobody;

    impl Replica for Nobody {
        fn ship(&mut self, _: u64, _: u32, _: &[u8]) {}
    }

    #[test]
    fn a_replicated_store_without_a_majority_ends_at_the_deadline_without_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mark = Mark { sequence: 1, state: Vec::new() };
        let replication = Some(Replication { replica: Box::new(Nobody), mark });
        let hooks = Hooks { replication, ..Hooks::default() };
        let (store, _) = Store::open(directory.path(), &Options::default(), hooks, &mut |_| ()).unwrap();
        let (puts, level, room) = (&[Key { group: 0, kind: 0, id: 1 }], Level::PowerLoss, Room::Ordinary);
        store.append(0, 1, &Entry { body: b"x", puts, parts: &[], deletes: &[], ends: None, level, room }).unwrap();
        store.begin_close();
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { written(&store, Instant::now()).await }).unwrap();
        assert!(store.has_ended() && !store.waits_for_majority());
        store.release();
    }
}
