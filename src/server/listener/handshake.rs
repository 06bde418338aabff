use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::admission::Refused;
use super::endpoint::ClientCertificates;
use super::foreign::{self, Expected, Foreign};
use super::forwarded::Via;
use super::opening::OpeningError;
use super::proxy_protocol::{self, ProxyError, Source};
use super::quic::{self, Arriving, QuicError};
use super::tls::{AcceptError, Certificates, ServerStream, certificates_of};
use super::web_origin::Site;
use super::websocket::WebSocket;
use super::{Accepted, AcceptedSocket, Endpoint, Permit, Stream};
use crate::broker::Peer;
use crate::config::{ProxyProtocol, Transport};
use crate::server::client_ids::client_ids;
use crate::server::log::log_line;
use crate::server::tunnel::Tunneled;

/// Why a connection ended before the first byte of MQTT.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum HandshakeError {
    /// It took longer than the CONNECT timeout.
    #[error("the handshake timed out")]
    Timeout,
    /// The peer closed the connection before it sent anything, as a TCP health check does.
    #[error("closed before it sent anything")]
    Silent,
    /// The client speaks another protocol.
    #[error("{0}")]
    Foreign(Foreign),
    /// The PROXY header is missing or malformed.
    #[error("{0}")]
    Proxy(ProxyError),
    /// The address in the PROXY header has too many connections.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The TLS handshake failed; the text of the library names the alert.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The peer reset the connection during the TLS handshake, as a health check over TLS does.
    #[error("TLS: reset after the ClientHello")]
    TlsReset,
    /// The handshake of QUIC failed, or the client opened no stream.
    #[error("QUIC: {0}")]
    Quic(QuicError),
    /// The WebSocket handshake failed.
    #[error("WebSocket: {0}")]
    WebSocket(OpeningError),
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A certificate of the client was revoked during the handshake.
    #[error("TLS: the client's certificate is revoked by the list in crl")]
    Revoked,
    /// The listener was removed during the handshake.
    #[error("its listener was removed")]
    ListenerRemoved,
    /// The listener has no certificates although its transport needs them.
    #[error("the listener has no certificate")]
    NoCertificate,
}

impl HandshakeError {
    /// Whether the connection was that of a health check: it sent nothing, was reset in the TLS handshake, or sent a plain HTTP request
    /// to a WebSocket listener.
    pub(in crate::server) fn is_probe(&self) -> bool {
        match self {
            Self::Silent | Self::TlsReset | Self::Proxy(ProxyError::OwnCheck) => true,
            Self::WebSocket(OpeningError::Refused(refused)) => refused.is_probe,
            Self::Timeout
            | Self::Foreign(_)
            | Self::Proxy(_)
            | Self::Refused(_)
            | Self::Tls(_)
            | Self::Quic(_)
            | Self::WebSocket(_)
            | Self::Io(_)
            | Self::Revoked
            | Self::ListenerRemoved
            | Self::NoCertificate => false,
        }
    }
}

impl From<AcceptError> for HandshakeError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Failed(error) => Self::Tls(error),
            AcceptError::Reset => Self::TlsReset,
        }
    }
}

impl From<QuicError> for HandshakeError {
    fn from(error: QuicError) -> Self {
        if error.is_silence() { Self::Silent } else { Self::Quic(error) }
    }
}

impl From<ProxyError> for HandshakeError {
    fn from(error: ProxyError) -> Self {
        match error {
            ProxyError::Silent => Self::Silent,
            error @ (ProxyError::Untrusted
            | ProxyError::Missing
            | ProxyError::Foreign(_)
            | ProxyError::Malformed(_)
            | ProxyError::Client(_)
            | ProxyError::OwnCheck
            | ProxyError::Io(_)) => Self::Proxy(error),
        }
    }
}

impl From<OpeningError> for HandshakeError {
    fn from(error: OpeningError) -> Self {
        match error {
            OpeningError::Silent => Self::Silent,
            OpeningError::Foreign(foreign) => Self::Foreign(foreign),
            error @ (OpeningError::Refused(_) | OpeningError::Io(_)) => Self::WebSocket(error),
        }
    }
}

/// A connection whose handshakes are done: the next byte is MQTT.
pub(in crate::server) struct Established {
    pub(in crate::server) stream: Stream,
    pub(in crate::server) peer: Box<Peer>,
    pub(in crate::server) permit: Permit,
    /// The certificates that the client has presented, because a reload may void them.
    pub(in crate::server) certificates: Option<Box<ClientCertificates>>,
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
    let Accepted { socket, endpoint, permit, .. } = accepted;
    let settings = &endpoint.settings;
    match (socket, settings.transport, settings.proxy_protocol) {
        (AcceptedSocket::Tcp(stream, address), Transport::Tcp, ProxyProtocol::Off) => {
            let stream = Stream::Tcp(TcpStream::from_std(stream)?);
            Ok(Arrival::Established(Established {
                stream,
                peer: peer(&endpoint, Some(address)),
                permit,
                certificates: None,
            }))
        }
        // The other node has carried out all handshakes.
        (AcceptedSocket::Tunnel(tunneled), _, _) => {
            let Tunneled { stream, opening } = *tunneled;
            let mut peer = peer(&endpoint, opening.address);
            peer.is_local = opening.is_local;
            peer.certificate_identity = opening.certificate_identity.map(Into::into);
            Ok(Arrival::Established(Established { stream: Stream::Tunnel(stream), peer, permit, certificates: None }))
        }
        (AcceptedSocket::Unix(stream), _, ProxyProtocol::Off) => {
            let stream = Stream::Unix(UnixStream::from_std(stream)?);
            Ok(Arrival::Established(Established { stream, peer: peer(&endpoint, None), permit, certificates: None }))
        }
        (AcceptedSocket::Unix(stream), _, _) => {
            let mut stream = UnixStream::from_std(stream)?;
            Ok(Arrival::Handshake(Box::pin(async move {
                let mut peer = peer(&endpoint, None);
                let header = read_proxy_header(&mut stream, &endpoint, &mut peer, permit);
                let permit = timeout(endpoint.connect_timeout, header).await.map_err(|_| HandshakeError::Timeout)??;
                Ok(Established { stream: Stream::Unix(stream), peer, permit, certificates: None })
            })))
        }
        (AcceptedSocket::Quic(arriving, address), _, _) => Ok(Arrival::Handshake(Box::pin(async move {
            let handshake = perform_quic_handshake(*arriving, address, &endpoint, permit);
            timeout(endpoint.connect_timeout, handshake).await.map_err(|_| HandshakeError::Timeout)?
        }))),
        (AcceptedSocket::Tcp(stream, address), _, _) => {
            let stream = TcpStream::from_std(stream)?;
            Ok(Arrival::Handshake(Box::pin(async move {
                let handshake = perform_handshakes(stream, address, &endpoint, permit);
                timeout(endpoint.connect_timeout, handshake).await.map_err(|_| HandshakeError::Timeout)?
            })))
        }
    }
}

async fn perform_quic_handshake(
    arriving: Arriving,
    address: SocketAddr,
    endpoint: &Arc<Endpoint>,
    permit: Permit,
) -> Result<Established, HandshakeError> {
    let certificates = endpoint.certificates.as_ref().ok_or(HandshakeError::NoCertificate)?;
    let (settings, removals) = certificates.quic().map_err(|error| HandshakeError::Tls(io::Error::other(error)))?;
    let stream = quic::establish(arriving, settings).await?;
    let (presented, mut peer) = (stream.certificates(), peer(endpoint, Some(address)));
    // In a resumed session, the library takes the certificates of the client from the session, and does not verify them.
    if !certificates.verifies(&presented) {
        return Err(HandshakeError::Tls(io::Error::other("the client's certificate is not valid any more")));
    }
    peer.certificate_identity = certificates.identity_of(&presented).map_err(HandshakeError::Tls)?;
    let certificates = ClientCertificates::of(endpoint, &presented, removals);
    Ok(Established { stream: Stream::Quic(Box::new(stream)), peer, permit, certificates })
}

async fn perform_handshakes(
    mut stream: TcpStream,
    address: SocketAddr,
    endpoint: &Arc<Endpoint>,
    mut permit: Permit,
) -> Result<Established, HandshakeError> {
    let settings = &endpoint.settings;
    let mut peer = peer(endpoint, Some(address));
    if settings.proxy_protocol != ProxyProtocol::Off {
        if !settings.trusted_proxies.is_empty() && !endpoint.trusts(address.ip()) {
            return Err(ProxyError::Untrusted.into());
        }
        permit = read_proxy_header(&mut stream, endpoint, &mut peer, permit).await?;
    }
    let mut presented = None;
    let certificates = endpoint.certificates.as_ref().ok_or(HandshakeError::NoCertificate);
    let stream = match settings.transport {
        Transport::Tcp | Transport::Unix | Transport::Quic => Stream::Tcp(stream),
        Transport::Ws => {
            let (stream, counted) = web_socket(stream, endpoint, &mut peer, permit).await?;
            permit = counted;
            Stream::Ws(Box::new(stream))
        }
        Transport::Tls => {
            expect_tls(&stream, settings.transport).await?;
            let (stream, removals) = encrypted(stream, certificates?, &mut peer).await?;
            presented = ClientCertificates::of(endpoint, certificates_of(&stream), removals);
            Stream::Tls(Box::new(stream))
        }
        Transport::Wss => {
            expect_tls(&stream, settings.transport).await?;
            let (stream, removals) = encrypted(stream, certificates?, &mut peer).await?;
            presented = ClientCertificates::of(endpoint, certificates_of(&stream), removals);
            let (stream, counted) = web_socket(stream, endpoint, &mut peer, permit).await?;
            permit = counted;
            Stream::Wss(Box::new(stream))
        }
    };
    Ok(Established { stream, peer, permit, certificates: presented })
}

/// Reads the PROXY header. The peer gets the client's address, which is counted.
async fn read_proxy_header(
    stream: &mut (impl AsyncRead + Unpin),
    endpoint: &Endpoint,
    peer: &mut Peer,
    permit: Permit,
) -> Result<Permit, HandshakeError> {
    let source = match &endpoint.settings.proxy_tls {
        None => proxy_protocol::read_header(stream, endpoint.settings.proxy_protocol).await?,
        Some(settings) => {
            let (source, tls) = proxy_protocol::read_header_with_tls(stream).await?;
            if source == Source::Proxy {
                return Err(ProxyError::OwnCheck.into());
            }
            peer.certificate_identity = tls.judge(settings).map_err(ProxyError::from)?;
            source
        }
    };
    match source {
        Source::Client(address) => {
            peer.address = Some(address);
            // A loopback address is one of the proxy's machine, if the proxy says the truth.
            peer.is_local = false;
        }
        Source::Unknown => peer.is_local = false,
        Source::Proxy => {}
    }
    count(endpoint, peer, permit)
}

/// Counts the connection of the peer for its address, unless that is one of a proxy that will name the client.
fn count(endpoint: &Endpoint, peer: &Peer, permit: Permit) -> Result<Permit, HandshakeError> {
    match peer.address {
        Some(address) if !endpoint.is_web_proxy(address.ip()) => Ok(permit.of_address(address)?),
        Some(_) | None => Ok(permit),
    }
}

/// Looks at the first bytes, without taking them: the TLS library could only say that they are not TLS.
async fn expect_tls(stream: &TcpStream, transport: Transport) -> Result<(), HandshakeError> {
    let mut beginning = [0; 16];
    let beginning = match stream.peek(&mut beginning).await {
        Ok(0) => return Err(HandshakeError::Silent),
        Err(error) if foreign::is_peer_gone(&error) => return Err(HandshakeError::Silent),
        result => beginning.get(..result?).unwrap_or_default(),
    };
    Foreign::recognize(beginning, Expected::Tls, transport)
        .map_or(Ok(()), |foreign| Err(HandshakeError::Foreign(foreign)))
}

async fn encrypted(
    stream: TcpStream,
    certificates: &Certificates,
    peer: &mut Peer,
) -> Result<(ServerStream, u64), HandshakeError> {
    let (stream, removals) = certificates.accept(stream).await?;
    let identity = certificates.identity_of(certificates_of(&stream)).map_err(HandshakeError::Tls)?;
    // Without one, that of a proxy remains.
    peer.certificate_identity = identity.or(peer.certificate_identity.take());
    Ok((stream, removals))
}

/// Opens a WebSocket. The peer gets what the request says about the client.
async fn web_socket<S>(
    stream: S,
    endpoint: &Endpoint,
    peer: &mut Peer,
    mut permit: Permit,
) -> Result<(WebSocket<S>, Permit), HandshakeError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let from = peer.address.map(|address| address.ip());
    let (stream, opening) = WebSocket::accept(stream, &endpoint.settings, endpoint.maximum_packet_size, from).await?;
    if let Via::Proxy(client) = opening.via {
        peer.is_local = false;
        peer.address = client.or(peer.address);
    }
    if opening.site == Site::Other {
        peer.is_local = false;
    }
    if from.is_some_and(|from| endpoint.is_web_proxy(from)) {
        // Nothing else will name the client, so the address counts whatever it is.
        permit = match peer.address {
            Some(address) => permit.of_address(address)?,
            None => permit,
        };
    }
    let subprotocol = opening.subprotocol.unwrap_or("none");
    let from = peer.address.map(|address| format!(" from {address}")).unwrap_or_default();
    log_line!(
        WebSocketOpened {
            address = peer.address.map(tracing::field::display),
            listener = &*endpoint.name,
            path = opening.path.as_str(),
            subprotocol
        },
        "WebSocket{from} at {}: path {:?}, subprotocol {subprotocol}",
        endpoint.name,
        opening.path
    );
    Ok((stream, permit))
}

/// The peer of a connection from this address, as far as the socket says who it is.
fn peer(endpoint: &Endpoint, address: Option<SocketAddr>) -> Box<Peer> {
    let is_local = address.is_none_or(|address| address.ip().is_loopback() && !endpoint.is_web_proxy(address.ip()));
    Box::new(Peer {
        address,
        is_local,
        listener: Arc::clone(&endpoint.name),
        certificate_identity: None,
        client_ids: client_ids(endpoint.settings().client_id),
        maximum_packet_size: endpoint.maximum_packet_size,
        link: endpoint.link,
    })
}
