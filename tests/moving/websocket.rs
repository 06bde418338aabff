//! A WebSocket as a stream of bytes.

use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Error, Message, WebSocket, client};

use crate::client::Duplex;

/// Reads and writes binary messages.
pub(crate) struct WebSocketBytes {
    socket: WebSocket<Box<dyn Duplex>>,
    received: Vec<u8>,
}

impl WebSocketBytes {
    /// Opens one on a stream; `None` if the broker refuses it.
    pub(crate) fn open(stream: Box<dyn Duplex>, headers: &[(&str, &str)]) -> Option<Self> {
        let request = ClientRequestBuilder::new("ws://localhost/mqtt".parse().unwrap()).with_sub_protocol("mqtt");
        let request = headers.iter().fold(request, |request, (name, value)| request.with_header(*name, *value));
        let (socket, _) = client(request, stream).ok()?;
        Some(Self { socket, received: Vec::new() })
    }
}

impl Read for WebSocketBytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.received.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.received.extend(bytes),
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(0),
                Ok(_) => {}
                Err(Error::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let size = into.len().min(self.received.len());
        for (to, byte) in into.iter_mut().zip(self.received.drain(..size)) {
            *to = byte;
        }
        Ok(size)
    }
}

impl Write for WebSocketBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send(Message::Binary(bytes.to_vec().into())).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
