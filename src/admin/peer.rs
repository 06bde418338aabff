use std::net::{IpAddr, SocketAddr};

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) enum Peer {
    /// A process that may open the Unix socket.
    Local,
    /// A process that reaches the TCP listener.
    Remote(SocketAddr),
}

impl Peer {
    /// The address; `None` for the Unix socket.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Local => None,
            Self::Remote(address) => Some(address.ip().to_canonical()),
        }
    }

    /// Whether it is on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.address().is_none_or(|address| address.is_loopback())
    }
}
