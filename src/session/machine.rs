mod end;
mod figures;
mod redelivery;
mod responses;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::connection::Connection;
use super::inbound::{Answer, Arrival, Inbound};
use super::limits::SHORT_ALIAS_MAX;
use super::outgoing::Outgoing;
use super::{
    Action, Actions, Application, Delivery, DropCause, Ended, Event, Limits, Link, ProtocolError, Redelivery,
    RestoredMessage, Rights, Ticket,
};
use crate::codec::{Ack, ClientPacket, Connack, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, ServerPacket};
use crate::timestamp::Timestamp;

/// A client's Session: the rules of MQTT, without sockets, clocks and tasks.
///
/// [`handle`](Self::handle) applies an event at a given time and emits [`Action`]s for the caller, in order. A Session
/// outlives its Network Connections, and moves between shards as plain data.
#[derive(Debug)]
pub struct Session {
    inbound: Inbound,
    pub(super) outgoing: Outgoing,
    connection: Connection,
    /// Whether the client requested the identity of each message.
    message_ids: bool,
    /// The last ticket reported as stable.
    stable: Ticket,
}

impl Session {
    /// A new Session. Its first queued message will have the sequence `first_sequence`, at least 1.
    pub fn new(limits: Arc<Limits>, first_sequence: u64) -> Self {
        Self {
            inbound: Inbound::default(),
            outgoing: Outgoing::new(first_sequence.max(1), limits),
            connection: Connection::default(),
            message_ids: false,
            stable: Ticket::default(),
        }
    }

    /// A recovered Session with these received identifiers and this queue. Messages before the sequence `sent_until`
    /// may have been sent. `redeliveries` are the states of messages of the queue that the client has refused.
    pub fn restored(
        limits: Arc<Limits>,
        received: Vec<PacketId>,
        (mut queue, redeliveries): (BTreeMap<u64, RestoredMessage>, BTreeMap<u64, Redelivery>),
        sent_until: u64,
    ) -> Self {
        let inbound = Inbound::restored(received);
        let parked = Self::take_parked(&mut queue, &redeliveries);
        let outgoing = Outgoing::restored(queue, sent_until, Arc::clone(&limits));
        let mut session = Self { inbound, outgoing, ..Self::new(limits, 1) };
        session.restore_redeliveries(redeliveries, parked);
        session
    }

    /// Applies `event` at `now` and appends actions for the caller to `actions`.
    #[inline(always)]
    pub fn handle(&mut self, now: Timestamp, event: Event, actions: &mut impl Actions) {
        let Event::Packet(packet) = event else { return self.on_event(now, event, actions) };
        if let Err(error) = self.on_packet(now, packet, actions) {
            actions.push(Action::End(Ended::ByError(error)));
        }
    }

    /// Adds the identity to each message from now on, for the lifetime of the Session, because the client requested it.
    pub fn want_message_ids(&mut self) {
        self.message_ids = true;
        if let Some(link) = &mut self.connection.link {
            link.message_ids = true;
        }
    }

    /// Sets whether new messages have records in the store, so that they need not stay in memory.
    pub fn set_recorded(&mut self, recorded: bool) {
        self.outgoing.set_recorded(recorded);
    }

    /// Messages before the sequence `before`, which may not have arrived yet, were accepted under other rights than these.
    pub fn recheck(&mut self, before: u64, rights: Arc<dyn Rights>) {
        if before > self.outgoing.sent_until() || self.outgoing.queue().is_some() {
            self.outgoing.need_queue().recheck(before, rights);
        }
    }

    /// Sets the limits, for a Session that comes from another shard or has got another owner.
    pub fn set_limits(&mut self, limits: Arc<Limits>) {
        self.outgoing.set_limits(limits);
    }

    /// Removes tickets of its shard, which are all stable, before it moves to another shard.
    pub fn forget_shard(&mut self) {
        self.inbound.forget_tickets();
        if let Some(queue) = self.outgoing.queue_mut() {
            queue.head.forget_fetch();
            if let Some(redelivery) = &mut queue.redelivery {
                redelivery.forget_shard();
            }
        }
        self.stable = Ticket::default();
    }

    #[inline(always)]
    fn on_event(&mut self, now: Timestamp, event: Event, actions: &mut impl Actions) {
        match event {
            Event::Packet(_) => {}
            Event::Connected { link, connack, wait } => {
                self.on_connected(link, connack, wait, actions);
                self.send(now, actions);
            }
            Event::Answered { packet_id, qos, reason_code, wait, duplicate } => {
                self.on_answered(Answer { packet_id, qos, reason_code, wait, duplicate }, None, actions);
            }
            Event::AnsweredInDetail { packet_id, qos, reason_code, wait, told, late } => {
                self.on_answered_in_detail((packet_id, qos), reason_code, (wait, (told, late)), actions);
            }
            Event::Refused { packet_id, qos, reason_code, sentence } => {
                self.on_answered(Answer::refusal(packet_id, qos, reason_code), Some(&sentence), actions);
            }
            Event::Withdrawn(packet_id) => self.inbound.refused(packet_id),
            Event::Respond { packet, wait } => self.respond(packet, wait, actions),
            Event::HoldLast(hold) => self.connection.hold_last(hold),
            Event::HoldEnded(hold) => self.on_hold_ended(hold, actions),
            Event::DeliverQos0(delivery) => self.on_deliver_qos0(now, &delivery, actions),
            Event::Deliver(sequence, delivery) => {
                let queue = self.outgoing.need_queue();
                let end = queue.end();
                queue.enqueue(sequence, delivery, actions);
                self.send(now, actions);
                if let Some(queue) = self.outgoing.queue_mut() {
                    queue.note_waiting(sequence, actions);
                    queue.unload_from(end);
                }
            }
            Event::Fetched(fetch, messages) => {
                if let Some(queue) = self.outgoing.queue_mut() {
                    queue.on_fetched(fetch, messages, actions);
                }
                self.send(now, actions);
            }
            Event::Parking(parking) => self.on_parking(now, parking, actions),
            Event::Persisted(ticket) => self.on_persisted(now, ticket, actions),
            Event::Room(bytes) => self.on_room(now, bytes, actions),
            Event::RightsChanged(rights) => {
                if let Some(queue) = self.outgoing.queue_mut() {
                    queue.recheck(queue.end(), rights);
                    queue.drop_denied_shares(0, actions);
                }
            }
            Event::Expire => {
                if let Some(queue) = self.outgoing.queue_mut() {
                    queue.drop_expired(now, actions);
                }
            }
            Event::LimitsChanged(limits) => {
                self.outgoing.set_limits(limits);
                if let Some(queue) = self.outgoing.queue_mut() {
                    queue.shrink_head();
                }
                self.send(now, actions);
            }
            Event::Disconnected => {
                self.connection = Connection::default();
                if let Some(queue) = self.outgoing.queue_mut() {
                    queue.withdraw_groups();
                }
                self.outgoing.restart(false);
                self.outgoing.rest();
            }
        }
    }

    fn on_packet(
        &mut self,
        now: Timestamp,
        packet: ClientPacket,
        actions: &mut impl Actions,
    ) -> Result<(), ProtocolError> {
        match packet {
            ClientPacket::Publish(publish) => self.on_publish(publish, actions)?,
            ClientPacket::Puback(ack) => self.outgoing.need_queue().on_puback(&ack, actions)?,
            ClientPacket::Pubrec(ack) => {
                let link = self.connection.link.as_deref();
                self.outgoing.need_queue().on_pubrec(&ack, link, actions)?;
            }
            ClientPacket::Pubrel(ack) => self.on_pubrel(&ack, actions),
            ClientPacket::Pubcomp(ack) => self.outgoing.need_queue().on_pubcomp(ack.packet_id, actions)?,
            ClientPacket::Subscribe(subscribe) => actions.push(Action::Subscribe(subscribe)),
            ClientPacket::Unsubscribe(unsubscribe) => actions.push(Action::Unsubscribe(unsubscribe)),
            ClientPacket::Pingreq => actions.send(ServerPacket::Pingresp), // [MQTT-3.12.4-1]
            ClientPacket::Disconnect(disconnect) => actions.push(Action::End(Ended::ByClient(disconnect))),
            ClientPacket::Auth(auth) => actions.push(Action::Reauthenticate(auth)),
            ClientPacket::Connect(_) => return Err(ProtocolError::SecondConnect),
        }
        self.send(now, actions);
        Ok(())
    }

    /// Unacknowledged messages are sent again after CONNACK; state of the previous connection is discarded.
    fn on_connected(
        &mut self,
        mut link: Box<Link>,
        connack: Box<Connack>,
        wait: Option<Ticket>,
        actions: &mut impl Actions,
    ) {
        link.message_ids = self.message_ids;
        link.announce(self.outgoing.limits());
        self.inbound.restart();
        self.outgoing.restart(true);
        self.connection = Connection::new(link);
        self.respond(ServerPacket::Connack(connack), wait, actions);
    }

    fn on_publish(&mut self, mut publish: Publish, actions: &mut impl Actions) -> Result<(), ProtocolError> {
        let Some(link) = self.connection.link.as_mut() else { return Ok(()) };
        let limits = &**self.outgoing.limits();
        if publish.qos > link.maximum_qos {
            return Err(ProtocolError::QosNotSupported);
        }
        if publish.retain && !link.retain_available {
            return Err(ProtocolError::RetainNotSupported);
        }
        if let Some(alias) = publish.topic_alias {
            if limits.is_memory_short && publish.message.topic.as_str().len() > SHORT_ALIAS_MAX {
                return Err(ProtocolError::MemoryShort);
            }
            link.inbound_aliases.resolve(alias, &mut publish.message)?;
        }
        // 3.1.1 has no Receive Maximum; the owner bounds waiting messages by pausing reads.
        let v5 = link.version == ProtocolVersion::V5;
        let receive_maximum = if v5 { link.receive_maximum } else { u16::MAX };
        if let Some(id) = publish.packet_id {
            if publish.qos == Qos::ExactlyOnce {
                if let Arrival::Repeat(wait) = self.inbound.on_publish_qos2(id, receive_maximum)? {
                    let pubrec = ServerPacket::Pubrec(Ack::new(id, ReasonCode::Success));
                    if publish.retain && link.tells_repeats {
                        self.connection.hold(wait.max(self.connection.last_held()).unwrap_or_default(), pubrec);
                        actions.push(Action::Repeated);
                    } else {
                        self.respond(pubrec, wait, actions);
                    }
                    return Ok(());
                }
            } else {
                self.inbound.on_publish_qos1(receive_maximum)?;
                if v5 && self.inbound.is_awaiting_pubrel(id) {
                    self.on_answered(
                        Answer::refusal(id, publish.qos, ReasonCode::PacketIdentifierInUse),
                        None,
                        actions,
                    );
                    return Ok(());
                }
            }
        }
        let wrong_format = limits.validate_payload_format
            && publish.message.properties.payload_is_utf8()
            && std::str::from_utf8(&publish.message.payload).is_err();
        if wrong_format {
            let Some(id) = publish.packet_id else { return Err(ProtocolError::PayloadFormatInvalid) };
            self.on_answered(Answer::refusal(id, publish.qos, ReasonCode::PayloadFormatInvalid), None, actions);
            return Ok(());
        }
        actions.push(Action::Publish(Application {
            is_topic_copied: publish.is_topic_copied,
            message: publish.message,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            message_expiry_interval: publish.message_expiry_interval,
        }));
        Ok(())
    }

    /// Sends PUBACK or PUBREC. 3.1.1 has no negative acknowledgement: a refused message is acknowledged and dropped.
    /// [MQTT-3.3.5-2] `sentence`: why it is refused, if that is more specific than the Reason Code.
    fn on_answered(&mut self, answer: Answer, sentence: Option<&str>, actions: &mut impl Actions) {
        let Answer { packet_id: id, qos, reason_code, wait, duplicate } = answer;
        let Some(link) = &self.connection.link else { return };
        let refused_5 = reason_code.is_error() && link.version == ProtocolVersion::V5;
        let mut ack = Ack::new(id, reason_code);
        if refused_5 {
            ack.details = link.details_of_refusal(&ack, sentence);
        } else if duplicate {
            ack.details = link.details_of_duplicate(&ack);
        }
        if qos == Qos::ExactlyOnce && refused_5 {
            self.inbound.refused(id);
            return self.respond(ServerPacket::Pubrec(ack), wait, actions);
        }
        self.acknowledge(ack, qos, wait, actions);
    }

    /// Sends PUBACK or PUBREC for a message that is not refused to a 5.0 client.
    #[inline(always)]
    fn acknowledge(&mut self, ack: Ack, qos: Qos, wait: Option<Ticket>, actions: &mut impl Actions) {
        if qos == Qos::ExactlyOnce {
            self.inbound.accepted(ack.packet_id, wait);
            self.respond(ServerPacket::Pubrec(ack), wait, actions);
        } else {
            self.respond(ServerPacket::Puback(ack), wait, actions);
        }
    }

    /// PUBREL releases the identifier when that is stable; an unknown one is already released. [MQTT-4.3.3-11]
    fn on_pubrel(&mut self, ack: &Ack, actions: &mut impl Actions) {
        if self.inbound.release(ack.packet_id) {
            actions.push(Action::Release(ack.packet_id));
        } else if let Some(link) = &self.connection.link {
            let pubcomp = link.unknown_packet_id(ServerPacket::Pubcomp, ack);
            self.respond(pubcomp, None, actions);
        }
    }

    fn on_deliver_qos0(&mut self, now: Timestamp, delivery: &Delivery, actions: &mut impl Actions) {
        let Some(link) = self.connection.link.as_mut().filter(|link| link.open) else {
            return actions.push(Action::dropped(DropCause::NotConnected, delivery));
        };
        if delivery.expires_at <= now {
            return actions.push(Action::dropped(DropCause::Expired, delivery));
        }
        match delivery.publish(now, None, false, link) {
            Ok(publish) => actions.send(ServerPacket::Publish(publish)),
            Err(cause) => actions.push(Action::dropped(cause, delivery)),
        }
    }

    #[inline(always)]
    pub(super) fn send(&mut self, now: Timestamp, actions: &mut impl Actions) {
        if self.outgoing.queue().is_some_and(|queue| !queue.is_all_sent()) {
            self.send_queued(now, actions);
        }
    }

    fn send_queued(&mut self, now: Timestamp, actions: &mut impl Actions) {
        if let Some(link) = self.connection.link.as_mut().filter(|link| link.open)
            && let Some(queue) = self.outgoing.queue_mut()
        {
            let mut room = link.room;
            queue.send(now, link, &mut room, actions);
            link.room = room;
        }
    }
}
