//! Expectations of a case.

use std::time::{Duration, Instant};

use super::Client;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::link::Incoming;
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Ack, AckKind, Auth, Connack, Disconnect, Encode, Pingreq, Publish, Suback, Text, Unsuback};

impl Client {
    /// Returns the next packet of any kind, in the order of arrival.
    pub fn receive(&mut self) -> Result<Packet, Failure> {
        if let Some(packet) = self.aside.pop_front() {
            return Ok(packet);
        }
        let deadline = self.link.case().deadline();
        self.read_packet(deadline, "a packet")
    }

    /// Returns the next packet in the order of arrival, or `None` if the broker closes the connection.
    pub fn receive_or_close(&mut self) -> Result<Option<Packet>, Failure> {
        if let Some(packet) = self.aside.pop_front() {
            return Ok(Some(packet));
        }
        let deadline = self.link.case().deadline();
        match self.read(deadline)? {
            Incoming::Packet(packet, _) => Ok(Some(packet)),
            Incoming::Closed => Ok(None),
            Incoming::Nothing => Err(self.time_is_over("a packet, or the end of the connection")),
        }
    }

    /// The messages that arrive before one that `publisher` publishes now. They are acknowledged completely.
    pub fn messages_until_marker(&mut self, publisher: &mut Self) -> Result<Vec<Publish>, Failure> {
        let topic = self.next_marker();
        self.subscribe(&topic, 1)?;
        publisher.publish(Publish::new(&topic, "marker").qos(u8::from(publisher.may_publish_qos1())))?;
        let mut messages = Vec::new();
        loop {
            let publish = self.expect_publish()?;
            self.acknowledge(&publish)?;
            if publish.topic == topic {
                break;
            }
            // Another subscription may deliver a second copy of an earlier marker.
            if !publish.topic.as_bytes().starts_with(self.marker_topic.as_bytes()) {
                messages.push(publish);
            }
        }
        self.unsubscribe(&topic)?;
        Ok(messages)
    }

    /// CONNACK with any Reason Code.
    pub fn expect_connack(&mut self) -> Result<Connack, Failure> {
        let packet = self.expect_kind(Kind::Connack)?;
        let Packet::Connack(connack) = packet else { return Err(unexpected("CONNACK", &packet)) };
        self.connack = connack.clone();
        Ok(connack)
    }

    /// CONNACK with any Reason Code, or `None` if the broker closes the connection instead, which it may do to refuse.
    /// A refusing CONNACK must be the last packet.
    pub fn expect_connack_or_close(&mut self) -> Result<Option<Connack>, Failure> {
        const EXPECTED: &str = "CONNACK, or the end of the connection";
        let deadline = self.link.case().deadline();
        let connack = match self.read(deadline)? {
            Incoming::Closed => return Ok(None),
            Incoming::Nothing => return Err(self.time_is_over(EXPECTED)),
            Incoming::Packet(Packet::Connack(connack), _) => connack,
            Incoming::Packet(packet, _) => return Err(unexpected(EXPECTED, &packet)),
        };
        if connack.reason != 0 {
            let statement = self.version().pick("MQTT-3.2.2-5", "MQTT-3.2.2-7");
            self.expect_end("the connection is closed after this CONNACK").map_err(|failure| failure.of(statement))?;
        }
        self.connack = connack.clone();
        Ok(Some(connack))
    }

    /// CONNACK, the end of the connection, or nothing until now.
    pub fn expect_connack_close_or_nothing(&mut self) -> Outcome {
        let until = self.after(Duration::from_millis(1));
        match self.read(until)? {
            Incoming::Closed | Incoming::Nothing | Incoming::Packet(Packet::Connack(_), _) => Ok(()),
            Incoming::Packet(packet, _) => Err(unexpected("CONNACK, the end, or nothing", &packet)),
        }
    }

    /// The next PUBLISH. It is not acknowledged.
    pub fn expect_publish(&mut self) -> Result<Publish, Failure> {
        let packet = self.expect_kind(Kind::Publish)?;
        let Packet::Publish(publish) = packet else { return Err(unexpected("PUBLISH", &packet)) };
        Ok(publish)
    }

    /// The next PUBLISH must have this Topic Name and payload. It is acknowledged completely.
    pub fn expect_message(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Result<Publish, Failure> {
        let publish = self.expect_publish()?;
        check_equal("the Topic Name", &publish.topic, &Text::from(topic))?;
        check_equal("the payload", &publish.payload, &Text::from(payload.as_ref()))?;
        self.acknowledge(&publish)?;
        Ok(publish)
    }

    /// An acknowledgement of this kind with this Packet Identifier and any Reason Code.
    pub fn expect_ack(&mut self, kind: AckKind, packet_id: u16) -> Result<Ack, Failure> {
        let ack = self.expect_any_ack(kind)?;
        check_equal("the Packet Identifier", ack.packet_id, packet_id)
            .map_err(|failure| failure.of(self.of_packet_id(kind)))?;
        Ok(ack)
    }

    /// An acknowledgement of this kind for each of these Packet Identifiers, in any order.
    pub fn expect_acks(&mut self, kind: AckKind, mut packet_ids: Vec<u16>) -> Outcome {
        while !packet_ids.is_empty() {
            let came = self.expect_any_ack(kind)?.packet_id;
            let place = packet_ids.iter().position(|packet_id| *packet_id == came);
            let failure = || Failure::new(format!("the Packet Identifier is one of {packet_ids:?}"), came.to_string());
            let place = place.ok_or_else(|| failure().of(self.of_packet_id(kind)))?;
            packet_ids.swap_remove(place);
        }
        Ok(())
    }

    /// An acknowledgement of this kind. PUBACK and PUBREC are the answers to a message, so without one it is their statement that is violated,
    /// whatever a case is about.
    fn expect_any_ack(&mut self, kind: AckKind) -> Result<Ack, Failure> {
        let statement = match kind {
            AckKind::Puback => Some(self.version().pick("MQTT-4.3.2-2", "MQTT-4.3.2-4")),
            AckKind::Pubrec => Some(self.version().pick("MQTT-4.3.3-2", "MQTT-4.3.3-8")),
            AckKind::Pubrel | AckKind::Pubcomp => None,
        };
        let packet = self.expect_kind(kind.into()).map_err(|failure| failure.or_of(statement))?;
        let Packet::Ack(ack) = packet else { return Err(unexpected(Kind::from(kind).name(), &packet)) };
        Ok(ack)
    }

    /// The statement about the Packet Identifier of an acknowledgement.
    fn of_packet_id(&self, kind: AckKind) -> &'static str {
        match (self.version().is_v5(), kind) {
            (true, _) => "MQTT-2.2.1-5",
            (false, AckKind::Pubcomp) => "MQTT-4.3.3-2",
            (false, AckKind::Puback | AckKind::Pubrec | AckKind::Pubrel) => "MQTT-2.3.1-6",
        }
    }

    /// PUBACK with this Packet Identifier.
    pub fn expect_puback(&mut self, packet_id: u16) -> Result<Ack, Failure> {
        self.expect_ack(AckKind::Puback, packet_id)
    }

    /// PUBREC with this Packet Identifier.
    pub fn expect_pubrec(&mut self, packet_id: u16) -> Result<Ack, Failure> {
        self.expect_ack(AckKind::Pubrec, packet_id)
    }

    /// PUBREL with this Packet Identifier.
    pub fn expect_pubrel(&mut self, packet_id: u16) -> Result<Ack, Failure> {
        self.expect_ack(AckKind::Pubrel, packet_id)
    }

    /// PUBCOMP with this Packet Identifier.
    pub fn expect_pubcomp(&mut self, packet_id: u16) -> Result<Ack, Failure> {
        self.expect_ack(AckKind::Pubcomp, packet_id)
    }

    /// SUBACK with this Packet Identifier.
    pub fn expect_suback(&mut self, packet_id: u16) -> Result<Suback, Failure> {
        let packet = self.expect_kind(Kind::Suback)?;
        let Packet::Suback(suback) = packet else { return Err(unexpected("SUBACK", &packet)) };
        self.check_answered(suback.packet_id, packet_id)?;
        Ok(suback)
    }

    /// UNSUBACK with this Packet Identifier.
    pub fn expect_unsuback(&mut self, packet_id: u16) -> Result<Unsuback, Failure> {
        let packet = self.expect_kind(Kind::Unsuback)?;
        let Packet::Unsuback(unsuback) = packet else { return Err(unexpected("UNSUBACK", &packet)) };
        self.check_answered(unsuback.packet_id, packet_id)?;
        Ok(unsuback)
    }

    /// AUTH with any Reason Code.
    pub fn expect_auth(&mut self) -> Result<Auth, Failure> {
        let packet = self.expect_kind(Kind::Auth)?;
        let Packet::Auth(auth) = packet else { return Err(unexpected("AUTH", &packet)) };
        Ok(auth)
    }

    /// DISCONNECT with one of these Reason Codes, followed by the end of the connection; 5.0 only. For statements that
    /// require the DISCONNECT; where it is optional, use `expect_disconnect_or_close`.
    pub fn expect_disconnect(&mut self, reasons: &[u8]) -> Result<Disconnect, Failure> {
        let packet = self.expect_kind(Kind::Disconnect)?;
        let Packet::Disconnect(disconnect) = packet else { return Err(unexpected("DISCONNECT", &packet)) };
        check_reason(reasons, disconnect.reason_code(), &disconnect.describe())?;
        self.expect_end("the connection is closed after DISCONNECT").map_err(|failure| failure.of("MQTT-3.14.4-2"))?;
        Ok(disconnect)
    }

    /// The broker must close the connection. Before that, it may send a refusing CONNACK, or in 5.0 a DISCONNECT, with
    /// any Reason Code of 0x80 or higher.
    pub fn expect_close(&mut self) -> Outcome {
        self.expect_disconnect_or_close(&[])
    }

    /// The broker must close the connection. Before that, it may send a refusing CONNACK, or in 5.0 a DISCONNECT with
    /// one of these Reason Codes (any of 0x80 or higher if the list is empty, and in 3.1.1).
    pub fn expect_disconnect_or_close(&mut self, reasons: &[u8]) -> Outcome {
        const EXPECTED: &str = "the connection is closed";
        if let Some(packet) = self.aside.front() {
            return Err(unexpected(EXPECTED, packet));
        }
        let deadline = self.link.case().deadline();
        let (reason, described) = match self.read(deadline)? {
            Incoming::Closed => return Ok(()),
            Incoming::Nothing => return Err(self.time_is_over(EXPECTED)),
            Incoming::Packet(Packet::Connack(connack), _) if self.version().is_v5() => {
                (connack.reason, format!("{connack:?}"))
            }
            Incoming::Packet(Packet::Connack(connack), _) if connack.reason != 0 => return self.expect_end(EXPECTED),
            Incoming::Packet(Packet::Disconnect(disconnect), _) => (disconnect.reason_code(), disconnect.describe()),
            Incoming::Packet(packet, _) => return Err(unexpected(EXPECTED, &packet)),
        };
        check(reason >= 0x80, "a Reason Code from 0x80 on", described.clone())?;
        check_reason(reasons, reason, &described)?;
        self.expect_end(EXPECTED)
    }

    /// No packet arrives in this time, and the connection stays open.
    pub fn expect_nothing(&mut self, time: Duration) -> Outcome {
        self.expect_nothing_aside()?;
        let until = self.after(time);
        match self.read(until)? {
            Incoming::Nothing => Ok(()),
            Incoming::Closed => Err(Failure::new("nothing", "the connection was closed")),
            Incoming::Packet(packet, _) => Err(unexpected("nothing", &packet)),
        }
    }

    /// No packet has arrived or arrives before the response to a PINGREQ. This proves that the broker sent no response
    /// to this client's packets; for messages of other clients, use `expect_silence_after`.
    pub fn expect_silence_by_ping(&mut self) -> Outcome {
        self.expect_nothing_aside()?;
        self.send(Pingreq)?;
        let deadline = self.link.case().deadline();
        let packet = self.read_packet(deadline, "PINGRESP")?;
        if packet == Packet::Pingresp { Ok(()) } else { Err(unexpected("nothing before PINGRESP", &packet)) }
    }

    /// No message of `publisher` reaches this client: a marker that it publishes now at QoS 1 to a separate topic
    /// arrives first. Afterwards, the subscription for the marker is deleted.
    pub fn expect_silence_after(&mut self, publisher: &mut Self) -> Outcome {
        self.expect_nothing_aside()?;
        let topic = self.next_marker();
        self.subscribe(&topic, 1)?;
        publisher.publish(Publish::new(&topic, "marker").qos(u8::from(publisher.may_publish_qos1())))?;
        let publish = self.expect_publish()?;
        check(publish.topic == topic, "no message before the marker", format!("{publish:?}"))?;
        self.acknowledge(&publish)?;
        self.unsubscribe(&topic)?;
        self.expect_nothing_aside()
    }

    /// As `expect_silence_after`, for messages that this client publishes itself.
    pub fn expect_silence_after_own(&mut self) -> Outcome {
        self.expect_nothing_aside()?;
        let topic = self.next_marker();
        self.subscribe(&topic, 1)?;
        self.publish(Publish::new(&topic, "marker").qos(u8::from(self.may_publish_qos1())))?;
        let publish = self.expect_publish()?;
        check(publish.topic == topic, "no message before the marker", format!("{publish:?}"))?;
        self.acknowledge(&publish)?;
        self.unsubscribe(&topic)?;
        self.expect_nothing_aside()
    }

    /// The next packet of this kind. Other packets that may arrive in between are set aside.
    pub fn expect_kind(&mut self, kind: Kind) -> Result<Packet, Failure> {
        let place = self.aside.iter().position(|packet| packet.kind() == kind);
        if let Some(packet) = place.and_then(|place| self.aside.remove(place)) {
            return Ok(packet);
        }
        let deadline = self.link.case().deadline();
        loop {
            let packet = self.read_packet(deadline, kind.name())?;
            if packet.kind() == kind {
                return Ok(packet);
            }
            if !may_come_before(packet.kind(), kind) {
                return Err(unexpected(kind.name(), &packet));
            }
            self.aside.push_back(packet);
        }
    }

    fn read_packet(&mut self, until: Instant, expected: &str) -> Result<Packet, Failure> {
        match self.read(until)? {
            Incoming::Packet(packet, _) => Ok(packet),
            Incoming::Closed => Err(Failure::new(expected, "the connection was closed")),
            Incoming::Nothing => Err(self.time_is_over(expected)),
        }
    }

    fn expect_end(&mut self, expected: &str) -> Outcome {
        let deadline = self.link.case().deadline();
        match self.read(deadline)? {
            Incoming::Closed => Ok(()),
            Incoming::Nothing => Err(self.time_is_over(expected)),
            Incoming::Packet(packet, _) => Err(unexpected(expected, &packet)),
        }
    }

    fn expect_nothing_aside(&self) -> Outcome {
        self.aside.front().map_or(Ok(()), |packet| Err(unexpected("nothing", packet)))
    }

    fn check_answered(&self, came: u16, sent: u16) -> Outcome {
        let statement = self.version().pick("MQTT-2.3.1-7", "MQTT-2.2.1-6");
        check_equal("the Packet Identifier", came, sent).map_err(|failure| failure.of(statement))
    }

    fn next_marker(&mut self) -> String {
        self.markers += 1;
        format!("{}/{}", self.marker_topic, self.markers)
    }

    fn may_publish_qos1(&self) -> bool {
        self.connack.properties.number(crate::wire::property::MAXIMUM_QOS) != Some(0)
    }
}

/// Whether a packet may arrive while another kind is expected: messages and their PUBRELs are independent of the
/// responses to the client's packets.
fn may_come_before(came: Kind, waited_for: Kind) -> bool {
    let message = came == Kind::Publish;
    let answer = matches!(
        came,
        Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp | Kind::Suback | Kind::Unsuback | Kind::Pingresp
    );
    let nothing = waited_for == Kind::Connack;
    let messages_only = waited_for == Kind::Disconnect;
    !nothing && (message || answer && !messages_only)
}

fn unexpected(expected: &str, packet: &Packet) -> Failure {
    Failure::new(expected, packet.describe())
}

fn check_reason(reasons: &[u8], reason: u8, described: &str) -> Outcome {
    let listed = reasons.iter().map(|reason| format!("0x{reason:02X}")).collect::<Vec<_>>().join(" or ");
    check(reasons.is_empty() || reasons.contains(&reason), format!("the Reason Code {listed}"), described)
}
