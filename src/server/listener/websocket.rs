use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::opening::{self, Opening, OpeningError};
use crate::config;

/// A byte stream over the binary frames of a WebSocket. A frame may contain parts of packets or several packets. [MQTT-6.0.0-2]
#[derive(Debug)]
pub(in crate::server) struct WebSocket<S> {
    frames: WebSocketStream<S>,
    /// The unread rest of the last frame.
    unread: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Answers the client's opening handshake, which came from the address `peer`.
    pub(super) async fn accept(
        mut stream: S,
        listener: &config::Listener,
        maximum_packet_size: u32,
        peer: Option<IpAddr>,
    ) -> Result<(Self, Opening), OpeningError> {
        let message_max = usize::try_from(maximum_packet_size).unwrap_or(usize::MAX).max(MESSAGE_MAX_MIN);
        let config = config(message_max);
        let mut opening = opening::open(&mut stream, listener, peer).await?;
        let rest = std::mem::take(&mut opening.rest).into();
        let frames = WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(config)).await;
        Ok((Self { frames, unread: Bytes::new() }, opening))
    }

    /// Opens a WebSocket as a client, at this path of a host, which may have a port.
    pub(in crate::server) async fn connect(
        stream: S,
        (host, path): (&str, &str),
        maximum_packet_size: u32,
    ) -> io::Result<Self> {
        let uri = format!("ws://{host}{path}").parse().map_err(|_| invalid("the path can't be in a URL"))?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol("mqtt");
        let message_max = usize::try_from(maximum_packet_size).unwrap_or(usize::MAX).max(MESSAGE_MAX_MIN);
        let opened = client_async_with_config(request, stream, Some(config(message_max))).await;
        let (frames, _) = opened.map_err(io_error)?;
        Ok(Self { frames, unread: Bytes::new() })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The stream under the WebSocket.
    pub(super) fn get_ref(&self) -> &S {
        self.frames.get_ref()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.frames).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                // Anything but binary frames ends the connection. [MQTT-6.0.0-1]
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(invalid("WebSocket text frame"))),
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(self.unread.get(..length).unwrap_or_default());
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.frames).poll_ready(cx)).map_err(io_error)?;
        let frame = bytes.get(..bytes.len().min(FRAME_MAX)).unwrap_or_default();
        let message = Message::Binary(Bytes::copy_from_slice(frame));
        Pin::new(&mut self.frames).start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(frame.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.frames).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.frames).poll_close(cx).map_err(io_error)
    }
}

fn config(message_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(message_max))
        .max_frame_size(Some(message_max))
}

fn io_error(error: Error) -> io::Error {
    if let Error::Io(error) = error {
        return error;
    }
    let ended = matches!(
        error,
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
    );
    if ended {
        return io::ErrorKind::UnexpectedEof.into();
    }
    invalid(&format!("WebSocket: {error}"))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// Bytes; small, because every WebSocket connection has such a buffer.
const READ_BUFFER: usize = 4 * 1024;
/// Maximum bytes in a frame that the broker sends: the library keeps a buffer of the size of the connection's largest frame.
const FRAME_MAX: usize = 16 * 1024;
/// Minimum for the limit on received WebSocket messages, in bytes: a message may contain several packets, so it may be larger than
/// Maximum Packet Size.
const MESSAGE_MAX_MIN: usize = 1024 * 1024;
