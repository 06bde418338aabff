//! The packets of one pair of connections.

use std::collections::{HashSet, VecDeque};

use super::asked::{Asked, Asking, is_lowered};
use super::properties::{Hops, Identity, on_the_way};
use super::rules::Rules;
use super::size::{fits, size_of_message};
use super::terms::{Congestion, Counts, Dropped, Ended, HELD_BYTES_MAX, Refusal, Side, Terms};
use crate::codec::{
    Ack, ClientPacket, Disconnect, OutgoingPublish, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, ServerPacket,
};

/// Passes packets on between two connections. Packets for a broker are to be sent in the order of their list.
#[derive(Debug)]
pub struct Relay {
    terms: Terms,
    out: Rules,
    inward: Rules,
    /// Messages of QoS 2 that went to the other broker at QoS 1.
    lowered: HashSet<PacketId>,
    /// Messages of QoS 2 that went to this broker at QoS 1.
    lowered_in: HashSet<PacketId>,
    /// Messages of QoS 2 from this broker of which the other one knows nothing, up to their PUBREL.
    settled: HashSet<PacketId>,
    /// The same from the other broker.
    settled_in: HashSet<PacketId>,
    /// Messages of QoS 2 that this broker may have, although it takes a lower one now.
    asked: Asked,
    /// Messages of the other broker that this one has not acknowledged.
    in_flight: HashSet<PacketId>,
    /// Messages of the other broker beyond the Receive Maximum of this one.
    held: VecDeque<Publish>,
    held_bytes: usize,
    counts: Counts,
    refusal: Option<Refusal>,
}

/// Packets to send, and to whom.
pub type Sends = Vec<(Side, ClientPacket)>;

impl Relay {
    /// For a new pair of connections. `out` and `inward` are the rules of both directions, `counts` what has passed before.
    pub fn new(terms: Terms, (out, inward): (Rules, Rules), counts: Counts) -> Self {
        Self {
            terms,
            out,
            inward,
            lowered: HashSet::new(),
            lowered_in: HashSet::new(),
            settled: HashSet::new(),
            settled_in: HashSet::new(),
            asked: Asked::default(),
            in_flight: HashSet::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            counts,
            refusal: None,
        }
    }

    /// What has passed.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The last refusal since the last call.
    pub const fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Handles a packet of this broker, except for CONNACK, SUBACK, UNSUBACK and PINGRESP.
    ///
    /// # Errors
    /// Both connections must end.
    pub fn on_here(&mut self, packet: ServerPacket, congestion: Congestion, sends: &mut Sends) -> Result<(), Ended> {
        match packet {
            ServerPacket::Publish(publish) => self.publish_out(publish, congestion, sends),
            ServerPacket::Puback(ack) => {
                self.judge(Side::Here, &ack)?;
                self.in_flight.remove(&ack.packet_id);
                let packet = if self.lowered_in.remove(&ack.packet_id) {
                    if !ack.reason_code.is_error() {
                        self.settled_in.insert(ack.packet_id);
                    }
                    ClientPacket::Pubrec(bare(&ack))
                } else {
                    ClientPacket::Puback(bare(&ack))
                };
                sends.push((Side::There, packet));
                self.release(sends);
            }
            ServerPacket::Pubrec(ack) => {
                self.judge(Side::Here, &ack)?;
                if ack.reason_code.is_error() {
                    self.in_flight.remove(&ack.packet_id);
                }
                sends.push((Side::There, ClientPacket::Pubrec(bare(&ack))));
                self.release(sends);
            }
            ServerPacket::Pubcomp(ack) => match self.asked.answer(&ack) {
                Asking::Received => self.settle(Side::There, of_qos_2(&ack), ReasonCode::Success, sends),
                Asking::Unknown(packet) => return self.send_in(packet, of_qos_2(&ack), sends),
                Asking::None => {
                    self.in_flight.remove(&ack.packet_id);
                    sends.push((Side::There, ClientPacket::Pubcomp(bare(&ack))));
                    self.release(sends);
                }
            },
            ServerPacket::Pubrel(ack) => {
                // Where the other broker has no QoS 2, it knows none of these messages, whatever was before this connection.
                let is_settled = self.settled.remove(&ack.packet_id) || self.terms.maximum_qos < Qos::ExactlyOnce;
                sends.push(match is_settled {
                    true => (Side::Here, ClientPacket::Pubcomp(success(ack.packet_id))),
                    false => (Side::There, ClientPacket::Pubrel(bare(&ack))),
                });
            }
            other @ (ServerPacket::Connack(_)
            | ServerPacket::Suback(_)
            | ServerPacket::Unsuback(_)
            | ServerPacket::Pingresp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_)) => return Err(ended(Side::Here, other)),
        }
        Ok(())
    }

    /// Handles a packet of the other broker, except for CONNACK, SUBACK, UNSUBACK and PINGRESP.
    ///
    /// # Errors
    /// Both connections must end.
    pub fn on_there(&mut self, packet: ServerPacket, sends: &mut Sends) -> Result<(), Ended> {
        match packet {
            ServerPacket::Publish(publish) => return self.publish_in(publish, sends),
            ServerPacket::Puback(ack) => {
                self.judge(Side::There, &ack)?;
                let packet = if self.lowered.remove(&ack.packet_id) {
                    if !ack.reason_code.is_error() {
                        self.settled.insert(ack.packet_id);
                    }
                    ClientPacket::Pubrec(bare(&ack))
                } else {
                    ClientPacket::Puback(bare(&ack))
                };
                sends.push((Side::Here, packet));
            }
            ServerPacket::Pubrec(ack) => {
                self.judge(Side::There, &ack)?;
                sends.push((Side::Here, ClientPacket::Pubrec(bare(&ack))));
            }
            ServerPacket::Pubcomp(ack) => sends.push((Side::Here, ClientPacket::Pubcomp(bare(&ack)))),
            ServerPacket::Pubrel(ack) => sends.push(match self.settled_in.remove(&ack.packet_id) {
                true => (Side::There, ClientPacket::Pubcomp(success(ack.packet_id))),
                false => (Side::Here, ClientPacket::Pubrel(bare(&ack))),
            }),
            other @ (ServerPacket::Connack(_)
            | ServerPacket::Suback(_)
            | ServerPacket::Unsuback(_)
            | ServerPacket::Pingresp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_)) => return Err(ended(Side::There, other)),
        }
        Ok(())
    }

    fn publish_out(&mut self, publish: OutgoingPublish, congestion: Congestion, sends: &mut Sends) {
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        let packet = match self.outgoing(publish, congestion) {
            Ok(packet) => packet,
            Err(reason) => {
                self.count_dropped(reason);
                // Where a broker can be told, its message becomes a dead letter.
                let code = match reason {
                    Dropped::TooLarge => ReasonCode::ImplementationSpecificError,
                    Dropped::Unmapped | Dropped::Looped | Dropped::Congested => ReasonCode::Success,
                };
                return self.settle(Side::Here, (qos, packet_id), code, sends);
            }
        };
        self.counts.messages_out += 1;
        self.counts.bytes_out += size_of_message(&packet);
        let lowest = packet.qos;
        sends.push((Side::There, ClientPacket::Publish(packet)));
        match (qos, lowest, packet_id) {
            (Qos::ExactlyOnce, Qos::AtLeastOnce, Some(id)) => _ = self.lowered.insert(id),
            (Qos::AtLeastOnce | Qos::ExactlyOnce, Qos::AtMostOnce, _) => {
                self.settle(Side::Here, (qos, packet_id), ReasonCode::Success, sends);
            }
            _ => {}
        }
    }

    /// The message as the other broker gets it.
    fn outgoing(&self, publish: OutgoingPublish, congestion: Congestion) -> Result<Publish, Dropped> {
        if publish.qos == Qos::AtMostOnce && congestion == Congestion::Congested {
            return Err(Dropped::Congested);
        }
        let (topic, keeps_retain) = self.out.target(&publish.message.topic).ok_or(Dropped::Unmapped)?;
        let deduplicates = self.terms.adds_dedup_id && publish.qos > Qos::AtMostOnce;
        let identity = if deduplicates { Identity::Deduplicates } else { Identity::Absent };
        let (here, there) = (self.terms.here_id.as_deref(), self.terms.there_id.as_deref());
        let hops = Hops { from: here, refused: [here, there], identity };
        let properties = on_the_way(&publish.message.properties, hops).map_err(|_| Dropped::Looped)?;
        let qos = publish.qos.min(self.terms.maximum_qos);
        let packet = Publish {
            dup: publish.dup && qos > Qos::AtMostOnce,
            qos,
            retain: publish.retain && keeps_retain && self.terms.retain_available,
            packet_id: publish.packet_id.filter(|_| qos > Qos::AtMostOnce),
            message_expiry_interval: publish.message_expiry_interval,
            ..Publish::new(topic, publish.message.payload.clone()).with_properties(properties)
        };
        self.fitting(packet, Side::There)
    }

    /// The same packet, if this side takes one of its size.
    fn fitting(&self, publish: Publish, side: Side) -> Result<Publish, Dropped> {
        let (version, maximum) = match side {
            Side::Here => (ProtocolVersion::V5, self.terms.maximum_packet_size_here),
            Side::There => (self.terms.version, self.terms.maximum_packet_size),
        };
        if fits(&publish, version, maximum) { Ok(publish) } else { Err(Dropped::TooLarge) }
    }

    /// Acknowledges a message of this side that the other one does not get.
    fn settle(&mut self, side: Side, (qos, packet_id): (Qos, Option<PacketId>), code: ReasonCode, sends: &mut Sends) {
        let Some(id) = packet_id else { return };
        if qos == Qos::AtLeastOnce {
            return sends.push((side, ClientPacket::Puback(Ack::new(id, code))));
        }
        if !code.is_error() {
            match side {
                Side::Here => self.settled.insert(id),
                Side::There => self.settled_in.insert(id),
            };
        }
        sends.push((side, ClientPacket::Pubrec(Ack::new(id, code))));
    }

    fn publish_in(&mut self, publish: OutgoingPublish, sends: &mut Sends) -> Result<(), Ended> {
        let (qos, packet_id, is_repeat) = (publish.qos, publish.packet_id, publish.dup);
        let packet = match self.incoming(publish) {
            Ok(packet) => packet,
            Err(reason) => {
                self.count_dropped(reason);
                // In 3.1.1 there is no refusal.
                let code = match reason {
                    Dropped::TooLarge if self.terms.version == ProtocolVersion::V5 => {
                        ReasonCode::ImplementationSpecificError
                    }
                    Dropped::TooLarge | Dropped::Unmapped | Dropped::Looped | Dropped::Congested => ReasonCode::Success,
                };
                self.settle(Side::There, (qos, packet_id), code, sends);
                return Ok(());
            }
        };
        if let Some(id) = packet_id.filter(|_| is_repeat && is_lowered(&packet, qos)) {
            self.asked.insert(id, packet);
            sends.push((Side::Here, ClientPacket::Pubrel(success(id))));
            return self.check_held();
        }
        self.send_in(packet, (qos, packet_id), sends)
    }

    /// Sends a message, which the other broker has sent with `qos`, to this one.
    fn send_in(
        &mut self,
        packet: Publish,
        (qos, packet_id): (Qos, Option<PacketId>),
        sends: &mut Sends,
    ) -> Result<(), Ended> {
        self.counts.messages_in += 1;
        let bytes = size_of_message(&packet);
        self.counts.bytes_in += bytes;
        if packet.qos == Qos::AtMostOnce {
            sends.push((Side::Here, ClientPacket::Publish(packet)));
            self.settle(Side::There, (qos, packet_id), ReasonCode::Success, sends);
            return Ok(());
        }
        if packet.qos < qos {
            self.lowered_in.extend(packet_id);
        }
        self.held_bytes += usize::try_from(bytes).unwrap_or(usize::MAX);
        self.held.push_back(packet);
        self.release(sends);
        self.check_held()
    }

    fn check_held(&self) -> Result<(), Ended> {
        if self.held_bytes + self.asked.bytes() > HELD_BYTES_MAX { Err(Ended::TooMuch) } else { Ok(()) }
    }

    /// Handles a message of a broker of 3.1 or 3.1.1 that is larger than what this one takes, of which there is no payload: it is acknowledged, or
    /// it would come again with each connection.
    pub fn on_too_large(&mut self, publish: &OutgoingPublish, size: usize, sends: &mut Sends) {
        self.count_dropped(Dropped::TooLarge);
        let reason = format!("a packet of {size} bytes to {}", publish.message.topic.as_str());
        self.refusal =
            Some(Refusal { by: Side::Here, reason_code: ReasonCode::PacketTooLarge, reason: Some(reason.into()) });
        self.settle(Side::There, (publish.qos, publish.packet_id), ReasonCode::Success, sends);
    }

    /// The message as this broker gets it.
    fn incoming(&self, publish: OutgoingPublish) -> Result<Publish, Dropped> {
        let (topic, keeps_retain) = self.inward.target(&publish.message.topic).ok_or(Dropped::Unmapped)?;
        let hops = Hops {
            from: self.terms.there_id.as_deref(),
            refused: [self.terms.here_id.as_deref(), None],
            identity: Identity::Absent,
        };
        let properties = on_the_way(&publish.message.properties, hops).map_err(|_| Dropped::Looped)?;
        let qos = publish.qos.min(self.terms.maximum_qos_here);
        let packet = Publish {
            dup: publish.dup && qos > Qos::AtMostOnce,
            qos,
            retain: publish.retain && keeps_retain && self.terms.retain_available_here,
            packet_id: publish.packet_id.filter(|_| qos > Qos::AtMostOnce),
            message_expiry_interval: publish.message_expiry_interval,
            ..Publish::new(topic, publish.message.payload.clone()).with_properties(properties)
        };
        self.fitting(packet, Side::Here)
    }

    /// Sends messages to this broker as far as its Receive Maximum allows. [MQTT-3.3.4-7]
    fn release(&mut self, sends: &mut Sends) {
        while self.in_flight.len() < usize::from(self.terms.receive_maximum.get())
            && let Some(packet) = self.held.pop_front()
        {
            self.held_bytes -= usize::try_from(size_of_message(&packet)).unwrap_or_default().min(self.held_bytes);
            self.in_flight.extend(packet.packet_id);
            sends.push((Side::Here, ClientPacket::Publish(packet)));
        }
    }

    /// Counts a message that was refused. One that is refused for want of room is not lost: it stays where it is, and comes again.
    fn judge(&mut self, by: Side, ack: &Ack) -> Result<(), Ended> {
        if ack.reason_code == ReasonCode::QuotaExceeded {
            return Err(Ended::NoRoom(by));
        }
        if ack.reason_code.is_error() {
            match by {
                Side::Here => self.counts.refused_here += 1,
                Side::There => self.counts.refused_there += 1,
            }
            let reason = ack.details.as_ref().and_then(|details| details.reason_string.clone());
            self.refusal = Some(Refusal { by, reason_code: ack.reason_code, reason });
        }
        Ok(())
    }

    fn count_dropped(&mut self, reason: Dropped) {
        if let Some(count) = self.counts.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

/// The same acknowledgement without what its broker tells about itself.
const fn bare(ack: &Ack) -> Ack {
    Ack::new(ack.packet_id, ack.reason_code)
}

const fn success(id: PacketId) -> Ack {
    Ack::new(id, ReasonCode::Success)
}

fn of_qos_2(ack: &Ack) -> (Qos, Option<PacketId>) {
    (Qos::ExactlyOnce, Some(ack.packet_id))
}

fn ended(side: Side, packet: ServerPacket) -> Ended {
    if let ServerPacket::Disconnect(disconnect) = packet {
        let Disconnect { reason_code, reason_string, .. } = *disconnect;
        return Ended::Disconnected(side, reason_code, reason_string);
    }
    Ended::Unexpected(side, packet.packet_type())
}

#[cfg(test)]
mod tests;
