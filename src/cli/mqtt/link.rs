//! A connection to a broker: packets in, packets out, Keep Alive. It has no Session: `publisher` and `subscriber` have.

use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use oncemq::codec::client::{ServerDecoder, encode_client};
use oncemq::codec::limits::PACKET_SIZE_MAX;
use oncemq::codec::{
    ClientPacket, Connack, Connect, DecodeError, Disconnect, ProtocolVersion, ReasonCode, ServerPacket, frame_length,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::select;
use tokio::time::{Instant, sleep_until, timeout};

use super::error::MqttError;
use super::options::Settings;
use super::transport::{Transport, open};

/// A connection whose CONNECT was accepted.
pub(super) struct Link {
    reader: ReadHalf<Box<dyn Transport>>,
    writer: WriteHalf<Box<dyn Transport>>,
    decoder: ServerDecoder,
    version: ProtocolVersion,
    /// At most one packet and one read.
    input: BytesMut,
    /// The caller keeps it below [`OUTPUT_BYTES_MAX`], plus what it sends at once.
    output: BytesMut,
    is_unflushed: bool,
    maximum_packet_size: Option<NonZeroU32>,
    keep_alive: Option<KeepAlive>,
}

/// When something must be sent and received.
#[derive(Debug, Clone, Copy)]
struct KeepAlive {
    interval: Duration,
    /// The last write, or the last PINGREQ.
    sent: Instant,
    /// The last read, or the last time that nothing was read on purpose.
    received: Instant,
}

/// Whether packets are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    On,
    /// Only what was sent goes on, and Keep Alive.
    Paused,
}

/// What happened on the connection.
#[derive(Debug)]
pub(super) enum Turn {
    Packet(ServerPacket),
    /// All that was sent is with the operating system.
    Flushed,
}

impl Link {
    /// Connects, sends CONNECT and waits for CONNACK.
    pub(super) async fn connect(settings: &Settings) -> Result<(Self, Connack), MqttError> {
        let opening = async {
            let transport = open(settings).await?;
            let mut link = Self::new(transport, &settings.connect);
            link.send(&ClientPacket::Connect(Box::new(settings.connect.clone())))?;
            let connack = link.connack().await?;
            link.maximum_packet_size = connack.properties.maximum_packet_size;
            if let Some(seconds) = connack.properties.server_keep_alive {
                link.keep_alive = KeepAlive::new(seconds); // [MQTT-3.1.2-21]
            }
            Ok((link, connack))
        };
        timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| MqttError::Silent(CONNECT_TIMEOUT.as_secs()))?
    }

    fn new(transport: Box<dyn Transport>, connect: &Connect) -> Self {
        let (reader, writer) = split(transport);
        Self {
            reader,
            writer,
            decoder: ServerDecoder::new(connect.version, u32::MAX, connect.properties.topic_alias_maximum),
            version: connect.version,
            input: BytesMut::new(),
            output: BytesMut::new(),
            is_unflushed: false,
            maximum_packet_size: None,
            keep_alive: KeepAlive::new(connect.keep_alive),
        }
    }

    async fn connack(&mut self) -> Result<Connack, MqttError> {
        loop {
            match self.turn(Reading::On).await? {
                Turn::Packet(ServerPacket::Connack(connack)) if connack.reason_code.is_error() => {
                    let reason_string = connack.properties.reason_string.map(|text| text.to_string());
                    return Err(MqttError::Refused { reason_code: connack.reason_code, reason_string });
                }
                Turn::Packet(ServerPacket::Connack(connack)) => return Ok(*connack),
                Turn::Packet(other) => return Err(DecodeError::ExpectedConnack(other.packet_type()).into()),
                Turn::Flushed => {}
            }
        }
    }

    /// Appends a packet to what is sent during [`turn`](Self::turn).
    pub(super) fn send(&mut self, packet: &ClientPacket) -> Result<(), MqttError> {
        let before = self.output.len();
        encode_client(packet, self.version, &mut self.output);
        let size = self.output.len() - before;
        let maximum = self.maximum_packet_size.map_or(PACKET_SIZE_MAX, |maximum| maximum.get() as usize);
        if size > maximum {
            self.output.truncate(before);
            return Err(MqttError::NotDone(format!(
                "the message needs a packet of {size} bytes, and the broker takes at most {maximum}"
            )));
        }
        Ok(())
    }

    /// Whether there is room for further packets.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_BYTES_MAX
    }

    /// Whether all that was sent is with the operating system.
    pub(super) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.is_unflushed
    }

    /// Whether a whole packet has been read already.
    pub(super) fn has_packet(&self) -> bool {
        frame_length(&self.input).is_some_and(|length| length <= self.input.len())
    }

    /// Reads, writes and keeps the connection alive until something happens. It can be dropped at any time without a loss.
    pub(super) async fn turn(&mut self, reading: Reading) -> Result<Turn, MqttError> {
        loop {
            if reading == Reading::On {
                if let Some(packet) = self.decode()? {
                    return Ok(Turn::Packet(checked(packet)?));
                }
                self.input.reserve(READ_BYTES);
            } else if let Some(keep_alive) = &mut self.keep_alive {
                keep_alive.received = Instant::now();
            }
            let Self { reader, writer, input, output, is_unflushed, keep_alive, .. } = self;
            select! {
                read = reader.read_buf(input), if reading == Reading::On => {
                    if read.map_err(MqttError::Lost)? == 0 {
                        return Err(MqttError::Lost(io::ErrorKind::UnexpectedEof.into()));
                    }
                    if let Some(keep_alive) = keep_alive {
                        keep_alive.received = Instant::now();
                    }
                }
                written = write_some(writer, output), if !output.is_empty() || *is_unflushed => {
                    let Some(count) = written.map_err(MqttError::Lost)? else {
                        *is_unflushed = false;
                        return Ok(Turn::Flushed);
                    };
                    output.advance(count);
                    *is_unflushed = true;
                    if let Some(keep_alive) = keep_alive {
                        keep_alive.sent = Instant::now();
                    }
                }
                () = due(*keep_alive), if keep_alive.is_some() => self.keep_alive()?,
            }
        }
    }

    fn keep_alive(&mut self) -> Result<(), MqttError> {
        let Some(keep_alive) = &mut self.keep_alive else { return Ok(()) };
        let now = Instant::now();
        if now >= keep_alive.silent_at() {
            return Err(MqttError::Silent(keep_alive.interval.as_secs() * 2));
        }
        if now >= keep_alive.ping_at() {
            keep_alive.sent = now;
            self.send(&ClientPacket::Pingreq)?; // [MQTT-3.1.2-20]
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<Option<ServerPacket>, MqttError> {
        let mut frame = match frame_length(&self.input) {
            Some(length) if length <= self.input.len() => self.input.split_to(length).freeze(),
            // The beginning of a packet, or bytes that can't be one.
            _ => Bytes::copy_from_slice(self.input.get(..HEADER_BYTES_MAX).unwrap_or(&self.input)),
        };
        Ok(self.decoder.decode(&mut frame)?)
    }

    /// Sends DISCONNECT, and waits until the broker has all that was sent.
    ///
    /// Closing a socket while input is unread resets the connection, which could destroy what the broker has not read yet. So the end of the
    /// broker's side is awaited.
    pub(super) async fn finish(mut self) -> Result<(), MqttError> {
        self.send(&ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection))))?;
        let ending = async {
            self.writer.write_all(&self.output).await?;
            self.writer.flush().await?;
            self.writer.shutdown().await
        };
        match timeout(FINISH_TIMEOUT, ending).await {
            Ok(ended) => ended.map_err(MqttError::Lost)?,
            Err(_) => return Err(MqttError::Silent(FINISH_TIMEOUT.as_secs())),
        }
        let mut rest = vec![0; READ_BYTES];
        let drain = async { while self.reader.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
        let _closed_or_not = timeout(DRAIN_TIMEOUT, drain).await;
        Ok(())
    }
}

impl KeepAlive {
    /// `None` for 0 seconds.
    fn new(seconds: u16) -> Option<Self> {
        let now = Instant::now();
        (seconds > 0).then(|| Self { interval: Duration::from_secs(seconds.into()), sent: now, received: now })
    }

    fn ping_at(&self) -> Instant {
        self.sent + self.interval
    }

    /// A PINGREQ is answered at once, so two intervals without a byte mean that the broker is gone.
    fn silent_at(&self) -> Instant {
        self.received + self.interval * 2
    }
}

/// Writes bytes and returns how many, or flushes if there are none.
async fn write_some(writer: &mut WriteHalf<Box<dyn Transport>>, output: &[u8]) -> io::Result<Option<usize>> {
    if output.is_empty() {
        return writer.flush().await.map(|()| None);
    }
    match writer.write(output).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(Some(count)),
    }
}

async fn due(keep_alive: Option<KeepAlive>) {
    if let Some(keep_alive) = keep_alive {
        sleep_until(keep_alive.ping_at().min(keep_alive.silent_at())).await;
    }
}

/// DISCONNECT is an error.
fn checked(packet: ServerPacket) -> Result<ServerPacket, MqttError> {
    if let ServerPacket::Disconnect(disconnect) = packet {
        let reason_string = disconnect.reason_string.map(|text| text.to_string());
        return Err(MqttError::Disconnected { reason_code: disconnect.reason_code, reason_string });
    }
    Ok(packet)
}

/// For the name service, the connection, TLS and CONNACK together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// For the last bytes.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);
/// For the broker to close its side.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Above this many unsent bytes nothing is added.
const OUTPUT_BYTES_MAX: usize = 256 * 1_024;
const READ_BYTES: usize = 64 * 1_024;
/// A fixed header.
const HEADER_BYTES_MAX: usize = 5;
