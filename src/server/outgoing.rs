use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};

use tokio::io::AsyncWrite;

use super::listener::Stream;

/// The bytes that wait for one connection's transport: small packets are copied one behind the other, large payloads are shared.
///
/// When it is empty it owns no memory: its buffer went back to the [`BufferPool`] of the thread.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    chunks_length: usize,
}

impl Outgoing {
    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.chunks_length + self.tail.len()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }

    /// Where small packets are encoded.
    pub(super) fn tail(&mut self, pool: &mut BufferPool) -> &mut BytesMut {
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
        &mut self.tail
    }

    /// Chains bytes without copying them.
    pub(super) fn push_shared(&mut self, bytes: Bytes) {
        if !self.tail.is_empty() {
            self.push_chunk_of_tail();
        }
        self.chunks_length += bytes.len();
        self.chunks.push_back(bytes);
    }

    /// Gives the transport as much as it takes at once.
    pub(super) fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let written = if self.chunks.is_empty() {
            ready!(Pin::new(stream).poll_write(cx, &self.tail))?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let parts = self.chunks.iter().map(Bytes::as_ref).chain([self.tail.as_ref()]);
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
            }
            ready!(Pin::new(stream).poll_write_vectored(cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    /// Gives up the memory of a buffer that has been written.
    pub(super) fn release(&mut self, pool: &mut BufferPool) {
        pool.give(std::mem::take(&mut self.tail));
        self.chunks = VecDeque::new();
    }

    fn push_chunk_of_tail(&mut self) {
        let chunk = self.tail.split().freeze();
        self.chunks_length += chunk.len();
        self.chunks.push_back(chunk);
    }

    fn advance(&mut self, written: usize) {
        let mut left = written;
        while let Some(chunk) = self.chunks.front_mut() {
            let taken = left.min(chunk.len());
            self.chunks_length -= taken;
            left -= taken;
            if taken < chunk.len() {
                chunk.advance(taken);
                return;
            }
            self.chunks.pop_front();
        }
        if left >= self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(left);
        }
    }
}

/// The spare buffers of a thread: a connection that has something to send takes one, and gives it back when it is sent.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    spare: Vec<BytesMut>,
}

impl BufferPool {
    fn take(&mut self) -> BytesMut {
        self.spare.pop().unwrap_or_else(|| BytesMut::with_capacity(BUFFER_MIN))
    }

    fn give(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        if (BUFFER_MIN..=BUFFER_MAX).contains(&buffer.capacity()) && self.spare.len() < SPARE_MAX {
            self.spare.push(buffer);
        }
    }
}

/// Enough for sixteen large messages in one system call; more gain nothing.
const SLICES_MAX: usize = 32;
/// What a fresh buffer holds: a few small packets, so that a fan-out to thousands costs little memory while it is under way.
const BUFFER_MIN: usize = 512;
/// A larger one is not kept: 64 of these are 8 MiB a thread.
const BUFFER_MAX: usize = 128 * 1024;
const SPARE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    impl Outgoing {
        /// All that waits, in one piece.
        pub(in crate::server) fn contents(&self) -> Vec<u8> {
            let mut all = self.chunks.iter().flat_map(|chunk| chunk.to_vec()).collect::<Vec<_>>();
            all.extend_from_slice(&self.tail);
            all
        }
    }

    #[test]
    fn small_and_shared_bytes_stay_in_order_however_the_transport_takes_them() {
        for step in 1..12 {
            let mut pool = BufferPool::default();
            let mut outgoing = Outgoing::default();
            outgoing.tail(&mut pool).extend_from_slice(b"ab");
            outgoing.push_shared(Bytes::from_static(b"SHARED"));
            outgoing.push_shared(Bytes::from_static(b"TWO"));
            outgoing.tail(&mut pool).extend_from_slice(b"cd");
            let mut expected = b"abSHAREDTWOcd".to_vec();
            while !outgoing.is_empty() {
                assert_eq!(outgoing.contents(), expected);
                assert_eq!(outgoing.len(), expected.len());
                let taken = step.min(expected.len());
                outgoing.advance(taken);
                expected.drain(..taken);
            }
            assert!(expected.is_empty());
        }
    }

    #[test]
    fn an_empty_one_owns_no_buffer_and_the_pool_is_bounded() {
        let mut pool = BufferPool::default();
        let mut many = (0..SPARE_MAX + 9).map(|_| Outgoing::default()).collect::<Vec<_>>();
        for outgoing in &mut many {
            outgoing.tail(&mut pool).extend_from_slice(b"x");
        }
        for outgoing in &mut many {
            outgoing.advance(1);
            outgoing.release(&mut pool);
            assert_eq!(outgoing.tail.capacity(), 0);
        }
        assert_eq!(pool.spare.len(), SPARE_MAX);
        let mut large = Outgoing::default();
        large.tail(&mut pool).reserve(BUFFER_MAX * 2);
        large.release(&mut pool);
        assert_eq!(pool.spare.len(), SPARE_MAX - 1);
    }
}
