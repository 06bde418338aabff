//! A small blocking MQTT client that shares no code with the broker: it sends what it is told to, right or wrong.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::deadline::{self, PATIENCE};

/// A version of MQTT, as the Protocol Level of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V311 = 4,
    V5 = 5,
}

/// A connection that speaks in bytes.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A packet that the broker sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Packet type and flags.
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

/// What came within the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    Packet(Packet),
    Nothing,
    Closed,
}

/// What a PUBLISH says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) packet_id: u16,
}

/// A CONNECT to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    /// Clean Start, or Clean Session.
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    /// Bytes of the properties, without their length.
    pub(crate) properties: Vec<u8>,
    pub(crate) user: Option<(String, String)>,
    /// Topic of a Will Message with an empty payload, at QoS 1.
    pub(crate) will_topic: Option<String>,
}

impl Connect {
    pub(crate) fn new(version: Version, client_id: &str) -> Self {
        let client_id = client_id.to_owned();
        let properties = Vec::new();
        Self { version, client_id, clean_start: true, keep_alive: 60, properties, user: None, will_topic: None }
    }

    /// Of a session that outlives its connection.
    pub(crate) fn durable(version: Version, client_id: &str) -> Self {
        let properties = if version == Version::V5 { vec![0x11, 0, 0, 0x0E, 0x10] } else { Vec::new() };
        Self { clean_start: false, properties, ..Self::new(version, client_id) }
    }

    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let has_user = if self.user.is_some() { 0xC0 } else { 0 };
        let has_will = if self.will_topic.is_some() { 0x0C } else { 0 };
        let mut body = string("MQTT");
        body.extend([self.version as u8, has_user | has_will | u8::from(self.clean_start) << 1]);
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(self.version.properties(&self.properties));
        body.extend(string(&self.client_id));
        if let Some(topic) = &self.will_topic {
            body.extend(self.version.properties(&[]));
            body.extend(string(topic));
            body.extend([0, 0]);
        }
        if let Some((name, password)) = &self.user {
            body.extend(string(name));
            body.extend(string(password));
        }
        packet(CONNECT, &body)
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

    pub(crate) fn publish(self, first: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
        let mut body = string(topic);
        if first & 0x06 != 0 {
            body.extend(packet_id.to_be_bytes());
        }
        body.extend(self.properties(&[]));
        body.extend(payload);
        packet(first, &body)
    }

    pub(crate) fn subscribe(self, packet_id: u16, filter: &str, options: u8) -> Vec<u8> {
        let mut body = packet_id.to_be_bytes().to_vec();
        body.extend(self.properties(&[]));
        body.extend(string(filter));
        body.push(options);
        packet(SUBSCRIBE, &body)
    }

    pub(crate) fn parse_publish(self, packet: &Packet) -> Publish {
        let body = &packet.body;
        let (topic, rest) = body[2..].split_at(usize::from(u16::from_be_bytes([body[0], body[1]])));
        let qos = packet.first >> 1 & 0x03;
        let (packet_id, rest) = if qos == 0 { (0, rest) } else { (u16::from_be_bytes([rest[0], rest[1]]), &rest[2..]) };
        let rest = match self {
            Self::V311 => rest,
            Self::V5 => {
                let (length, size) = parse_length(rest).unwrap();
                &rest[size + length..]
            }
        };
        let topic = String::from_utf8(topic.to_vec()).unwrap();
        Publish { topic, payload: rest.to_vec(), qos, packet_id }
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

    /// The Reason Code of an acknowledgement of one thing: the byte behind the Packet Identifier, the last one in SUBACK.
    pub(crate) fn reason_code(&self) -> u8 {
        match self.kind() {
            SUBACK | UNSUBACK => *self.body.last().unwrap(),
            CONNACK => self.body[1],
            DISCONNECT => self.body.first().copied().unwrap_or(0),
            _ => self.body.get(2).copied().unwrap_or(0),
        }
    }
}

impl Wire {
    /// Opens a connection and sends nothing.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Opens a connection, sends CONNECT and returns the CONNACK too.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, connect: &Connect) -> (Self, Packet) {
        let mut wire = Self::open(address);
        wire.send(&connect.bytes());
        let connack = wire.expect(CONNACK);
        (wire, connack)
    }

    /// Opens a connection that must be accepted.
    #[track_caller]
    pub(crate) fn connected(address: SocketAddr, connect: &Connect) -> Self {
        let (wire, connack) = Self::connect(address, connect);
        assert_eq!(connack.reason_code(), 0, "CONNACK");
        wire
    }

    /// What carries its bytes.
    pub(crate) const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes. A connection that the broker has closed takes them too: what it said before is still to be read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// The next packet, if it comes within the time.
    pub(crate) fn receive(&mut self, within: Duration) -> Received {
        let deadline = deadline::now() + within;
        loop {
            if let Some(packet) = self.take() {
                return Received::Packet(packet);
            }
            let left = deadline.saturating_duration_since(deadline::now()).max(Duration::from_micros(1));
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Received::Closed,
                Ok(size) => self.buffer.extend(&chunk[..size]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Received::Nothing;
                }
                Err(_) => return Received::Closed,
            }
        }
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn expect_any(&mut self) -> Packet {
        match self.receive(PATIENCE) {
            Received::Packet(packet) => packet,
            nothing @ (Received::Nothing | Received::Closed) => panic!("expected a packet: {nothing:?}"),
        }
    }

    /// The next packet, which must be of this type.
    #[track_caller]
    pub(crate) fn expect(&mut self, kind: u8) -> Packet {
        let packet = self.expect_any();
        assert_eq!(packet.kind(), kind, "expected {kind:#04x}, got {packet:x?}");
        packet
    }

    /// The next PUBLISH.
    #[track_caller]
    pub(crate) fn expect_publish(&mut self, version: Version) -> Publish {
        version.parse_publish(&self.expect(PUBLISH))
    }

    /// The end of the connection, with nothing before it.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        assert_eq!(self.receive(PATIENCE), Received::Closed);
    }

    /// In 5.0 a DISCONNECT with this Reason Code, and in any version the end of the connection.
    #[track_caller]
    pub(crate) fn expect_disconnect(&mut self, version: Version, reason_code: u8) {
        if version == Version::V5 {
            let code = self.expect(DISCONNECT).reason_code();
            assert_eq!(code, reason_code, "DISCONNECT {code:#04x}, not {reason_code:#04x}");
        }
        self.expect_closed();
    }

    /// Subscribes and returns the Reason Code.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, version: Version, filter: &str, qos: u8) -> u8 {
        self.send(&version.subscribe(1, filter, qos));
        self.expect(SUBACK).reason_code()
    }

    /// Publishes at QoS 1 and returns the Reason Code.
    #[track_caller]
    pub(crate) fn publish(&mut self, version: Version, topic: &str, payload: &str) -> u8 {
        self.send(&version.publish(PUBLISH | 0x02, topic, 1, payload.as_bytes()));
        self.expect(PUBACK).reason_code()
    }

    /// Whether the broker still answers on this connection.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        self.send(&packet(PINGREQ, &[]));
        self.expect(PINGRESP);
    }

    /// Ends the connection without DISCONNECT.
    pub(crate) fn cut(&self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }

    fn take(&mut self) -> Option<Packet> {
        let first = *self.buffer.first()?;
        let (length, size) = parse_length(&self.buffer[1..])?;
        let end = 1 + size + length;
        if self.buffer.len() < end {
            return None;
        }
        let packet = Packet { first, body: self.buffer[1 + size..end].to_vec() };
        self.buffer.drain(..end);
        Some(packet)
    }
}

/// A packet with its Remaining Length.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &length(body.len())[..], body].concat()
}

/// A UTF-8 Encoded String.
pub(crate) fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP without a Reason Code, as both versions know it.
pub(crate) fn acknowledge(first: u8, packet_id: u16) -> Vec<u8> {
    packet(first, &packet_id.to_be_bytes())
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

/// The first byte of each packet. [`Packet::kind`] is without the flags: `PUBREL_KIND`.
pub(crate) const CONNECT: u8 = 0x10;
pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBREL_KIND: u8 = 0x60;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const SUBSCRIBE: u8 = 0x82;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const UNSUBACK: u8 = 0xB0;
pub(crate) const PINGREQ: u8 = 0xC0;
pub(crate) const PINGRESP: u8 = 0xD0;
pub(crate) const DISCONNECT: u8 = 0xE0;
