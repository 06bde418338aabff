use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::packet::Packet;

/// A connection that sends and receives packets.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    /// Bytes that are not sent yet.
    unsent: Vec<u8>,
    /// Whether reads and writes block.
    waits: bool,
}

/// The result of receiving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A packet.
    Packet(Packet),
    /// No packet within the time.
    Nothing,
    /// The end of the connection.
    Closed,
}

impl Wire {
    /// Opens a blocking connection with a write timeout.
    pub fn open(address: SocketAddr, write_timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(write_timeout))?;
        Ok(Self { stream, received: Vec::new(), unsent: Vec::new(), waits: true })
    }

    /// Opens a nonblocking connection, within three seconds. Bytes that can't be sent at once are sent with the next ones.
    pub fn open_nonblocking(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, received: Vec::new(), unsent: Vec::new(), waits: false })
    }

    /// The underlying stream.
    pub const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes. Errors of a closed connection are ignored, because earlier packets of the broker may remain to be
    /// read.
    pub fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend(bytes);
        self.flush();
    }

    /// Returns the next packet, if it arrives within the time. A nonblocking connection returns only packets that have
    /// arrived.
    pub fn receive(&mut self, within: Duration) -> Received {
        self.flush();
        let deadline = self.waits.then(|| now() + within);
        loop {
            if let Some(packet) = Packet::take(&mut self.received) {
                return Received::Packet(packet);
            }
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(now()).max(Duration::from_micros(1));
                if self.stream.set_read_timeout(Some(left)).is_err() {
                    return Received::Closed;
                }
            }
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Received::Closed,
                Ok(size) => self.received.extend(chunk.get(..size).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Received::Nothing,
                Err(_) => return Received::Closed,
            }
        }
    }

    /// Closes the connection without DISCONNECT.
    pub fn cut(&self) {
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => self.unsent.clear(),
                Ok(size) => drop(self.unsent.drain(..size)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) && !self.waits => return,
                Err(_) => self.unsent.clear(),
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
fn now() -> Instant {
    Instant::now()
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
