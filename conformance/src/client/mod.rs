//! The MQTT client of the cases.

mod expect;
mod watch;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::clock;
use crate::failure::{Failure, Outcome, check};
use crate::link::{Incoming, Link};
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{
    Ack, AckKind, Connack, Connect, Disconnect, Encode, Pingreq, Publish, Suback, Subscribe, Unsuback, Unsubscribe,
    Version,
};
use watch::Watch;

/// A connection to the broker. Dropping it closes the connection without DISCONNECT.
///
/// Expectations name a kind of packet. Packets that the standard allows in between, such as a PUBLISH before a SUBACK,
/// are set aside for a later expectation; any other packet is a failure.
#[derive(Debug)]
pub struct Client {
    link: Link,
    /// Packets received and set aside.
    aside: VecDeque<Packet>,
    connack: Connack,
    watch: Watch,
    last_packet_id: u16,
    /// The topic of markers, unique to this case and client.
    marker_topic: String,
    markers: u32,
}

impl Client {
    /// Wraps a new connection.
    pub(crate) fn new(link: Link, marker_topic: String) -> Self {
        let watch = Watch::new(link.version);
        let connack = Connack::default();
        Self { link, aside: VecDeque::new(), connack, watch, last_packet_id: 0, marker_topic, markers: 0 }
    }

    /// The version of the connection.
    pub fn version(&self) -> Version {
        self.link.version
    }

    /// The CONNACK that `connect` or `expect_connack` received.
    pub fn connack(&self) -> &Connack {
        &self.connack
    }

    /// A Packet Identifier that this client hasn't used yet.
    pub fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }

    /// Sends a packet or bytes as they are.
    pub fn send(&mut self, packet: impl Encode) -> Outcome {
        let bytes = packet.encode(self.link.version);
        self.watch.on_sent(&bytes);
        self.note_what_remains(&bytes);
        self.link.write(&bytes, &packet.describe())
    }

    /// Sends CONNECT without waiting for the response. The limits that its properties set are checked from now on.
    pub fn send_connect(&mut self, connect: &Connect) -> Outcome {
        self.watch.on_connect(connect);
        self.link.version = connect.version;
        self.send(connect)
    }

    /// Sends PUBLISH and completes its exchange: PUBACK, or PUBREC, PUBREL and PUBCOMP. Assigns a Packet Identifier if
    /// it needs one and has none. A refusing Reason Code is a failure. At QoS 0, PINGREQ and PINGRESP follow a retained
    /// message, to ensure that the broker has read it.
    pub fn publish(&mut self, publish: Publish) -> Outcome {
        let publish = self.with_packet_id(publish);
        self.send(&publish)?;
        let Some(packet_id) = publish.packet_id.filter(|_| publish.qos > 0) else {
            // There is no acknowledgement, but later subscribers must find the message.
            return if publish.retain { self.ping() } else { Ok(()) };
        };
        let first = if publish.qos == 1 { AckKind::Puback } else { AckKind::Pubrec };
        let answer = self.expect_ack(first, packet_id)?;
        check(answer.reason_code() < 0x80, "the message is accepted", answer.describe())?;
        if publish.qos == 2 {
            self.send(Ack::pubrel(packet_id))?;
            self.expect_ack(AckKind::Pubcomp, packet_id)?;
        }
        Ok(())
    }

    /// Assigns a Packet Identifier if the packet needs one and has none.
    pub fn with_packet_id(&mut self, mut publish: Publish) -> Publish {
        if publish.qos > 0 && publish.packet_id.is_none() {
            publish.packet_id = Some(self.next_packet_id());
        }
        publish
    }

    /// Acknowledges a message completely, according to its QoS.
    pub fn acknowledge(&mut self, publish: &Publish) -> Outcome {
        match (publish.qos, publish.packet_id) {
            (1, Some(packet_id)) => self.send(Ack::puback(packet_id)),
            (2, Some(packet_id)) => {
                self.send(Ack::pubrec(packet_id))?;
                self.expect_ack(AckKind::Pubrel, packet_id)?;
                self.send(Ack::pubcomp(packet_id))
            }
            _ => Ok(()),
        }
    }

    /// Subscribes to one Topic Filter; `options` is the QoS, combined with the constants of `Filter`. A refusal is a
    /// failure, a lower granted QoS is not.
    pub fn subscribe(&mut self, filter: &str, options: u8) -> Result<Suback, Failure> {
        let suback = self.subscribe_with(Subscribe::new(filter, options))?;
        let granted = suback.reasons.len() == 1 && suback.reasons.iter().all(|code| *code <= 2);
        check(granted, format!("the subscription to {filter:?} is granted"), format!("{suback:?}"))?;
        Ok(suback)
    }

    /// Sends SUBSCRIBE, assigning a missing Packet Identifier, and returns SUBACK with any Reason Codes.
    pub fn subscribe_with(&mut self, mut subscribe: Subscribe) -> Result<Suback, Failure> {
        let packet_id = *subscribe.packet_id.get_or_insert_with(|| self.next_packet_id());
        self.send(&subscribe)?;
        self.expect_suback(packet_id).map_err(|failure| failure.or_of(Some("MQTT-3.8.4-1")))
    }

    /// Unsubscribes from one Topic Filter.
    pub fn unsubscribe(&mut self, filter: &str) -> Result<Unsuback, Failure> {
        self.unsubscribe_with(Unsubscribe::new(filter))
    }

    /// Sends UNSUBSCRIBE, assigning a missing Packet Identifier, and returns UNSUBACK with any Reason Codes.
    pub fn unsubscribe_with(&mut self, mut unsubscribe: Unsubscribe) -> Result<Unsuback, Failure> {
        let packet_id = *unsubscribe.packet_id.get_or_insert_with(|| self.next_packet_id());
        self.send(&unsubscribe)?;
        self.expect_unsuback(packet_id).map_err(|failure| failure.or_of(Some("MQTT-3.10.4-4")))
    }

    /// Sends PINGREQ and receives PINGRESP, which proves that the broker has read all earlier packets.
    pub fn ping(&mut self) -> Outcome {
        self.send(Pingreq)?;
        self.expect_kind(Kind::Pingresp).map(|_| ())
    }

    /// Sends DISCONNECT and waits until the broker has closed the connection, so that it has handled it.
    pub fn disconnect(self) -> Outcome {
        self.disconnect_with(Disconnect::new())
    }

    /// Sends this DISCONNECT and waits until the broker has closed the connection. Packets that still arrive are
    /// ignored.
    pub fn disconnect_with(mut self, disconnect: Disconnect) -> Outcome {
        self.send(disconnect)?;
        self.link.finish();
        loop {
            match self.link.read(self.link.case().deadline())? {
                Incoming::Packet(..) => {}
                Incoming::Closed => return Ok(()),
                Incoming::Nothing => return Err(self.time_is_over("the broker closes the connection after DISCONNECT")),
            }
        }
    }

    /// Closes the connection without DISCONNECT.
    pub fn abandon(self) {
        self.link.case().note(&self.link.name, "connection closed without DISCONNECT");
    }

    /// The underlying connection.
    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn read(&mut self, until: Instant) -> Result<Incoming, Failure> {
        match self.link.read(until)? {
            Incoming::Packet(mut packet, length) => {
                self.watch.on_received(&mut packet, length)?;
                Ok(Incoming::Packet(packet, length))
            }
            Incoming::Closed => Ok(Incoming::Closed),
            Incoming::Nothing => Ok(Incoming::Nothing),
        }
    }

    fn time_is_over(&self, expected: impl Into<String>) -> Failure {
        let seconds = self.link.case().elapsed().as_secs_f64();
        Failure::new(expected, format!("no packet until the case's time limit of {seconds:.1} s"))
    }

    fn after(&self, time: Duration) -> Instant {
        clock::now() + time
    }

    fn note_what_remains(&self, bytes: &[u8]) {
        for (first_byte, body) in crate::link::packets(bytes) {
            let case = self.link.case();
            match (Kind::of(first_byte), body) {
                (Some(Kind::Publish), [high, low, rest @ ..]) if first_byte & 1 == 1 => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    case.retained.borrow_mut().extend(rest.get(..length).map(<[u8]>::to_vec));
                }
                (Some(Kind::Connect), [_, _, b'M', b'Q', b'T', b'T', level, flags, _, _, properties, ..]) => {
                    let lasting = flags & 0b10 == 0 || *level == Version::V5.level() && *properties > 0;
                    case.persistent.set(case.persistent.get() || lasting);
                }
                (_, _) => {}
            }
        }
    }
}
