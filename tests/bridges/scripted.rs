//! The other broker, played by the test: it answers PINGREQ and SUBSCRIBE by itself, and everything else as the test says.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use wire::{CONNECT, PINGREQ, PINGRESP, PUBLISH, Packet, Publish, SUBACK, SUBSCRIBE, Version, packet};

use crate::{now, wait_for};

/// A broker that is not there until it listens.
pub(crate) struct Scripted {
    listener: TcpListener,
}

/// A connection of the bridge, whose CONNECT has arrived.
pub(crate) struct Link {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Scripted {
    #[track_caller]
    pub(crate) fn listen(port: u16) -> Self {
        let listener = wait_for("the port", || TcpListener::bind(("127.0.0.1", port)).ok());
        Self { listener }
    }

    /// Waits for the next connection, and for its CONNECT.
    #[track_caller]
    pub(crate) fn accept(&self) -> Link {
        self.listener.set_nonblocking(true).unwrap();
        let stream = wait_for("a connection", || self.listener.accept().ok()).0;
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut link = Link { stream, received: Vec::new() };
        link.expect(CONNECT);
        link
    }

    /// Accepts a connection. The CONNACK is of 5.0, and says whether the session is present.
    #[track_caller]
    pub(crate) fn connect(&self, session_present: bool) -> Link {
        let mut link = self.accept();
        link.connack(session_present);
        link
    }
}

impl Link {
    pub(crate) fn connack(&mut self, session_present: bool) {
        self.send(&[0x20, 3, u8::from(session_present), 0, 0]);
    }

    /// The connection may be gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    pub(crate) fn publish(&mut self, publish: &Publish) {
        self.send(&publish.bytes(Version::V5));
    }

    /// The next packet that arrives within this time.
    pub(crate) fn next(&mut self, within: Duration) -> Option<Packet> {
        let end = now() + within;
        loop {
            if let Some(found) = Packet::take(&mut self.received) {
                match found.first {
                    PINGREQ => self.send(&packet(PINGRESP, &[])),
                    // One filter.
                    SUBSCRIBE => self.send(&packet(SUBACK, &[found.body[0], found.body[1], 0, 2])),
                    _ => {}
                }
                return Some(found);
            }
            let mut bytes = [0; 4_096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.received.extend(&bytes[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return None,
            }
            if now() > end {
                return None;
            }
        }
    }

    /// Waits for a packet with this first byte, and ignores others.
    #[track_caller]
    pub(crate) fn expect(&mut self, first: u8) -> Packet {
        loop {
            let found = self.next(crate::PATIENCE).unwrap_or_else(|| panic!("no packet {first:#04x}"));
            if found.first == first {
                return found;
            }
        }
    }

    /// The messages of QoS 1 that arrive within this time, until there are so many; each is acknowledged.
    pub(crate) fn acknowledge(&mut self, count: usize, within: Duration) -> Vec<String> {
        let (end, mut found) = (now() + within, Vec::new());
        while found.len() < count
            && let Some(packet) = self.next(end.saturating_duration_since(now()))
        {
            if packet.kind() != PUBLISH {
                continue;
            }
            let publish = Publish::parse(Version::V5, &packet).unwrap();
            if publish.qos == 1 {
                self.send(&wire::acknowledge(wire::PUBACK, publish.packet_id));
                found.push(publish.topic);
            }
        }
        found
    }
}
