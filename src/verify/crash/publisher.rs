//! A publisher with a Session that is kept, at one QoS.

use std::net::SocketAddr;
use std::ops::Range;

use oncemq::codec::{Ack, ClientPacket, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, ServerPacket};
use oncemq::topic::TopicName;
use tokio::time::Instant;

use super::end::End;
use super::load::{Load, connect, random_below};
use super::seen::{payload, topic};
use crate::verify::link::{Link, LinkError, PATIENCE};
use crate::verify::stop::Stop;

#[derive(Debug)]
pub(super) struct Publisher {
    index: usize,
    version: ProtocolVersion,
    qos: Qos,
    /// Whether CONNACK has confirmed the Session.
    is_known: bool,
    /// The number of the first message since all were compared.
    base: u64,
    /// The number of the next message.
    next: u64,
    /// In the order in which they were sent.
    flows: Vec<Flow>,
    /// The identifier that is used next is the last one that was freed: if the broker has forgotten that it was, it takes the new message
    /// for a repetition.
    free: Vec<PacketId>,
    pub(super) acknowledged: u64,
}

/// A message whose exchange has not ended.
#[derive(Debug)]
struct Flow {
    packet_id: PacketId,
    number: u64,
    awaiting: Awaiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaiting {
    Puback,
    Pubrec,
    Pubcomp,
}

impl Publisher {
    pub(super) fn new(index: usize, version: ProtocolVersion, qos: Qos) -> Self {
        let free = (1..=WINDOW).rev().filter_map(PacketId::new).collect();
        Self { index, version, qos, is_known: false, base: 0, next: 0, flows: Vec::new(), free, acknowledged: 0 }
    }

    pub(super) fn name(&self) -> String {
        format!("publisher-{} (MQTT {}, QoS {})", self.index, self.version.name(), self.qos.level())
    }

    /// The messages since all were compared. When all exchanges have ended, each of them was acknowledged.
    pub(super) fn sent(&self) -> Range<u64> {
        self.base..self.next
    }

    /// Publishes until the broker is killed.
    pub(super) fn load(&mut self, load: Load<'_>) -> Result<(), End> {
        let mut link = self.connect(load.address)?;
        let last = self.next + MESSAGES_PER_ROUND;
        loop {
            for _ in 0..=random_below(3) {
                if self.next < last {
                    self.publish(&mut link)?;
                }
            }
            link.flush()?;
            if let Some(packet) = load.receive(&mut link)? {
                self.on_packet(&packet, &mut link)?;
            }
        }
    }

    /// Ends all exchanges.
    pub(super) fn settle(&mut self, address: SocketAddr, stop: &Stop) -> Result<(), End> {
        // What was sent before counts from here on only when all is compared.
        let mut link = self.connect(address)?;
        let until = Instant::now() + PATIENCE;
        while !self.flows.is_empty() && !stop.is_set() {
            match link.receive(until)? {
                Some(packet) => self.on_packet(&packet, &mut link)?,
                None => return Err(LinkError::Silent("acknowledgement").into()),
            }
        }
        Ok(())
    }

    /// All messages so far were compared.
    pub(super) fn forget(&mut self) {
        self.base = self.next;
    }

    /// Connects, and repeats what is not acknowledged. [MQTT-4.4.0-1]
    fn connect(&mut self, address: SocketAddr) -> Result<Link, End> {
        let client_id = format!("publisher-{}", self.index);
        let mut link = connect(address, &client_id, self.version, self.is_known)?;
        self.is_known = true;
        for flow in &self.flows {
            match flow.awaiting {
                Awaiting::Puback | Awaiting::Pubrec => {
                    let publish = Publish { dup: true, ..self.packet(flow)? };
                    link.send(&ClientPacket::Publish(publish));
                }
                Awaiting::Pubcomp => link.send(&ClientPacket::Pubrel(Ack::new(flow.packet_id, ReasonCode::Success))),
            }
        }
        link.flush()?;
        Ok(link)
    }

    fn publish(&mut self, link: &mut Link) -> Result<(), End> {
        let Some(packet_id) = self.free.pop() else { return Ok(()) };
        let awaiting = if self.qos == Qos::AtLeastOnce { Awaiting::Puback } else { Awaiting::Pubrec };
        let flow = Flow { packet_id, number: self.next, awaiting };
        link.send(&ClientPacket::Publish(self.packet(&flow)?));
        self.flows.push(flow);
        self.next += 1;
        Ok(())
    }

    fn packet(&self, flow: &Flow) -> Result<Publish, End> {
        let topic = TopicName::new(topic(self.index).into()).map_err(|error| End::Fault(error.to_string()))?;
        let publish = Publish::new(topic, payload(self.index, flow.number));
        Ok(Publish { qos: self.qos, packet_id: Some(flow.packet_id), ..publish })
    }

    fn on_packet(&mut self, packet: &ServerPacket, link: &mut Link) -> Result<(), End> {
        let (ack, got) = if let ServerPacket::Puback(ack) = packet {
            (ack, Awaiting::Puback)
        } else if let ServerPacket::Pubrec(ack) = packet {
            (ack, Awaiting::Pubrec)
        } else if let ServerPacket::Pubcomp(ack) = packet {
            (ack, Awaiting::Pubcomp)
        } else {
            return Err(End::Fault(format!("it was sent {packet:?}")));
        };
        let place = self.flows.iter().position(|flow| flow.packet_id == ack.packet_id && flow.awaiting == got);
        let Some((place, flow)) = place.and_then(|place| Some((place, self.flows.get_mut(place)?))) else {
            return Err(End::Fault(format!("{packet:?} acknowledges nothing that it has sent")));
        };
        // PUBCOMP with 0x92 says that it had arrived before the kill.
        if got != Awaiting::Pubcomp && ack.reason_code.is_error() {
            return Err(End::Fault(format!("message {} was refused: {}", flow.number, ack.reason_code)));
        }
        match got {
            Awaiting::Pubrec => {
                flow.awaiting = Awaiting::Pubcomp;
                link.send(&ClientPacket::Pubrel(Ack::new(ack.packet_id, ReasonCode::Success)));
                link.flush()?;
                self.acknowledged += 1;
            }
            Awaiting::Puback | Awaiting::Pubcomp => {
                self.acknowledged += u64::from(got == Awaiting::Puback);
                self.free.push(ack.packet_id);
                self.flows.remove(place);
            }
        }
        Ok(())
    }
}

/// Messages in flight of one publisher.
const WINDOW: u16 = 16;
/// Queues, and what is compared, have a bound.
const MESSAGES_PER_ROUND: u64 = 3_000;
