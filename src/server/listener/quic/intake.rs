//! Reads datagrams only as fast as the shards handle them.
//!
//! The library passes each datagram to the thread of its connection through a channel without a bound. So after [`DATAGRAMS_MAX`] datagrams a
//! task is sent to each shard, and after the next as many the socket is not read until these tasks have run: behind whatever was sent before.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::runtime::Handle;

/// Whether a UDP socket is read.
#[derive(Debug, Default)]
pub(in crate::server) struct Intake(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Another process reads from the socket.
    is_stopped: bool,
    /// Datagrams that were read since the last tasks were sent.
    datagrams: usize,
    /// Tasks that have not run yet.
    tasks: usize,
    /// The runtimes of the shards that have connections.
    shards: Vec<Handle>,
    /// Reads when all tasks have run.
    waiting: Option<Waker>,
}

/// Ends one of the tasks, also when it is dropped because its runtime has ended.
struct Task(Arc<Intake>);

impl Intake {
    /// Reads nothing from now on, because another process reads from the same socket.
    pub(in crate::server) fn stop(&self) {
        self.state().is_stopped = true;
    }

    /// Whether nothing is read any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    /// Adds the runtime of this thread to those that get tasks.
    pub(super) fn add_shard(&self) {
        let (current, mut state) = (Handle::current(), self.state());
        if !state.shards.iter().any(|shard| shard.id() == current.id()) {
            state.shards.push(current);
        }
    }

    fn poll_read(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.is_stopped {
            return Poll::Pending;
        }
        if state.tasks > 0 && state.datagrams >= DATAGRAMS_MAX {
            state.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn received(self: &Arc<Self>, datagrams: usize) {
        let mut state = self.state();
        state.datagrams += datagrams;
        if state.datagrams < DATAGRAMS_MAX || state.tasks > 0 {
            return;
        }
        state.datagrams = 0;
        state.tasks = state.shards.len();
        let shards = state.shards.clone();
        drop(state);
        for shard in shards {
            let task = Task(Arc::clone(self));
            shard.spawn(async move { drop(task) });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.tasks -= 1;
        let waiting = if state.tasks == 0 { mem::take(&mut state.waiting) } else { None };
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

/// A UDP socket with its intake.
pub(super) struct Socket {
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
    pub(super) intake: Arc<Intake>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(formatter)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        ready!(self.intake.poll_read(cx));
        let messages = ready!(self.socket.poll_recv(cx, buffers, received))?;
        let datagrams = |meta: &RecvMeta| meta.len.div_ceil(meta.stride.max(1));
        self.intake.received(received.iter().take(messages).map(datagrams).sum());
        Poll::Ready(Ok(messages))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// Datagrams, of 1,200 to 1,500 bytes if the client sends much: three megabytes. At most twice as many, and one batch, wait for shards.
const DATAGRAMS_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::runtime::Builder;

    use super::*;

    fn is_read(intake: &Intake) -> bool {
        intake.poll_read(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn datagrams_wait_in_the_socket_while_a_shard_does_not_run() {
        let intake = Arc::new(Intake::default());
        let shard = Builder::new_current_thread().build().unwrap();
        shard.block_on(async {
            intake.add_shard();
            intake.add_shard();
        });
        let mut read = 0;
        while is_read(&intake) && read < 100 * DATAGRAMS_MAX {
            intake.received(32);
            read += 32;
        }
        assert_eq!(read, 2 * DATAGRAMS_MAX);
        shard.block_on(tokio::task::yield_now());
        assert!(is_read(&intake), "the shard has caught up");
        intake.received(DATAGRAMS_MAX);
        intake.received(DATAGRAMS_MAX);
        assert!(!is_read(&intake));
        drop(shard);
        assert!(is_read(&intake), "the shard has ended");
        intake.stop();
        assert!(!is_read(&intake));
    }
}
