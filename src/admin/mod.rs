//! The administration: metrics for Prometheus, health checks and the HTTP API, over TCP and over a Unix socket in the data directory.
//!
//! It runs on one thread with its own runtime and reads figures that the shards publish once a second, so requests take
//! no time from the shards. The number and the lifetime of its connections are bounded. No request of a website is answered, but those of the
//! page at `/`.
//!
//! Who may open the Unix socket, `admin.sock`, may do everything: its mode is 0600 from the first moment.

mod api;
mod audit;
mod backups;
mod caller;
mod connection;
mod disk;
mod exporter;
#[cfg(feature = "sim")]
pub mod fuzzing;
mod guard;
mod handles;
mod listener;
mod metric;
mod metrics;
mod node;
mod page;
mod peer;
mod queues;
mod rates;
mod routes;
mod snapshot;
mod streams;
mod time;
mod token_file;
mod tokens;

use std::future::pending;
use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use tokio::runtime::Builder;
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::interval;

pub use crate::server::ADMIN_SOCKET as SOCKET;
pub use backups::PROCESS_HEADER;
pub use handles::BrokerHandles;
pub use metric::{Kind, Metric};
pub use metrics::metrics;
pub use token_file::{Token, TokenError, TokenFile};

use crate::config::{self, SocketMode};
use crate::server::{AdminSockets, Https, SecondSocket, Server, SocketFile, bind_unix_socket, log_line};
use api::{Access, ApiState, CellsApi};
use disk::DiskSpace;
use exporter::Exporter;
use guard::Guard;
use listener::BoundedListener;
use rates::Rates;
use routes::router;
use tokens::Tokens;

/// The running admin listener. Dropping it stops it.
#[derive(Debug)]
pub struct AdminListener {
    address: SocketAddr,
    /// Other descriptors of its sockets, until they are passed to the broker.
    seconds: Vec<SecondSocket>,
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

/// Starts what is enabled: the listener over TCP, and the Unix socket. If the first can't listen, that is an error if it is required, and a
/// warning otherwise. The socket is never required. `passed` are sockets that another process has opened for them.
pub fn start(
    settings: &config::Admin,
    passed: AdminSockets,
    handles: BrokerHandles,
) -> Result<Option<AdminListener>, AdminError> {
    let address = settings.address;
    let tcp = match settings.enabled.then(|| bind_tcp(settings, passed.tcp)) {
        None => None,
        Some(Ok(bound)) => Some(bound),
        Some(Err(source)) if settings.required => return Err(AdminError { address, source }),
        Some(Err(source)) => {
            log_line!(
                AdminUnavailable { address = %address, reason = %source },
                "running without the admin listener: cannot listen at {address}: {source}"
            );
            None
        }
    };
    let socket = settings.socket.then(|| passed.unix.or_else(|| bind_socket(&handles))).flatten();
    if tcp.is_none() && socket.is_none() {
        return Ok(None);
    }
    let is_tcp = tcp.is_some();
    match AdminListener::serve(settings, tcp, socket, handles) {
        Ok(listener) => {
            if is_tcp {
                let scheme = if settings.tls().is_some() { "https" } else { "http" };
                let url = format!("{scheme}://{}", listener.address());
                log_line!(AdminStarted { url = &*url }, "admin listener started: {url}");
            }
            Ok(Some(listener))
        }
        Err(source) => Err(AdminError { address, source }),
    }
}

/// A listening socket over TCP, with TLS if there is any.
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Https>>,
}

/// Reads the certificates, and listens at the configured address unless there is a passed socket.
fn bind_tcp(settings: &config::Admin, passed: Option<TcpListener>) -> io::Result<Bound> {
    let tls = settings.tls().map(Https::load).transpose().map_err(io::Error::other)?.map(Arc::new);
    let listener = passed.map_or_else(|| TcpListener::bind(settings.address), Ok)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address, tls })
}

/// Listens at the Unix socket in the data directory; `None`, and a warning, if that is not possible.
fn bind_socket(handles: &BrokerHandles) -> Option<(UnixListener, SocketFile)> {
    let path = handles.data.join(SOCKET);
    match bind_unix_socket(&path, SocketMode::default()) {
        Ok(bound) => Some(bound),
        Err(error) => {
            let (place, length) = (path.display().to_string(), path.as_os_str().len());
            let reason = why_no_socket(&error, length);
            log_line!(
                AdminUnavailable { address = &*place, reason = &*reason },
                "running without the admin socket {place}: {reason}"
            );
            None
        }
    }
}

/// The cause, and what helps. `length` is that of the path.
fn why_no_socket(error: &io::Error, length: usize) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::InvalidInput {
        format!("the path has {length} bytes, more than a socket may have: use a shorter server.data")
    } else if kind == io::ErrorKind::NotFound {
        "the data directory does not exist".to_owned()
    } else if kind == io::ErrorKind::AddrInUse {
        "another broker, or a file that is no socket, is there".to_owned()
    } else {
        error.to_string()
    }
}

impl AdminListener {
    /// Listens at the configured address, and at the Unix socket if that is possible, and serves requests on a new thread.
    pub fn start(settings: &config::Admin, handles: BrokerHandles) -> io::Result<Self> {
        let tcp = bind_tcp(settings, None)?;
        let socket = settings.socket.then(|| bind_socket(&handles)).flatten();
        Self::serve(settings, Some(tcp), socket, handles)
    }

    fn serve(
        settings: &config::Admin,
        tcp: Option<Bound>,
        socket: Option<(UnixListener, SocketFile)>,
        handles: BrokerHandles,
    ) -> io::Result<Self> {
        let address = tcp.as_ref().map_or(settings.address, |bound| bound.address);
        let of_tcp = tcp.iter().map(|bound| SecondSocket::of(&bound.listener, None));
        let of_socket = socket.iter().map(|(listener, file)| SecondSocket::of(listener, Some(file)));
        let seconds = of_tcp.chain(of_socket).collect::<io::Result<_>>()?;
        let settings = settings.clone();
        // Other threads of the runtime wait for the disk: for the file of the tokens.
        let runtime = Builder::new_current_thread().max_blocking_threads(BLOCKING_MAX).enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve(&settings, tcp, socket, handles, stopped)) {
                log_line!(AdminFailed { reason = %error }, "admin listener failed: {error}");
            }
        })?;
        Ok(Self { address, seconds, stop: Some(stop), thread: Some(thread) })
    }

    /// The bound address; the configured one if it doesn't listen over TCP.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets the broker pass its sockets to a process that takes over.
    pub fn pass_sockets(&mut self, server: &mut Server) {
        server.pass_admin_sockets(mem::take(&mut self.seconds));
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
    settings: &config::Admin,
    tcp: Option<Bound>,
    socket: Option<(UnixListener, SocketFile)>,
    handles: BrokerHandles,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let state = ApiState::new(&handles);
    let certificate_roles = settings.roles_of_certificates().map(|(name, role)| (name.to_owned(), role)).collect();
    let access = Access {
        tokens: Arc::new(Tokens::new(&handles.data)),
        certificate_roles,
        allow_plain: settings.allow_plain,
        audit: Arc::clone(&state.audit),
        status: Arc::clone(&handles.status),
    };
    let guard = Guard::new(&settings.allowed_hosts, Arc::clone(&handles.status));
    let (rates, disk) = (Arc::clone(&state.rates), DiskSpace::new(handles.data.clone()));
    let queues = Arc::clone(&state.queues);
    let cells = api::cells_api(&state, handles.nodes.clone());
    let exporter = Arc::new(Exporter::new(handles, disk.clone(), Arc::clone(&queues)));
    let router = router(exporter, (state, access, cells.as_ref()), settings.metrics_open, guard);
    let tls = tcp.as_ref().and_then(|bound| bound.tls.clone());
    select! {
        served = serve_tcp(tcp, router.clone()) => served,
        served = serve_socket(socket, router) => served,
        () = run_upkeep(&disk, &rates, tls) => Ok(()),
        () = queues.measure() => Ok(()),
        () = serve_nodes(cells) => Ok(()),
        _ = stopped => Ok(()),
    }
}

/// Never ends without an error.
async fn serve_tcp(bound: Option<Bound>, router: Router) -> io::Result<()> {
    let Some(Bound { listener, tls, .. }) = bound else { return pending().await };
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let listener = BoundedListener::new(listener, CONNECTIONS_MAX, CONNECTION_LIFETIME);
    connection::serve_tcp(listener, tls, router).await;
    Ok(())
}

/// Never ends without an error. The file of the socket is removed when this is dropped.
async fn serve_socket(bound: Option<(UnixListener, SocketFile)>, router: Router) -> io::Result<()> {
    let Some((listener, _file)) = bound else { return pending().await };
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let listener = BoundedListener::new(listener, LOCAL_CONNECTIONS_MAX, CONNECTION_LIFETIME);
    connection::serve_unix(listener, router).await;
    Ok(())
}

/// Answers what other nodes ask, tells them what they are to know, and never ends.
async fn serve_nodes(cells: Option<Arc<CellsApi>>) {
    let Some(cells) = cells else { return pending().await };
    select! {
        () = Arc::clone(&cells).serve_nodes() => {}
        () = cells.spread_bans() => {}
    }
}

/// Measures the space of the disk and the rates, and reads certificates again that were written.
async fn run_upkeep(disk: &DiskSpace, rates: &Rates, tls: Option<Arc<Https>>) {
    let mut ticks = interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        disk.begin();
        rates.sample();
        match tls.as_ref().map_or(Ok(false), |tls| tls.reload_if_written()) {
            Ok(false) => {}
            Ok(true) => {
                log_line!(
                    FilesReloaded { listener = "admin", files = "certificates" },
                    "listener admin: reloaded the certificates"
                );
            }
            Err(error) => {
                let reason = error.to_string();
                log_line!(
                    ReloadFailed { listener = "admin", files = "certificates", reason = &*reason },
                    "listener admin: kept the previous certificates: {reason}"
                );
            }
        }
    }
}

/// Connections over TCP: enough for a few Prometheus servers, the health checks of a load balancer, and some people.
const CONNECTIONS_MAX: usize = 32;
/// Connections over the Unix socket. They have slots of their own, so that nobody can keep an operator out from elsewhere.
const LOCAL_CONNECTIONS_MAX: usize = 16;
/// Threads that wait for the disk. Each request has at most one.
const BLOCKING_MAX: usize = 4;
/// A request takes milliseconds. A connection must not keep one of the few slots for long.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);
/// Rates are means of this time.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
