use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::codec::frame_length;
use crate::server::connection::large_buffers::{LargeBuffer, LargeBuffers};
use crate::server::listener::Stream;

/// The read buffers that all connections of a thread share.
#[derive(Debug)]
pub(in crate::server) struct ReadBuffers {
    /// For small packets, and the beginning of large ones.
    scratch: BytesMut,
    /// For packets that are larger than one read.
    pub(in crate::server) large: LargeBuffers,
}

impl ReadBuffers {
    /// Buffers that keep at most `spare_max` bytes of unused memory for large packets.
    pub(in crate::server) fn new(spare_max: usize) -> Self {
        Self { scratch: BytesMut::new(), large: LargeBuffers::new(spare_max) }
    }
}

/// The bytes that a connection has read and not decoded. It owns no memory between packets.
#[derive(Debug, Default)]
pub(in crate::server) enum Input {
    #[default]
    Empty,
    /// Bytes read before the connection was paused, which are decoded first after it.
    Undecoded(Bytes),
    /// The beginning of a packet of at most [`EXPECTED_MAX`] bytes.
    Partial(BytesMut),
    /// The beginning of a larger packet.
    Large(LargeBuffer),
    /// No bytes, after a large packet: the next packet is expected to be as large, and the next read is limited to this many bytes.
    ExpectingLarge(usize),
}

impl Input {
    /// Returns undecoded bytes, or reads into the shared buffer or into the separate buffer of a large packet, which avoids a copy of its payload.
    /// A chunk without bytes, for which nothing was read, means the end of the stream.
    pub(in crate::server) fn poll_next(
        &mut self,
        stream: &mut Stream,
        buffers: &mut ReadBuffers,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Chunk>> {
        let scratch = &mut buffers.scratch;
        match self {
            Self::Undecoded(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Ok(Chunk { bytes, read: 0 }))
            }
            Self::Empty => poll_small(&[], stream, scratch, cx),
            Self::ExpectingLarge(length) => {
                let chunk = ready!(poll_expected(*length, stream, scratch, cx))?;
                let large = frame_length(&chunk.bytes).filter(|length| *length > COPIED_FRAME_MAX);
                *self = large.map_or(Self::Empty, Self::expecting);
                Poll::Ready(Ok(chunk))
            }
            Self::Large(large) => {
                let length = frame_length(large.as_ref()).unwrap_or_default();
                let received = large.as_ref().len();
                let missing = length.saturating_sub(received);
                if large.capacity() - received < missing.min(READ_SIZE_MIN) {
                    large.grow(length, growth_max(received));
                }
                let read = ready!(poll_rest(large.bytes_mut(), missing, stream, cx))?;
                let bytes = if read == missing { large.take() } else { Bytes::new() };
                if read == missing {
                    *self = Self::expecting(length);
                }
                Poll::Ready(Ok(Chunk { bytes, read }))
            }
            Self::Partial(partial) => match frame_length(partial) {
                Some(length) if length > COPIED_FRAME_MAX => {
                    let missing = length.saturating_sub(partial.len());
                    let read = ready!(poll_rest(partial, missing, stream, cx))?;
                    let bytes = if read == missing { partial.split().freeze() } else { Bytes::new() };
                    if read == missing {
                        *self = Self::expecting(length);
                    }
                    Poll::Ready(Ok(Chunk { bytes, read }))
                }
                Some(_) | None => {
                    let result = poll_small(partial, stream, scratch, cx);
                    if result.is_ready() {
                        *self = Self::Empty;
                    }
                    result
                }
            },
        }
    }

    /// Whether it keeps no bytes.
    pub(in crate::server) const fn is_empty(&self) -> bool {
        match self {
            Self::Empty | Self::ExpectingLarge(_) => true,
            Self::Undecoded(_) | Self::Partial(_) | Self::Large(_) => false,
        }
    }

    /// The bytes of memory that it keeps.
    pub(in crate::server) fn held(&self) -> usize {
        match self {
            Self::Empty | Self::ExpectingLarge(_) => 0,
            Self::Undecoded(bytes) => bytes.len(),
            Self::Partial(partial) => partial.capacity(),
            Self::Large(large) => large.capacity(),
        }
    }

    /// The state after a large packet of this length.
    fn expecting(length: usize) -> Self {
        Self::ExpectingLarge(if length > EXPECTED_MAX { BEGINNING_SIZE } else { length })
    }

    /// Keeps bytes that must not be decoded while the connection is paused.
    pub(in crate::server) fn keep_undecoded(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            *self =
                Self::Undecoded(if bytes.len() < KEPT_UNCOPIED_MIN { Bytes::copy_from_slice(&bytes) } else { bytes });
        }
    }

    /// Keeps the beginning of an incomplete packet.
    pub(in crate::server) fn keep_partial(&mut self, bytes: Bytes, buffers: &ReadBuffers) {
        if bytes.is_empty() {
            return;
        }
        let length = frame_length(&bytes).unwrap_or(0);
        if length > EXPECTED_MAX {
            *self = Self::Large(buffers.large.begin(&bytes, length, growth_max(bytes.len())));
            return;
        }
        // A large packet stays in its separate buffer if the rest of it fits there.
        let own = if length > COPIED_FRAME_MAX { bytes.try_into_mut() } else { Err(bytes) };
        *self = Self::Partial(match own {
            Ok(own) if own.capacity() >= length => own,
            Ok(own) => copied(&own, length),
            Err(bytes) => copied(&bytes, length),
        });
    }
}

/// Reads at most `length` bytes, which are expected to be one large packet or its beginning. If they begin a large packet that fits into the
/// buffer, it takes over the buffer.
fn poll_expected(
    length: usize,
    stream: &mut Stream,
    scratch: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Chunk>> {
    // The shared buffer is used until bytes arrive, so a waiting connection owns no memory.
    if !scratch.try_reclaim(length) {
        *scratch = BytesMut::with_capacity(EXPECTED_MAX);
    }
    let read = ready!(pin!(stream.read_buf(&mut scratch.limit(length))).poll(cx))?;
    let is_beginning =
        frame_length(scratch).is_some_and(|length| length > COPIED_FRAME_MAX.max(read) && length <= EXPECTED_MAX);
    let bytes = if is_beginning { std::mem::take(scratch) } else { scratch.split() };
    Poll::Ready(Ok(Chunk { bytes: bytes.freeze(), read }))
}

/// Copies the bytes to a buffer with a capacity of at least `length`.
fn copied(bytes: &[u8], length: usize) -> BytesMut {
    let mut copy = BytesMut::with_capacity(length.max(bytes.len()));
    copy.extend_from_slice(bytes);
    copy
}

/// Copies the beginning of a packet to `scratch`, and reads more bytes after it.
fn poll_small(
    partial: &[u8],
    stream: &mut Stream,
    scratch: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Chunk>> {
    // Packets that are still referenced keep their part of the buffer, which then can't be reclaimed. Its rest is used while it has at
    // least READ_SIZE_MIN bytes.
    if !scratch.try_reclaim(READ_SIZE) && scratch.capacity() < READ_SIZE_MIN + partial.len() {
        *scratch = BytesMut::with_capacity(READ_SIZE);
    }
    scratch.extend_from_slice(partial);
    let result = pin!(stream.read_buf(scratch)).poll(cx);
    let Poll::Ready(Ok(read)) = result else {
        scratch.clear();
        return result.map_ok(|read| Chunk { bytes: Bytes::new(), read });
    };
    let bytes = scratch.split().freeze();
    Poll::Ready(Ok(Chunk { bytes: if read == 0 { Bytes::new() } else { bytes }, read }))
}

/// Reads at most the `missing` bytes of a large packet into its separate buffer.
fn poll_rest(
    buffer: &mut impl BufMut,
    missing: usize,
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    pin!(stream.read_buf(&mut buffer.limit(missing))).poll(cx)
}

/// The maximum capacity of a new buffer after `received` bytes of its packet. It bounds the memory for a header with a false length.
const fn growth_max(received: usize) -> usize {
    2 * received + EXPECTED_MAX
}

/// The result of a read.
#[derive(Debug)]
pub(in crate::server) struct Chunk {
    /// The bytes to decode: more than `read` with a kept beginning, none for a part of a large packet.
    pub(in crate::server) bytes: Bytes,
    /// The number of bytes read from the transport.
    pub(in crate::server) read: usize,
}

/// Bytes per read: few enough to stay in the processor's cache while the packets are handled.
const READ_SIZE: usize = 64 * 1024;
/// A buffer with less free space is replaced before a read.
const READ_SIZE_MIN: usize = 16 * 1024;
/// An incomplete packet up to this size is copied to the shared buffer, and read on together with the packets after it. A larger one gets
/// a separate buffer.
const COPIED_FRAME_MAX: usize = 32 * 1024;
/// Bytes per read of a packet that is expected to be large: a payload of [`READ_SIZE`] and its header. Not more, because a reference to a
/// small part keeps the whole buffer.
const EXPECTED_MAX: usize = READ_SIZE + 4 * 1024;
/// Bytes of the first read of a packet that is expected to be larger than [`EXPECTED_MAX`]. They are copied to its buffer.
const BEGINNING_SIZE: usize = 16 * 1024;
/// Fewer undecoded bytes are copied, so that a paused connection doesn't keep the read buffer.
const KEPT_UNCOPIED_MIN: usize = 16 * 1024;

#[cfg(test)]
mod tests;
