use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};

use tokio::io::AsyncWrite;

use crate::server::listener::Stream;

/// The output queue of a connection: encoded packets that its transport has not accepted. Small packets are encoded into one buffer,
/// large payloads are shared.
///
/// After [`release`](Self::release) it owns no memory: its buffer is in the [`BufferPool`] of the thread. The broker bounds its length.
#[derive(Debug, Default)]
pub(in crate::server) struct Outgoing(Option<Box<Buffer>>);

#[derive(Debug, Default)]
struct Buffer {
    chunks: VecDeque<Bytes>,
    /// The bytes after all chunks.
    tail: BytesMut,
    /// The total length of the chunks in bytes.
    chunks_length: usize,
}

impl Outgoing {
    /// The number of bytes.
    pub(in crate::server) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |buffer| buffer.chunks_length + buffer.tail.len())
    }

    pub(in crate::server) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|buffer| buffer.chunks.is_empty() && buffer.tail.is_empty())
    }

    /// The buffer at the end of the queue, for small packets.
    pub(in crate::server) fn tail(&mut self, pool: &mut BufferPool) -> &mut BytesMut {
        &mut self.buffer(pool).tail
    }

    /// Appends bytes without copying them.
    pub(in crate::server) fn push_shared(&mut self, bytes: Bytes, pool: &mut BufferPool) {
        let buffer = self.buffer(pool);
        if !buffer.tail.is_empty() {
            let chunk = buffer.tail.split().freeze();
            buffer.push_chunk(chunk);
        }
        buffer.push_chunk(bytes);
    }

    fn buffer(&mut self, pool: &mut BufferPool) -> &mut Buffer {
        self.0.get_or_insert_with(|| pool.take())
    }

    /// Writes once to the transport. Returns the number of bytes that it accepted.
    ///
    /// # Errors
    /// The transport failed, or accepted no bytes ([`WriteZero`](io::ErrorKind::WriteZero)).
    pub(in crate::server) fn poll_write(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(buffer) = &mut self.0 else { return Poll::Ready(Ok(0)) };
        let written = if buffer.chunks.is_empty() {
            ready!(Pin::new(stream).poll_write(cx, &buffer.tail))?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let parts = buffer.chunks.iter().map(Bytes::as_ref).chain([buffer.tail.as_ref()]);
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
            }
            ready!(Pin::new(stream).poll_write_vectored(cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        buffer.advance(written);
        Poll::Ready(Ok(written))
    }

    /// Returns the buffer to the pool. Discards its contents.
    pub(in crate::server) fn release(&mut self, pool: &mut BufferPool) {
        if let Some(buffer) = self.0.take() {
            pool.put(buffer);
        }
    }
}

impl Buffer {
    fn push_chunk(&mut self, chunk: Bytes) {
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

/// The unused output buffers of a thread. A connection takes one for its output, and returns it when all is written.
#[derive(Debug, Default)]
pub(in crate::server) struct BufferPool {
    #[expect(clippy::vec_box, reason = "they move between the pool and connections as boxes")]
    spare: Vec<Box<Buffer>>,
}

impl BufferPool {
    fn take(&mut self) -> Box<Buffer> {
        let fresh = || Buffer { tail: BytesMut::with_capacity(BUFFER_MIN), ..Buffer::default() };
        self.spare.pop().unwrap_or_else(|| Box::new(fresh()))
    }

    fn put(&mut self, mut buffer: Box<Buffer>) {
        buffer.tail.clear();
        buffer.chunks.clear();
        buffer.chunks_length = 0;
        let is_reusable =
            (BUFFER_MIN..=BUFFER_MAX).contains(&buffer.tail.capacity()) && buffer.chunks.capacity() <= CHUNKS_MAX;
        if is_reusable && self.spare.len() < SPARE_MAX {
            self.spare.push(buffer);
        }
    }
}

/// Slices per system call: sixteen large messages. More were no faster.
const SLICES_MAX: usize = 32;
/// Initial capacity of a buffer in bytes: a few small packets, so that a fan-out to thousands of receivers uses little memory.
const BUFFER_MIN: usize = 512;
/// Buffers with a larger capacity, in bytes, are freed instead of pooled. [`SPARE_MAX`] of this size use 8 MiB per thread.
const BUFFER_MAX: usize = 128 * 1024;
const SPARE_MAX: usize = 64;
/// Buffers with capacity for more chunks are freed instead of pooled.
const CHUNKS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    impl Outgoing {
        /// All bytes, in order.
        pub(in crate::server) fn contents(&self) -> Vec<u8> {
            let Some(buffer) = &self.0 else { return Vec::new() };
            let mut all = buffer.chunks.iter().flat_map(|chunk| chunk.to_vec()).collect::<Vec<_>>();
            all.extend_from_slice(&buffer.tail);
            all
        }

        fn advance(&mut self, written: usize) {
            self.0.as_mut().unwrap().advance(written);
        }
    }

    #[test]
    fn copied_and_shared_bytes_stay_in_order_for_writes_of_any_length() {
        for step in 1..12 {
            let mut pool = BufferPool::default();
            let mut outgoing = Outgoing::default();
            outgoing.tail(&mut pool).extend_from_slice(b"ab");
            outgoing.push_shared(Bytes::from_static(b"SHARED"), &mut pool);
            outgoing.push_shared(Bytes::from_static(b"TWO"), &mut pool);
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
    fn a_released_queue_owns_no_buffer_and_the_pool_is_bounded() {
        let mut pool = BufferPool::default();
        let mut many = (0..SPARE_MAX + 9).map(|_| Outgoing::default()).collect::<Vec<_>>();
        for outgoing in &mut many {
            outgoing.tail(&mut pool).extend_from_slice(b"x");
        }
        for outgoing in &mut many {
            outgoing.advance(1);
            outgoing.release(&mut pool);
            assert!(outgoing.0.is_none());
        }
        assert_eq!(pool.spare.len(), SPARE_MAX);
        let mut large = Outgoing::default();
        large.tail(&mut pool).reserve(BUFFER_MAX * 2);
        large.release(&mut pool);
        assert_eq!(pool.spare.len(), SPARE_MAX - 1);
    }
}
