//! A client that need not read, and never waits for the broker.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use wire::{CONNACK, Connect, Packet, Received, Wire};

use crate::deadline::PATIENCE;

/// A nonblocking connection of an attacker.
pub(crate) struct Client {
    stream: TcpStream,
    /// The rest of what was offered last.
    unsent: Vec<u8>,
    is_open: bool,
}

impl Client {
    /// Opens a connection and sends nothing; `None` if the broker accepts none.
    pub(crate) fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, unsent: Vec::new(), is_open: true })
    }

    /// Opens a connection and sends CONNECT, without waiting for CONNACK.
    pub(crate) fn connecting(address: SocketAddr, connect: &Connect) -> Option<Self> {
        let mut client = Self::open(address)?;
        client.offer(&connect.bytes());
        Some(client)
    }

    /// Opens a connection that the broker has accepted.
    pub(crate) fn connected(address: SocketAddr, connect: &Connect) -> Option<Self> {
        let connack = |wire: &mut Wire| match wire.receive(PATIENCE) {
            Received::Packet(packet) => Some(packet),
            Received::Nothing | Received::Closed => None,
        };
        let mut wire = Wire::open(address, PATIENCE).ok()?;
        wire.send(&connect.bytes());
        let Packet { first: CONNACK, body } = connack(&mut wire)? else { return None };
        let stream = wire.stream().try_clone().ok()?;
        stream.set_nonblocking(true).ok()?;
        (body.get(1) == Some(&0)).then_some(Self { stream, unsent: Vec::new(), is_open: true })
    }

    /// Sends bytes, unless the rest of what was offered before is still unsent. Returns whether it took them.
    pub(crate) fn offer(&mut self, bytes: &[u8]) -> bool {
        if !self.flush() {
            return false;
        }
        self.unsent.extend_from_slice(bytes);
        self.flush();
        true
    }

    /// Whether nothing is unsent.
    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() && self.is_open {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => self.is_open = false,
            }
        }
        self.is_open
    }

    /// Reads and discards at most this many bytes.
    pub(crate) fn read(&mut self, bytes: usize) {
        let mut buffer = vec![0; bytes];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.is_open = false,
            Ok(_) => {}
            Err(error) => self.is_open &= error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Whether the connection is open, as far as reads and writes have shown.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Closes the connection without DISCONNECT.
    pub(crate) fn cut(&mut self) {
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.is_open = false;
    }
}

/// Offers the same bytes to each of them.
pub(crate) fn offer_all(clients: &mut [Client], bytes: &[u8]) {
    for client in clients {
        client.offer(bytes);
    }
}
