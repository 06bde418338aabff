use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) enum Peer {
    /// A process that may open the Unix socket.
    Local,
    /// A process that reaches the TCP listener.
    Remote {
        address: SocketAddr,
        /// Whether nobody on the way can read along.
        is_encrypted: bool,
        /// The Common Name of its certificate, signed by an authority in `admin.client_ca`.
        certificate: Option<Arc<str>>,
    },
}

impl Peer {
    /// Over plain TCP.
    pub(super) const fn plain(address: SocketAddr) -> Self {
        Self::Remote { address, is_encrypted: false, certificate: None }
    }

    /// The address; `None` for the Unix socket.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Local => None,
            Self::Remote { address, .. } => Some(address.ip().to_canonical()),
        }
    }

    /// Whether the connection has TLS.
    pub(super) const fn is_encrypted(&self) -> bool {
        match self {
            Self::Local => false,
            Self::Remote { is_encrypted, .. } => *is_encrypted,
        }
    }

    /// Whether it is on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.address().is_none_or(|address| address.is_loopback())
    }
}
