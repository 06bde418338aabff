use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::closed::Closed;
use super::local::LocalEnd;
use super::pipe::Pipe;
use crate::cluster::tunnel::Opening;

/// A tunnel, as a transport: what is written goes to the other node, and what that sends is read. At the owner, it is that of a Network
/// Connection; at a front, the other end of the client's socket. Dropping it ends the tunnel, after what was written. A pipe within the process looks the same.
#[derive(Debug)]
pub(in crate::server) struct TunnelStream {
    end: End,
    /// Is dropped with it, which its receiver notices.
    notice: Option<oneshot::Sender<()>>,
}

/// What a [`TunnelStream`] is an end of.
#[derive(Debug)]
enum End {
    Tunnel(Arc<Pipe>),
    /// The other end is in this process.
    Local(LocalEnd),
}

/// A client of another node or server, as an accepted connection.
#[derive(Debug)]
pub(in crate::server) struct Tunneled {
    pub(in crate::server) stream: TunnelStream,
    pub(in crate::server) opening: Opening,
}

impl TunnelStream {
    /// The end of a tunnel.
    pub(super) fn of(pipe: &Arc<Pipe>) -> Self {
        Self { end: End::Tunnel(Arc::clone(pipe)), notice: None }
    }

    /// Both ends of a pipe within this process.
    pub(in crate::server) fn local() -> [Self; 2] {
        LocalEnd::pair().map(|end| Self { end: End::Local(end), notice: None })
    }

    /// Is resolved when the stream is dropped.
    pub(super) fn dropped(&mut self) -> oneshot::Receiver<()> {
        let (notice, dropped) = oneshot::channel();
        self.notice = Some(notice);
        dropped
    }

    /// Writes a byte to a tunnel, before anything else is written.
    pub(super) fn put(&self, byte: u8) {
        if let End::Tunnel(pipe) = &self.end {
            pipe.put(byte);
        }
    }

    /// Whether the other end sends no more, or the tunnel is closed. Bytes that came before may be unread.
    pub(in crate::server) fn is_read_closed(&self, cx: &Context<'_>) -> bool {
        match &self.end {
            End::Local(end) => end.is_read_closed(cx),
            End::Tunnel(pipe) => pipe.is_read_closed(cx),
        }
    }

    /// Why the tunnel is closed, if it is.
    pub(super) fn closed(&self) -> Option<Closed> {
        match &self.end {
            End::Local(end) => end.closed(),
            End::Tunnel(pipe) => pipe.closed(),
        }
    }

    /// Waits until the tunnel is closed, also while nothing is read or written because the client takes nothing.
    pub(super) fn poll_closed(&self, cx: &Context<'_>) -> Poll<Closed> {
        match &self.end {
            End::Local(end) => end.poll_closed(cx),
            End::Tunnel(pipe) => pipe.poll_closed(cx),
        }
    }

    /// Waits until bytes can be written, and says how many; 0: no more, because the tunnel is closed.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<usize> {
        match &self.end {
            End::Local(end) => end.poll_room(cx),
            End::Tunnel(pipe) => pipe.poll_room(cx),
        }
    }

    /// Writes what there is room for of these slices, in their order.
    fn poll_write_all<'a>(&self, cx: &Context<'_>, slices: impl Iterator<Item = &'a [u8]>) -> Poll<io::Result<usize>> {
        match &self.end {
            End::Local(end) => end.poll_write(cx, slices),
            End::Tunnel(pipe) => pipe.poll_write(cx, slices),
        }
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &self.end {
            End::Local(end) => end.poll_read(cx, buffer),
            End::Tunnel(pipe) => pipe.poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_all(cx, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_all(cx, slices.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.end {
            End::Local(end) => end.finish(),
            End::Tunnel(pipe) => pipe.finish(),
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        if let End::Tunnel(pipe) = &self.end {
            pipe.drop_end();
        }
    }
}
