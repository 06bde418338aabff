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
mod handover;
pub(crate) mod host;
mod listener;
mod log;
mod memory;
pub(crate) mod process;
mod queries;
mod reload;
mod replace;
mod report;
mod resources;
mod settings;
mod shard;
mod shutdown;
mod start_shards;
mod status;
mod stop;
mod store;
mod systemd;
#[cfg(test)]
mod test_client;
mod traffic;
mod watchdog;

use std::io;
use std::mem;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::select;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::interval;

pub use bans::{Ban, Bans, BansFull, Subject};
pub use bind::check_certificates;
pub(crate) use clock::Clock;
pub use error::{EXIT_PANIC, ServerError};
pub use handover::activation::activated_sockets;
pub use handover::ended::Ended;
pub use handover::passed::PassedSockets;
pub use handover::successor::TakeOver;
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
use crate::broker::{MemoryLevel, MessageCache, Shared};
use crate::config::{Arguments, Config};
use crate::routing::ShardId;
use crate::store::Store;
use bind::{bind, tcp_options};
use handover::early::EarlyAcceptor;
use handover::own::OwnSockets;
use handover::passed::take_admin;
use handover::predecessor::Predecessor;
use listener::{Admission, BoundSocket, Endpoint, Listening};
use memory::MemoryBudget;
use shard::mailbox::{Mailbox, round_robin};
use shutdown::{Request, Signals};
use store::anchors::Anchors;
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
    /// What a process that takes over gets; nothing without a store.
    own_sockets: OwnSockets,
    /// A passed socket for the admin listener.
    admin_socket: Option<TcpListener>,
    /// The broker that this one takes over from, until it serves.
    take_over: Option<TakeOver>,
    /// Accepts the connections that arrive before this broker serves, if another one has passed the sockets.
    early: Option<EarlyAcceptor>,
}

impl Server {
    /// Reads certificates, password file and ACL file, listens at every address, opens the store, and starts the shards.
    pub fn start(config: Config) -> Result<Self, ServerError> {
        Self::start_with(config, PassedSockets::default(), None)
    }

    /// The same, with sockets that another process has opened. If a running broker is taken over from, it is told to hand over when all but
    /// the store is ready.
    pub fn start_with(
        mut config: Config,
        mut passed: PassedSockets,
        mut take_over: Option<TakeOver>,
    ) -> Result<Self, ServerError> {
        announce::log_exposures(&config);
        let shards = match usize::from(config.server.shards) {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get).min(SHARDS_MAX),
            shards => shards,
        };
        let configured = config.clone();
        resources::fit(&mut config, shards);
        let listeners = bind(&config, &mut passed)?;
        let admin_socket = take_admin(&mut passed, &config);
        let of_broker = passed.are_of_a_broker();
        passed.finish()?;
        let authenticator = Authenticator::new(&config.security, &config.listeners)?;
        report::write_notes(&authenticator.notes());
        let mailboxes: Arc<[Mailbox]> = (0..shards).map(|_| Mailbox::new(MAILBOX_MESSAGES_MAX)).collect();
        let (ended_sender, ended) = mpsc::channel(shards);
        let memory = Arc::new(MemoryBudget::new(config.limits.memory_max.unwrap_or_else(memory::default_max)));
        let messages = Arc::new(MessageCache::new(memory.messages_max()));
        let (failures_sender, failures) = mpsc::channel(1);
        if let Some(take_over) = &mut take_over {
            take_over.go(&config)?;
        }
        let early = of_broker
            .then(|| EarlyAcceptor::start(&listeners, tcp_options(&config), config.limits.connections_max))
            .transpose()
            .map_err(ServerError::Start)?;
        if let Some(take_over) = &mut take_over {
            take_over.wait();
        }
        let lock_patience = if of_broker { LOCK_PATIENCE } else { Duration::ZERO };
        let (store, mut recovered) = store::handle::open(&config, &mailboxes, failures_sender.clone(), lock_patience)?;
        let own_sockets = if store.is_some() { OwnSockets::of(&listeners) } else { Ok(OwnSockets::default()) };
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
            own_sockets: own_sockets.map_err(ServerError::Start)?,
            admin_socket,
            take_over,
            early,
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

    /// The socket for the admin listener, if another process has passed it.
    pub fn take_admin_socket(&mut self) -> Option<TcpListener> {
        self.admin_socket.take()
    }

    /// Passes the socket of the admin listener to a process that takes over.
    ///
    /// # Errors
    /// There is no file descriptor left.
    pub fn pass_admin_socket(&mut self, socket: &TcpListener) -> Result<(), ServerError> {
        self.own_sockets.add_admin(socket).map_err(ServerError::Start)
    }

    /// Accepts connections until a signal requests the stop, another process takes over, or the store fails, then disconnects every client.
    ///
    /// # Errors
    /// The runtime can't start, a shard ended, the store failed, or a second signal interrupted the drain.
    pub fn run(self) -> Result<Ended, ServerError> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default()).map_err(ServerError::Start)?;
        runtime.block_on(self.serve())
    }

    async fn serve(mut self) -> Result<Ended, ServerError> {
        let mut signals = Signals::listen().map_err(ServerError::Start)?;
        let mut endpoints = self.listeners.iter().map(|(endpoint, _)| Arc::clone(endpoint)).collect::<Vec<_>>();
        // A listener with several addresses has several sockets, one after the other.
        endpoints.dedup_by(|next, endpoint| Arc::ptr_eq(next, endpoint));
        self.announce();
        let accept_tasks = self.start_accepting().map_err(ServerError::Start)?;
        self.publish_certificates(&endpoints);
        self.status.set_ready();
        notify(&[sd_notify::NotifyState::Ready]);
        if let Some(take_over) = self.take_over.take() {
            take_over.ready();
        }
        let own_sockets = mem::take(&mut self.own_sockets);
        let mut predecessor = match &self.store {
            Some(_) => Predecessor::listen(&self.config.server.data, own_sockets),
            None => Predecessor::default(),
        };

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
                request = predecessor.requested() => {
                    return self.hand_over(request, accept_tasks, signals, watchdog).await;
                }
                Some(cause) = self.failures.recv() => {
                    failure = Some(cause);
                    break;
                }
            }
        }
        self.status.set_stopping();
        notify(&[sd_notify::NotifyState::Stopping]);
        log_line!(Stopping {}, "stopping: no new connections are accepted, and all clients are disconnected");
        drop((accept_tasks, predecessor));
        let stopped = self.stop(&mut signals, watchdog).await;
        // A failure of the store is the cause of the end, whatever ended the drain.
        match failure.or_else(|| self.failures.try_recv().ok()) {
            Some(cause) => Err(ServerError::StoreFailed(cause)),
            None => stopped.map(|()| Ended::Stopped),
        }
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
            accepted: self.early.take().map(EarlyAcceptor::finish).unwrap_or_default(),
        };
        match &*self.mailboxes {
            [only_shard] => only_shard.listen(listening).map(|()| JoinSet::new()),
            _ => listening.start(round_robin(Arc::clone(&self.mailboxes))),
        }
    }
}

/// The kernel unlocks the store of a process that was killed when it has freed its memory.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);
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
