use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::quic::QuicStream;
use super::tls::certificates_of;
use super::websocket::WebSocket;
use crate::config::Transport;
use crate::server::tunnel::TunnelStream;

/// The transport of a Network Connection.
#[derive(Debug)]
pub(in crate::server) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    Ws(Box<WebSocket<TcpStream>>),
    Wss(Box<WebSocket<TlsStream<TcpStream>>>),
    Quic(Box<QuicStream>),
    /// The socket is on another node, which has ended TLS and WebSocket.
    Tunnel(TunnelStream),
}

impl Stream {
    /// Whether closing the socket ends it, without a closing message of TLS or WebSocket.
    pub(in crate::server) const fn is_plain(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Tunnel(_) => true,
            Self::Tls(_) | Self::Ws(_) | Self::Wss(_) | Self::Quic(_) => false,
        }
    }
}

impl Stream {
    /// The kind of its transport.
    pub(in crate::server) const fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) | Self::Tunnel(_) => Transport::Tcp,
            Self::Unix(_) => Transport::Unix,
            Self::Tls(_) => Transport::Tls,
            Self::Ws(_) => Transport::Ws,
            Self::Wss(_) => Transport::Wss,
            Self::Quic(_) => Transport::Quic,
        }
    }

    /// The certificates that the client has presented, its own first; empty if it has presented none.
    pub(super) fn certificates(&self) -> Cow<'_, [CertificateDer<'static>]> {
        match self {
            Self::Tls(stream) => Cow::Borrowed(certificates_of(stream)),
            Self::Wss(stream) => Cow::Borrowed(certificates_of(stream.get_ref())),
            Self::Quic(stream) => Cow::Owned(stream.certificates()),
            Self::Tcp(_) | Self::Unix(_) | Self::Ws(_) | Self::Tunnel(_) => Cow::Borrowed(&[]),
        }
    }

    /// Makes the end of the connection a reset instead of a regular close. A Unix socket has no reset; it just ends.
    pub(in crate::server) fn reset_when_dropped(&self) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            // The other node closes its socket.
            Self::Unix(_) | Self::Tunnel(_) => return,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Ws(stream) => stream.get_ref(),
            Self::Wss(stream) => stream.get_ref().get_ref().0,
            Self::Quic(stream) => return stream.abort(),
        };
        // If that fails, the connection ends all the same.
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }

    /// Whether the peer has closed its sending side, as far as the runtime knows without a system call. Bytes sent before may be unread.
    pub(in crate::server) fn is_read_closed(&self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Tcp(stream) => is_closed(stream.ready(Interest::READABLE), cx),
            Self::Unix(stream) => is_closed(stream.ready(Interest::READABLE), cx),
            Self::Tls(stream) => is_closed(stream.get_ref().0.ready(Interest::READABLE), cx),
            Self::Ws(stream) => is_closed(stream.get_ref().ready(Interest::READABLE), cx),
            Self::Wss(stream) => is_closed(stream.get_ref().get_ref().0.ready(Interest::READABLE), cx),
            Self::Quic(stream) => stream.is_closed(),
            Self::Tunnel(stream) => stream.is_read_closed(cx),
        }
    }
}

/// Whether the peer of a socket has closed its sending side, or the socket failed.
fn is_closed(ready: impl Future<Output = io::Result<Ready>>, cx: &mut Context<'_>) -> bool {
    match pin!(ready).poll(cx) {
        Poll::Ready(Ok(ready)) => ready.is_read_closed(),
        Poll::Ready(Err(_)) => true,
        Poll::Pending => false,
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Ws(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Wss(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Quic(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Ws(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Wss(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Quic(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Ws(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Wss(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Quic(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tunnel(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Writes are system calls without a buffer in the process.
            Self::Tcp(_) | Self::Unix(_) | Self::Tunnel(_) => Poll::Ready(Ok(())),
            Self::Quic(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Ws(stream) => Pin::new(stream).poll_flush(cx),
            Self::Wss(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Ws(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Wss(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Quic(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
