use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use super::{tcp, unix};
use crate::config::ListenAddress;

/// A socket that listens.
#[derive(Debug)]
pub(in crate::server) enum BoundSocket {
    Tcp(TcpListener),
    Unix(UnixListener, unix::SocketFile),
}

/// A socket that was accepted, not yet known to any runtime: it is handed to the thread of its shard.
#[derive(Debug)]
pub(in crate::server) enum AcceptedSocket {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl AcceptedSocket {
    /// The remote address; a Unix socket has none.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl BoundSocket {
    /// Listens at `address`.
    pub(in crate::server) fn bind(address: &ListenAddress, options: tcp::Options) -> io::Result<Self> {
        match address {
            ListenAddress::Ip(address) => tcp::bind(*address, options).map(Self::Tcp),
            ListenAddress::Unix(path) => unix::bind(path).map(|(listener, file)| Self::Unix(listener, file)),
        }
    }

    /// Where it listens: the port that the operating system chose, if it was 0.
    pub(in crate::server) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// Makes it known to the runtime of this thread.
    pub(in crate::server) fn register(self) -> io::Result<Accepting> {
        Ok(match self {
            Self::Tcp(listener) => Accepting::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Self::Unix(listener, file) => Accepting::Unix(tokio::net::UnixListener::from_std(listener)?, file),
        })
    }
}

/// A socket that can be waited for.
#[derive(Debug)]
pub(in crate::server) enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(
        tokio::net::UnixListener,
        #[expect(dead_code, reason = "removes the file when it is dropped")] unix::SocketFile,
    ),
}

impl Accepting {
    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<AcceptedSocket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(AcceptedSocket::Tcp(stream.into_std()?, address))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(AcceptedSocket::Unix(stream.into_std()?))
            }
        }
    }
}
