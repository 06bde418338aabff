//! Which cell a connection is for: the one of the Client Identifier in its CONNECT.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt as _, Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

use crate::codec::{FoundClientId, find_client_id};
use crate::server::listener::{HandshakeError, Stream, is_peer_gone};

/// Waits for the Client Identifier. `None`: the client chooses none, or what it sends is no CONNECT. What had to be read is in `read`; of a socket, it is only
/// looked at if it comes early enough.
///
/// # Errors
/// The connection has ended before anything came.
pub(super) async fn find(stream: &mut Stream, read: &mut BytesMut) -> Result<Option<String>, HandshakeError> {
    let seen = match stream {
        Stream::Tcp(stream) => look(&Socket::Tcp(stream)).await?,
        Stream::Unix(stream) => look(&Socket::Unix(stream)).await?,
        Stream::Tls(_) | Stream::Ws(_) | Stream::Wss(_) | Stream::Quic(_) | Stream::Tunnel(_) => Seen::TooLittle,
    };
    if let Seen::All(client_id) = seen {
        return Ok(client_id);
    }
    loop {
        read.reserve(READ_BYTES_MIN);
        match stream.read_buf(read).await {
            Ok(0) if read.is_empty() => return Err(HandshakeError::Silent),
            Err(error) if read.is_empty() && is_peer_gone(&error) => return Err(HandshakeError::Silent),
            Ok(0) => return Ok(None),
            result => result?,
        };
        if let Some(client_id) = answer(read) {
            return Ok(client_id);
        }
    }
}

/// Whether the client has ended its side of a connection over TCP or a Unix socket. Of others it is not known.
pub(super) fn has_ended(stream: &Stream) -> bool {
    let ready = match stream {
        Stream::Tcp(stream) => stream.ready(Interest::READABLE).now_or_never(),
        Stream::Unix(stream) => stream.ready(Interest::READABLE).now_or_never(),
        Stream::Tls(_) | Stream::Ws(_) | Stream::Wss(_) | Stream::Quic(_) | Stream::Tunnel(_) => None,
    };
    ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
}

/// `None`: more bytes are needed.
fn answer(bytes: &[u8]) -> Option<Option<String>> {
    match find_client_id(bytes) {
        FoundClientId::NeedMore => None,
        FoundClientId::Found(client_id) => Some(Some(client_id.to_owned()).filter(|client_id| !client_id.is_empty())),
        FoundClientId::Unfindable => Some(None),
    }
}

/// What a look at a socket has shown.
enum Seen {
    All(Option<String>),
    /// The Client Identifier is not among the first [`LOOK_BYTES`].
    TooLittle,
}

enum Socket<'a> {
    Tcp(&'a TcpStream),
    Unix(&'a UnixStream),
}

impl Socket<'_> {
    async fn ready(&self) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(Interest::READABLE).await,
            Self::Unix(stream) => stream.ready(Interest::READABLE).await,
        }
    }

    fn try_io<T>(&self, look: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, look),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, look),
        }
    }

    /// Copies the first bytes, which stay unread.
    fn peek<'b>(&self, bytes: &'b mut [MaybeUninit<u8>]) -> io::Result<&'b mut [u8]> {
        let descriptor = match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        };
        let ((filled, _), _) = recv(descriptor, bytes, RecvFlags::PEEK)?;
        Ok(filled)
    }
}

/// Looks at the first bytes of a socket until the Client Identifier is among them.
async fn look(socket: &Socket<'_>) -> Result<Seen, HandshakeError> {
    loop {
        let is_over = socket.ready().await?.is_read_closed();
        let looked = socket.try_io(|| {
            let mut bytes = [const { MaybeUninit::uninit() }; LOOK_BYTES];
            let bytes = &*socket.peek(&mut bytes)?;
            match answer(bytes) {
                _ if bytes.is_empty() => Ok(None),
                Some(client_id) => Ok(Some(Seen::All(client_id))),
                None if bytes.len() == LOOK_BYTES => Ok(Some(Seen::TooLittle)),
                // Nothing more comes.
                None if is_over => Ok(Some(Seen::All(None))),
                // The runtime then waits for more bytes than there are.
                None => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match looked {
            Ok(None) => return Err(HandshakeError::Silent),
            Ok(Some(seen)) => return Ok(seen),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_peer_gone(&error) => return Err(HandshakeError::Silent),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The bytes of a socket that are looked at. The Client Identifiers of nearly all clients end within them.
const LOOK_BYTES: usize = 2 << 10;
const READ_BYTES_MIN: usize = 1 << 10;
