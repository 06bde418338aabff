//! A TCP connection that cuts packets out of its bytes and never waits longer than its case may.

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

/// What came next.
#[derive(Debug)]
pub enum Incoming {
    /// A packet and the number of its bytes.
    Packet(Packet, usize),
    /// The broker has closed the connection.
    Closed,
    /// Nothing in the time given.
    Nothing,
}

/// A TCP connection to the broker.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    closed: bool,
    /// How the trace calls it.
    pub name: String,
    /// The version that the packets of the broker are read in.
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

    /// What the clients of the case share.
    pub fn case(&self) -> &Rc<CaseState> {
        &self.case
    }

    /// Sends all bytes. That the broker has already closed the connection shows when something is read.
    pub fn write(&mut self, bytes: &[u8], what: &str) -> Result<(), Failure> {
        self.case.record(&self.name, Direction::Sent, what, bytes);
        // A timeout of 0 is refused; `remaining` is never 0.
        let _set = self.stream.set_write_timeout(Some(remaining(self.case.deadline())));
        match self.stream.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Failure::new(
                "the broker reads what is sent to it",
                "it read nothing until the case's time was over",
            )),
            Err(error) => {
                self.case.note(&self.name, &format!("not sent: {error}"));
                Ok(())
            }
        }
    }

    /// Tells the broker that nothing more will be sent.
    pub fn finish(&mut self) {
        let _closed_already = self.stream.shutdown(Shutdown::Write);
    }

    /// The next packet, waiting until `until` at the latest, and never beyond the case's deadline.
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

    /// The next bytes, whatever they are; empty if the connection was closed or the time is over.
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

    /// Whether the broker has closed the connection, as far as was read.
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

/// The first packet in bytes that the broker sent, with the number of its bytes; none if it isn't whole yet.
pub fn first_packet(bytes: &[u8], version: Version) -> Result<Option<(Packet, usize)>, Failure> {
    let failed = |what: String, statement| Failure::new("a packet that the standard allows", what).of(statement);
    let cut = cut(bytes).map_err(|what| failed(what.to_owned(), version.pick("2.2.3", "MQTT-1.5.5-1").to_owned()))?;
    let Some(Frame { first_byte, head, body }) = cut else { return Ok(None) };
    let packet = bytes.get(..head + body).unwrap_or_default();
    let decoded = decode(version, first_byte, packet.get(head..).unwrap_or_default());
    let wrong = |Violation { statement, what }| failed(format!("{what} ({})", hex(packet)), statement);
    decoded.map_err(wrong).map(|decoded| Some((decoded, head + body)))
}

/// Where a packet ends.
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

/// The packets in bytes that are sent, as far as they can be told apart: first byte and body.
pub fn packets(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut packets = Vec::new();
    while let Ok(Some(Frame { first_byte, head, body })) = cut(bytes) {
        let (packet, rest) = bytes.split_at_checked(head + body).unwrap_or((bytes, &[]));
        packets.push((first_byte, packet.get(head..).unwrap_or_default()));
        bytes = rest;
    }
    packets
}

/// The time until then, at least a millisecond: a socket takes no timeout of 0.
fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(clock::now()).max(Duration::from_millis(1))
}
