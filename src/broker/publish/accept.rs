//! From an accepted message to its receivers and its record.

use std::sync::Arc;

use crate::broker::event::StoreRoom;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::pipeline::Outstanding;
use crate::broker::persistence::record::{Addressed, Record, RetainedChange};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::blocked::WaitsFor;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::publish::plan::{
    Admission, Copies, Distribution, Verdict, choose_members, concerns_store, lone_receiver, queueing,
};
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::route_cache::Resolved;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Message, MessageId, Qos, ReasonCode};
use crate::routing::{Route, Subscriber};
use crate::session::{Application, Delivery, DeliveryPlace, Ticket};

impl Shard {
    /// Takes ownership of a message: it becomes the retained one of its topic if it says so, and goes to all who want it.
    pub(in crate::broker) fn accept(
        &mut self,
        publisher: &Publisher,
        application: Application,
        turn: &mut Turn<'_>,
    ) -> Verdict {
        // Out of the way, so that what is in it needs no count of its own. A dead letter on this message's way does without.
        let mut routes = std::mem::take(&mut self.routes);
        let resolved = routes.resolve(&self.shared, &self.settings, &application.message.topic);
        let verdict = self.accept_for(resolved, publisher, application, turn);
        self.routes = routes;
        verdict
    }

    fn accept_for(
        &mut self,
        resolved: &Resolved,
        publisher: &Publisher,
        application: Application,
        turn: &mut Turn<'_>,
    ) -> Verdict {
        let route = &resolved.route;
        // What is somewhere in the store already goes on there.
        let topic_level = if publisher.instead_of.is_some() { Durability::PowerLoss } else { resolved.level };
        let level = topic_level.of_record(&application, route);
        let waits = topic_level > Durability::None || application.retain;
        let needs_store = || level > Durability::None && self.needs_store(publisher, &application, route);
        // A stored Will takes no more room where it goes than where it was.
        let needs_room = || publisher.instead_of.is_none() && needs_store();
        if self.store_room == StoreRoom::None && needs_room() {
            return Verdict::full(application, WaitsFor::Disk);
        }
        let chosen = choose_members(route, publisher, &application.message.topic);
        let room = match self.room_for(publisher, &application, route, &chosen) {
            Ok(room) => room,
            Err((room, taken)) => {
                self.free_reserved(room.bytes, queueing(publisher, route, &chosen).take(taken), turn);
                return Verdict::full(application, WaitsFor::Queue(room));
            }
        };
        let id = (application.qos > Qos::AtMostOnce).then(|| self.next_message_id());
        let mut accepted = AcceptedMessage::new(application, id, resolved, turn.now);
        accepted.level = level;
        if accepted.retain && !self.retain(&mut accepted, publisher) {
            if let Admission::Reserved { bytes } = room {
                self.free_reserved(bytes, queueing(publisher, route, &chosen), turn);
            }
            return Verdict::refused(ReasonCode::QuotaExceeded);
        }
        let holds = level > Durability::None && self.holds_copies(publisher, accepted.qos);
        let mut distribution = Distribution::new(publisher.origin, room, level, holds);
        let concerns_store = holds || concerns_store(publisher, &accepted);
        if let Some((receiver, publisher)) = lone_receiver(publisher, route, &chosen)
            && !concerns_store
            && !receiver.subscriber.is_durable()
        {
            if let Some(granted) = receiver.delivery(publisher) {
                self.distribute(&mut distribution, &receiver.subscriber, accepted.into_delivery(granted), turn);
            }
            return Verdict::Answer { reason_code: distribution.reason_code(), wait: None }; // nearly always
        }
        for (place, receiver) in (0..).zip(&route.receivers) {
            if let Some(granted) = receiver.delivery(publisher.key) {
                distribution.place = Some(place);
                self.distribute(&mut distribution, &receiver.subscriber, accepted.delivery(granted), turn);
            }
        }
        distribution.place = None;
        Self::forward_groups(&mut distribution.groups, route, &accepted, publisher, turn);
        for receiver in chosen {
            if let Some(granted) = receiver.delivery(None) {
                self.distribute(&mut distribution, &receiver.subscriber, accepted.delivery(granted), turn);
            }
        }
        let reason_code = distribution.reason_code();
        let copies = distribution.copies;
        if !concerns_store && copies.durable.is_empty() {
            return Verdict::Answer { reason_code, wait: None };
        }
        let ticket = self.persist_accepted(publisher, accepted, copies, turn);
        self.hold_later_copies(publisher, ticket);
        Verdict::Answer { reason_code, wait: ticket.filter(|_| waits) }
    }

    /// The identity of the next message: each shard counts its own.
    fn next_message_id(&mut self) -> MessageId {
        self.messages += 1;
        MessageId { run: self.shared.run, number: u64::from(self.id.0) << 48 | self.messages }
    }

    /// Whether a message at QoS 1 or 2 can't be acknowledged without a record.
    fn needs_store(&self, publisher: &Publisher, application: &Application, route: &Route) -> bool {
        application.qos > Qos::AtMostOnce
            && (application.retain
                || publisher.once.is_some()
                || self.keeps_received(publisher)
                || !route.shares.is_empty()
                || route.receivers.iter().any(|receiver| receiver.subscriber.is_durable()))
    }

    /// Whether the Packet Identifier of a message survives, if it has one.
    fn keeps_received(&self, publisher: &Publisher) -> bool {
        publisher.received.is_some_and(|(slot, _)| self.sessions.get(slot).is_some_and(SessionSlot::is_durable))
    }

    /// Whether the copies of a message that need no record wait for its record all the same. If a crash took it, the message would be
    /// accepted once more, and must not have been seen before. What its publisher says later doesn't overtake it. [MQTT-4.6.0-6]
    fn holds_copies(&self, publisher: &Publisher, qos: Qos) -> bool {
        let comes_once = qos == Qos::ExactlyOnce && self.keeps_received(publisher);
        comes_once
            || publisher.once.is_some()
            || publisher.instead_of.is_some()
            || !self.pipeline.is_stable(self.held_until(publisher))
    }

    /// The ticket that all copies of this publisher's messages wait for.
    fn held_until(&self, publisher: &Publisher) -> Ticket {
        let entry = publisher.received.and_then(|(slot, _)| self.sessions.get(slot));
        entry.map_or(Ticket::default(), |entry| entry.held_until)
    }

    /// What this publisher says next goes behind a message that came with a `dedup-id`, or behind one that went behind such a one.
    fn hold_later_copies(&mut self, publisher: &Publisher, ticket: Option<Ticket>) {
        let (Some((slot, _)), Some(ticket)) = (publisher.received, ticket) else { return };
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        if publisher.once.is_some() || !self.pipeline.is_stable(entry.held_until) {
            entry.held_until = entry.held_until.max(ticket);
        }
    }

    /// One message to one receiver: at once, or when its record is stable.
    pub(in crate::broker) fn distribute(
        &mut self,
        distribution: &mut Distribution,
        to: &Arc<Subscriber>,
        mut delivery: Delivery,
        turn: &mut Turn<'_>,
    ) {
        distribution.receivers += 1;
        if delivery.qos > Qos::AtMostOnce && !self.take_room(&distribution.room, to, &delivery) {
            return self.drop_newest(to, &delivery, turn);
        }
        let sequence = (delivery.qos > Qos::AtMostOnce).then(|| to.take_sequence());
        match sequence {
            Some(sequence) if distribution.level > Durability::None && to.is_durable() => {
                delivery.place = DeliveryPlace::Record;
                distribution.copies.durable.push(Addressed { to: Arc::clone(to), sequence, delivery })
            }
            sequence if distribution.holds => {
                delivery.place = DeliveryPlace::Memory;
                distribution.copies.held.push((Arc::clone(to), SequencedDelivery { sequence, delivery }))
            }
            sequence => {
                if let Some(place) = distribution.place
                    && let Some(shard) = self.elsewhere(to)
                {
                    return distribution.groups.add(shard, place, sequence);
                }
                delivery.place = DeliveryPlace::Memory;
                self.deliver(to, SequencedDelivery { sequence, delivery }, distribution.origin, turn);
            }
        }
    }

    /// Makes a record of an accepted message, if anything of it must outlive the process.
    pub(in crate::broker) fn persist_accepted(
        &mut self,
        publisher: &Publisher,
        accepted: AcceptedMessage,
        copies: Copies,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        if accepted.level == Durability::None {
            self.persist_left(publisher, turn);
            return None;
        }
        let Copies { durable, held } = copies;
        let received = publisher
            .received
            .filter(|_| accepted.qos == Qos::ExactlyOnce)
            .and_then(|(slot, id)| self.sessions.get(slot).filter(|entry| entry.is_durable()).map(|e| (e, id)))
            .map(|(entry, packet_id)| (entry.subscriber.key, packet_id));
        let retained = accepted.retained;
        let deduplicated = publisher.once.clone();
        let instead_of = publisher.instead_of;
        let origin = publisher.origin;
        let puts_nothing = durable.is_empty() && received.is_none() && !matches!(retained, RetainedChange::Set { .. });
        if puts_nothing && retained == RetainedChange::None && deduplicated.is_none() && instead_of.is_none() {
            if !held.is_empty() {
                let ticket = self.pipeline.defer_behind(self.held_until(publisher), origin, held);
                self.hold_later_copies(publisher, Some(ticket));
            }
            return None;
        }
        let message = if puts_nothing && deduplicated.is_none() {
            Arc::new(Message::new(accepted.message.topic.clone(), "")) // nothing refers to its content
        } else {
            accepted.message
        };
        let deliveries = Arc::new(durable);
        let receivers = Arc::clone(&deliveries);
        let record = Record::Accepted {
            publisher: received,
            message,
            qos: accepted.qos,
            expires_at: accepted.expires_at,
            retained,
            deduplicated,
            receivers,
            durability: accepted.level,
            instead_of,
        };
        let ticket = self.persist(record, turn);
        if !(deliveries.is_empty() && held.is_empty()) {
            self.pipeline.defer(Outstanding { ticket, origin, deliveries, held });
        }
        Some(ticket)
    }

    /// What left the deduplication window for a message without a record may have one.
    fn persist_left(&mut self, publisher: &Publisher, turn: &mut Turn<'_>) {
        let left = publisher.once.as_ref().map(|entry| &entry.left).filter(|left| !left.is_empty());
        if let Some(numbers) = left.cloned() {
            self.persist(Record::Forgotten { numbers }, turn);
        }
    }
}
