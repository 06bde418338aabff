//! The client's side of a connection, for the broker's own clients: packets of a Server in, packets of a Client out. It has no Session, no
//! Keep Alive and no timers: its owner has.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use crate::codec::client::{Oversized, ServerDecoder, encode_client};
use crate::codec::{ClientPacket, DecodeError, OutgoingPublish, ProtocolVersion, ServerPacket, frame_length};

/// A connection to a broker.
#[derive(Debug)]
pub(in crate::server) struct PacketLink<S> {
    stream: S,
    decoder: ServerDecoder,
    version: ProtocolVersion,
    /// At most one packet and one read. Of a packet that is too large, its Topic Name and Packet Identifier.
    input: BytesMut,
    /// A packet that is too large, and how many of its bytes are still to be skipped.
    skipped: Option<(TooLarge, usize)>,
    /// Its owner bounds it by [`unsent`](Self::unsent).
    output: BytesMut,
    is_unflushed: bool,
    sent: Instant,
    received: Instant,
}

/// What arrives where packets that are too large are skipped.
#[derive(Debug)]
pub(in crate::server) enum Incoming {
    Packet(ServerPacket),
    TooLarge(TooLarge),
}

/// A message of a broker of 3.1 or 3.1.1 that is larger than what its owner takes.
#[derive(Debug)]
pub(in crate::server) struct TooLarge {
    /// Without its payload, which was not kept.
    pub(in crate::server) publish: Box<OutgoingPublish>,
    /// The bytes of its packet.
    pub(in crate::server) size: usize,
}

/// Whether packets are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Reading {
    On,
    /// Only what is to be sent goes on.
    Paused,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum LinkError {
    /// The transport ended or failed.
    #[error("the connection ended: {0}")]
    Lost(#[from] io::Error),
    /// What arrived is not valid.
    #[error("a packet is not valid: {0}")]
    Protocol(#[from] DecodeError),
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacketLink<S> {
    /// A connection over a transport whose handshakes are done. `maximum_packet_size` is what CONNECT announces, or a bound of the owner.
    pub(in crate::server) fn new(stream: S, version: ProtocolVersion, maximum_packet_size: u32) -> Self {
        Self {
            stream,
            decoder: ServerDecoder::new(version, maximum_packet_size, 0),
            version,
            input: BytesMut::new(),
            skipped: None,
            output: BytesMut::new(),
            is_unflushed: false,
            sent: Instant::now(),
            received: Instant::now(),
        }
    }

    /// Appends a packet to what [`step`](Self::step) sends. Returns its size in bytes.
    pub(in crate::server) fn send(&mut self, packet: &ClientPacket) -> usize {
        let before = self.output.len();
        encode_client(packet, self.version, &mut self.output);
        self.output.len() - before
    }

    /// The bytes that the transport has not taken yet.
    pub(in crate::server) fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Whether the transport has all that was to be sent.
    pub(in crate::server) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.is_unflushed
    }

    /// When bytes were last sent, and when they were last received; at first, when the connection was opened.
    pub(in crate::server) const fn last_use(&self) -> (Instant, Instant) {
        (self.sent, self.received)
    }

    /// The next packet of those that were read.
    ///
    /// # Errors
    /// What arrived is not valid.
    pub(in crate::server) fn next_packet(&mut self) -> Result<Option<ServerPacket>, LinkError> {
        let mut frame = match frame_length(&self.input) {
            Some(length) if length <= self.input.len() => self.input.split_to(length).freeze(),
            // The beginning of a packet, or bytes that can't be one.
            _ => Bytes::copy_from_slice(self.input.get(..HEADER_BYTES_MAX).unwrap_or(&self.input)),
        };
        Ok(self.decoder.decode(&mut frame)?)
    }

    /// The next packet of those that were read. Messages that are larger than the maximum are skipped as they arrive, if the version has no means to
    /// announce it.
    ///
    /// # Errors
    /// What arrived is not valid.
    pub(in crate::server) fn next_incoming(&mut self) -> Result<Option<Incoming>, LinkError> {
        if self.skipped.is_none() {
            match self.decoder.decode_oversized(&self.input)? {
                Oversized::No => return Ok(self.next_packet()?.map(Incoming::Packet)),
                Oversized::Incomplete => return Ok(None),
                Oversized::Publish(publish, size) => self.skipped = Some((TooLarge { publish, size }, size)),
            }
        }
        let Some((_, left)) = &mut self.skipped else { return Ok(None) };
        let count = (*left).min(self.input.len());
        self.input.advance(count);
        *left -= count;
        if *left > 0 {
            return Ok(None);
        }
        Ok(self.skipped.take().map(|(publish, _)| Incoming::TooLarge(publish)))
    }

    /// Sends or reads some bytes: waits until one of it was possible. It can be dropped at any time without a loss.
    ///
    /// # Errors
    /// The connection ended.
    pub(in crate::server) async fn step(&mut self, reading: Reading) -> Result<(), LinkError> {
        poll_fn(|cx| self.poll_step(reading, cx)).await
    }

    fn poll_step(&mut self, reading: Reading, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let mut has_progress = self.poll_send(cx)?;
        if reading == Reading::On {
            self.input.reserve(READ_BYTES);
            let read = pin!(self.stream.read_buf(&mut self.input)).poll(cx);
            if let Poll::Ready(count) = read {
                if count? == 0 {
                    return Poll::Ready(Err(LinkError::Lost(io::ErrorKind::UnexpectedEof.into())));
                }
                self.received = Instant::now();
                has_progress = true;
            }
        }
        if has_progress { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Whether the transport took something.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkError> {
        let mut has_progress = false;
        while !self.output.is_empty() {
            let Poll::Ready(count) = Pin::new(&mut self.stream).poll_write(cx, &self.output)? else { break };
            if count == 0 {
                return Err(LinkError::Lost(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(count);
            self.is_unflushed = true;
            self.sent = Instant::now();
            has_progress = true;
        }
        if self.is_unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.is_unflushed = false;
            has_progress = true;
        }
        Ok(has_progress)
    }

    /// Sends what is left, ends the sending side, and waits for the end of the other side: input that nobody reads would reset the
    /// connection, and destroy what the other side has not read yet. The caller limits the time.
    ///
    /// # Errors
    /// The connection ended.
    pub(in crate::server) async fn finish(mut self) -> Result<(), LinkError> {
        while !self.is_flushed() {
            self.step(Reading::Paused).await?;
        }
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
        let mut rest = [0; 512];
        while self.stream.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

const READ_BYTES: usize = 16 * 1_024;
/// A fixed header.
const HEADER_BYTES_MAX: usize = 5;
