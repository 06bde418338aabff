//! A TCP connection that splits its bytes into packets, with the time limit of its case.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::failure::Failure;
use crate::trace::{CaseState, Direction};
use crate::wire::bytes::hex;
use crate::wire::packet::Packet;
use crate::wire::{Version, Violation, decode};

/// The result of a read.
#[derive(Debug)]
pub enum Incoming {
    /// A packet and its size in bytes.
    Packet(Packet, usize),
    /// The broker closed the connection.
    Closed,
    /// No packet arrived in time.
    Nothing,
}

/// A TCP connection to the broker.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    closed: bool,
    /// Its name in the trace.
    pub name: String,
    /// The version by which received packets are decoded.
    pub version: Version,
    case: Rc<CaseState>,
}

impl Link {
    /// Opens a connection.
    pub fn open(address: SocketAddr, name: &str, version: Version, case: Rc<CaseState>) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(format!("{address} accepts a connection"), error.to_string());
        let stream = TcpStream::connect_timeout(&address, remaining(case.deadline())).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        case.note(name, "connection opened");
        Ok(Self { stream, buffer: Vec::new(), closed: false, name: name.to_owned(), version, case })
    }

    /// The state that the clients of the case share.
    pub fn case(&self) -> &Rc<CaseState> {
        &self.case
    }

    /// Sends all bytes. A closed connection is detected by the next read.
    pub fn write(&mut self, bytes: &[u8], what: &str) -> Result<(), Failure> {
        self.case.record(&self.name, Direction::Sent, what, bytes);
        // A timeout of 0 is an error; `remaining` is never 0.
        let _set = self.stream.set_write_timeout(Some(remaining(self.case.deadline())));
        match self.stream.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Failure::new("the broker reads the sent bytes", "it read nothing until the case's time limit"))
            }
            Err(error) => {
                self.case.note(&self.name, &format!("not sent: {error}"));
                Ok(())
            }
        }
    }

    /// Shuts down the sending direction.
    pub fn finish(&mut self) {
        let _closed_already = self.stream.shutdown(Shutdown::Write);
    }

    /// Returns the next packet. Waits until `until`, but not beyond the case's deadline.
    pub fn read(&mut self, until: Instant) -> Result<Incoming, Failure> {
        let until = until.min(self.case.deadline());
        loop {
            if let Some((packet, length)) = self.next_in_buffer()? {
                return Ok(Incoming::Packet(packet, length));
            }
            if self.closed {
                return Ok(Incoming::Closed);
            }
            if clock::now() >= until {
                return Ok(Incoming::Nothing);
            }
            self.fill(until);
        }
    }

    /// Returns the next bytes; empty if the connection was closed or the time is over.
    pub fn read_bytes(&mut self, until: Instant) -> Vec<u8> {
        while self.buffer.is_empty() && !self.closed && clock::now() < until.min(self.case.deadline()) {
            self.fill(until.min(self.case.deadline()));
        }
        let bytes = std::mem::take(&mut self.buffer);
        if !bytes.is_empty() {
            self.case.record(&self.name, Direction::Received, "bytes", &bytes);
        }
        bytes
    }

    /// Whether the broker has closed the connection, according to earlier reads.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn fill(&mut self, until: Instant) {
        let mut chunk = [0; 65_536];
        let _set = self.stream.set_read_timeout(Some(remaining(until)));
        match self.stream.read(&mut chunk) {
            Ok(0) => self.end("connection closed by the broker"),
            Ok(count) => self.buffer.extend(chunk.iter().take(count)),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => self.end(&format!("connection closed by the broker ({error})")),
        }
    }

    fn end(&mut self, how: &str) {
        self.closed = true;
        self.case.note(&self.name, how);
    }

    fn next_in_buffer(&mut self) -> Result<Option<(Packet, usize)>, Failure> {
        match first_packet(&self.buffer, self.version) {
            Ok(None) => Ok(None),
            Ok(Some((packet, length))) => {
                let bytes: Vec<u8> = self.buffer.drain(..length).collect();
                self.case.record(&self.name, Direction::Received, &packet.describe(), &bytes);
                Ok(Some((packet, length)))
            }
            Err(failure) => {
                self.case.record(&self.name, Direction::Received, "not allowed", &self.buffer);
                Err(failure)
            }
        }
    }
}

/// Decodes the first packet of received bytes and returns its size; `None` if it is incomplete.
pub fn first_packet(bytes: &[u8], version: Version) -> Result<Option<(Packet, usize)>, Failure> {
    let failed = |what: String, statement| Failure::new("a packet that the standard allows", what).of(statement);
    let cut = cut(bytes).map_err(|what| failed(what.to_owned(), version.pick("2.2.3", "MQTT-1.5.5-1").to_owned()))?;
    let Some(Frame { first_byte, head, body }) = cut else { return Ok(None) };
    let packet = bytes.get(..head + body).unwrap_or_default();
    let decoded = decode(version, first_byte, packet.get(head..).unwrap_or_default());
    let wrong = |Violation { statement, what }| failed(format!("{what} ({})", hex(packet)), statement);
    decoded.map_err(wrong).map(|decoded| Some((decoded, head + body)))
}

/// The position of a packet.
struct Frame {
    first_byte: u8,
    head: usize,
    body: usize,
}

fn cut(bytes: &[u8]) -> Result<Option<Frame>, &'static str> {
    let Some((&first_byte, rest)) = bytes.split_first() else { return Ok(None) };
    let (mut body, mut head) = (0, 1);
    for (place, byte) in rest.iter().enumerate() {
        if place == 4 {
            break;
        }
        head += 1;
        body |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            if *byte == 0 && place > 0 {
                return Err("the Remaining Length isn't the shortest");
            }
            return Ok((bytes.len() >= head + body).then_some(Frame { first_byte, head, body }));
        }
    }
    if head == 5 { Err("the Remaining Length has more than four bytes") } else { Ok(None) }
}

/// The packets in sent bytes, as far as they can be parsed: first byte and body.
pub fn packets(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut packets = Vec::new();
    while let Ok(Some(Frame { first_byte, head, body })) = cut(bytes) {
        let (packet, rest) = bytes.split_at_checked(head + body).unwrap_or((bytes, &[]));
        packets.push((first_byte, packet.get(head..).unwrap_or_default()));
        bytes = rest;
    }
    packets
}

/// The time until then, at least one millisecond, because a socket refuses a timeout of 0.
fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(clock::now()).max(Duration::from_millis(1))
}
