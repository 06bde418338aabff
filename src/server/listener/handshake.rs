use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::admission::Refused;
use super::proxy_protocol::{self, ProxyError};
use super::tls::{Certificates, ServerStream};
use super::websocket::WebSocket;
use super::{Accepted, AcceptedSocket, Endpoint, Permit, Stream};
use crate::broker::Peer;
use crate::config::{ProxyProtocol, Transport};

/// Why a connection ended before the first byte of MQTT.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum HandshakeError {
    /// It took longer than the CONNECT timeout.
    #[error("the handshake timed out")]
    Timeout,
    /// The PROXY header is missing or malformed.
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    /// The address in the PROXY header has too many connections.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The TLS handshake failed; the text of the library names the alert.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The WebSocket handshake failed.
    #[error("WebSocket: {0}")]
    WebSocket(Box<tokio_tungstenite::tungstenite::Error>),
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The listener has no certificates although its transport needs them.
    #[error("the listener has no certificate")]
    NoCertificate,
}

/// A connection whose handshakes are done: the next byte is MQTT.
pub(in crate::server) struct Established {
    pub(in crate::server) stream: Stream,
    pub(in crate::server) peer: Box<Peer>,
    pub(in crate::server) permit: Permit,
}

/// What an accepted connection needs before MQTT begins.
pub(in crate::server) enum Arrival {
    /// No handshake.
    Established(Established),
    /// A handshake, which ends within the CONNECT timeout.
    Handshake(Handshake),
}

/// The handshakes before MQTT. Boxed: the future is large and short-lived.
pub(in crate::server) type Handshake = Pin<Box<dyn Future<Output = Result<Established, HandshakeError>>>>;

/// Registers an accepted connection with the runtime of this thread, and starts its handshakes.
pub(in crate::server) fn receive(accepted: Accepted) -> Result<Arrival, HandshakeError> {
    let Accepted { socket, endpoint, permit } = accepted;
    let settings = &endpoint.settings;
    match (socket, settings.transport, settings.proxy_protocol) {
        (AcceptedSocket::Tcp(stream, address), Transport::Tcp, ProxyProtocol::Off) => {
            let stream = Stream::Tcp(TcpStream::from_std(stream)?);
            Ok(Arrival::Established(Established { stream, peer: peer(&endpoint, Some(address)), permit }))
        }
        (AcceptedSocket::Unix(stream), _, _) => {
            let stream = Stream::Unix(UnixStream::from_std(stream)?);
            Ok(Arrival::Established(Established { stream, peer: peer(&endpoint, None), permit }))
        }
        (AcceptedSocket::Tcp(stream, address), _, _) => {
            let stream = TcpStream::from_std(stream)?;
            Ok(Arrival::Handshake(Box::pin(async move {
                let handshake = perform_handshakes(stream, address, &endpoint, permit);
                timeout(endpoint.connect_timeout, handshake).await.map_err(|_| HandshakeError::Timeout)?
            })))
        }
    }
}

async fn perform_handshakes(
    mut stream: TcpStream,
    mut address: SocketAddr,
    endpoint: &Endpoint,
    mut permit: Permit,
) -> Result<Established, HandshakeError> {
    let settings = &endpoint.settings;
    if settings.proxy_protocol != ProxyProtocol::Off {
        address = proxy_protocol::read_header(&mut stream, settings.proxy_protocol).await?.unwrap_or(address);
        permit = permit.of_address(address.ip())?;
    }
    let mut peer = peer(endpoint, Some(address));
    let certificates = endpoint.certificates.as_ref().ok_or(HandshakeError::NoCertificate);
    let stream = match settings.transport {
        Transport::Tcp | Transport::Unix => Stream::Tcp(stream),
        Transport::Ws => Stream::Ws(Box::new(web_socket(stream, endpoint).await?)),
        Transport::Tls => Stream::Tls(Box::new(encrypted(stream, certificates?, &mut peer).await?)),
        Transport::Wss => {
            let stream = encrypted(stream, certificates?, &mut peer).await?;
            Stream::Wss(Box::new(web_socket(stream, endpoint).await?))
        }
    };
    Ok(Established { stream, peer, permit })
}

async fn encrypted(
    stream: TcpStream,
    certificates: &Certificates,
    peer: &mut Peer,
) -> Result<ServerStream, HandshakeError> {
    let stream = certificates.accept(stream).await.map_err(HandshakeError::Tls)?;
    peer.certificate_identity = certificates.identity_of(&stream);
    Ok(stream)
}

async fn web_socket<S>(stream: S, endpoint: &Endpoint) -> Result<WebSocket<S>, HandshakeError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    WebSocket::accept(stream, &endpoint.settings, endpoint.maximum_packet_size)
        .await
        .map_err(|error| HandshakeError::WebSocket(Box::new(error)))
}

fn peer(endpoint: &Endpoint, address: Option<SocketAddr>) -> Box<Peer> {
    Box::new(Peer {
        address,
        listener: Arc::clone(&endpoint.name),
        certificate_identity: None,
        maximum_packet_size: endpoint.maximum_packet_size,
    })
}
