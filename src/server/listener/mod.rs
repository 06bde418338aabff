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

pub(super) use accept::Doorkeeper;
pub(super) use admission::{Admission, Permit};
pub(super) use handshake::{Arrival, Established, Handshake, HandshakeError, receive};
pub(super) use socket::{AcceptedSocket, BoundSocket};
pub(super) use stream::Stream;
pub(super) use tcp::Options as TcpOptions;
pub use tls::TlsError;

use crate::config;
use tls::Certificates;

/// One listener, as its connections see it.
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

/// A connection that may come in: not a byte of it has been read.
#[derive(Debug)]
pub(super) struct Accepted {
    /// Its transport.
    pub(super) socket: AcceptedSocket,
    /// Where it came in.
    pub(super) endpoint: Arc<Endpoint>,
    /// Counts it as long as it lives.
    pub(super) permit: Permit,
}

/// What was read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reloaded {
    /// There is nothing to read.
    Nothing,
    Certificates,
}

/// Where a connection came from, for the log.
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
    /// Reads the certificates, if it has any.
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

    /// What was set for it.
    pub(super) fn settings(&self) -> &config::Listener {
        &self.settings
    }

    /// Reads the certificates again, for connections to come. If they can't be read, those it has stay.
    pub(super) fn reload(&self) -> Result<Reloaded, TlsError> {
        let Some(certificates) = &self.certificates else { return Ok(Reloaded::Nothing) };
        certificates.reload()?;
        Ok(Reloaded::Certificates)
    }
}

#[cfg(test)]
mod tests;
