//! The admin listener: metrics for Prometheus, health checks and backups over HTTP, on an address of its own.
//!
//! It runs on one thread with its own runtime and reads figures that the shards publish once a second, so requests take
//! no time from the shards. The number and the lifetime of its connections are bounded. Backups are restricted to
//! requests from the same machine, and no request of a website is answered.

mod backups;
mod bans;
mod client_json;
mod clients;
mod connection;
mod exporter;
#[cfg(feature = "sim")]
pub mod fuzzing;
mod guard;
mod listener;
mod metric;
mod peer;
mod routes;
mod snapshot;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::interval;

pub use backups::PROCESS_HEADER;
pub use metric::{Kind, METRICS, Metric};
pub use snapshot::BrokerHandles;

use crate::config;
use crate::server::log_line;
use backups::Backups;
use bans::BansState;
use clients::Clients;
use exporter::Exporter;
use guard::Guard;
use listener::BoundedListener;
use routes::router;

/// The running admin listener. Dropping it stops it.
#[derive(Debug)]
pub struct AdminListener {
    address: SocketAddr,
    socket: TcpListener,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The admin listener can't run, although the configuration requires it.
#[derive(Debug, thiserror::Error)]
#[error("admin: cannot listen at {address}")]
pub struct AdminError {
    /// The configured address.
    address: SocketAddr,
    /// The error of the operating system.
    source: io::Error,
}

impl AdminError {
    /// The exit code of the process; the same as for any other listener.
    pub const fn exit_code(&self) -> u8 {
        3
    }
}

/// Starts the admin listener if it is enabled. If it can't listen, that is an error if it is required, and a warning
/// otherwise.
///
/// `passed` is a socket that listens at the configured address.
pub fn start(
    settings: &config::Admin,
    passed: Option<TcpListener>,
    handles: BrokerHandles,
) -> Result<Option<AdminListener>, AdminError> {
    if !settings.enabled {
        return Ok(None);
    }
    let listening = match passed {
        Some(socket) => AdminListener::start_at(socket, settings, handles),
        None => AdminListener::start(settings, handles),
    };
    match listening {
        Ok(listener) => {
            let url = format!("http://{}", listener.address());
            log_line!(AdminStarted { url = &*url }, "admin listener started: {url}");
            Ok(Some(listener))
        }
        Err(source) if settings.required => Err(AdminError { address: settings.address, source }),
        Err(source) => {
            let address = settings.address;
            log_line!(
                AdminUnavailable { address = %address, reason = %source },
                "running without the admin listener: cannot listen at {address}: {source}"
            );
            Ok(None)
        }
    }
}

impl AdminListener {
    /// Listens at the configured address and serves requests on a new thread.
    pub fn start(settings: &config::Admin, handles: BrokerHandles) -> io::Result<Self> {
        Self::start_at(TcpListener::bind(settings.address)?, settings, handles)
    }

    /// Serves the requests at a listening socket on a new thread.
    fn start_at(socket: TcpListener, settings: &config::Admin, handles: BrokerHandles) -> io::Result<Self> {
        let second = socket.try_clone()?;
        let guard = Guard::new(&settings.allowed_hosts, Arc::clone(&handles.status));
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve(socket, guard, handles, stopped)) {
                log_line!(AdminFailed { reason = %error }, "admin listener failed: {error}");
            }
        })?;
        Ok(Self { address, socket: second, stop: Some(stop), thread: Some(thread) })
    }

    /// The bound address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its listening socket.
    pub const fn socket(&self) -> &TcpListener {
        &self.socket
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread ends at once: it waits for no request.
            let _ = thread.join();
        }
    }
}

/// Serves requests until the other end of `stopped` is dropped.
async fn serve(
    socket: TcpListener,
    guard: Guard,
    handles: BrokerHandles,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = BoundedListener::new(tokio::net::TcpListener::from_std(socket)?, CONNECTION_LIFETIME);
    let status = Arc::clone(&handles.status);
    let backups = Arc::new(Backups::new(&handles));
    let clients =
        Clients { queries: handles.queries.clone(), shared: Arc::clone(&handles.shared), status: Arc::clone(&status) };
    let bans = BansState { bans: Arc::clone(&handles.bans), status: Arc::clone(&status) };
    let exporter = Arc::new(Mutex::new(Exporter::new(handles)));
    let router = router(Arc::clone(&exporter), status, backups, (clients, bans), guard);
    select! {
        () = connection::serve(listener, router) => Ok(()),
        () = run_upkeep(&exporter) => Ok(()),
        _ = stopped => Ok(()),
    }
}

/// Bounds the memory of the exporter's pending samples between requests.
async fn run_upkeep(exporter: &Mutex<Exporter>) {
    let mut ticks = interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        routes::lock(exporter).run_upkeep();
    }
}

/// A request takes milliseconds. A silent connection must not keep one of the few slots for long.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);
/// The exporter keeps single samples in between: some ten thousand from a broker at its limits.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
