use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::closed::Closed;
use super::stream::TunnelStream;
use crate::broker::Peer;
use crate::server::clock::Clock;
use crate::server::listener::{Stream, log_refused, shut_down};

/// Copies bytes between the socket of a client and its tunnel.
pub(super) struct Pump {
    pub(super) stream: Stream,
    tunnel: TunnelStream,
    /// What was read before, and comes first.
    unsent: BytesMut,
    /// What the socket has not taken of the last read.
    unwritten: BytesMut,
    /// The client sends no more.
    is_client_over: bool,
    /// The owner sends no more.
    is_owner_over: bool,
}

/// How the copying ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The socket of the client has failed, or both sides have sent all.
    Socket,
    /// The tunnel is closed. The socket takes nothing now of what is left.
    Owner(Closed),
}

impl Pump {
    /// `read`: what was read of the client before.
    pub(super) fn new(stream: Stream, tunnel: TunnelStream, read: BytesMut) -> Self {
        let unwritten = BytesMut::new();
        Self { stream, tunnel, unsent: read, unwritten, is_client_over: false, is_owner_over: false }
    }

    /// Copies until nothing more can be copied.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut copied = 0;
        loop {
            let sent = match self.send(cx) {
                Ok(sent) => sent,
                Err(_) => return Poll::Ready(End::Socket),
            };
            let received = match self.deliver(cx) {
                Ok(received) => received,
                Err(_) => return Poll::Ready(End::Socket),
            };
            if received == 0
                && let Poll::Ready(closed) = self.tunnel.poll_closed(cx)
            {
                return Poll::Ready(End::Owner(closed));
            }
            if self.is_client_over && self.is_owner_over && self.unwritten.is_empty() {
                return Poll::Ready(End::Socket);
            }
            copied += sent + received;
            if sent + received == 0 {
                return Poll::Pending;
            }
            if copied >= TURN_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Reads once from the client. Returns the number of bytes; 0: nothing can be done now.
    fn send(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        if self.is_client_over {
            return Ok(0);
        }
        // The client is not read while the owner has no room. If the tunnel is closed, this wakes nobody, and needs not.
        let Poll::Ready(room @ 1..) = self.tunnel.poll_room(cx) else { return Ok(0) };
        if !self.unsent.is_empty() {
            let bytes = self.unsent.split_to(room.min(self.unsent.len()));
            let _written = Pin::new(&mut self.tunnel).poll_write(cx, &bytes);
            if self.unsent.is_empty() {
                self.unsent = BytesMut::new();
            }
            return Ok(bytes.len());
        }
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(bytes.get_mut(..room.min(READ_BYTES)).unwrap_or_default());
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Ok(0),
            Poll::Ready(result) => result?,
        }
        let filled = buffer.filled();
        if filled.is_empty() {
            self.is_client_over = true;
            let _ready = Pin::new(&mut self.tunnel).poll_shutdown(cx);
            return Ok(0);
        }
        // There is room for all of it, so it is taken at once; if the tunnel was closed meanwhile, nobody wants it.
        let _written = Pin::new(&mut self.tunnel).poll_write(cx, filled);
        Ok(filled.len())
    }

    /// Writes to the client what the owner has sent. Returns the number of bytes; 0: nothing can be done now.
    fn deliver(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        if self.unwritten.is_empty() && !self.is_owner_over {
            match Pin::new(&mut self.tunnel).poll_read(cx, &mut buffer) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // The end, or a lost link. What came before was written.
                Poll::Ready(_) => {
                    self.is_owner_over = true;
                    let _done = Pin::new(&mut self.stream).poll_shutdown(cx);
                }
            }
        }
        let (mut written, mut rest) = (0, buffer.filled());
        if !self.unwritten.is_empty() {
            rest = &self.unwritten;
        }
        while !rest.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(result) => {
                    let length = result?;
                    written += length;
                    rest = rest.get(length..).unwrap_or_default();
                }
            }
        }
        if self.unwritten.is_empty() {
            self.unwritten = BytesMut::from(rest);
        } else {
            self.unwritten.advance(written);
        }
        if !self.is_owner_over
            && let Poll::Ready(result) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            result?;
        }
        Ok(written)
    }

    pub(super) async fn finish(mut self, end: End, peer: &Peer, clock: Clock) {
        let End::Owner(Closed::ByOther(refusal)) = end else { return };
        if let Some(refusal) = refusal {
            log_refused(&peer.listener, peer.address, &refusal.to_string(), clock.read().now);
        }
        let rest = async {
            self.stream.write_all(&self.unwritten).await?;
            tokio::io::copy(&mut self.tunnel, &mut self.stream).await?;
            // Else what was written last could be lost.
            shut_down(&mut self.stream, UNREAD_READS_MAX).await
        };
        let _in_time_or_not = timeout(CLOSE_TIMEOUT, rest).await;
    }
}

const READ_BYTES: usize = 16 << 10;
/// The number of bytes after which other connections of the thread come first.
const TURN_BYTES: usize = 128 << 10;
/// How long a client may take to read what is left, and to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const UNREAD_READS_MAX: usize = 64;
