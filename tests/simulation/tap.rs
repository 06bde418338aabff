//! Checks every packet at the broker's end of the wire.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use oncemq::broker::Durability;
use oncemq::codec::{Ack, ClientPacket, Connack, OutgoingPublish, Publish, Qos, ReasonCode, ServerPacket};

use crate::ledger::Reading;
use crate::refusing::LETTERS;
use crate::world::World;

/// The packets on one connection, as far as the checks need them.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    /// CONNACK was sent.
    open: bool,
    /// DISCONNECT or a refusal was sent, so no packet may follow.
    ended: bool,
    /// Identifiers of messages that were sent at QoS 1 or 2 and not acknowledged.
    in_flight: BTreeSet<u16>,
    receive_maximum: usize,
    pub(crate) maximum_packet_size: Option<usize>,
    /// One and a half times the Keep Alive, in milliseconds.
    keep_alive: u64,
    pub(crate) last_read: u64,
    /// Whether a new message was sent at QoS 1 or 2, and the position of the last retransmission.
    fresh: bool,
    last_repeat: u64,
    /// Messages that the client sent at QoS 1 or 2 on this connection, by identifier.
    read: BTreeMap<u16, usize>,
}

/// Messages that were sent to a client's Session, over all connections.
#[derive(Debug, Default, Clone)]
pub(crate) struct SessionTap {
    /// By identifier: the payload, its position in the order, and the connection it was sent on last.
    sent: BTreeMap<u16, (Bytes, u64, usize)>,
    /// The message that was sent last with each identifier, until the last answer to it.
    carried: BTreeMap<u16, usize>,
    numbered: u64,
    /// PUBREC was read.
    confirmed: BTreeSet<u16>,
    /// PUBREL was sent.
    released: BTreeSet<u16>,
    /// PUBREC was read before a crash, or PUBCOMP at any time, so PUBREL may be sent, possibly again.
    finished: BTreeSet<u16>,
    /// The broker crashed since the Session began, so it treats any message in the window as possibly sent.
    crashed: bool,
    /// CONNECTs without CONNACK.
    unanswered: Vec<usize>,
    /// One of them may have begun another Session than the recorded one.
    uncertain: bool,
}

impl SessionTap {
    /// Removes state that was not stable. A message with PUBREL sent is stable.
    pub(crate) fn on_crash(&mut self) {
        self.crashed = true;
        self.finished.append(&mut self.confirmed);
    }
}

impl World {
    /// The broker reads a packet.
    pub(crate) fn on_read(&mut self, number: usize, packet: &ClientPacket) {
        if let ClientPacket::Puback(ack) = packet {
            self.on_group_puback(number, ack.packet_id.number(), ack.reason_code);
        }
        let now = self.now;
        let client = self.connections[number].client;
        let checker = &mut self.checker;
        let inflight_messages_max = checker.inflight_messages_max;
        let (tap, session) = (&mut checker.taps[number], &mut checker.sessions[client]);
        tap.last_read = now;
        match packet {
            ClientPacket::Connect(connect) => {
                checker.presence.read(number, now);
                session.unanswered.push(number);
                tap.receive_maximum = usize::from(connect.properties.receive_maximum.get()).min(inflight_messages_max);
                tap.maximum_packet_size =
                    connect.properties.maximum_packet_size.map(|maximum| usize::try_from(maximum.get()).unwrap());
                tap.keep_alive = u64::from(connect.keep_alive) * 1_500;
            }
            ClientPacket::Puback(ack) | ClientPacket::Pubcomp(ack) => {
                let id = ack.packet_id.number();
                tap.in_flight.remove(&id);
                session.sent.remove(&id);
                if let Some(message) = session.carried.remove(&id) {
                    checker.receipts.answered(message, is_error(packet));
                }
                if session.confirmed.remove(&id) | session.released.remove(&id) {
                    session.finished.insert(id);
                }
            }
            ClientPacket::Pubrec(ack) if ack.reason_code.is_error() => {
                let id = ack.packet_id.number();
                tap.in_flight.remove(&id);
                session.sent.remove(&id);
                if let Some(message) = session.carried.remove(&id) {
                    checker.receipts.answered(message, true);
                }
            }
            ClientPacket::Pubrec(ack) => {
                session.confirmed.insert(ack.packet_id.number());
            }
            ClientPacket::Publish(publish) => {
                self.note_refusable(publish);
                self.on_publish_read(number, publish);
            }
            ClientPacket::Disconnect(disconnect) => {
                checker.groups.leaves(number);
                let attempt = &mut checker.presence.attempts[number];
                attempt.disconnect = Some(disconnect.reason_code);
                if let Some(seconds) = disconnect.session_expiry_interval {
                    attempt.expiry = seconds;
                }
            }
            ClientPacket::Pubrel(_)
            | ClientPacket::Subscribe(_)
            | ClientPacket::Unsubscribe(_)
            | ClientPacket::Pingreq
            | ClientPacket::Auth(_) => {}
        }
    }

    fn on_publish_read(&mut self, number: usize, publish: &Publish) {
        let now = self.now;
        let full_topic = self.full_topic(self.connections[number].client, &publish.message.topic);
        let ledger = &mut self.checker.ledger;
        let message = ledger.find(&publish.message.payload);
        if let (Some(id), Some(message)) = (publish.packet_id, message) {
            self.checker.taps[number].read.insert(id.number(), message);
        }
        let repeat = message.is_some_and(|message| ledger.messages[message].read > 0);
        if publish.retain {
            let topic = match message {
                Some(message) => Some(ledger.messages[message].topic.clone()),
                None => Some(full_topic),
            };
            let reading = match repeat && publish.qos == Qos::ExactlyOnce {
                false => Reading::New,
                true if self.clients[self.connections[number].client].has_one_session() => Reading::Repeat,
                true => Reading::RepeatOrNew,
            };
            ledger.retain(topic.unwrap(), &publish.message.payload, reading);
        }
        let batch = message.and_then(|message| Some([message, ledger.messages[message].companion?]));
        for message in
            batch.into_iter().flatten().filter(|message| ledger.messages[*message].retain).collect::<Vec<_>>()
        {
            let (topic, payload) = (ledger.messages[message].topic.clone(), ledger.messages[message].payload());
            let reading = match repeat && publish.qos == Qos::ExactlyOnce {
                false => Reading::New,
                true if self.clients[self.connections[number].client].has_one_session() => Reading::Repeat,
                true => Reading::RepeatOrNew,
            };
            ledger.retain(topic, &payload, reading);
        }
        if let Some(message) = message {
            ledger.change(message, |message| {
                message.read += 1;
                if message.read == 1 {
                    message.read_at = now;
                }
            });
        }
    }

    /// The broker sends a packet.
    pub(crate) fn tap_sent(&mut self, number: usize, packet: &ServerPacket) {
        let client = self.connections[number].client;
        let tap = &mut self.checker.taps[number];
        if tap.ended {
            return self.checker.find(client, format!("{} after the end", packet.packet_type()));
        }
        if tap.open == matches!(packet, ServerPacket::Connack(_)) {
            return self.checker.find(client, format!("unexpected {}", packet.packet_type()));
        }
        let result = match packet {
            ServerPacket::Connack(connack) => self.tap_connack(number, connack),
            ServerPacket::Publish(publish) => self.tap_publish(number, publish),
            ServerPacket::Puback(ack) | ServerPacket::Pubrec(ack) => self.tap_acknowledgement(number, ack),
            ServerPacket::Pubrel(ack) => self.tap_pubrel(number, ack),
            ServerPacket::Disconnect(_) => {
                tap.ended = true;
                Ok(())
            }
            ServerPacket::Pubcomp(ack) if ack.reason_code.is_error() => {
                // Its PUBCOMP was lost, so it may have released the identifier before.
                Ok(())
            }
            ServerPacket::Pubcomp(_)
            | ServerPacket::Suback(_)
            | ServerPacket::Unsuback(_)
            | ServerPacket::Pingresp
            | ServerPacket::Auth(_) => Ok(()),
        };
        if let Err(text) = result {
            self.checker.find(client, text);
        }
    }

    fn tap_connack(&mut self, number: usize, connack: &Connack) -> Result<(), String> {
        let client = self.connections[number].client;
        let tap = &mut self.checker.taps[number];
        tap.open = true;
        if connack.reason_code.is_error() {
            tap.ended = true;
            return Ok(());
        }
        if let Some(seconds) = connack.properties.server_keep_alive {
            tap.keep_alive = u64::from(seconds) * 1_500;
        }
        let one_session = self.clients[client].has_one_session();
        let session = &mut self.checker.sessions[client];
        session.uncertain |= !one_session && session.unanswered.iter().any(|other| *other < number);
        session.unanswered.retain(|other| *other > number);
        if !connack.session_present {
            let unanswered = std::mem::take(&mut session.unanswered);
            *session = SessionTap { unanswered, ..SessionTap::default() };
        }
        self.checker.presence.accepted(number, self.now, connack.session_present, &self.clocks)
    }

    fn tap_publish(&mut self, number: usize, publish: &OutgoingPublish) -> Result<(), String> {
        self.tap_expiry(publish)?;
        self.tap_group(number, publish)?;
        self.tap_receipt(number, publish)?;
        let client = self.connections[number].client;
        let message = self.checker.ledger.find(&publish.message.payload);
        let Some(id) = publish.packet_id.map(|id| id.number()) else {
            self.checker.ledger.sent_at_most_once.extend(message.map(|message| (client, message)));
            return Ok(());
        };
        let (tap, session) = (&mut self.checker.taps[number], &mut self.checker.sessions[client]);
        if !tap.in_flight.insert(id) {
            return Err(format!("identifier {id} is in use"));
        }
        if tap.in_flight.len() > tap.receive_maximum {
            return Err(format!("{} in flight, above {}", tap.in_flight.len(), tap.receive_maximum));
        }
        session.carried.extend(message.map(|message| (id, message)));
        // A message of a group is a new one for each member, and its identifier is not kept through a crash.
        let is_of_group = self.clients[client].consumer.as_ref().is_some_and(|consumer| consumer.group().is_some());
        if session.uncertain || is_of_group {
            return Ok(());
        }
        if session.released.contains(&id) || session.confirmed.contains(&id) {
            return Err(format!("identifier {id} is sent again after PUBREC"));
        }
        let payload = &publish.message.payload;
        // At QoS 1, a message lost in a crash frees its identifier, and gets the same one if it is published again.
        let keeps = publish.qos == Qos::ExactlyOnce || self.mix.keeps(&publish.message.topic);
        let is_new = session.crashed && !publish.dup && !keeps;
        match session.sent.get_mut(&id) {
            Some((before, place, on)) if before == payload && !is_new => {
                if !publish.dup {
                    return Err(format!("identifier {id} is repeated without DUP")); // [MQTT-3.3.1-1]
                }
                if *on == number {
                    return Err(format!("identifier {id} is repeated on the same connection")); // [MQTT-4.4.0-1]
                }
                if tap.fresh || *place < tap.last_repeat {
                    return Err(format!("identifier {id} is repeated out of order"));
                }
                tap.last_repeat = *place;
                *on = number;
            }
            _ if publish.dup && session.crashed => {
                // It keeps its new position, because the record of its completion was lost.
                session.sent.insert(id, (payload.clone(), tap.last_repeat, number));
            }
            _ if publish.dup => return Err(format!("identifier {id} has DUP, but was never sent")),
            _ => {
                tap.fresh = true;
                session.numbered += 1;
                session.sent.insert(id, (payload.clone(), session.numbered, number));
            }
        }
        Ok(())
    }

    /// An expired message is not sent, unless it was sent before. [MQTT-3.3.2-5]
    fn tap_expiry(&self, publish: &OutgoingPublish) -> Result<(), String> {
        let ledger = &self.checker.ledger;
        let message = ledger.find(&publish.message.payload).map(|number| &ledger.messages[number]);
        // Only a message that was read once has a definite age. A dead letter may be sent later.
        let is_letter = publish.message.topic.as_str() == LETTERS;
        let message = message.filter(|message| message.read == 1 && !publish.dup && !is_letter);
        let Some(message) = message else { return Ok(()) };
        let Some(expiry) = message.expiry else { return Ok(()) };
        let late = self.clocks.lost_since(message.read_at);
        let until = message.read_at + u64::from(expiry) * 1_000 + late;
        let remaining = publish.message_expiry_interval;
        if self.now >= until || remaining.is_none_or(|seconds| seconds > expiry) {
            return Err(format!("message {} has expired, and is sent with {remaining:?} s", message.number));
        }
        Ok(())
    }

    /// An acknowledgement must wait for the message's record.
    fn tap_acknowledgement(&mut self, number: usize, ack: &Ack) -> Result<(), String> {
        let id = ack.packet_id.number();
        let tap = &self.checker.taps[number];
        let Some(message) = tap.read.get(&id).map(|message| &self.checker.ledger.messages[*message]) else {
            return Ok(());
        };
        if self.mix.level_of(&message.topic) == Durability::None {
            return Ok(()); // any record is for its receivers only
        }
        if ack.reason_code.is_error() {
            return Self::check_refusal(message, ack.reason_code);
        }
        let companion = message.companion.map(|companion| &self.checker.ledger.messages[companion]);
        let records = message.records.iter().chain(companion.iter().flat_map(|companion| &companion.records));
        let unstable = records.into_iter().find(|(shard, ticket)| self.shards[*shard].stable < *ticket);
        match unstable {
            Some((_, ticket)) => {
                Err(format!("message {} is acknowledged, but its record {} is not stable", message.number, ticket.0))
            }
            None => Ok(()),
        }
    }

    fn tap_pubrel(&mut self, number: usize, ack: &Ack) -> Result<(), String> {
        let id = ack.packet_id.number();
        let session = &mut self.checker.sessions[self.connections[number].client];
        if ack.reason_code == ReasonCode::PacketIdentifierNotFound {
            return Ok(());
        }
        session.released.insert(id);
        if session.uncertain || session.confirmed.contains(&id) || session.finished.contains(&id) {
            Ok(())
        } else {
            Err(format!("PUBREL {id} without PUBREC"))
        }
    }

    /// A client that sent packets in time must not be disconnected for Keep Alive. [MQTT-3.1.2-22]
    pub(crate) fn check_keep_alive(&mut self, client: usize) {
        let number = self.checker.presence.last_ended();
        let Some(number) = number else { return };
        let (tap, paused) = (&self.checker.taps[number], self.connections[number].broker.paused);
        if paused || tap.keep_alive == 0 || self.now < tap.last_read + tap.keep_alive {
            let (at, last, keep_alive) = (self.now, tap.last_read, tap.keep_alive);
            let text =
                format!("Keep Alive timeout at {at} after {last} of {keep_alive}, while it is not read: {paused}");
            self.fail(Some(client), text);
        }
    }
}

/// Whether a PUBACK refuses its message.
const fn is_error(packet: &ClientPacket) -> bool {
    matches!(packet, ClientPacket::Puback(ack) if ack.reason_code.is_error())
}
