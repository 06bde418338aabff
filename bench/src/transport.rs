//! Nonblocking transports: TCP, TLS and WebSocket.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::websocket::WebSocket;

/// The transport that carries MQTT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    #[default]
    Tcp,
    Tls,
    /// WebSocket
    Ws,
}

/// A broker's address and transport.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    kind: Kind,
}

/// The byte stream of a connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    WebSocket(Box<WebSocket>),
}

/// A socket with its TLS state.
pub(crate) struct TlsStream {
    socket: TcpStream,
    tls: ClientConnection,
}

#[derive(Debug, Clone)]
enum Kind {
    Tcp,
    Tls(Arc<ClientConfig>),
    WebSocket,
}

impl Endpoint {
    /// An endpoint of any transport; a TLS certificate must be signed by `authority`.
    pub(crate) fn new(address: SocketAddr, transport: Transport, authority: Option<&Path>) -> Result<Self> {
        let kind = match transport {
            Transport::Tcp => Kind::Tcp,
            Transport::Ws => Kind::WebSocket,
            Transport::Tls => {
                let file = authority.context("TLS needs the certificate of the broker's authority")?;
                let mut trusted = RootCertStore::empty();
                trusted.add(CertificateDer::from_pem_file(file).with_context(|| file.display().to_string())?)?;
                Kind::Tls(Arc::new(ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth()))
            }
        };
        Ok(Self { address, kind })
    }

    /// Wraps a connected socket.
    pub(crate) fn over(&self, socket: TcpStream) -> Result<Stream> {
        Ok(match &self.kind {
            Kind::Tcp => Stream::Tcp(socket),
            Kind::WebSocket => Stream::WebSocket(Box::new(WebSocket::new(socket))),
            Kind::Tls(config) => {
                let name = ServerName::try_from(SERVER_NAME)?;
                let tls = ClientConnection::new(Arc::clone(config), name)?;
                Stream::Tls(Box::new(TlsStream { socket, tls }))
            }
        })
    }
}

impl Stream {
    /// The socket, for the poll.
    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Tcp(socket) => socket,
            Self::Tls(stream) => &mut stream.socket,
            Self::WebSocket(stream) => stream.socket(),
        }
    }

    /// Whether a read that doesn't fill its buffer has emptied the stream.
    pub(crate) const fn is_drained_by_short_read(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Whether the transport has its own output.
    pub(crate) fn wants_write(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(stream) => stream.tls.wants_write(),
            Self::WebSocket(stream) => stream.wants_write(),
        }
    }

    /// Writes the transport's own output.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
            Self::WebSocket(stream) => stream.flush(),
        }
    }

    /// Reads available bytes, or fails with `WouldBlock`; 0 bytes mean the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::WebSocket(stream) => stream.read(buffer),
        }
    }

    /// Writes some bytes, or fails with `WouldBlock`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::WebSocket(stream) => stream.write(bytes),
        }
    }
}

impl TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            self.tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tls.is_handshaking() {
            self.flush()?;
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.tls.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock && taken > 0 => Ok(taken),
            flushed => flushed.map(|()| taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The subject of a broker's certificate.
pub(crate) const SERVER_NAME: &str = "localhost";
