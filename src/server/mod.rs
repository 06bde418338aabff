//! Everything that uses tokio: listeners, connections, shard threads, the clock and signals. The broker itself does no input or output.
//!
//! One thread per shard runs the tasks of its connections. The main thread accepts connections and distributes them to the shards round
//! robin; a single shard accepts them itself. The main thread also waits for signals. The exit code of the process is 0 after a drain by
//! SIGTERM or SIGINT, otherwise [`ServerError::exit_code`] or [`EXIT_PANIC`].

mod accepting;
mod announce;
mod attend;
mod attendants;
mod auth_services;
mod authentication;
mod bans;
mod bind;
mod bridge_figures;
mod bridges;
mod cells;
mod client_ids;
mod clock;
mod connection;
mod drain;
mod error;
mod figures;
mod handles;
mod handover;
pub(crate) mod host;
mod leave;
mod listener;
mod log;
mod memory;
mod own_client;
mod packet_link;
mod probe;
mod probe_figures;
pub(crate) mod process;
mod queries;
mod refer;
mod reload;
mod replace;
mod report;
mod resources;
mod settings;
mod shard;
mod shutdown;
mod sinks;
mod standby;
mod start;
mod start_shards;
mod status;
mod stopper;
mod store;
mod stream_error;
mod systemd;
mod telemetry;
mod telemetry_figures;
#[cfg(test)]
mod test_client;
mod traces;
mod traffic;
mod tunnel;
mod watchdog;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::interval;

pub use crate::auth::RemoteCounts;
pub use bans::{Ban, BanChange, Bans, BansFull, CarriedBans, Subject};
pub use bind::check_certificates;
pub use bridge_figures::{BridgeFigures, BridgeState};
pub use cells::{CellPlace, CellServer, CellTerms, Cells, CellsError, Past, Working, claim_cells};
pub use cells::{SplitFailure, SplitReport, SplitRequest, split_store};
pub use clock::is_synchronized;
pub(crate) use clock::{Clock, wall_time};
pub use error::{EXIT_PANIC, ServerError};
pub use handover::activation::activated_sockets;
pub use handover::ended::Ended;
pub use handover::passed::{ADMIN_SOCKET, AdminSockets, PassedSockets};
pub use handover::successor::TakeOver;
pub use listener::TlsError;
#[cfg(feature = "sim")]
pub use listener::fuzzing;
pub(crate) use listener::{Https, SecondSocket, SocketFile, bind_unix_socket};
pub use log::{LogEvent, dropped_lines, exit_on_panic, failure_line, init as init_logging, log_cluster};
pub(crate) use log::{Whom, allows, log_line};
pub use memory::MemoryFigures;
pub(crate) use own_client::Kind as OwnClientKind;
pub use probe_figures::{ProbeFigures, ProbeResult};
pub use process::use_small_pages;
pub use queries::{Queries, QueryError};
pub use reload::{EditFailure, PartResult, ReloadError, ReloadReport, ReloadedPart, Reloader};
pub use resources::connections_for;
pub use shard::trace::{TraceEntry, TraceFilter, TraceItem};
pub use shutdown::hold_hang_up;
pub use sinks::{SinkFigures, check_sinks};
pub use standby::Standby;
pub use start::Start;
pub use status::{AdmissionCounts, CertificateExpiry, ShardSnapshot, Status};
pub use stopper::{Stopper, Why};
pub use store::handle::{inspect_store, upgrade_store};
pub use store::options::{store_directory, store_options};
pub(crate) use store::stream_read::read_for_operator;
pub use store::streams::stream_terms;
pub use stream_error::StreamError;
pub use telemetry::check_telemetry;
pub use telemetry_figures::{SpanResult, TelemetryFigures};
pub use traces::{RunningTrace, Traces, TracesFull};
pub use traffic::{Latencies, Traffic};
pub use tunnel::{Connecting, NodeStreams, TunnelBus, TunnelFigures};

use crate::auth::{self, Authenticator};
use crate::broker::{MemoryLevel, MessageCache, Shared};
use crate::config::{Arguments, Config, Loaded};
use crate::routing::ShardId;
use crate::store::Store;
use attendants::Attendants;
use bind::bind;
use cells::Joining;
use handover::early::EarlyAcceptor;
use handover::predecessor;
use listener::{Admission, ListeningSocket, OpenListener};
use memory::MemoryBudget;
use reload::{Scope, Stamps};
use shard::mailbox::Mailbox;
use shutdown::Request;
use standby::{Owner, owner_changed};
use stopper::told;
use store::anchors::Anchors;
use store::streams::Streams;
use tunnel::{Endpoints, Tunnels};

/// A broker with running shards and listening sockets. It accepts connections during [`run`](Self::run).
#[derive(Debug)]
pub struct Server {
    /// What applies: some limits may be lower than configured.
    config: Config,
    /// What was loaded of it, with the origin of each value; a reload is compared to it.
    loaded: Loaded,
    /// The command line from which the configuration is loaded again; `None`: it isn't.
    arguments: Option<Arguments>,
    clock: Clock,
    anchors: Anchors,
    streams: Streams,
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
    listeners: Vec<OpenListener>,
    /// Their sockets, until they accept connections.
    sockets: Vec<ListeningSocket>,
    /// The files as they were when they were read.
    stamps: Stamps,
    reloader: Reloader,
    requests: mpsc::Receiver<reload::Request>,
    /// Passed sockets for the admin listener.
    passed_admin: AdminSockets,
    /// Other descriptors of the sockets of the admin listener, for a process that takes over.
    admin_sockets: Vec<SecondSocket>,
    /// The broker that this one takes over from, until it serves.
    take_over: Option<TakeOver>,
    /// The server that serves the clients in place of this one, which is a standby.
    standby: Option<Owner>,
    /// The cell that it serves, if there are several.
    cell: Option<CellTerms>,
    /// The cells whose front it is.
    front_of: Option<Arc<Cells>>,
    /// Ends it while the process goes on.
    stopper: Option<Stopper>,
    /// The shards that have ended, of those that `ended` has named.
    shards_ended: usize,
    /// Accepts the connections that arrive before this broker serves, if another one has passed the sockets.
    early: Option<EarlyAcceptor>,
    attendants: Attendants,
    /// To and from other nodes, if there are any.
    tunnels: Option<Tunnels>,
    /// The listeners in force, for the clients of other nodes.
    endpoints: Endpoints,
}

impl Server {
    /// Reads certificates, password file and ACL file, listens at every address, opens the store, and starts the shards.
    pub fn start(config: Config) -> Result<Self, ServerError> {
        Self::start_with(config, Start::default())
    }

    /// The same, with what `start` has. If a running broker is taken over from, it is told to hand over when all but the store is ready.
    pub fn start_with(config: Config, start: Start) -> Result<Self, ServerError> {
        let Start { mut passed, mut take_over, standby, stopper, bans: carried, replication, cell, front_of, tunnels } =
            start;
        let standby = standby.map(|standby| standby.watch());
        let (config, loaded, shards) = start::adapt(config, cell.as_ref());
        let stamps = Stamps::of(&config);
        let (listeners, sockets) = if cell.is_none() { bind(&config, &mut passed)? } else { Default::default() };
        let mut passed_admin = passed.take_admin(&config).map_err(ServerError::Start)?;
        let of_broker = passed.are_of_a_broker();
        passed.finish()?;
        let authenticator = Authenticator::new(&config.security, &config.auth, &config.listeners)?;
        report::write_notes(&authenticator.notes());
        let mailboxes: Arc<[Mailbox]> = (0..shards).map(|_| Mailbox::new(MAILBOX_MESSAGES_MAX)).collect();
        let (ended_sender, ended) = mpsc::channel(shards);
        let memory = start::memory(&config, cell.as_ref(), front_of.as_ref());
        let (failures_sender, failures) = mpsc::channel(1);
        let early = start::begin_take_over(&config, take_over.as_mut(), (&mut passed_admin, of_broker, &sockets))?;
        let (replication, attendants) = start::attendants(replication);
        let (lock_patience, progress) = (if of_broker { LOCK_PATIENCE } else { Duration::ZERO }, Arc::default());
        let (store, mut recovered) = match standby {
            None => {
                let (failures, how) = (failures_sender.clone(), (lock_patience, replication, &attendants.marks));
                store::handle::open(&config, &mailboxes, failures, how, Arc::clone(&progress))?
            }
            Some(_) => Default::default(),
        };
        let anchors = store::anchors::resume(&config, store.clone(), &mut recovered, shards);
        let clock = anchors.clock();
        let run = getrandom::u64().map_err(|error| ServerError::Start(io::Error::other(error)))?;
        let of_run = (memory.share(), shards, run);
        let bans = start::bans(&config, (cell.as_ref(), front_of.as_ref()), clock, carried);
        let authentication = auth_services::pool(authenticator)?;
        let (reloader, requests) = Reloader::new(loaded.clone());
        let server = Self {
            clock,
            anchors,
            streams: Streams::start(&config, (store.clone(), progress), &mut recovered, shards)?,
            shared: settings::new_shared((&config, cell.as_ref()), &recovered, of_run, &authentication),
            status: Arc::new(Status::new(shards, clock)),
            admission: start::admission(&config, (&bans, clock), &memory),
            bans,
            messages: Arc::new(MessageCache::new(memory.messages_max())),
            memory,
            authentication,
            mailboxes,
            ended,
            store,
            failures,
            listeners,
            sockets,
            stamps,
            reloader,
            requests,
            config,
            loaded,
            arguments: None,
            passed_admin,
            admin_sockets: Vec::new(),
            take_over,
            tunnels: tunnels.map(|bus| Tunnels::new(bus, standby.as_ref().map(Owner::node), front_of.clone(), clock)),
            endpoints: Endpoints::default(),
            standby,
            cell,
            front_of,
            stopper,
            shards_ended: 0,
            early,
            attendants,
        };
        server.start_shards(recovered, &ended_sender, &failures_sender).map_err(ServerError::Start)?;
        Ok(server)
    }

    /// Loads the configuration again at a reload, from the same files and arguments, which have given `loaded`.
    pub fn reloading(self, arguments: Arguments, loaded: Loaded) -> Self {
        let loaded = self.own_part(loaded);
        if self.cell.is_none() {
            announce::log_notes(loaded.notes(), &[]);
        }
        let server = Self { arguments: Some(arguments), loaded, ..self };
        server.publish_configuration();
        server
    }

    /// Accepts connections until a signal requests the stop, another process takes over, or the store fails, then disconnects every client.
    ///
    /// # Errors
    /// The runtime can't start, a shard ended, the store failed, or a second signal interrupted the drain.
    pub fn run(self) -> Result<Ended, ServerError> {
        self.run_with(())
    }

    /// The same. Drops `admin`, which serves the sockets of the admin listener, when another process takes over, or at the end.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_with(self, admin: impl Sized) -> Result<Ended, ServerError> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default()).map_err(ServerError::Start)?;
        runtime.block_on(self.serve(admin))
    }

    async fn serve(mut self, admin: impl Sized) -> Result<Ended, ServerError> {
        let mut signals = self.signals().map_err(ServerError::Start)?;
        self.announce();
        let mut accepting = self.start_accepting().map_err(ServerError::Start)?;
        self.start_tunnels().map_err(ServerError::Start)?;
        self.publish_certificates();
        self.status.set_ready(self.is_standby());
        self.admit_cells();
        self.notify(&[sd_notify::NotifyState::Ready]);
        if let Some(take_over) = self.take_over.take() {
            take_over.ready();
        }
        self.apply_attendants().await;
        let mut predecessor = self.predecessor();

        let (mut watchdog, front_of, cells) = (self.watchdog(), self.front_of.clone(), self.cells());
        let mut seconds = interval(Duration::from_secs(1));
        let mut days = interval(DAY);
        // The first tick is at once, and the start has said it already.
        days.tick().await;
        let mut measurements = interval(MEASUREMENT_INTERVAL);
        let mut reported = MemoryLevel::Normal;
        let mut failure = None;
        let mut looks = interval(WATCH_INTERVAL);
        let (mut joins, mut joining, mut has_joined) = (interval(JOIN_INTERVAL), Joining::default(), false);
        loop {
            select! {
                request = signals.next_or_end(front_of.as_deref()) => match request {
                    Request::Stop => break,
                    Request::Reload => drop(self.reload(&Scope::Everything, &mut accepting).await),
                },
                Some(request) = self.requests.recv() => {
                    let report = self.reload(&request.scope, &mut accepting).await;
                    let _ = request.answer.send(report); // whoever asked may have gone
                }
                _ = looks.tick(), if self.config.server.watch_files => {
                    let changed = self.changed_files();
                    if !changed.is_empty() {
                        self.reload(&Scope::Files(changed), &mut accepting).await;
                    }
                }
                _ = seconds.tick() => {
                    self.publish_figures();
                    reported = self.report_memory(reported);
                }
                _ = days.tick() => self.listeners.iter().for_each(|listener| listener.endpoint().log_expiry()),
                _ = measurements.tick() => self.measure(),
                _ = joins.tick(), if !has_joined => has_joined = self.admit_clients(&mut joining).await,
                () = watchdog.wait() => watchdog.check(),
                () = owner_changed(&mut self.standby) => self.refer_clients(),
                why = told(self.stopper.as_ref(), cells.as_deref()) => {
                    return self.leave(why, (accepting, admin), signals, watchdog).await;
                }
                Some(ShardId(number)) = self.ended.recv() => return Err(ServerError::ShardEnded(number)),
                request = predecessor.requested() => match request {
                    // The process may have gone.
                    predecessor::Request::Sockets(answer) => drop(answer.send(self.own_sockets())),
                    predecessor::Request::Go(successor) => {
                        return self.hand_over(successor, (accepting, admin), signals, watchdog).await;
                    }
                },
                Some(cause) = self.failures.recv() => {
                    if let Some(why) = self.stopper.as_ref().and_then(Stopper::why).filter(Why::is_fenced) {
                        return self.leave(why, (accepting, admin), signals, watchdog).await;
                    }
                    failure = Some(cause);
                    break;
                }
            }
        }
        self.end(failure, (accepting, predecessor), signals, watchdog).await
    }
}

/// The kernel unlocks the store of a process that was killed when it has freed its memory.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);
/// How often the log says that a certificate expires soon.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the server of a cell looks whether it knows all others.
const JOIN_INTERVAL: Duration = Duration::from_millis(10);
/// How often files are looked at with `server.watch_files`.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// How often the memory is measured, beside the measurements of the shards.
const MEASUREMENT_INTERVAL: Duration = Duration::from_millis(250);
/// Capacity of a shard's mailbox in messages. Above it, the other shards pause the publishers that send to it.
const MAILBOX_MESSAGES_MAX: usize = 16_384;

#[cfg(test)]
mod tests;
