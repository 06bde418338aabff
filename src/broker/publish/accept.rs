//! From an accepted message to its receivers and its record.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::directory::message::Origin;
use crate::broker::persistence::record::{Addressed, InsteadOf, RetainedChange};
use crate::broker::publish::accepted::Kept;
use crate::broker::publish::admission::Room;
use crate::broker::publish::group::Groups;
use crate::broker::publish::ingress::{Outstanding, Parcel, Publisher};
use crate::broker::publish::route_cache::Resolved;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::Turn;
use crate::broker::{DropReason, Durability, Record, Shard, StoreRoom};
use crate::codec::{Message, MessageId, Qos, ReasonCode};
use crate::routing::{Current, Receiver, Retained, RetainedFull, Route, SessionKey, Subscriber};
use crate::session::{Application, Delivery, DeliveryPlace, Ticket};
use crate::topic::TopicName;

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
            return Verdict::Full(Box::new(application));
        }
        let chosen = choose_members(route, publisher, &application.message.topic);
        let Some(room) = self.room_for(publisher, &application, route, &chosen) else {
            return Verdict::Full(Box::new(application));
        };
        let id = (application.qos > Qos::AtMostOnce).then(|| self.next_message_id());
        let mut kept = Kept::new(application, id, resolved, turn.now);
        kept.level = level;
        if kept.retain && !self.retain(&mut kept, publisher) {
            room.free(publisher, route, &chosen);
            return Verdict::refused(ReasonCode::QuotaExceeded);
        }
        let holds = level > Durability::None && self.holds_copies(publisher, kept.qos);
        let mut distribution = Distribution::new(publisher.origin, room, level, holds);
        let concerns_store = holds || concerns_store(publisher, &kept);
        if let Some((receiver, publisher)) = lone_receiver(publisher, route, &chosen)
            && !concerns_store
            && !receiver.subscriber.is_durable()
        {
            if let Some(granted) = receiver.delivery(publisher) {
                self.distribute(&mut distribution, &receiver.subscriber, kept.into_delivery(granted), turn);
            }
            return Verdict::Answer { reason_code: distribution.reason_code(), wait: None }; // nearly always
        }
        for (place, receiver) in (0..).zip(&route.receivers) {
            if let Some(granted) = receiver.delivery(publisher.key) {
                distribution.place = Some(place);
                self.distribute(&mut distribution, &receiver.subscriber, kept.delivery(granted), turn);
            }
        }
        distribution.place = None;
        distribution.groups.forward(route, &kept, publisher, turn);
        for receiver in chosen {
            if let Some(granted) = receiver.delivery(None) {
                self.distribute(&mut distribution, &receiver.subscriber, kept.delivery(granted), turn);
            }
        }
        let reason_code = distribution.reason_code();
        let copies = distribution.copies;
        if !concerns_store && copies.durable.is_empty() {
            return Verdict::Answer { reason_code, wait: None };
        }
        let ticket = self.persist_accepted(publisher, kept, copies, turn);
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
        let entry = publisher.received.and_then(|(slot, _)| self.sessions.get(slot));
        comes_once
            || publisher.once.is_some()
            || publisher.instead_of.is_some()
            || entry.is_some_and(|entry| entry.held_until > self.stable)
    }

    /// What this publisher says next goes behind a message that came with a `dedup-id`, or behind one that went behind such a one.
    fn hold_later_copies(&mut self, publisher: &Publisher, ticket: Option<Ticket>) {
        let (Some((slot, _)), Some(ticket)) = (publisher.received, ticket) else { return };
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        if publisher.once.is_some() || entry.held_until > self.stable {
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
                distribution.copies.held.push((Arc::clone(to), Parcel { sequence, delivery }))
            }
            sequence => {
                if let Some(place) = distribution.place
                    && let Some(shard) = self.elsewhere(to)
                {
                    return distribution.groups.add(shard, place, sequence);
                }
                delivery.place = DeliveryPlace::Memory;
                self.deliver(to, Parcel { sequence, delivery }, distribution.origin, turn);
            }
        }
    }

    /// Makes a record of an accepted message, if anything of it must outlive the process.
    pub(in crate::broker) fn persist_accepted(
        &mut self,
        publisher: &Publisher,
        kept: Kept,
        copies: Copies,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        if kept.level == Durability::None {
            self.persist_left(publisher, turn);
            return None;
        }
        let Copies { durable, held } = copies;
        let received = publisher
            .received
            .filter(|_| kept.qos == Qos::ExactlyOnce)
            .and_then(|(slot, id)| self.sessions.get(slot).filter(|entry| entry.is_durable()).map(|e| (e, id)))
            .map(|(entry, packet_id)| (entry.subscriber.key, packet_id));
        let retained = kept.retained;
        let deduplicated = publisher.once.clone();
        let instead_of = publisher.instead_of;
        let origin = publisher.origin;
        let puts_nothing = durable.is_empty() && received.is_none() && !matches!(retained, RetainedChange::Set { .. });
        if puts_nothing && retained == RetainedChange::None && deduplicated.is_none() && instead_of.is_none() {
            if !held.is_empty() {
                // They go behind what its publisher said before: with the last that somebody waits for.
                let ticket = self.outstanding.back().map_or(self.stable, |last| last.ticket);
                self.outstanding.push_back(Outstanding { ticket, origin, deliveries: Arc::default(), held });
                self.hold_later_copies(publisher, Some(ticket));
            }
            return None;
        }
        let message = if puts_nothing && deduplicated.is_none() {
            Arc::new(Message::new(kept.message.topic.clone(), "")) // nothing refers to its content
        } else {
            kept.message
        };
        let deliveries = Arc::new(durable);
        let receivers = Arc::clone(&deliveries);
        let record = Record::Accepted {
            publisher: received,
            message,
            qos: kept.qos,
            expires_at: kept.expires_at,
            retained,
            deduplicated,
            receivers,
            durability: kept.level,
            instead_of,
        };
        let ticket = self.persist(record, turn);
        if !(deliveries.is_empty() && held.is_empty()) {
            self.outstanding.push_back(Outstanding { ticket, origin, deliveries, held });
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

    /// Sets or clears the retained message of a topic. `false` if the message is refused, because there is no room for it.
    fn retain(&mut self, kept: &mut Kept, publisher: &Publisher) -> bool {
        match self.set_retained(kept, publisher) {
            Ok(change) => kept.retained = change,
            Err(_) => {
                self.counters.dropped(DropReason::RetainedFull, 1);
                if kept.qos > Qos::AtMostOnce {
                    return false;
                }
                // What the topic had is not its last message any more. [MQTT-3.3.1-7 of 3.1.1]
                kept.retained = self.clear_retained(kept, publisher);
            }
        }
        true
    }

    /// [MQTT-3.3.1-5] [MQTT-3.3.1-6]
    fn set_retained(&mut self, kept: &Kept, publisher: &Publisher) -> Result<RetainedChange, RetainedFull> {
        let Kept { message, qos, expires_at, .. } = kept;
        if message.payload.is_empty() {
            return Ok(self.clear_retained(kept, publisher));
        }
        self.retained_open = true;
        let is_stored = publisher.key.is_some();
        let mut retained = self.shared.retained_mut();
        let replaced = retained.get(&message.topic).map(|before| before.number);
        let number = self.shared.retained_order.next(self.id);
        let publisher = publisher.client_id.clone();
        retained.set(Retained {
            message: Arc::clone(message),
            qos: *qos,
            expires_at: *expires_at,
            publisher: publisher.clone(),
            number,
            current: Current::default(),
        })?;
        if !is_stored {
            return Ok(RetainedChange::None); // what the broker itself retains is made anew after a restart
        }
        let gone = self.shared.retained_order.replace(number, replaced);
        Ok(RetainedChange::Set { number, gone, publisher })
    }

    /// Clears the retained message of a topic. If it has none, somebody else's record of that may not be stable: what is acknowledged has
    /// its own.
    fn clear_retained(&mut self, kept: &Kept, publisher: &Publisher) -> RetainedChange {
        let topic = &kept.message.topic;
        let mut retained = self.shared.retained_mut();
        let before = retained.get(topic).map(|before| before.number);
        let changes = before.is_some() || kept.qos > Qos::AtMostOnce;
        retained.clear(topic);
        if !changes || publisher.key.is_none() {
            return RetainedChange::None;
        }
        self.retained_open = true;
        let number = self.shared.retained_order.next(self.id);
        let gone = self.shared.retained_order.replace(number, before.into_iter().chain([number]));
        RetainedChange::Cleared { number, gone }
    }
}

/// One message on its way to all its receivers.
pub(in crate::broker) struct Distribution {
    pub(in crate::broker) origin: Option<Origin>,
    room: Room,
    /// That of the record; without one nobody waits.
    level: Durability,
    /// Whether all of it waits for the record.
    holds: bool,
    pub(in crate::broker) copies: Copies,
    /// Those for other shards that wait for nothing.
    groups: Groups,
    /// Which receiver of the route comes next, if it is one.
    place: Option<u32>,
    receivers: usize,
}

/// The copies of a message that wait for its record.
#[derive(Debug, Default)]
pub(in crate::broker) struct Copies {
    /// Those that are in it.
    pub(in crate::broker) durable: Vec<Addressed>,
    /// The others.
    pub(in crate::broker) held: Vec<(Arc<Subscriber>, Parcel)>,
}

/// What becomes of a message.
#[derive(Debug)]
pub(in crate::broker) enum Verdict {
    /// Its acknowledgement is this, when that is stable.
    Answer { reason_code: ReasonCode, wait: Option<Ticket> },
    /// A receiver or the disk has no room for it, and nobody gets it: here it is again.
    Full(Box<Application>),
    /// Whether it is a repeat turns out in a moment.
    Later(Box<Application>),
}

/// The members of shares that get a message.
pub(in crate::broker) type Chosen<'a> = SmallVec<[&'a Receiver; 2]>;

impl Distribution {
    fn new(origin: Option<Origin>, room: Room, level: Durability, holds: bool) -> Self {
        let (copies, groups) = (Copies::default(), Groups::default());
        Self { origin, room, level, holds, copies, groups, place: None, receivers: 0 }
    }

    /// A message that was accepted before, on its way to one more receiver: it must not be lost for want of room.
    pub(in crate::broker) fn again(level: Durability, instead_of: Option<InsteadOf>) -> Self {
        Self::new(None, Room::Given, level, instead_of.is_some())
    }

    const fn reason_code(&self) -> ReasonCode {
        if self.receivers == 0 { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success }
    }
}

impl Verdict {
    const fn refused(reason_code: ReasonCode) -> Self {
        Self::Answer { reason_code, wait: None }
    }
}

/// Whether an accepted message may be of concern to the store, whoever receives it.
fn concerns_store(publisher: &Publisher, kept: &Kept) -> bool {
    let is_received = kept.qos == Qos::ExactlyOnce && publisher.received.is_some();
    is_received || publisher.once.is_some() || publisher.instead_of.is_some() || kept.retained != RetainedChange::None
}

/// Who gets a message, if nobody else does, and as whose.
fn lone_receiver<'a>(
    publisher: &Publisher,
    route: &'a Route,
    chosen: &Chosen<'a>,
) -> Option<(&'a Receiver, Option<SessionKey>)> {
    match (&*route.receivers, &**chosen) {
        ([receiver], []) => Some((receiver, publisher.key)),
        ([], [receiver]) => Some((receiver, None)),
        _ => None,
    }
}

/// Which member of each share gets a message.
fn choose_members<'a>(route: &'a Route, publisher: &Publisher, topic: &TopicName) -> Chosen<'a> {
    route.shares.iter().filter_map(|share| share.choose(publisher.key, topic, None)).collect()
}
