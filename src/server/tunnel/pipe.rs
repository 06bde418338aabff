use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;
use tokio::sync::Notify;

use super::closed::Closed;
use crate::cluster::tunnel::{TunnelId, WINDOW_BYTES};

/// What the thread of the tunnels and the end of a tunnel, which is on the thread of a shard, share. For each direction, it has at most
/// [`WINDOW_BYTES`].
#[derive(Debug)]
pub(super) struct Pipe {
    state: Mutex<State>,
    ready: Arc<Ready>,
}

/// Pipes with something for the thread of the tunnels.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pipes: Mutex<Vec<Arc<Pipe>>>,
    wake: Notify,
}

#[derive(Debug)]
struct State {
    /// Its link and its tunnel, when the tunnel is open.
    tunnel: Option<(usize, TunnelId)>,
    inbound: BytesMut,
    /// The other node sends no more.
    is_inbound_over: bool,
    reader: Option<Waker>,
    /// The bytes that were read, of which the thread does not know.
    consumed: usize,
    outbound: BytesMut,
    /// The bytes that may be written.
    room: usize,
    writer: Option<Waker>,
    /// This end writes no more.
    is_finished: bool,
    /// This end is gone.
    is_dropped: bool,
    /// The tunnel is closed.
    closed: Option<Closed>,
    /// Whether it is in the list of those that are ready.
    is_listed: bool,
}

/// What a pipe has for the thread of the tunnels.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) tunnel: (usize, TunnelId),
    pub(super) bytes: BytesMut,
    pub(super) consumed: usize,
    pub(super) is_finished: bool,
    pub(super) is_dropped: bool,
}

impl Ready {
    /// Waits until there are some. Cancel safe.
    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<Arc<Pipe>> {
        std::mem::take(&mut *self.pipes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, pipe: &Arc<Pipe>) {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.push(Arc::clone(pipe));
        let is_first = pipes.len() == 1;
        drop(pipes);
        if is_first {
            self.wake.notify_one();
        }
    }
}

impl Pipe {
    /// A pipe whose tunnel is not open yet.
    pub(super) fn new(ready: &Arc<Ready>) -> Arc<Self> {
        let state = State {
            tunnel: None,
            inbound: BytesMut::new(),
            is_inbound_over: false,
            reader: None,
            consumed: 0,
            outbound: BytesMut::new(),
            room: WINDOW_BYTES,
            writer: None,
            is_finished: false,
            is_dropped: false,
            closed: None,
            is_listed: false,
        };
        Arc::new(Self { state: Mutex::new(state), ready: Arc::clone(ready) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tunnel is open: what was written before can be sent.
    pub(super) fn opened(self: &Arc<Self>, tunnel: (usize, TunnelId)) {
        let mut state = self.lock();
        state.tunnel = Some(tunnel);
        self.list(state);
    }

    /// What is to be sent. `None`: nothing, because the tunnel is not open, or closed.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut state = self.lock();
        state.is_listed = false;
        let tunnel = state.tunnel.filter(|_| state.closed.is_none())?;
        let bytes = std::mem::take(&mut state.outbound);
        let consumed = if state.consumed >= CONSUMED_MIN { std::mem::take(&mut state.consumed) } else { 0 };
        Some(Taken { tunnel, bytes, consumed, is_finished: state.is_finished, is_dropped: state.is_dropped })
    }

    /// Bytes of the other node, which the link has limited.
    pub(super) fn received(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if state.is_dropped {
            return;
        }
        state.inbound.extend_from_slice(bytes);
        wake(state.reader.take());
    }

    /// `bytes` more may be written.
    pub(super) fn add_room(&self, bytes: usize) {
        let mut state = self.lock();
        state.room += bytes;
        wake(state.writer.take());
    }

    /// The other node sends no more.
    pub(super) fn other_finished(&self) {
        let mut state = self.lock();
        state.is_inbound_over = true;
        wake(state.reader.take());
    }

    /// The tunnel is closed. What came before can still be read.
    pub(super) fn close(&self, closed: Closed) {
        let mut state = self.lock();
        state.closed.get_or_insert(closed);
        state.is_inbound_over = true;
        state.outbound = BytesMut::new();
        wake(state.reader.take());
        wake(state.writer.take());
    }

    /// Writes what there is room for of these slices, in their order.
    pub(super) fn poll_write<'a>(
        self: &Arc<Self>,
        cx: &Context<'_>,
        slices: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.closed.is_some() || state.is_finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let (mut written, mut is_empty) = (0, true);
        for slice in slices {
            is_empty &= slice.is_empty();
            let taken = slice.get(..slice.len().min(state.room)).unwrap_or_default();
            state.outbound.extend_from_slice(taken);
            state.room -= taken.len();
            written += taken.len();
            if taken.len() < slice.len() {
                break;
            }
        }
        if written == 0 && !is_empty {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.list(state);
        Poll::Ready(Ok(written))
    }

    /// Tells the thread of the tunnels that there is something, once.
    fn list(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.tunnel.is_some() && state.closed.is_none() && !std::mem::replace(&mut state.is_listed, true) {
            drop(state);
            self.ready.put(self);
        }
    }

    /// Whether the other end sends no more, or the tunnel is closed. Bytes that came before may be unread.
    pub(super) fn is_read_closed(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        if !state.is_inbound_over {
            state.reader = Some(cx.waker().clone());
        }
        state.is_inbound_over
    }

    /// Why the tunnel is closed, if it is.
    pub(super) fn closed(&self) -> Option<Closed> {
        self.lock().closed
    }

    pub(super) fn poll_closed(&self, cx: &Context<'_>) -> Poll<Closed> {
        let mut state = self.lock();
        if let Some(closed) = state.closed {
            return Poll::Ready(closed);
        }
        if !state.reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until bytes can be written, and says how many; 0: no more, because the tunnel is closed.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<usize> {
        let mut state = self.lock();
        match (state.closed, state.room) {
            (Some(_), _) => Poll::Ready(0),
            (None, 0) => {
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            (None, room) => Poll::Ready(room),
        }
    }

    pub(super) fn poll_read(self: &Arc<Self>, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let length = state.inbound.len().min(buffer.remaining());
        if length == 0 {
            return match (state.is_inbound_over, state.closed) {
                (true, Some(Closed::Lost)) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                (true, Some(Closed::ByOther(_)) | None) => Poll::Ready(Ok(())),
                (false, _) => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        buffer.put_slice(state.inbound.get(..length).unwrap_or_default());
        state.inbound.advance(length);
        if state.inbound.is_empty() {
            // An idle tunnel has no memory for bytes.
            state.inbound = BytesMut::new();
        }
        state.consumed += length;
        if state.consumed >= CONSUMED_MIN {
            self.list(state);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes a byte, before anything else is written.
    pub(super) fn put(self: &Arc<Self>, byte: u8) {
        let mut state = self.lock();
        state.room -= 1;
        state.outbound.extend_from_slice(&[byte]);
        self.list(state);
    }

    /// This end writes no more.
    pub(super) fn finish(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_finished = true;
        self.list(state);
    }

    /// This end is gone.
    pub(super) fn drop_end(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_dropped = true;
        state.inbound = BytesMut::new();
        (state.reader, state.writer) = (None, None);
        self.list(state);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The number of bytes that are read before the other node is told that it may send as many again.
const CONSUMED_MIN: usize = WINDOW_BYTES / 2;
