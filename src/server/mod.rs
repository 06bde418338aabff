//! All of tokio: listeners, connections, shard threads, the clock and the signals around the pure broker.
//!
//! One thread for each shard runs the tasks of its connections; the main thread accepts connections, hands them to the shards in
//! turn, and waits for signals. Exit codes of the process: 0 after a drain by SIGTERM or SIGINT, otherwise
//! [`ServerError::exit_code`] or [`EXIT_PANIC`].

mod announce;
mod authentication;
mod clock;
mod connection;
mod error;
mod listener;
mod logging;
mod queries;
mod report;
mod settings;
mod shard;
mod shutdown;
mod status;
mod store;
#[cfg(test)]
mod test_client;
mod traffic;

use std::io;
use std::num::NonZeroUsize;
use std::panic;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio::{pin, select};
use tracing::{error, info, warn};

pub(crate) use clock::Clock;
pub use error::{EXIT_PANIC, ServerError};
pub use listener::TlsError;
pub use logging::init as init_logging;
pub use queries::{Queries, QueryError};
pub use status::{AdmissionCounts, ShardSnapshot, Status};
pub use store::thread::{inspect_store, store_directory};
pub use traffic::{LatencyHistogram, Traffic};

use crate::auth::{self, Authenticator};
use crate::broker::{Recovered, Shard, Shared};
use crate::config::Config;
use crate::routing::ShardId;
use crate::store::Store;
use crate::timestamp::Timestamp;
use listener::{Acceptor, Admission, BoundSocket, Endpoint, Reloaded, TcpOptions};
use shard::driver::Parts;
use shard::mailbox::{Mail, Mailbox};
use shard::task::Upwards;
use shutdown::{Request, Signals};
use store::thread::StoreThread;

/// A broker whose shards run and whose sockets listen: connections come in as soon as it [runs](Self::run).
#[derive(Debug)]
pub struct Server {
    config: Config,
    clock: Clock,
    shared: Arc<Shared>,
    status: Arc<Status>,
    admission: Arc<Admission>,
    authentication: Arc<auth::Pool>,
    mailboxes: Arc<[Mailbox]>,
    ended: mpsc::Receiver<ShardId>,
    store: Option<Arc<Store>>,
    failures: mpsc::Receiver<String>,
    listeners: Vec<(Arc<Endpoint>, BoundSocket)>,
}

impl Server {
    /// Reads certificates, password and ACL file, listens at every address, and starts the shards.
    pub fn start(config: Config) -> Result<Self, ServerError> {
        let listeners = bind(&config)?;
        let authenticator = Authenticator::new(&config.security, &config.listeners)?;
        let shards = match usize::from(config.server.shards) {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get).min(SHARDS_MAX),
            shards => shards,
        };
        let mailboxes: Arc<[Mailbox]> = (0..shards).map(|_| Mailbox::new(FORWARDED_MAX)).collect();
        let (ended_sender, ended) = mpsc::channel(shards);
        let clock = Clock::start(Timestamp::default());
        let (failures_sender, failures) = mpsc::channel(1);
        let (store, recovered) = store::thread::open(&config, &mailboxes, failures_sender.clone())?;
        let run = getrandom::u64().map_err(|error| ServerError::Start(io::Error::other(error)))?;
        let server = Self {
            clock,
            shared: Arc::new(Shared::new(shards, settings::retained_limits(&config)).of_run(run)),
            status: Arc::new(Status::new(shards, clock)),
            admission: Arc::new(Admission::new(&config.limits)),
            authentication: Arc::new(auth::Pool::start(authenticator).map_err(ServerError::Start)?),
            mailboxes,
            ended,
            store,
            failures,
            listeners,
            config,
        };
        server.start_shards(recovered, &ended_sender, &failures_sender).map_err(ServerError::Start)?;
        Ok(server)
    }

    /// How the broker is, for those who watch it.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// What all shards share: sizes of the subscription index and the retained messages.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// What keeps the records; `None` without durability.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.clone()
    }

    /// Asks the shards what they have.
    pub fn queries(&self) -> Queries {
        Queries::new(Arc::clone(&self.mailboxes))
    }

    /// Lets connections in until a signal asks to stop, then says goodbye to every client.
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
            warn!("{} retained messages of the last run are beyond the limits, and not retained", too_many.len());
        }
        let mut restored: Vec<Vec<_>> = self.mailboxes.iter().map(|_| Vec::new()).collect();
        for (number, session) in sessions.into_iter().enumerate() {
            let access = self.authentication.access(&session.client_id, session.user.as_deref());
            if let Some(shard) = restored.get_mut(number % self.mailboxes.len()) {
                shard.push((session, access));
            }
        }
        let mut waiting = Vec::new();
        for (number, _) in (0..).zip(self.mailboxes.iter()) {
            let id = ShardId(number);
            let seed = getrandom::u64().map_err(io::Error::other)?;
            let parts = Parts {
                id,
                shard: Shard::new(id, Arc::clone(&settings), Arc::clone(&self.shared), seed),
                clock: self.clock,
                write_timeout: self.config.limits.write_timeout,
                authentication: Arc::clone(&self.authentication),
                mailboxes: Arc::clone(&self.mailboxes),
                shared: Arc::clone(&self.shared),
                store: self.store_thread(number, failures),
                restored: restored.get_mut(usize::from(number)).map(std::mem::take).unwrap_or_default(),
                orphans: std::mem::take(&mut orphans),
            };
            let upwards = Upwards { status: Arc::clone(&self.status), ended: ended.clone() };
            waiting.push(shard::task::start(parts, upwards)?);
        }
        // A Will that is due, or a client, would miss the subscriptions of shards that are behind.
        for begin in waiting {
            begin.send(()).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn store_thread(&self, shard: u16, failures: &mpsc::Sender<String>) -> StoreThread {
        let thread = StoreThread::new(usize::from(shard), self.store.clone(), failures.clone());
        if self.config.durability_rules.is_empty() { thread } else { thread.with_levels() }
    }

    async fn serve(mut self) -> Result<(), ServerError> {
        let mut signals = Signals::listen().map_err(ServerError::Start)?;
        let endpoints = self.listeners.iter().map(|(endpoint, _)| Arc::clone(endpoint)).collect::<Vec<_>>();
        self.announce();
        let doors = self.open_doors().map_err(ServerError::Start)?;
        self.status.set_ready();
        notify(&[sd_notify::NotifyState::Ready]);

        let mut seconds = interval(Duration::from_secs(1));
        let mut failure = None;
        loop {
            select! {
                request = signals.next() => match request {
                    Request::Stop => break,
                    Request::Reload => self.reload(&endpoints),
                },
                _ = seconds.tick() => self.status.publish_listeners(self.admission.counts()),
                Some(ShardId(number)) = self.ended.recv() => return Err(ServerError::ShardEnded(number)),
                Some(cause) = self.failures.recv() => {
                    failure = Some(cause);
                    break;
                }
            }
        }
        self.status.set_stopping();
        notify(&[sd_notify::NotifyState::Stopping]);
        info!("stopping: no new connections, and every client is told");
        drop(doors);
        self.drain(signals.stop()).await?;
        if let Some(store) = &self.store {
            store.close();
        }
        failure.map_or(Ok(()), |cause| Err(ServerError::StoreFailed(cause)))
    }

    fn announce(&self) {
        let listening = |(endpoint, socket): &(Arc<Endpoint>, BoundSocket)| {
            info!("listener {} is open", endpoint.name);
            (endpoint.settings().clone(), socket.address())
        };
        let listeners = self.listeners.iter().map(listening).collect::<Vec<_>>();
        // Nobody reads it, then: a broker runs without a terminal, too.
        let _ = announce::announce(&listeners, &mut io::stdout().lock());
    }

    /// Starts a task for each listener: they end, and their sockets with them, when the set is dropped.
    fn open_doors(&mut self) -> io::Result<JoinSet<()>> {
        let (admission, mailboxes) = (Arc::clone(&self.admission), Arc::clone(&self.mailboxes));
        let acceptor = Rc::new(Acceptor::new(self.clock, &self.config.limits, admission, mailboxes));
        let mut doors = JoinSet::new();
        for (endpoint, socket) in self.listeners.drain(..) {
            let (acceptor, socket) = (Rc::clone(&acceptor), socket.register()?);
            doors.spawn_local(async move { acceptor.watch(endpoint, socket).await });
        }
        Ok(doors)
    }

    /// Reads everything again that may change while it runs. What can't be used stays as it was.
    fn reload(&self, endpoints: &[Arc<Endpoint>]) {
        if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
            notify(&[sd_notify::NotifyState::Reloading, now]);
        }
        for endpoint in endpoints {
            match endpoint.reload() {
                Ok(Reloaded::Certificates) => info!("listener {}: certificates are read again", endpoint.name),
                Ok(Reloaded::Nothing) => {}
                Err(error) => error!("listener {}: certificates stay as they were: {error}", endpoint.name),
            }
        }
        match self.authentication.reload() {
            Ok(()) => {
                info!("password and ACL file are read again");
                self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::AccessReloaded));
            }
            Err(error) => error!("password and ACL file stay as they were: {error}"),
        }
        notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Has every client told, and waits until they are gone: not longer than the drain timeout, nor a second signal.
    async fn drain(&mut self, stop_at_once: impl Future<Output = ()>) -> Result<(), ServerError> {
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::ShuttingDown));
        let shards = self.mailboxes.len();
        let ended = &mut self.ended;
        let all_ended = timeout(self.config.server.drain_timeout, async {
            for _ in 0..shards {
                ended.recv().await;
            }
        });
        pin!(all_ended);
        select! {
            result = &mut all_ended => match result {
                Ok(()) => info!("stopped"),
                Err(_) => warn!("stopped: some clients took longer than server.drain_timeout"),
            },
            () = stop_at_once => return Err(ServerError::Interrupted),
        }
        Ok(())
    }
}

/// Makes a panic of any thread end the process: a shard that lost one packet to it is not what it should be, and a process without
/// one of its shards even less.
pub fn exit_on_panic() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::exit(i32::from(EXIT_PANIC));
    }));
}

fn bind(config: &Config) -> Result<Vec<(Arc<Endpoint>, BoundSocket)>, ServerError> {
    let options = TcpOptions { user_timeout: config.limits.write_timeout };
    let bind = |listener: &crate::config::Listener| {
        let name = || listener.label().into_owned();
        let endpoint = Endpoint::new(listener.clone(), &config.limits)
            .map_err(|source| ServerError::Tls { listener: name(), source })?;
        let socket = BoundSocket::bind(&listener.address, options).map_err(|source| ServerError::Listen {
            listener: name(),
            address: listener.address.clone(),
            source,
        })?;
        Ok((Arc::new(endpoint), socket))
    };
    config.listeners.iter().map(bind).collect()
}

/// Tells systemd, if it wants to know.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        warn!("systemd was not notified: {error}");
    }
}

/// More cores than this are better used by more processes.
const SHARDS_MAX: usize = 256;
/// Messages that may wait for one shard before the publishers of the others are held up: some megabytes, some milliseconds.
const FORWARDED_MAX: usize = 16_384;

#[cfg(test)]
mod tests;
