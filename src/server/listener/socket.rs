use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::quic::{Arriving, Intake, Listening};
use super::tcp::canonical;
use super::{Endpoint, tcp, unix};
use crate::config::SocketMode;
use crate::server::tunnel::Tunneled;

/// A listening socket.
#[derive(Debug)]
pub(in crate::server) enum BoundSocket {
    Tcp(TcpListener),
    Unix(UnixListener, unix::SocketFile),
    /// For QUIC.
    Udp(UdpSocket, Arc<Intake>),
}

/// Another descriptor of a listening socket, for a process that takes over. The socket listens until all its descriptors are closed.
#[derive(Debug)]
pub(crate) struct SecondSocket {
    pub(in crate::server) descriptor: OwnedFd,
    /// Whether the end of the listener removes the file of a Unix socket; `None` for TCP.
    pub(in crate::server) removal: Option<Arc<unix::Removal>>,
    /// Stops this process from reading a UDP socket; `None` for others.
    pub(in crate::server) intake: Option<Arc<Intake>>,
}

/// An accepted socket that is not registered with a runtime: the thread of its shard registers it.
#[derive(Debug)]
pub(in crate::server) enum AcceptedSocket {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
    /// The beginning of a QUIC connection.
    Quic(Box<Arriving>, SocketAddr),
    /// A client whose socket is on another node.
    Tunnel(Box<Tunneled>),
}

/// Where a listening socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Place {
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
    Udp(SocketAddr),
}

impl AcceptedSocket {
    /// The remote address; a Unix socket has none.
    pub(in crate::server) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) | Self::Quic(_, address) => Some(*address),
            Self::Tunnel(tunneled) => tunneled.opening.address,
            Self::Unix(_) => None,
        }
    }
}

impl SecondSocket {
    pub(crate) fn of(socket: &impl AsFd, file: Option<&unix::SocketFile>) -> io::Result<Self> {
        let descriptor = socket.as_fd().try_clone_to_owned()?;
        Ok(Self { descriptor, removal: file.map(unix::SocketFile::removal), intake: None })
    }

    pub(in crate::server) fn try_clone(&self) -> io::Result<Self> {
        let (removal, intake) = (self.removal.clone(), self.intake.clone());
        Ok(Self { descriptor: self.descriptor.try_clone()?, removal, intake })
    }
}

impl BoundSocket {
    /// Listens at `address`. `takes_ipv4`: for `[::]`, whether connections over IPv4 are accepted too.
    pub(super) fn bind(address: SocketAddr, options: tcp::Options, takes_ipv4: bool) -> io::Result<Self> {
        tcp::bind(address, options, takes_ipv4).map(Self::Tcp)
    }

    /// Gets the datagrams for `address`. `takes_ipv4`: for `[::]`, whether it gets those of IPv4 too.
    pub(super) fn bind_udp(address: SocketAddr, takes_ipv4: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // Not left to the operating system, whose default an administrator can change.
            socket.set_only_v6(!takes_ipv4)?;
        }
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        Ok(Self::Udp(socket.into(), Arc::default()))
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
            Place::Udp(_) => Self::Udp(socket.into(), Arc::default()),
        })
    }

    /// Another descriptor of the socket.
    pub(in crate::server) fn second(&self) -> io::Result<SecondSocket> {
        match self {
            Self::Tcp(listener) => SecondSocket::of(listener, None),
            Self::Unix(listener, file) => SecondSocket::of(listener, Some(file)),
            Self::Udp(socket, intake) => {
                Ok(SecondSocket { intake: Some(Arc::clone(intake)), ..SecondSocket::of(socket, None)? })
            }
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
            // What arrives waits in the socket.
            Self::Udp(..) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The bound address, with the port that the operating system chose if the configured one is 0.
    pub(in crate::server) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Udp(socket, _) => socket.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// Registers the socket of a listener with the runtime of this thread.
    #[expect(deprecated, reason = "mio's listeners keep their descriptor, and what replaces it is unsafe")]
    pub(in crate::server) fn register(self, endpoint: &Endpoint) -> io::Result<Accepting> {
        Ok(match self {
            Self::Tcp(listener) => {
                let listener = mio::net::TcpListener::from_std(listener);
                Accepting::Tcp(AsyncFd::with_interest(listener, Interest::READABLE)?)
            }
            Self::Unix(listener, file) => {
                let listener = mio::net::UnixListener::from_std(listener);
                Accepting::Unix(AsyncFd::with_interest(listener, Interest::READABLE)?, file)
            }
            Self::Udp(socket, intake) => {
                let certificates = endpoint.certificates.as_ref().ok_or(io::ErrorKind::NotFound)?;
                let (settings, _) = certificates.quic().map_err(io::Error::other)?;
                Accepting::Quic(Listening::open(socket, intake, &settings)?)
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
    let is_datagram = cfg!(feature = "quic") && socket.r#type()? == Type::DGRAM;
    if let Some(address) = socket.local_addr()?.as_socket().filter(|_| is_datagram) {
        return Ok(Place::Udp(canonical(address)));
    }
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
    Quic(Listening),
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
            Self::Quic(listening) => {
                let (arriving, address) = listening.accept().await?;
                Ok(AcceptedSocket::Quic(Box::new(arriving), canonical(address)))
            }
        }
    }
}
