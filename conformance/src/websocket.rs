//! A minimal WebSocket client to test MQTT over WebSocket.

use std::time::{Duration, Instant};

use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::link::{self, Link};
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Encode, Version};

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Continues the previous frame's message.
    Continuation,
    /// Text.
    Text,
    /// Binary data, the only type that carries MQTT.
    Binary,
    /// Closes the connection.
    Close,
    /// Requests a pong.
    Ping,
    /// The response to a ping.
    Pong,
}

impl Opcode {
    const ALL: [(Self, u8); 6] = [
        (Self::Continuation, 0x0),
        (Self::Text, 0x1),
        (Self::Binary, 0x2),
        (Self::Close, 0x8),
        (Self::Ping, 0x9),
        (Self::Pong, 0xA),
    ];

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(opcode, _)| *opcode == self).map_or(0, |(_, number)| *number)
    }
}

/// A frame from the broker.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    payload: Vec<u8>,
}

/// A WebSocket connection.
#[derive(Debug)]
pub struct WebSocket {
    link: Link,
    version: Version,
    /// Received bytes that are not yet split into frames.
    received: Vec<u8>,
    /// Payloads of binary frames that are not yet split into packets.
    data: Vec<u8>,
    /// The broker's response to the handshake.
    answer: String,
}

impl WebSocket {
    /// Opens a connection and offers these Sub Protocols. The handshake must succeed.
    pub fn open(cx: &Context, protocols: &str) -> Result<Self, Failure> {
        let link = Link::open(cx.websocket()?, "[ws]", cx.version(), std::rc::Rc::clone(cx.state()))?;
        let (received, data, answer) = (Vec::new(), Vec::new(), String::new());
        let mut socket = Self { link, version: cx.version(), received, data, answer };
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: b25lIG9mIG1hbnkga2V5cw==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {protocols}\r\n\r\n",
            cx.websocket()?
        );
        socket.link.write(request.as_bytes(), "handshake")?;
        socket.read_answer()?;
        check(socket.answer.starts_with("HTTP/1.1 101"), "Switching Protocols", socket.answer.clone())?;
        Ok(socket)
    }

    /// Opens a connection and sends CONNECT, which must succeed.
    pub fn connected(cx: &Context, label: &str) -> Result<Self, Failure> {
        let mut socket = Self::open(cx, "mqtt")?;
        socket.send(&cx.connecting(label))?;
        socket.expect_connack()?;
        Ok(socket)
    }

    /// A header of the broker's handshake response.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.answer.lines().filter_map(|line| line.split_once(':'));
        headers.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Sends a packet in a separate binary frame.
    pub fn send(&mut self, packet: &dyn Encode) -> Outcome {
        let bytes = packet.encode(self.version);
        self.send_frame(Opcode::Binary, true, &bytes)
    }

    /// Sends a frame. `last` sets the FIN flag.
    pub fn send_frame(&mut self, opcode: Opcode, last: bool, payload: &[u8]) -> Outcome {
        const MASK: [u8; 4] = [0x4D, 0x51, 0x54, 0x54];
        let mut bytes = vec![opcode.number() | if last { 0x80 } else { 0 }];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length), _) if length < 126 => bytes.push(0x80 | length),
            (_, Ok(length)) => {
                bytes.push(0x80 | 126);
                bytes.extend(length.to_be_bytes());
            }
            (_, Err(_)) => {
                bytes.push(0x80 | 127);
                bytes.extend(u64::try_from(payload.len()).unwrap_or(u64::MAX).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.link.write(&bytes, &format!("{opcode:?} frame"))
    }

    /// CONNACK with Success.
    pub fn expect_connack(&mut self) -> Outcome {
        let packet = self.expect_packet()?;
        let accepted = matches!(&packet, Packet::Connack(connack) if connack.reason == 0);
        check(accepted, "CONNACK with Success", packet.describe())
    }

    /// The next packet must be of this kind.
    pub fn expect_kind(&mut self, kind: Kind) -> Result<Packet, Failure> {
        let packet = self.expect_packet()?;
        check_equal("the packet", packet.kind(), kind)?;
        Ok(packet)
    }

    /// The next packet. All data frames must be binary.
    pub fn expect_packet(&mut self) -> Result<Packet, Failure> {
        loop {
            if let Some((packet, length)) = link::first_packet(&self.data, self.version)? {
                self.data.drain(..length);
                return Ok(packet);
            }
            let frame = self.next_frame()?.ok_or_else(|| Failure::new("a packet", "the connection was closed"))?;
            match frame.opcode {
                Opcode::Binary | Opcode::Continuation => self.data.extend(frame.payload),
                Opcode::Ping => self.send_frame(Opcode::Pong, true, &frame.payload)?,
                Opcode::Pong => {}
                Opcode::Text => {
                    return Err(Failure::new("binary frames only", "a text frame").of("MQTT-6.0.0-1"));
                }
                Opcode::Close => return Err(Failure::new("a packet", "a Close frame")),
            }
        }
    }

    /// The broker must close the connection, with or without a Close frame, and may send only DISCONNECT before that.
    pub fn expect_close(&mut self) -> Outcome {
        while let Some(frame) = self.next_frame()? {
            let disconnect = frame.payload.first().and_then(|byte| Kind::of(*byte)) == Some(Kind::Disconnect);
            match frame.opcode {
                // A broker may wait for the response to its Close frame before it closes the connection.
                Opcode::Close => self.send_frame(Opcode::Close, true, &frame.payload)?,
                Opcode::Binary if disconnect => {}
                Opcode::Binary | Opcode::Continuation | Opcode::Text | Opcode::Ping | Opcode::Pong => {
                    return Err(Failure::new("the connection is closed", format!("{frame:?}")));
                }
            }
        }
        Ok(())
    }

    /// The next frame; `None` if the connection is closed.
    fn next_frame(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            if let Some((frame, length)) = cut(&self.received)? {
                self.received.drain(..length);
                return Ok(Some(frame));
            }
            if self.link.is_closed() {
                return Ok(None);
            }
            self.fill("a WebSocket frame, or the end")?;
        }
    }

    fn read_answer(&mut self) -> Outcome {
        loop {
            let text = String::from_utf8_lossy(&self.received).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                self.received.drain(..head.len() + 4);
                head.clone_into(&mut self.answer);
                return Ok(());
            }
            check(!self.link.is_closed(), "an answer to the handshake", "the connection was closed")?;
            self.fill("an answer to the handshake")?;
        }
    }

    fn fill(&mut self, expected: &str) -> Outcome {
        let deadline: Instant = self.link.case().deadline();
        let bytes = self.link.read_bytes(deadline);
        self.received.extend(&bytes);
        let over = bytes.is_empty() && !self.link.is_closed() && clock::now() + Duration::from_millis(1) >= deadline;
        check(!over, expected, "nothing until the case's time limit")
    }
}

/// The first frame and its size in bytes. A server's frames aren't masked.
fn cut(bytes: &[u8]) -> Result<Option<(Frame, usize)>, Failure> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    let wrong = || Failure::new("an unmasked frame of a known kind", format!("{first:02X} {second:02X}"));
    let known = Opcode::ALL.iter().find(|(_, number)| *number == first & 0x0F);
    let (opcode, _) = *known.filter(|_| second & 0x80 == 0).ok_or_else(wrong)?;
    let width = match second {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((length, rest)) = rest.split_at_checked(width) else { return Ok(None) };
    let wide = length.iter().fold(0usize, |number, byte| number << 8 | usize::from(*byte));
    let length = if width == 0 { usize::from(second) } else { wide };
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    Ok(Some((Frame { opcode, payload: payload.to_vec() }, 2 + width + length)))
}
