//! systemd's watchdog: tells it regularly that the broker makes progress.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::cells::Cells;
use super::log::log_line;
use super::status::Status;
use super::systemd::notify;
use crate::store::Store;
use crate::timestamp::Timestamp;

/// Sends `WATCHDOG=1` from the main thread, but only if every shard has answered since the last time and the thread of the store has
/// not ended. So systemd restarts a broker of which one thread is stuck.
///
/// A shard answers by publishing its counters, once a second. The thread of the store may wait for the disk for any time: a restart
/// doesn't make a disk faster, and the shards answer meanwhile.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// `None` if systemd does not watch this process.
    interval: Option<Interval>,
    /// When the last message was sent.
    sent: Timestamp,
    was_alive: bool,
    status: Arc<Status>,
    store: Option<Arc<Store>>,
    /// Those that are served by other servers of the process.
    cells: Option<Arc<Cells>>,
}

impl Watchdog {
    /// Reads `WATCHDOG_USEC` and `WATCHDOG_PID`, which systemd sets if the unit has `WatchdogSec=`.
    pub(super) fn start(status: Arc<Status>, store: Option<Arc<Store>>) -> Self {
        let mut microseconds = 0;
        let timeout =
            sd_notify::watchdog_enabled(false, &mut microseconds).then(|| Duration::from_micros(microseconds));
        Self::with_timeout(timeout.filter(|timeout| !timeout.is_zero()), status, store)
    }

    /// The same, and the shards of these cells must make progress, too.
    pub(super) fn of_front(self, cells: Option<Arc<Cells>>) -> Self {
        Self { cells, ..self }
    }

    /// One that does nothing.
    pub(super) fn none(status: Arc<Status>, store: Option<Arc<Store>>) -> Self {
        Self::with_timeout(None, status, store)
    }

    fn with_timeout(timeout: Option<Duration>, status: Arc<Status>, store: Option<Arc<Store>>) -> Self {
        if let Some(timeout) = timeout {
            log_line!(WatchdogStarted {}, "systemd restarts the broker if a shard makes no progress for {timeout:?}");
            if timeout < TIMEOUT_MIN {
                log_line!(
                    WatchdogShort {},
                    "WatchdogSec should be at least {TIMEOUT_MIN:?}: the shards answer once a second"
                );
            }
        }
        let interval = timeout.map(|timeout| {
            let mut interval = interval((timeout / CHECKS_PER_TIMEOUT).max(Duration::from_millis(1)));
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self { interval, sent: Timestamp::default(), was_alive: true, status, store, cells: None }
    }

    /// Waits until the next check; for ever if systemd does not watch this process.
    pub(super) async fn wait(&mut self) {
        match &mut self.interval {
            Some(interval) => _ = interval.tick().await,
            None => pending().await,
        }
    }

    /// Tells systemd that the broker is alive, if it is.
    pub(super) fn check(&mut self) {
        let is_alive = self.is_alive();
        if is_alive {
            self.send();
        } else if self.was_alive && self.sent_before(SILENCE_MAX) {
            log_line!(WatchdogSilent {}, "a shard or the store makes no progress: systemd's watchdog gets no answer");
            self.was_alive = false;
        }
    }

    /// Tells systemd that the broker is alive. During the drain the shards end one by one, and `server.drain_timeout` bounds it.
    pub(super) fn send(&mut self) {
        self.sent = self.status.now();
        self.was_alive = true;
        notify(&[sd_notify::NotifyState::Watchdog]);
    }

    fn is_alive(&self) -> bool {
        let has_ended = self.store.as_ref().is_some_and(|store| store.has_ended());
        let is_stuck = self.cells.as_ref().is_some_and(|cells| cells.longest_silence() > SILENCE_MAX);
        !has_ended && !is_stuck && self.status.shards().iter().all(|shard| shard.published > self.sent)
    }

    fn sent_before(&self, silence: Duration) -> bool {
        self.status.now().since(self.sent) > silence
    }
}

/// Several, so that an answer that is a little late does not count as none.
const CHECKS_PER_TIMEOUT: u32 = 4;
/// The shards answer once a second, and later under load.
const TIMEOUT_MIN: Duration = Duration::from_secs(5);
/// Longer silence is logged.
const SILENCE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::CellId;
    use crate::server::CellServer;
    use crate::server::clock::Clock;
    use crate::server::status::ShardSnapshot;

    fn watchdog() -> (Watchdog, Arc<Status>) {
        let status = Arc::new(Status::new(2, Clock::start(Timestamp(1_000))));
        (Watchdog::with_timeout(None, Arc::clone(&status), None), status)
    }

    fn answer(status: &Status, shard: usize, published: Timestamp) {
        status.publish_shard(shard, ShardSnapshot { published, ..ShardSnapshot::default() });
    }

    #[test]
    fn it_is_alive_only_if_every_shard_has_answered_since_the_last_message() {
        let (mut watchdog, status) = watchdog();
        assert!(watchdog.is_alive(), "a shard has answered when it has started");
        watchdog.send();
        let later = watchdog.sent + Duration::from_secs(1);
        assert!(!watchdog.is_alive());
        answer(&status, 0, later);
        assert!(!watchdog.is_alive(), "one shard is stuck");
        watchdog.check();
        assert!(watchdog.sent < later, "nothing was sent");
        answer(&status, 1, later);
        assert!(watchdog.is_alive());
        watchdog.check();
        assert!(!watchdog.is_alive() || watchdog.sent < later);
    }

    #[test]
    fn a_cell_whose_shard_is_stuck_is_no_sign_of_life() {
        let (watchdog, _) = watchdog();
        let (cells, clock) = (Cells::new(2), Clock::start(Timestamp(60_000)));
        let watchdog = watchdog.of_front(Some(Arc::clone(&cells)));
        let status = Arc::new(Status::new(1, clock));
        cells.add_server(CellServer::unanswered(CellId(1), 2, Arc::clone(&status)));
        answer(&status, 0, Timestamp(58_000));
        assert!(watchdog.is_alive());
        answer(&status, 0, Timestamp(50_000));
        assert!(!watchdog.is_alive());
        cells.remove_server(CellId(1));
        assert!(watchdog.is_alive(), "it has ended");
    }

    #[test]
    fn without_systemd_it_waits_for_ever() {
        let (mut watchdog, _) = watchdog();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let waited = runtime.block_on(async { tokio::time::timeout(Duration::from_millis(20), watchdog.wait()).await });
        assert!(waited.is_err());
    }
}
