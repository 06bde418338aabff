use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use quinn::{EndpointConfig, Incoming, Runtime, TokioRuntime};

use super::intake::{Intake, Socket};
use super::{QuicError, QuicSettings, QuicStream};

/// The endpoint of a listener, on the thread that accepts connections.
#[derive(Debug)]
pub(in crate::server) struct Listening {
    endpoint: quinn::Endpoint,
    intake: Arc<Intake>,
    unproven: Arc<AtomicUsize>,
}

/// An attempt to connect, for which nothing but its first datagram is kept. The thread of its shard accepts it.
#[derive(Debug)]
pub(in crate::server) struct Arriving {
    incoming: Incoming,
    intake: Arc<Intake>,
    unproven: Unproven,
}

/// Counts a handshake with an address that may be forged, until it is dropped. The other side of a forged address can't complete it.
#[derive(Debug)]
struct Unproven(Option<Arc<AtomicUsize>>);

impl Drop for Unproven {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Listening {
    /// Registers the socket with the runtime of this thread.
    pub(in crate::server::listener) fn open(
        socket: UdpSocket,
        intake: Arc<Intake>,
        settings: &QuicSettings,
    ) -> io::Result<Self> {
        let runtime = Arc::new(TokioRuntime);
        let socket = Socket { socket: runtime.wrap_udp_socket(socket)?, intake: Arc::clone(&intake) };
        let settings = Arc::unwrap_or_clone(settings.config());
        let (config, socket) = (EndpointConfig::default(), Arc::new(socket));
        let endpoint = quinn::Endpoint::new_with_abstract_socket(config, Some(settings), socket, runtime)?;
        Ok(Self { endpoint, intake, unproven: Arc::default() })
    }

    /// The next attempt to connect, and the address that it is from.
    pub(in crate::server::listener) async fn accept(&self) -> io::Result<(Arriving, SocketAddr)> {
        loop {
            let incoming = self.endpoint.accept().await.ok_or(io::ErrorKind::BrokenPipe)?;
            let is_proven = incoming.remote_address_validated();
            if !is_proven && self.unproven.load(Ordering::Relaxed) >= UNPROVEN_MAX {
                // It can be asked, because its address is not proven.
                let _ = incoming.retry();
                continue;
            }
            let address = incoming.remote_address();
            let unproven = Unproven((!is_proven).then(|| {
                self.unproven.fetch_add(1, Ordering::Relaxed);
                Arc::clone(&self.unproven)
            }));
            return Ok((Arriving { incoming, intake: Arc::clone(&self.intake), unproven }, address));
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.endpoint.set_server_config(None);
        while let Some(Some(incoming)) = self.endpoint.accept().now_or_never() {
            // The process that reads from the socket answers the client when it tries again.
            if self.intake.is_stopped() {
                incoming.ignore();
            }
        }
    }
}

/// Performs the handshake of a connection, and waits for the stream of the client. `settings` are those in force when it is begun.
pub(in crate::server::listener) async fn establish(
    arriving: Arriving,
    settings: QuicSettings,
) -> Result<QuicStream, QuicError> {
    let Arriving { incoming, intake, unproven } = arriving;
    intake.add_shard();
    let connection = incoming.accept_with(settings.config())?.await.map_err(QuicError::before_stream)?;
    drop(unproven);
    let (send, receive) = connection.accept_bi().await.map_err(QuicError::before_stream)?;
    Ok(QuicStream::new(connection, send, receive))
}

/// Handshakes with unproven addresses at a time. A few clients connect without the round trip of a Retry; many, or an attack, need it.
pub(super) const UNPROVEN_MAX: usize = 64;
