//! Everything that uses tokio: listeners, connections, shard threads, the clock and signals. The broker itself does no input or output.
//!
//! One thread per shard runs the tasks of its connections. The main thread accepts connections and distributes them to the shards round
//! robin; a single shard accepts them itself. The main thread also waits for signals. The exit code of the process is 0 after a drain by
//! SIGTERM or SIGINT, otherwise [`ServerError::exit_code`] or [`EXIT_PANIC`].

mod announce;
mod authentication;
mod bans;
mod bind;
mod clock;
mod connection;
mod error;
mod figures;
pub(crate) mod host;
mod listener;
mod log;
mod memory;
pub(crate) mod process;
mod queries;
mod reload;
mod report;
mod resources;
mod settings;
mod shard;
mod shutdown;
mod status;
mod store;
mod systemd;
#[cfg(test)]
mod test_client;
mod traffic;
mod watchdog;

use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tokio::{pin, select};

pub use bans::{Ban, Bans, BansFull, Subject};
pub use bind::check_certificates;
pub(crate) use clock::Clock;
pub use error::{EXIT_PANIC, ServerError};
pub use listener::TlsError;
#[cfg(feature = "sim")]
pub use listener::fuzzing;
pub use log::{LogEvent, dropped_lines, exit_on_panic, failure_line, init as init_logging};
pub(crate) use log::{Whom, allows, log_line};
pub use memory::MemoryFigures;
pub use process::use_small_pages;
pub use queries::{Queries, QueryError};
pub use status::{AdmissionCounts, CertificateExpiry, ShardSnapshot, Status};
pub use store::handle::{inspect_store, store_directory, upgrade_store};
pub use traffic::{LatencyHistogram, Traffic};

use crate::auth::{self, Authenticator};
use crate::broker::{MemoryLevel, MessageCache, Recovered, Shard, Shared};
use crate::config::{Arguments, Config};
use crate::routing::ShardId;
use crate::store::Store;
use crate::timestamp::Timestamp;
use bind::bind;
use listener::{Admission, BoundSocket, Endpoint, Listening};
use memory::MemoryBudget;
use shard::driver::Parts;
use shard::mailbox::{Mail, Mailbox, round_robin};
use shard::task::MainHandle;
use shutdown::{Request, Signals};
use store::anchors::Anchors;
use store::handle::StoreHandle;
use systemd::notify;
use watchdog::Watchdog;

/// A broker with running shards and listening sockets. It accepts connections during [`run`](Self::run).
#[derive(Debug)]
pub struct Server {
    /// What applies: some limits may be lower than configured.
    config: Config,
    /// What was loaded, to which a reload is compared.
    configured: Config,
    /// The command line from which the configuration is loaded again; `None`: it isn't.
    arguments: Option<Arguments>,
    clock: Clock,
    anchors: Anchors,
    shared: Arc<Shared>,
    status: Arc<Status>,
    admission: Arc<Admission>,
    memory: Arc<MemoryBudget>,
    /// The stored messages in memory.
    messages: Arc<MessageCache>,
    authentication: Arc<auth::Pool>,
    bans: Arc<Bans>,
    mailboxes: Arc<[Mailbox]>,
    ended: mpsc::Receiver<ShardId>,
    store: Option<Arc<Store>>,
    failures: mpsc::Receiver<String>,
    listeners: Vec<(Arc<Endpoint>, BoundSocket)>,
}

impl Server {
    /// Reads certificates, password file and ACL file, listens at every address, opens the store, and starts the shards.
    pub fn start(mut config: Config) -> Result<Self, ServerError> {
        announce::log_exposures(&config);
        let shards = match usize::from(config.server.shards) {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get).min(SHARDS_MAX),
            shards => shards,
        };
        let configured = config.clone();
        resources::fit(&mut config, shards);
        let listeners = bind(&config)?;
        let authenticator = Authenticator::new(&config.security, &config.listeners)?;
        report::write_notes(&authenticator.notes());
        let mailboxes: Arc<[Mailbox]> = (0..shards).map(|_| Mailbox::new(MAILBOX_MESSAGES_MAX)).collect();
        let (ended_sender, ended) = mpsc::channel(shards);
        let memory = Arc::new(MemoryBudget::new(config.limits.memory_max.unwrap_or_else(memory::default_max)));
        let messages = Arc::new(MessageCache::new(memory.messages_max()));
        let (failures_sender, failures) = mpsc::channel(1);
        let (store, mut recovered) = store::handle::open(&config, &mailboxes, failures_sender.clone())?;
        let anchors = store::anchors::resume(&config, store.clone(), &mut recovered, shards);
        let clock = anchors.clock();
        let run = getrandom::u64().map_err(|error| ServerError::Start(io::Error::other(error)))?;
        let bans = Arc::new(Bans::new(&config.bans));
        let server = Self {
            clock,
            anchors,
            shared: Arc::new(
                Shared::new(shards, settings::retained_limits(&config, memory.max(), &recovered.retained)).of_run(run),
            ),
            status: Arc::new(Status::new(shards, clock)),
            admission: Arc::new(
                Admission::new(&config.limits).with_bans(Arc::clone(&bans), clock).within(Arc::clone(&memory)),
            ),
            bans,
            memory,
            messages,
            authentication: Arc::new(auth::Pool::start(authenticator).map_err(ServerError::Start)?),
            mailboxes,
            ended,
            store,
            failures,
            listeners,
            config,
            configured,
            arguments: None,
        };
        server.start_shards(recovered, &ended_sender, &failures_sender).map_err(ServerError::Start)?;
        Ok(server)
    }

    /// Loads the settings of the log again on SIGHUP, from the same files and arguments.
    pub fn reloading(self, arguments: Arguments) -> Self {
        Self { arguments: Some(arguments), ..self }
    }

    /// The state and counters of the broker, for monitoring.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// The state that all shards share: the subscription index and the retained messages.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The store; `None` if no message is durable.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.clone()
    }

    /// The banned addresses and users.
    pub fn bans(&self) -> Arc<Bans> {
        Arc::clone(&self.bans)
    }

    /// Queries to the shards.
    pub fn queries(&self) -> Queries {
        Queries::new(Arc::clone(&self.mailboxes))
    }

    /// Accepts connections until a signal requests the stop or the store fails, then disconnects every client.
    ///
    /// # Errors
    /// The runtime can't start, a shard ended, the store failed, or a second signal interrupted the drain.
    pub fn run(self) -> Result<(), ServerError> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default()).map_err(ServerError::Start)?;
        runtime.block_on(self.serve())
    }

    fn start_shards(
        &self,
        recovered: Recovered,
        ended: &mpsc::Sender<ShardId>,
        failures: &mpsc::Sender<String>,
    ) -> io::Result<()> {
        let settings = Arc::new(settings::broker_settings(&self.config));
        let Recovered { sessions, retained, retained_gone, deduplicated, mut orphans, .. } = recovered;
        self.shared.restore_deduplication(&deduplicated);
        let too_many = self.shared.restore(retained, retained_gone, sessions.iter().map(|session| session.key));
        if !too_many.is_empty() {
            let count = too_many.len();
            log_line!(
                RetainedDiscarded { count },
                "{count} retained messages in the store exceed the limits and are discarded"
            );
        }
        let mut restored: Vec<Vec<_>> = self.mailboxes.iter().map(|_| Vec::new()).collect();
        for (number, session) in sessions.into_iter().enumerate() {
            let access = self.authentication.access(&session.client_id, session.owner.user().map(|user| &**user));
            if let Some(shard) = restored.get_mut(number % self.mailboxes.len()) {
                shard.push((session, access));
            }
        }
        let mut waiting = Vec::new();
        for (number, _) in (0..).zip(self.mailboxes.iter()) {
            let id = ShardId(number);
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(io::Error::other)?;
            let parts = Parts {
                id,
                shard: Shard::new(id, Arc::clone(&settings), Arc::clone(&self.shared), seed),
                clock: self.clock,
                write_timeout: self.config.limits.write_timeout,
                authentication: Arc::clone(&self.authentication),
                bans: Arc::clone(&self.bans),
                mailboxes: Arc::clone(&self.mailboxes),
                shared: Arc::clone(&self.shared),
                memory: Arc::clone(&self.memory),
                store: self.store_handle(number, failures),
                detail: log::detail(&self.config.log),
                restored: restored.get_mut(usize::from(number)).map(std::mem::take).unwrap_or_default(),
                orphans: std::mem::take(&mut orphans),
            };
            let main = MainHandle { status: Arc::clone(&self.status), ended: ended.clone() };
            waiting.push(shard::task::start(parts, main)?);
        }
        // No shard starts before all have restored their subscriptions: earlier messages and Wills would miss them.
        for begin in waiting {
            begin.send(()).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn store_handle(&self, shard: u16, failures: &mpsc::Sender<String>) -> StoreHandle {
        let handle =
            StoreHandle::new(usize::from(shard), self.store.clone(), Arc::clone(&self.messages), failures.clone());
        if self.config.durability_rules.is_empty() { handle } else { handle.with_levels() }
    }

    async fn serve(mut self) -> Result<(), ServerError> {
        let mut signals = Signals::listen().map_err(ServerError::Start)?;
        let mut endpoints = self.listeners.iter().map(|(endpoint, _)| Arc::clone(endpoint)).collect::<Vec<_>>();
        // A listener with several addresses has several sockets, one after the other.
        endpoints.dedup_by(|next, endpoint| Arc::ptr_eq(next, endpoint));
        self.announce();
        let accept_tasks = self.start_accepting().map_err(ServerError::Start)?;
        self.publish_certificates(&endpoints);
        self.status.set_ready();
        notify(&[sd_notify::NotifyState::Ready]);

        let mut watchdog = Watchdog::start(self.status(), self.store());
        let mut seconds = interval(Duration::from_secs(1));
        let mut days = interval(DAY);
        // The first tick is at once, and the start has said it already.
        days.tick().await;
        let mut measurements = interval(MEASUREMENT_INTERVAL);
        let mut reported = MemoryLevel::Normal;
        let mut failure = None;
        let mut log = self.config.log.clone();
        loop {
            select! {
                request = signals.next() => match request {
                    Request::Stop => break,
                    Request::Reload => self.reload(&endpoints, &mut log),
                },
                _ = seconds.tick() => {
                    self.publish_figures();
                    reported = report::write_memory(&self.memory, reported);
                }
                _ = days.tick() => endpoints.iter().for_each(|endpoint| endpoint.log_expiry()),
                _ = measurements.tick() => {
                    self.memory.tick();
                    self.messages.set_bytes_max(self.memory.messages_max());
                }
                () = watchdog.wait() => watchdog.check(),
                Some(ShardId(number)) = self.ended.recv() => return Err(ServerError::ShardEnded(number)),
                Some(cause) = self.failures.recv() => {
                    failure = Some(cause);
                    break;
                }
            }
        }
        self.status.set_stopping();
        notify(&[sd_notify::NotifyState::Stopping]);
        log_line!(Stopping {}, "stopping: no new connections are accepted, and all clients are disconnected");
        drop(accept_tasks);
        let stopped = self.stop(&mut signals, watchdog).await;
        // A failure of the store is the cause of the end, whatever ended the drain.
        match failure.or_else(|| self.failures.try_recv().ok()) {
            Some(cause) => Err(ServerError::StoreFailed(cause)),
            None => stopped,
        }
    }

    /// Disconnects every client and closes the store.
    async fn stop(&mut self, signals: &mut Signals, watchdog: Watchdog) -> Result<(), ServerError> {
        let deadline = Instant::now() + self.config.server.drain_timeout;
        let drained = self.drain(signals.stop(), watchdog).await;
        log::summarize(Timestamp::NEVER);
        self.anchors.write();
        let Some(store) = self.store.clone() else { return drained };
        store.begin_close();
        let closed = match drained {
            Ok(()) => shutdown::closed(&store, deadline, signals).await,
            Err(interrupted) => Err(interrupted),
        };
        // A disk that does not answer must not keep the process.
        closed.inspect_err(|_| store.abandon())
    }

    fn announce(&self) {
        let listening = |(endpoint, socket): &(Arc<Endpoint>, BoundSocket)| {
            let name = &*endpoint.name;
            log_line!(ListenerOpen { listener = name }, "listener {name} is open");
            (endpoint.settings().clone(), socket.address())
        };
        let listeners = self.listeners.iter().map(listening).collect::<Vec<_>>();
        // Standard output may be closed: the broker runs without it.
        let _ = announce::announce(&listeners, self.config.log.format, &mut io::stdout().lock());
    }

    /// Starts to accept connections at all listeners. Several shards get them from tasks of the main thread: dropping the set ends these. A
    /// single shard accepts them itself until it shuts down, because passing each connection to another thread costs two changes of threads.
    fn start_accepting(&mut self) -> io::Result<JoinSet<()>> {
        let listening = Listening {
            clock: self.clock,
            connections_per_second_max: self.config.limits.connections_per_second_max,
            admission: Arc::clone(&self.admission),
            sockets: mem::take(&mut self.listeners),
        };
        match &*self.mailboxes {
            [only_shard] => only_shard.listen(listening).map(|()| JoinSet::new()),
            _ => listening.start(round_robin(Arc::clone(&self.mailboxes))),
        }
    }

    /// Disconnects every client, and waits until all connections are closed, at most for `server.drain_timeout`. A second signal ends
    /// the wait with [`ServerError::Interrupted`].
    async fn drain(
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

/// How often the log says that a certificate expires soon.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the memory is measured, beside the measurements of the shards.
const MEASUREMENT_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of shards if the configuration sets no number.
const SHARDS_MAX: usize = 256;
/// Capacity of a shard's mailbox in messages. Above it, the other shards pause the publishers that send to it.
const MAILBOX_MESSAGES_MAX: usize = 16_384;

#[cfg(test)]
mod tests;
