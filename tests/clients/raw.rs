//! A blocking MQTT client that expects: a packet that doesn't come in time, or another one, fails the test.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) use wire::{
    CONNACK, CONNECT, Connect, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND,
    Packet, Publish, Received, SUBACK, SUBSCRIBE, Version, acknowledge, packet, string,
};

use crate::deadline::PATIENCE;

/// A connection that sends and receives packets.
pub(crate) struct Wire(wire::Wire);

impl Wire {
    /// Opens a connection and sends nothing.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self(wire::Wire::open(address, PATIENCE).unwrap())
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

    /// The underlying stream.
    pub(crate) const fn stream(&mut self) -> &mut TcpStream {
        self.0.stream()
    }

    /// Sends bytes. Errors of a closed connection are ignored, because earlier packets of the broker may remain to be
    /// read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.send(bytes);
    }

    /// The next packet, if it comes within the time.
    pub(crate) fn receive(&mut self, within: Duration) -> Received {
        self.0.receive(within)
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
        Publish::parse(version, &self.expect(PUBLISH)).unwrap()
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

    /// Closes the connection without DISCONNECT.
    pub(crate) fn cut(&self) {
        self.0.cut();
    }
}
