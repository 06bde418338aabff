//! Where clients connect: sockets, the limits at the door, and what may come before MQTT's first byte (PROXY header, TLS and WebSocket
//! handshakes).

mod accept;
mod admission;
mod handshake;
mod proxy_protocol;
mod socket;
mod stream;
mod tcp;
mod tls;
mod unix;
mod websocket;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

pub(super) use accept::Acceptor;
pub(super) use admission::{Admission, Permit};
pub(super) use handshake::{Arrival, Established, Handshake, HandshakeError, receive};
pub(super) use socket::{AcceptedSocket, BoundSocket};
pub(super) use stream::Stream;
pub(super) use tcp::Options as TcpOptions;
pub use tls::TlsError;

use crate::config;
use tls::Certificates;

/// One listener: its settings and certificates.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its name in the log.
    pub(super) name: Arc<str>,
    settings: config::Listener,
    certificates: Option<Certificates>,
    maximum_packet_size: u32,
    connect_timeout: Duration,
    connections: AtomicUsize,
}

/// An accepted connection of which no byte has been read.
#[derive(Debug)]
pub(super) struct Accepted {
    /// Its transport.
    pub(super) socket: AcceptedSocket,
    /// Its listener.
    pub(super) endpoint: Arc<Endpoint>,
    /// Counts it while it exists.
    pub(super) permit: Permit,
}

/// What a reload has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reloaded {
    /// The listener has no files.
    Nothing,
    Certificates,
}

/// Remote address and listener of a connection, for the log.
#[derive(Debug)]
pub(super) struct Origin {
    address: Option<SocketAddr>,
    endpoint: Arc<Endpoint>,
}

impl Accepted {
    pub(super) fn origin(&self) -> Origin {
        Origin { address: self.socket.address(), endpoint: Arc::clone(&self.endpoint) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(formatter, "{address} at {}", self.endpoint.name),
            None => write!(formatter, "{}", self.endpoint.name),
        }
    }
}

impl Endpoint {
    /// Reads the certificates, if the listener has any.
    pub(super) fn new(settings: config::Listener, limits: &config::Limits) -> Result<Self, TlsError> {
        Ok(Self {
            name: settings.label().into(),
            certificates: settings.tls.clone().map(Certificates::load).transpose()?,
            maximum_packet_size: settings.maximum_packet_size.unwrap_or(limits.maximum_packet_size),
            connect_timeout: limits.connect_timeout,
            connections: AtomicUsize::new(0),
            settings,
        })
    }

    /// Its configuration.
    pub(super) fn settings(&self) -> &config::Listener {
        &self.settings
    }

    /// Reads the certificates again, for later connections. After an error the current ones stay in use.
    pub(super) fn reload(&self) -> Result<Reloaded, TlsError> {
        let Some(certificates) = &self.certificates else { return Ok(Reloaded::Nothing) };
        certificates.reload()?;
        Ok(Reloaded::Certificates)
    }
}

#[cfg(test)]
mod tests;
