use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::codec::frame_length;
use crate::server::listener::Stream;

/// What a connection has read and not yet decoded. It owns no memory between packets.
#[derive(Debug, Default)]
pub(in crate::server) enum Input {
    /// Nothing.
    #[default]
    Empty,
    /// Read before the connection was paused: decoded first when it goes on.
    Held(Bytes),
    /// The beginning of a packet.
    Partial(BytesMut),
    /// Nothing, behind a large packet: the next one is expected to be like it, and so many bytes are read of it at once.
    Expecting(usize),
}

impl Input {
    /// Takes what was kept by [`hold`](Self::hold), or reads: into `scratch`, or into
    /// a large packet's own buffer, so that its payload is not copied again. No bytes: the end of the stream.
    pub(in crate::server) fn poll_next(
        &mut self,
        stream: &mut Stream,
        scratch: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Chunk>> {
        match self {
            Self::Held(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Ok(Chunk { bytes, read: 0 }))
            }
            Self::Empty => poll_small(&[], stream, scratch, cx),
            Self::Expecting(length) => {
                let chunk = ready!(poll_expected(*length, stream, scratch, cx))?;
                let large = frame_length(&chunk.bytes).filter(|length| *length > COPIED_FRAME_MAX);
                *self = large.map_or(Self::Empty, Self::expecting);
                Poll::Ready(Ok(chunk))
            }
            Self::Partial(partial) => match frame_length(partial) {
                Some(length) if length > COPIED_FRAME_MAX => {
                    let result = poll_large(partial, length, stream, cx);
                    if partial.is_empty() {
                        *self = Self::expecting(length);
                    }
                    result
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

    /// Behind a packet of this length.
    fn expecting(length: usize) -> Self {
        Self::Expecting(length.min(EXPECTED_MAX))
    }

    /// Keeps what may not be decoded yet.
    pub(in crate::server) fn hold(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            *self = Self::Held(if bytes.len() < HELD_AS_IT_IS_MIN { Bytes::copy_from_slice(&bytes) } else { bytes });
        }
    }

    /// Keeps the beginning of a packet whose end has not come.
    pub(in crate::server) fn keep_partial(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let length = frame_length(&bytes).unwrap_or(0).min(growth_max(bytes.len()));
        // A large one that was read into a buffer of its own stays there, if the rest has room there.
        let own = if length > COPIED_FRAME_MAX { bytes.try_into_mut() } else { Err(bytes) };
        *self = Self::Partial(match own {
            Ok(own) if own.capacity() >= length => own,
            Ok(own) => copied(&own, length),
            Err(bytes) => copied(&bytes, length),
        });
    }
}

/// Reads what may be a large packet of this length, and nothing behind it. If it is the beginning of one, it has the buffer to itself.
fn poll_expected(
    length: usize,
    stream: &mut Stream,
    scratch: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Chunk>> {
    // Shared until something comes: so waiting costs a connection nothing.
    if !scratch.try_reclaim(length) {
        *scratch = BytesMut::with_capacity(EXPECTED_MAX);
    }
    let read = ready!(pin!(stream.read_buf(&mut scratch.limit(length))).poll(cx))?;
    let is_beginning = frame_length(scratch).is_some_and(|length| length > COPIED_FRAME_MAX.max(read));
    let bytes = if is_beginning { std::mem::take(scratch) } else { scratch.split() };
    Poll::Ready(Ok(Chunk { bytes: bytes.freeze(), read }))
}

/// The same bytes, with room for so many in all.
fn copied(bytes: &[u8], length: usize) -> BytesMut {
    let mut copy = BytesMut::with_capacity(length.max(bytes.len()));
    copy.extend_from_slice(bytes);
    copy
}

/// Reads behind the beginning of a packet, which is copied.
fn poll_small(
    partial: &[u8],
    stream: &mut Stream,
    scratch: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Chunk>> {
    // Packets that someone still holds keep their part of the buffer: then what is left of it will do, until it is too little.
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

/// Reads on in a packet's own buffer, which is given away with its last byte.
fn poll_large(
    partial: &mut BytesMut,
    length: usize,
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Chunk>> {
    let missing = length.saturating_sub(partial.len());
    if partial.capacity() - partial.len() < missing.min(READ_SIZE_MIN) {
        *partial = copied(partial, length.min(growth_max(partial.len())));
    }
    let read = ready!(pin!(stream.read_buf(&mut partial.limit(missing))).poll(cx))?;
    let bytes = if read == missing { partial.split().freeze() } else { Bytes::new() };
    Poll::Ready(Ok(Chunk { bytes, read }))
}

/// The memory that a packet may have of which so much has come: a header that lies about its length gets one read's more than twice what
/// was sent.
const fn growth_max(come: usize) -> usize {
    2 * come + EXPECTED_MAX
}

/// What a read brought: what can be decoded, which may be more (what was kept) or less (a large packet's part) than was read.
#[derive(Debug)]
pub(in crate::server) struct Chunk {
    pub(in crate::server) bytes: Bytes,
    /// The bytes that the transport gave.
    pub(in crate::server) read: usize,
}

/// What one read may bring: it stays in the cache while its packets are handled.
const READ_SIZE: usize = 64 * 1024;
/// Less is not worth a read.
const READ_SIZE_MIN: usize = 16 * 1024;
/// The beginning of a packet up to this size is copied to where its end is read, together with the packets behind it.
const COPIED_FRAME_MAX: usize = 32 * 1024;
/// What a read may bring of a packet that is expected to be large, because the one before it was: a payload of [`READ_SIZE`] and what is
/// before it. No more, because a small part of it that is kept keeps all of it.
const EXPECTED_MAX: usize = READ_SIZE + 4 * 1024;
/// Less is copied when a connection is paused, rather than keeping the read buffer.
const HELD_AS_IT_IS_MIN: usize = 16 * 1024;

#[cfg(test)]
mod tests;
