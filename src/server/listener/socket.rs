use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::tcp::canonical;
use super::{tcp, unix};
use crate::config::SocketMode;

/// A listening socket.
#[derive(Debug)]
pub(in crate::server) enum BoundSocket {
    Tcp(TcpListener),
    Unix(UnixListener, unix::SocketFile),
}

/// An accepted socket that is not registered with a runtime: the thread of its shard registers it.
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
    /// Listens at `address`. `takes_ipv4`: for `[::]`, whether connections over IPv4 are accepted too.
    pub(super) fn bind(address: SocketAddr, options: tcp::Options, takes_ipv4: bool) -> io::Result<Self> {
        tcp::bind(address, options, takes_ipv4).map(Self::Tcp)
    }

    /// Listens at a Unix socket.
    pub(super) fn bind_unix(path: &Path, mode: SocketMode) -> io::Result<Self> {
        unix::bind(path, mode).map(|(listener, file)| Self::Unix(listener, file))
    }

    /// The bound address, with the port that the operating system chose if the configured one is 0.
    pub(in crate::server) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// Registers the socket with the runtime of this thread.
    #[expect(deprecated, reason = "mio's listeners keep their descriptor, and what replaces it is unsafe")]
    pub(in crate::server) fn register(self) -> io::Result<Accepting> {
        Ok(match self {
            Self::Tcp(listener) => {
                let listener = mio::net::TcpListener::from_std(listener);
                Accepting::Tcp(AsyncFd::with_interest(listener, Interest::READABLE)?)
            }
            Self::Unix(listener, file) => {
                let listener = mio::net::UnixListener::from_std(listener);
                Accepting::Unix(AsyncFd::with_interest(listener, Interest::READABLE)?, file)
            }
        })
    }
}

/// A listening socket of this runtime. The thread that serves an accepted socket registers it. The listeners are those of `mio`, because their
/// accepted sockets are nonblocking without a second system call.
#[derive(Debug)]
pub(in crate::server) enum Accepting {
    Tcp(AsyncFd<mio::net::TcpListener>),
    Unix(
        AsyncFd<mio::net::UnixListener>,
        #[expect(dead_code, reason = "removes the file when it is dropped")] unix::SocketFile,
    ),
}

impl Accepting {
    /// Sets TCP_USER_TIMEOUT of later connections, which inherit it.
    pub(super) fn set_user_timeout(&self, timeout: Duration) {
        #[cfg(target_os = "linux")]
        if let Self::Tcp(listener) = self {
            // Without it the write timeout of the broker still holds.
            let _ = SockRef::from(listener.get_ref()).set_tcp_user_timeout(Some(timeout));
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<AcceptedSocket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.async_io(Interest::READABLE, |listener| listener.accept()).await?;
                Ok(AcceptedSocket::Tcp(stream.into(), canonical(address)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.async_io(Interest::READABLE, |listener| listener.accept()).await?;
                Ok(AcceptedSocket::Unix(stream.into()))
            }
        }
    }
}
