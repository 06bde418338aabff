//! A client side of QUIC for clients of TCP: each connection that it accepts becomes a QUIC connection with one stream.

use std::fs;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, Connection, ConnectionError, Endpoint, EndpointConfig, Runtime as _, TokioRuntime, UdpPoller,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The files in the broker's directory, and the protocol, of a QUIC client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) directory: &'a Path,
    /// The name of the files with the client's certificate and key.
    pub(crate) certificate: Option<&'a str>,
    pub(crate) protocol: &'a str,
}

/// A running tunnel. Dropping it ends it without a word to the broker.
pub(crate) struct Tunnel {
    runtime: Handle,
    /// Ends the thread of the runtime.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) endpoint: Endpoint,
    /// Where clients of TCP connect.
    pub(crate) address: SocketAddr,
    broker: SocketAddr,
    socket: Arc<Socket>,
    errors: Arc<Mutex<Vec<String>>>,
}

/// A UDP socket that can become deaf.
#[derive(Debug)]
struct Socket {
    socket: Arc<dyn AsyncUdpSocket>,
    is_deaf: AtomicBool,
    /// Retry packets that came while it was deaf.
    retries: AtomicUsize,
}

impl<'a> Identity<'a> {
    pub(crate) fn new(directory: &'a Path) -> Self {
        Self { directory, certificate: None, protocol: "mqtt" }
    }

    fn config(&self) -> quinn::ClientConfig {
        let file = |name: &str| self.directory.join(name);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13]).unwrap().with_root_certificates(roots);
        let mut tls = match self.certificate {
            Some(name) => {
                let certificate = CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![self.protocol.as_bytes().to_vec()];
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    }
}

impl Tunnel {
    #[track_caller]
    pub(crate) fn open(broker: SocketAddr, identity: Identity<'_>) -> Self {
        assert!(fs::exists(identity.directory).unwrap());
        let own = Builder::new_current_thread().enable_all().build().unwrap();
        let runtime = own.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            let _ = own.block_on(ended);
            own.shutdown_background();
        });
        let entered = runtime.enter();
        let udp = TokioRuntime.wrap_udp_socket(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let socket = Arc::new(Socket { socket: udp, is_deaf: AtomicBool::default(), retries: AtomicUsize::default() });
        let config = EndpointConfig::default();
        let mut endpoint =
            Endpoint::new_with_abstract_socket(config, None, socket.clone(), Arc::new(TokioRuntime)).unwrap();
        endpoint.set_default_client_config(identity.config());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let errors = Arc::new(Mutex::new(Vec::new()));
        let (accepting, failed) = (endpoint.clone(), Arc::clone(&errors));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (endpoint, failed) = (accepting.clone(), Arc::clone(&failed));
                tokio::spawn(async move {
                    if let Err(error) = relay(&endpoint, broker, stream).await {
                        failed.lock().unwrap().push(format!("{error:?}"));
                    }
                });
            }
        });
        drop(entered);
        let (end, thread) = (Some(end), Some(thread));
        Self { runtime, end, thread, endpoint, address, broker, socket, errors }
    }

    /// The arguments that connect mosquitto's clients to it.
    pub(crate) fn target(&self) -> Vec<String> {
        ["-h", "127.0.0.1", "-p", &self.address.port().to_string()].map(str::to_owned).into()
    }

    /// Opens a QUIC connection without a stream.
    pub(crate) fn connect(&self) -> Result<Connection, ConnectionError> {
        self.block_on(async { self.endpoint.connect(self.broker, "localhost").unwrap().await })
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Goes on from another UDP port.
    pub(crate) fn move_to_another_port(&self) {
        let _entered = self.runtime.enter();
        self.endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    }

    /// Begins so many connections without hearing what the broker answers. Returns the Retry packets that it was asked by.
    pub(crate) fn begin_many(&self, count: usize) -> usize {
        let _entered = self.runtime.enter();
        self.socket.is_deaf.store(true, Ordering::Release);
        let connecting: Vec<_> = (0..count).map(|_| self.endpoint.connect(self.broker, "localhost").unwrap()).collect();
        crate::deadline::wait_for("answers", || {
            (self.socket.retries.load(Ordering::Acquire) >= count / 2).then_some(())
        });
        std::mem::forget(connecting);
        self.socket.retries.load(Ordering::Acquire)
    }

    /// Why connections failed.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap().clone()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Copies in both directions until both have ended.
async fn relay(endpoint: &Endpoint, broker: SocketAddr, stream: TcpStream) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_nodelay(true)?;
    let connection = endpoint.connect(broker, "localhost")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let (mut read, mut write) = stream.into_split();
    let upwards = async {
        // A client that is gone ends its stream.
        let _ = copy(&mut read, &mut send).await;
        let _ = send.finish();
    };
    let downwards = async {
        let result = copy(&mut receive, &mut write).await;
        let _ = write.shutdown().await;
        result
    };
    let ((), copied) = tokio::join!(upwards, downwards);
    let reason = connection.close_reason();
    connection.close(0_u32.into(), b"");
    match reason {
        // The broker closes the connection of a client whose stream has ended without DISCONNECT.
        Some(ConnectionError::ApplicationClosed(close)) if close.error_code == 0_u32.into() => Ok(()),
        _ => copied.map(drop).map_err(Into::into),
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let Poll::Ready(count) = self.socket.poll_recv(cx, buffers, received)? else { return Poll::Pending };
            if !self.is_deaf.load(Ordering::Acquire) {
                return Poll::Ready(Ok(count));
            }
            // Several datagrams of one size may be in one buffer; a Retry is alone in its datagram.
            let firsts = buffers.iter().zip(&*received).take(count).flat_map(|(buffer, meta)| {
                (0..meta.len).step_by(meta.stride.max(1)).map(|at| buffer[at]).collect::<Vec<_>>()
            });
            let retries = firsts.filter(|first| first & 0xF0 == 0xF0).count();
            self.retries.fetch_add(retries, Ordering::AcqRel);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
