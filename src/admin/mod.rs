//! The admin listener: metrics for Prometheus and the broker's health, over HTTP, on an address of its own.
//!
//! It runs on one thread with a runtime of its own and reads what the shards publish once a second, so that nobody who asks here
//! takes time from a client. Connections are few and short, whoever opens them. It also makes backups of the running broker, for
//! who asks on the same machine.

mod backups;
mod exporter;
mod listener;
mod metric;
mod process;
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
use tracing::{error, info, warn};

pub use backups::PROCESS_HEADER;
pub use metric::{Kind, METRICS, Metric};
pub use snapshot::Watched;

use crate::config;
use backups::Backups;
use exporter::Exporter;
use listener::BoundedListener;
use routes::{Peer, router};

/// The admin listener, running. Dropped, it stops.
#[derive(Debug)]
pub struct AdminListener {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The admin listener doesn't run, although the configuration requires it.
#[derive(Debug, thiserror::Error)]
#[error("admin: cannot listen at {address}")]
pub struct AdminError {
    /// Where it should listen.
    address: SocketAddr,
    /// What the operating system says.
    source: io::Error,
}

impl AdminError {
    /// The exit code of the process: that of any address that can't be listened at.
    pub const fn exit_code(&self) -> u8 {
        3
    }
}

/// Starts the admin listener if it is enabled. If its address can't be had, the broker goes on without, unless it is required.
pub fn start(settings: &config::Admin, watched: Watched) -> Result<Option<AdminListener>, AdminError> {
    if !settings.enabled {
        return Ok(None);
    }
    match AdminListener::start(settings.address, watched) {
        Ok(listener) => {
            info!("metrics and health are at http://{}", listener.address());
            Ok(Some(listener))
        }
        Err(source) if settings.required => Err(AdminError { address: settings.address, source }),
        Err(source) => {
            warn!("no metrics and no health: cannot listen at {}: {source}", settings.address);
            Ok(None)
        }
    }
}

impl AdminListener {
    /// Listens at `address` and answers from then on.
    pub fn start(address: SocketAddr, watched: Watched) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve(socket, watched, stopped)) {
                error!("no metrics and no health any more: {error}");
            }
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it really listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Nothing there waits for anybody: it ends at once.
            let _ = thread.join();
        }
    }
}

/// Answers until the other end of `stopped` is gone.
async fn serve(socket: TcpListener, watched: Watched, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let listener = BoundedListener::new(tokio::net::TcpListener::from_std(socket)?, CONNECTION_LIFETIME);
    let status = Arc::clone(&watched.status);
    let backups = Arc::new(Backups::new(&watched));
    let exporter = Arc::new(Mutex::new(Exporter::new(watched)));
    let router = router(Arc::clone(&exporter), status, backups);
    select! {
        result = axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()) => result,
        () = keep_up(&exporter) => Ok(()),
        _ = stopped => Ok(()),
    }
}

/// Keeps what the exporter has to remember small while nobody asks.
async fn keep_up(exporter: &Mutex<Exporter>) {
    let mut ticks = interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        routes::lock(exporter).keep_up();
    }
}

/// One request and its answer take milliseconds; who sends nothing for this long keeps others out.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);
/// The samples of a histogram are held one by one until then: some ten thousand from a broker at its limits.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
