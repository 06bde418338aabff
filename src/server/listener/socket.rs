use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Type};
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

/// Another descriptor of a listening socket, for a process that takes over. The socket listens until all its descriptors are closed.
#[derive(Debug)]
pub(crate) struct SecondSocket {
    pub(in crate::server) descriptor: OwnedFd,
    /// Whether the end of the listener removes the file of a Unix socket; `None` for TCP.
    pub(in crate::server) removal: Option<Arc<unix::Removal>>,
}

/// An accepted socket that is not registered with a runtime: the thread of its shard registers it.
#[derive(Debug)]
pub(in crate::server) enum AcceptedSocket {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// Where a listening socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Place {
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
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

impl SecondSocket {
    pub(crate) fn of(socket: &impl AsFd, file: Option<&unix::SocketFile>) -> io::Result<Self> {
        Ok(Self { descriptor: socket.as_fd().try_clone_to_owned()?, removal: file.map(unix::SocketFile::removal) })
    }

    pub(in crate::server) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { descriptor: self.descriptor.try_clone()?, removal: self.removal.clone() })
    }
}

impl BoundSocket {
    /// Listens at `address`. `takes_ipv4`: for `[::]`, whether connections over IPv4 are accepted too.
    pub(super) fn bind(address: SocketAddr, options: tcp::Options, takes_ipv4: bool) -> io::Result<Self> {
        tcp::bind(address, options, takes_ipv4).map(Self::Tcp)
    }

    /// Listens at a Unix socket.
    pub(in crate::server) fn bind_unix(path: &Path, mode: SocketMode) -> io::Result<Self> {
        unix::bind(path, mode).map(|(listener, file)| Self::Unix(listener, file))
    }

    /// Uses a listening socket that another process has bound, with the options of the broker's own. `removes_file`: whether the end of
    /// the listener removes the file of a Unix socket.
    pub(in crate::server) fn adopt(socket: OwnedFd, options: tcp::Options, removes_file: bool) -> io::Result<Self> {
        let place = place_of(&socket)?;
        SockRef::from(&socket).set_nonblocking(true)?;
        Ok(match place {
            Place::Tcp(_) => {
                tcp::set_options(&SockRef::from(&socket), options)?;
                Self::Tcp(socket.into())
            }
            Place::Unix(path) => Self::Unix(socket.into(), unix::SocketFile::of(path, removes_file)),
        })
    }

    /// Another descriptor of the socket.
    pub(in crate::server) fn second(&self) -> io::Result<SecondSocket> {
        match self {
            Self::Tcp(listener) => SecondSocket::of(listener, None),
            Self::Unix(listener, file) => SecondSocket::of(listener, Some(file)),
        }
    }

    /// The next connection, if there is one.
    pub(in crate::server) fn try_accept(&self) -> io::Result<AcceptedSocket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(AcceptedSocket::Tcp(stream, canonical(address)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(AcceptedSocket::Unix(stream))
            }
        }
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

/// Where a socket listens.
///
/// # Errors
/// It is not a listening socket, or not one of TCP or a Unix stream socket with a path.
pub(in crate::server) fn place_of(socket: &OwnedFd) -> io::Result<Place> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text);
    let socket = SockRef::from(socket);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(invalid("it is not a listening stream socket (in a unit of systemd: ListenStream=, Accept=no)"));
    }
    let address = socket.local_addr()?;
    match address.domain() {
        Domain::IPV4 | Domain::IPV6 => {
            let address = address.as_socket().ok_or_else(|| invalid("it has no address"))?;
            Ok(Place::Tcp(canonical(address)))
        }
        Domain::UNIX => {
            let path = address.as_pathname().ok_or_else(|| invalid("it is a Unix socket without a path"))?;
            Ok(Place::Unix(path.to_owned()))
        }
        _ => Err(invalid("it is neither of TCP nor a Unix socket")),
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
    /// Sets the options of later connections, which inherit them.
    pub(super) fn set_write_timeout(&self, write_timeout: Duration) {
        #[cfg(target_os = "linux")]
        if let Self::Tcp(listener) = self {
            // Without it the write timeout of the broker still holds.
            let _ = SockRef::from(listener.get_ref())
                .set_tcp_user_timeout(Some(tcp::Options::new(write_timeout).user_timeout));
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
