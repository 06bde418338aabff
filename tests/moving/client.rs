//! A client over any transport, which says in words what the broker answers.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use wire::{
    CONNACK, Connect, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet,
    Publish, SUBACK, UNSUBACK, Version, acknowledge, packet, string,
};

use crate::clock::{PATIENCE, now};

/// A stream in both directions.
pub(crate) trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

/// The socket under a stream, for its timeout.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn close(&self) {
        // It may be closed already.
        drop(match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        });
    }

    fn wait_at_most(&self, time: Duration) {
        let time = Some(time.max(Duration::from_millis(1)));
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(time),
            Self::Unix(stream) => stream.set_read_timeout(time),
        }
        .unwrap();
    }
}

/// A connection that was accepted.
pub(crate) struct Client {
    version: Version,
    stream: Box<dyn Duplex>,
    socket: Socket,
    received: Vec<u8>,
    messages: VecDeque<String>,
    /// Why it is closed, once it is.
    closed: Option<String>,
    acknowledges: bool,
    next_packet_id: u16,
}

/// CONNECT, and what is shown of CONNACK.
pub(crate) struct Opening {
    pub(crate) connect: Connect,
    /// Whether it is of MQTT 3.1.
    pub(crate) is_3_1: bool,
    pub(crate) acknowledges: bool,
    pub(crate) shown: Vec<String>,
}

impl Client {
    /// Sends CONNECT; the outcome in words, and the client if it is accepted.
    pub(crate) fn connect(stream: Box<dyn Duplex>, socket: Socket, opening: &Opening) -> (Option<Self>, String) {
        let version = opening.connect.version;
        let (received, messages) = (Vec::new(), VecDeque::new());
        let acknowledges = opening.acknowledges;
        let mut client =
            Self { version, stream, socket, received, messages, closed: None, acknowledges, next_packet_id: 1 };
        client.send(&opening.bytes());
        let connack = match client.answer(CONNACK) {
            Ok(connack) => connack,
            Err(closed) => return (None, closed),
        };
        if connack.reason_code() != 0 {
            return (None, format!("refused 0x{:02x}", connack.reason_code()));
        }
        let mut outcome = "accepted".to_owned();
        if connack.body.first() == Some(&1) {
            outcome.push_str(", session present");
        }
        for name in &opening.shown {
            let value = property(connack.body.get(2..).unwrap_or_default(), name);
            write!(outcome, ", {name} {}", value.as_deref().unwrap_or("absent")).unwrap();
        }
        (Some(client), outcome)
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) -> String {
        let id = self.packet_id();
        self.send(&self.version.subscribe(id, filter, qos));
        match self.answer(SUBACK) {
            Err(closed) => closed,
            Ok(suback) if suback.reason_code() < 3 => format!("granted {}", suback.reason_code()),
            Ok(suback) => format!("refused 0x{:02x}", suback.reason_code()),
        }
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str) -> String {
        let id = self.packet_id();
        self.send(&self.version.unsubscribe(id, filter));
        match self.answer(UNSUBACK) {
            Err(closed) => closed,
            // UNSUBACK of 3.1.1 has no Reason Code.
            Ok(unsuback) if self.version == Version::V311 || unsuback.reason_code() < 0x80 => "done".to_owned(),
            Ok(unsuback) => format!("refused 0x{:02x}", unsuback.reason_code()),
        }
    }

    /// Publishes, and completes the exchange; at QoS 0 with PINGREQ behind, so that the broker has handled it when this returns.
    pub(crate) fn publish(&mut self, topic: &str, qos: u8, retain: bool, payload: Vec<u8>) -> String {
        let packet_id = if qos == 0 { 0 } else { self.packet_id() };
        let publish = Publish { qos, retain, packet_id, ..Publish::new(topic, payload) };
        self.send(&publish.bytes(self.version));
        let answer = match qos {
            0 => {
                self.send(&packet(PINGREQ, &[]));
                return self.answer(PINGRESP).map_or_else(|closed| closed, |_| "sent".to_owned());
            }
            1 => self.answer(PUBACK),
            _ => self.answer(PUBREC),
        };
        match answer {
            Err(closed) => closed,
            // 0x10: nobody is subscribed, which is no refusal and not always said.
            Ok(answer) if answer.reason_code() >= 0x80 => format!("refused 0x{:02x}", answer.reason_code()),
            Ok(_) if qos == 1 => "taken".to_owned(),
            Ok(_) => {
                self.send(&acknowledge(PUBREL, packet_id));
                self.answer(PUBCOMP).map_or_else(|closed| closed, |_| "taken".to_owned())
            }
        }
    }

    /// The next message in words, if it comes within the time.
    pub(crate) fn receive(&mut self, within: Duration) -> String {
        let deadline = now() + within;
        loop {
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            if let Some(closed) = &self.closed {
                return closed.clone();
            }
            if let Some(packet) = self.read(deadline.saturating_duration_since(now())) {
                self.handle(&packet);
            } else if self.closed.is_none() && now() >= deadline {
                return "nothing".to_owned();
            }
        }
    }

    /// Waits for the end of the connection.
    pub(crate) fn ended(&mut self, within: Duration) -> String {
        let deadline = now() + within;
        while self.closed.is_none() && now() < deadline {
            if let Some(packet) = self.read(deadline.saturating_duration_since(now())) {
                self.handle(&packet);
            }
        }
        self.closed.clone().unwrap_or_else(|| "open".to_owned())
    }

    /// Leaves by DISCONNECT.
    pub(crate) fn disconnect(mut self) {
        self.send(&packet(DISCONNECT, &[]));
        self.ended(PATIENCE);
    }

    /// Leaves without DISCONNECT.
    pub(crate) fn cut(self) {
        self.socket.close();
    }

    /// Closes its side, too, as clients do.
    fn close(&mut self, how: String) {
        self.closed = Some(how);
        self.socket.close();
    }

    fn packet_id(&mut self) -> u16 {
        self.next_packet_id += 1;
        self.next_packet_id
    }

    /// Errors show when the answer is read.
    fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).and_then(|()| self.stream.flush()));
    }

    /// The next packet of this type; or why there is none.
    fn answer(&mut self, kind: u8) -> Result<Packet, String> {
        let deadline = now() + PATIENCE;
        loop {
            if let Some(closed) = &self.closed {
                return Err(closed.clone());
            }
            if let Some(packet) = self.read(deadline.saturating_duration_since(now())) {
                if packet.kind() == kind {
                    return Ok(packet);
                }
                self.handle(&packet);
            } else if now() >= deadline {
                return Err(format!("no answer of type 0x{kind:02x}"));
            }
        }
    }

    fn handle(&mut self, packet: &Packet) {
        match packet.kind() {
            PUBLISH => {
                let publish = Publish::parse(self.version, packet).unwrap_or_else(|| panic!("malformed {packet:?}"));
                self.messages.push_back(words(&publish));
                match publish.qos {
                    _ if !self.acknowledges => {}
                    0 => {}
                    1 => self.send(&acknowledge(PUBACK, publish.packet_id)),
                    _ => self.send(&acknowledge(PUBREC, publish.packet_id)),
                }
            }
            PUBREL_KIND => self.send(&acknowledge(PUBCOMP, packet.packet_id())),
            DISCONNECT => self.close(format!("closed 0x{:02x}", packet.reason_code())),
            _ => {}
        }
    }

    /// The next packet, if it comes within the time; sets why the connection is closed.
    fn read(&mut self, within: Duration) -> Option<Packet> {
        let packet = Packet::take(&mut self.received);
        if packet.is_some() {
            return packet;
        }
        self.socket.wait_at_most(within);
        let mut chunk = [0; 16_384];
        match self.stream.read(&mut chunk) {
            Ok(size) if size > 0 => self.received.extend(chunk.get(..size).unwrap_or_default()),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            _ => self.close("closed".to_owned()),
        }
        Packet::take(&mut self.received)
    }
}

impl Opening {
    fn bytes(&self) -> Vec<u8> {
        let bytes = self.connect.bytes();
        if !self.is_3_1 {
            return bytes;
        }
        let body = Packet::take(&mut bytes.clone()).unwrap().body;
        let behind_level = body.get(7..).unwrap();
        packet(wire::CONNECT, &[&string("MQIsdp")[..], &[3], behind_level].concat())
    }
}

/// A message as a script writes it.
fn words(publish: &Publish) -> String {
    let retained = if publish.retain { " retained" } else { "" };
    let payload = match std::str::from_utf8(&publish.payload) {
        Ok("") => "\"\"".to_owned(),
        Ok(text) if text.len() <= 100 => text.replace(' ', "%20"),
        _ => format!("{}B", publish.payload.len()),
    };
    format!("{} {}{retained} {payload}", publish.topic.replace(' ', "%20"), publish.qos)
}

/// A property of CONNACK in words. `bytes` begin with the length of the properties.
fn property(bytes: &[u8], name: &str) -> Option<String> {
    let (length, mut bytes) = bytes.split_first()?;
    assert!(*length < 0x80, "CONNACK with more than 127 bytes of properties");
    while let Some((id, rest)) = bytes.split_first() {
        let text = |rest: &[u8]| {
            let length = usize::from(u16::from_be_bytes(*rest.first_chunk().unwrap()));
            (2 + length, String::from_utf8_lossy(rest.get(2..2 + length).unwrap()).into_owned())
        };
        let number = |size: usize| {
            let value = rest.get(..size).unwrap().iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
            (size, value.to_string())
        };
        let (found, (size, value)) = match id {
            0x11 => ("session-expiry", number(4)),
            0x12 => ("assigned", text(rest)),
            0x13 => ("keep-alive", number(2)),
            0x21 => ("receive-maximum", number(2)),
            0x22 => ("topic-alias-maximum", number(2)),
            0x24 => ("maximum-qos", number(1)),
            0x25 => ("retain-available", number(1)),
            0x27 => ("maximum-packet-size", number(4)),
            0x28 => ("wildcards", number(1)),
            0x29 => ("identifiers", number(1)),
            0x2A => ("shared", number(1)),
            _ => ("text", text(rest)),
        };
        if found == name {
            return Some(value);
        }
        bytes = rest.get(size..).unwrap();
    }
    None
}
