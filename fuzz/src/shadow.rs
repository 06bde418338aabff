use std::collections::{BTreeMap, BTreeSet};

use oncemq::codec::{ClientPacket, Connect, PacketId, ProtocolVersion, Qos, ServerPacket};

/// What a client knows of its connection, and what the broker must therefore not do.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    connect: Option<Box<Connect>>,
    connacks: u32,
    /// The client's packets that wait for an answer of this kind and Packet Identifier.
    awaited: BTreeMap<(Answer, u16), u32>,
    /// Messages to the client that it hasn't acknowledged.
    in_flight: BTreeMap<PacketId, Qos>,
    /// Those that it received on an earlier connection, and for which it was sent PUBREL.
    resumed: BTreeSet<PacketId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Puback,
    Pubrec,
    Pubcomp,
    Suback,
    Unsuback,
    Pingresp,
}

impl Shadow {
    pub(crate) fn version(&self) -> ProtocolVersion {
        self.connect.as_ref().map_or(ProtocolVersion::V5, |connect| connect.version)
    }

    /// The client has sent a packet, which the broker has read.
    pub(crate) fn sent(&mut self, packet: &ClientPacket) {
        let mut awaits = |answer, id: u16| *self.awaited.entry((answer, id)).or_default() += 1;
        match packet {
            ClientPacket::Connect(connect) => {
                self.connect.get_or_insert_with(|| connect.clone());
            }
            ClientPacket::Publish(publish) => match (publish.qos, publish.packet_id) {
                (Qos::AtLeastOnce, Some(id)) => awaits(Answer::Puback, id.number()),
                (Qos::ExactlyOnce, Some(id)) => awaits(Answer::Pubrec, id.number()),
                _ => {}
            },
            ClientPacket::Pubrel(ack) => awaits(Answer::Pubcomp, ack.packet_id.number()),
            ClientPacket::Subscribe(subscribe) => awaits(Answer::Suback, subscribe.packet_id.number()),
            ClientPacket::Unsubscribe(unsubscribe) => awaits(Answer::Unsuback, unsubscribe.packet_id.number()),
            ClientPacket::Pingreq => awaits(Answer::Pingresp, 0),
            ClientPacket::Puback(ack) => self.complete(ack.packet_id, Qos::AtLeastOnce),
            ClientPacket::Pubcomp(ack) => self.complete(ack.packet_id, Qos::ExactlyOnce),
            ClientPacket::Pubrec(ack) if ack.reason_code.is_error() => self.complete(ack.packet_id, Qos::ExactlyOnce),
            ClientPacket::Pubrec(_) | ClientPacket::Disconnect(_) | ClientPacket::Auth(_) => {}
        }
    }

    fn complete(&mut self, id: PacketId, qos: Qos) {
        if self.in_flight.get(&id) == Some(&qos) {
            self.in_flight.remove(&id);
        }
        if qos == Qos::ExactlyOnce {
            self.resumed.remove(&id);
        }
    }

    /// The broker has sent a packet.
    pub(crate) fn received(&mut self, packet: &ServerPacket, inflight_max: u16) {
        let connect = self.connect.as_ref().unwrap_or_else(|| panic!("before CONNECT: {packet:?}"));
        let length = packet.encoded_len(connect.version);
        let maximum = connect.properties.maximum_packet_size.map_or(usize::MAX, |maximum| maximum.get() as usize);
        assert!(length <= maximum, "{length} bytes, Maximum Packet Size {maximum}: {packet:?}");
        if matches!(packet, ServerPacket::Connack(_)) {
            self.connacks += 1;
        }
        if !matches!(packet, ServerPacket::Auth(_)) {
            assert_eq!(self.connacks, 1, "before CONNACK, or a second one: {packet:?}");
        }
        let receive_maximum = usize::from(connect.properties.receive_maximum.get().min(inflight_max));
        match packet {
            ServerPacket::Publish(publish) => {
                let Some(id) = publish.packet_id else { return assert_eq!(publish.qos, Qos::AtMostOnce) };
                let before = self.in_flight.insert(id, publish.qos);
                assert!(before.is_none() && !self.resumed.contains(&id), "the Packet Identifier is in use: {packet:?}");
                assert!(self.in_flight.len() <= receive_maximum, "more than Receive Maximum in flight");
            }
            ServerPacket::Puback(ack) => self.answered(Answer::Puback, ack.packet_id.number()),
            ServerPacket::Pubrec(ack) => self.answered(Answer::Pubrec, ack.packet_id.number()),
            ServerPacket::Pubcomp(ack) => self.answered(Answer::Pubcomp, ack.packet_id.number()),
            ServerPacket::Suback(suback) => self.answered(Answer::Suback, suback.packet_id.number()),
            ServerPacket::Unsuback(unsuback) => self.answered(Answer::Unsuback, unsuback.packet_id.number()),
            ServerPacket::Pingresp => self.answered(Answer::Pingresp, 0),
            ServerPacket::Pubrel(ack) => {
                // A message that an earlier connection has received continues with PUBREL, which doesn't count against Receive Maximum. With
                // an error, it answers a PUBREC for a message that the broker doesn't have.
                if !ack.reason_code.is_error() && !self.in_flight.contains_key(&ack.packet_id) {
                    self.resumed.insert(ack.packet_id);
                }
            }
            ServerPacket::Connack(_) | ServerPacket::Disconnect(_) | ServerPacket::Auth(_) => {}
        }
    }

    fn answered(&mut self, answer: Answer, id: u16) {
        let awaited = self.awaited.get_mut(&(answer, id)).filter(|awaited| **awaited > 0);
        *awaited.unwrap_or_else(|| panic!("{answer:?} {id} that nothing asked for")) -= 1;
    }
}
