use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use super::pipe::{Closed, Pipe, Ready, TunnelStream};
use crate::broker::Peer;
use crate::cluster::tunnel::Opening;
use crate::server::clock::Clock;
use crate::server::listener::{Established, Stream, log_refused, shut_down};

/// Passes the clients of a standby to the owner. All shards have it.
#[derive(Debug)]
pub(in crate::server) struct Front {
    /// Whether there is a link to the owner.
    up: watch::Receiver<bool>,
    opens: mpsc::Sender<Open>,
    ready: Arc<Ready>,
    /// Certificates, or the listeners, were reloaded.
    reviews: Notify,
    clock: Clock,
}

/// The ends of a [`Front`]'s channels for the thread of the tunnels.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) up: watch::Sender<bool>,
    pub(super) opens: mpsc::Receiver<Open>,
}

/// A client that needs a tunnel.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) opening: Bytes,
    pub(super) pipe: Arc<Pipe>,
}

pub(super) fn new(ready: &Arc<Ready>, clock: Clock) -> (Front, Channels) {
    let (up_sender, up) = watch::channel(false);
    let (opens, received) = mpsc::channel(OPENS_MAX);
    let front = Front { up, opens, ready: Arc::clone(ready), reviews: Notify::new(), clock };
    (front, Channels { up: up_sender, opens: received })
}

impl Front {
    /// Looks again whether the clients may stay.
    pub(in crate::server) fn review(&self) {
        self.reviews.notify_waiters();
    }

    /// Passes a client to the owner, until it or the owner ends that. Gives it back if there is no link to the owner in time: then nothing was read of it.
    pub(in crate::server) async fn pass(&self, established: Established) -> Option<Established> {
        let opening = opening(&established.peer).encode();
        let tunnel = match opening {
            Some(opening) => timeout(HELD_MAX, self.open(opening)).await.ok().flatten(),
            // No owner takes it.
            None => None,
        };
        let Some(tunnel) = tunnel else { return Some(established) };
        let Established { stream, peer, permit, mut certificates } = established;
        let mut pump = Pump { stream, tunnel, unwritten: BytesMut::new(), is_client_over: false, is_owner_over: false };
        loop {
            let reviewed = self.reviews.notified();
            tokio::select! {
                biased;
                end = std::future::poll_fn(|cx| pump.poll(cx)) => {
                    // Boxed, because it is large and short-lived.
                    Box::pin(pump.finish(end, &peer, self.clock)).await;
                    return None;
                }
                () = reviewed => {
                    let is_void = certificates.as_mut().is_some_and(|certificates| {
                        certificates.are_revoked() || !certificates.verify(&pump.stream)
                    });
                    if is_void || permit.is_void() {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for a link, and asks for a tunnel.
    async fn open(&self, opening: Bytes) -> Option<TunnelStream> {
        self.up.clone().wait_for(|is_up| *is_up).await.ok()?;
        let (pipe, stream) = Pipe::new(&self.ready);
        self.opens.send(Open { opening, pipe }).await.ok()?;
        Some(stream)
    }
}

fn opening(peer: &Peer) -> Opening {
    Opening {
        listener: peer.listener.to_string(),
        address: peer.address,
        is_local: peer.is_local,
        certificate_identity: peer.certificate_identity.as_deref().map(str::to_owned),
    }
}

/// Copies bytes between the socket of a client and its tunnel.
struct Pump {
    stream: Stream,
    tunnel: TunnelStream,
    /// What the socket has not taken of the last read.
    unwritten: BytesMut,
    /// The client sends no more.
    is_client_over: bool,
    /// The owner sends no more.
    is_owner_over: bool,
}

/// How the copying ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The socket of the client has failed, or both sides have sent all.
    Socket,
    /// The tunnel is closed. The socket takes nothing now of what is left.
    Owner(Closed),
}

impl Pump {
    /// Copies until nothing more can be copied.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
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

    async fn finish(mut self, end: End, peer: &Peer, clock: Clock) {
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

/// How long a client is held while no other node serves: about as long as a fail-over takes.
const HELD_MAX: Duration = Duration::from_secs(6);
/// Clients that wait for the thread of the tunnels. Further ones wait for those.
const OPENS_MAX: usize = 1_024;
const READ_BYTES: usize = 16 << 10;
/// The number of bytes after which other connections of the thread come first.
const TURN_BYTES: usize = 128 << 10;
/// How long a client may take to read what is left, and to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const UNREAD_READS_MAX: usize = 64;
