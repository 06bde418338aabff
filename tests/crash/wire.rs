//! A connection that never blocks, and the packets of both versions as bytes. It shares no code with the broker.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// A version of MQTT, as the Protocol Level of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V311 = 4,
    V5 = 5,
}

/// A connection that speaks in bytes.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// What there is to read.
#[derive(Debug)]
pub(crate) enum Received {
    Packet(Packet),
    Nothing,
    Closed,
}

/// A packet that the broker sent.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Packet type and flags.
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

/// A CONNECT to be sent.
#[derive(Debug)]
pub(crate) struct Connect<'a> {
    pub(crate) version: Version,
    pub(crate) client_id: &'a str,
    /// Of a session that outlives its connection.
    pub(crate) durable: bool,
    pub(crate) receive_maximum: u16,
    pub(crate) will: Option<Publish>,
}

/// A PUBLISH, or a Will Message.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: u16,
}

impl Wire {
    /// Opens a connection, if somebody listens.
    pub(crate) fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(Self { stream, incoming: Vec::new(), outgoing: Vec::new() })
    }

    /// Sends bytes. A connection that the broker has closed takes them too: what it said before is still to be read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
        self.flush();
    }

    /// The next packet.
    pub(crate) fn receive(&mut self) -> Received {
        self.flush();
        loop {
            if let Some(packet) = self.take() {
                return Received::Packet(packet);
            }
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Received::Closed,
                Ok(size) => self.incoming.extend(&chunk[..size]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
                Err(_) => return Received::Closed,
            }
        }
    }

    /// Ends the connection without a word.
    pub(crate) fn cut(&self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }

    fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(size) => drop(self.outgoing.drain(..size)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.outgoing.clear(),
            }
        }
    }

    fn take(&mut self) -> Option<Packet> {
        let first = *self.incoming.first()?;
        let (length, size) = parse_length(&self.incoming[1..])?;
        let end = 1 + size + length;
        if self.incoming.len() < end {
            return None;
        }
        let packet = Packet { first, body: self.incoming[1 + size..end].to_vec() };
        self.incoming.drain(..end);
        Some(packet)
    }
}

impl Packet {
    /// The packet type, as in the constants of this module.
    pub(crate) fn kind(&self) -> u8 {
        self.first & 0xF0
    }

    /// The Packet Identifier at the beginning of an acknowledgement.
    pub(crate) fn packet_id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The Reason Code: the second byte of CONNACK, the last of SUBACK and UNSUBACK, the one behind the Packet Identifier of the others.
    pub(crate) fn reason_code(&self) -> u8 {
        match self.kind() {
            SUBACK | UNSUBACK => *self.body.last().unwrap(),
            CONNACK => self.body[1],
            DISCONNECT => self.body.first().copied().unwrap_or(0),
            _ => self.body.get(2).copied().unwrap_or(0),
        }
    }

    pub(crate) fn publish(&self, version: Version) -> Publish {
        let (topic, rest) = self.body[2..].split_at(usize::from(self.packet_id()));
        let qos = self.first >> 1 & 0x03;
        let (packet_id, rest) = if qos == 0 { (0, rest) } else { (u16::from_be_bytes([rest[0], rest[1]]), &rest[2..]) };
        let rest = match version {
            Version::V311 => rest,
            Version::V5 => {
                let (length, size) = parse_length(rest).unwrap();
                &rest[size + length..]
            }
        };
        let (retain, dup) = (self.first & 0x01 != 0, self.first & 0x08 != 0);
        let topic = String::from_utf8(topic.to_vec()).unwrap();
        Publish { topic, payload: rest.to_vec(), qos, retain, dup, packet_id }
    }
}

impl Connect<'_> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut properties = [&[0x21][..], &self.receive_maximum.to_be_bytes()].concat();
        if self.durable {
            properties.extend([0x11, 0, 1, 0x51, 0x80]);
        }
        // [MQTT-3.1.2-4] of 5.0: a transient session starts anew. In 3.1.1 Clean Session is both its beginning and its end.
        let clean_start = u8::from(!self.durable) << 1;
        let will_flags = self.will.as_ref().map_or(0, |will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5);
        let mut body = string(b"MQTT");
        body.extend([self.version as u8, clean_start | will_flags, 0, 0]);
        body.extend(self.version.properties(&properties));
        body.extend(string(self.client_id.as_bytes()));
        if let Some(will) = &self.will {
            body.extend(self.version.properties(&[]));
            body.extend(string(will.topic.as_bytes()));
            body.extend(string(&will.payload));
        }
        packet(0x10, &body)
    }
}

impl Version {
    /// The properties of a packet, if the version has them.
    fn properties(self, properties: &[u8]) -> Vec<u8> {
        match self {
            Self::V311 => Vec::new(),
            Self::V5 => [&length(properties.len())[..], properties].concat(),
        }
    }

    pub(crate) fn publish(self, publish: &Publish) -> Vec<u8> {
        let mut body = string(publish.topic.as_bytes());
        if publish.qos > 0 {
            body.extend(publish.packet_id.to_be_bytes());
        }
        body.extend(self.properties(&[]));
        body.extend(&publish.payload);
        packet(PUBLISH | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain), &body)
    }

    pub(crate) fn subscribe(self, packet_id: u16, filter: &str, qos: u8) -> Vec<u8> {
        let mut body = packet_id.to_be_bytes().to_vec();
        body.extend(self.properties(&[]));
        body.extend(string(filter.as_bytes()));
        body.push(qos);
        packet(0x82, &body)
    }

    pub(crate) fn unsubscribe(self, packet_id: u16, filter: &str) -> Vec<u8> {
        let mut body = packet_id.to_be_bytes().to_vec();
        body.extend(self.properties(&[]));
        body.extend(string(filter.as_bytes()));
        packet(0xA2, &body)
    }
}

/// A packet with its Remaining Length.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &length(body.len())[..], body].concat()
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP without a Reason Code, as both versions know it.
pub(crate) fn acknowledge(kind: u8, packet_id: u16) -> Vec<u8> {
    let flags = if kind == PUBREL { 0x02 } else { 0 };
    packet(kind | flags, &packet_id.to_be_bytes())
}

/// A UTF-8 Encoded String, or Binary Data.
fn string(text: &[u8]) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

/// A Variable Byte Integer.
fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7F).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A Variable Byte Integer and its size, if it is complete.
fn parse_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7F));
    Some((value, end + 1))
}

/// The packet types, as [`Packet::kind`] says them.
pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x60;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const UNSUBACK: u8 = 0xB0;
pub(crate) const DISCONNECT: u8 = 0xE0;
