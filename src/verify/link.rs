//! A connection to the broker that is examined: packets in, packets out.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use oncemq::codec::client::{ServerDecoder, encode_client};
use oncemq::codec::{ClientPacket, Connack, Connect, DecodeError, ProtocolVersion, ServerPacket, frame_length};
use tokio::time::Instant;

/// A connection whose CONNECT was sent.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    decoder: ServerDecoder,
    version: ProtocolVersion,
    /// At most one packet and one read.
    input: BytesMut,
    output: BytesMut,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The broker was killed, or has closed the connection.
    #[error("the connection ended: {0}")]
    Closed(#[from] io::Error),
    /// No broker may send this.
    #[error("the broker sent what the standard does not allow: {0}")]
    Malformed(#[from] DecodeError),
    #[error("no {0} within {PATIENCE:?}")]
    Silent(&'static str),
}

impl Link {
    /// Connects without sending anything.
    pub(super) fn open(
        address: SocketAddr,
        version: ProtocolVersion,
        topic_alias_maximum: u16,
    ) -> Result<Self, LinkError> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let decoder = ServerDecoder::new(version, u32::MAX, topic_alias_maximum);
        Ok(Self { stream, decoder, version, input: BytesMut::new(), output: BytesMut::new() })
    }

    /// Connects, sends CONNECT and waits for CONNACK.
    pub(super) fn connect(address: SocketAddr, connect: &Connect) -> Result<(Self, Connack), LinkError> {
        let mut link = Self::open(address, connect.version, connect.properties.topic_alias_maximum)?;
        link.send(&ClientPacket::Connect(Box::new(connect.clone())));
        link.flush()?;
        match link.receive(Instant::now() + PATIENCE)? {
            Some(ServerPacket::Connack(connack)) => Ok((link, *connack)),
            Some(other) => Err(DecodeError::ExpectedConnack(other.packet_type()).into()),
            None => Err(LinkError::Silent("CONNACK")),
        }
    }

    /// Appends a packet to what [`flush`](Self::flush) sends.
    pub(super) fn send(&mut self, packet: &ClientPacket) {
        encode_client(packet, self.version, &mut self.output);
    }

    /// Appends bytes that may be no packet.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    pub(super) fn flush(&mut self) -> Result<(), LinkError> {
        let written = self.stream.write_all(&self.output);
        self.output.clear();
        Ok(written?)
    }

    /// The next packet; `None` if there is none until `until`.
    pub(super) fn receive(&mut self, until: Instant) -> Result<Option<ServerPacket>, LinkError> {
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(Some(packet));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left.max(TIMEOUT_MIN)))?;
            let mut buffer = [0; READ_BYTES];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => self.input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn decode(&mut self) -> Result<Option<ServerPacket>, LinkError> {
        let mut frame = match frame_length(&self.input) {
            Some(length) if length <= self.input.len() => self.input.split_to(length).freeze(),
            // The beginning of a packet, or bytes that can't be one.
            _ => Bytes::copy_from_slice(self.input.get(..HEADER_BYTES_MAX).unwrap_or(&self.input)),
        };
        Ok(self.decoder.decode(&mut frame)?)
    }
}

/// For any response. A disk may be slow, and a machine busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const TIMEOUT_MIN: Duration = Duration::from_micros(100);
const READ_BYTES: usize = 16 * 1_024;
/// A fixed header.
const HEADER_BYTES_MAX: usize = 5;
