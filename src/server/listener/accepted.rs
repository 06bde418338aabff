use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::admission::Permit;
use super::endpoint::Endpoint;
use super::socket::AcceptedSocket;
use crate::broker::VerifiedUser;

/// An accepted connection of which no byte has been read.
#[derive(Debug)]
pub(in crate::server) struct Accepted {
    pub(in crate::server) socket: AcceptedSocket,
    pub(in crate::server) endpoint: Arc<Endpoint>,
    /// Counts the connection until it is dropped.
    pub(in crate::server) permit: Permit,
    /// When it was accepted, as the time since the start of the broker's clock.
    pub(in crate::server) accepted_at: Duration,
}

/// Remote address and listener of a connection, for the log.
#[derive(Debug)]
pub(in crate::server) struct Origin {
    address: Option<SocketAddr>,
    endpoint: Arc<Endpoint>,
    accepted_at: Duration,
}

impl Accepted {
    pub(in crate::server) fn origin(&self) -> Origin {
        Origin { address: self.socket.address(), endpoint: Arc::clone(&self.endpoint), accepted_at: self.accepted_at }
    }
}

impl Origin {
    /// The address of the client; `None` for a Unix socket.
    pub(in crate::server) const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// When it was accepted, as the time since the start of the broker's clock.
    pub(in crate::server) const fn accepted_at(&self) -> Duration {
        self.accepted_at
    }

    /// Who the client is, if it is one of the broker's own.
    pub(in crate::server) fn own_user(&self) -> Option<&Arc<VerifiedUser>> {
        self.endpoint.own_user()
    }

    /// The name of the listener.
    pub(in crate::server) fn listener(&self) -> &str {
        &self.endpoint.name
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
