//! Accepts a message: selects its receivers, reserves room in their queues, and writes its record.

use std::mem;
use std::sync::{Arc, RwLockWriteGuard};

use crate::broker::cells::{CellReceivers, ChosenShares};
use crate::broker::directory::state::Shared;
use crate::broker::event::StoreRoom;
use crate::broker::ids::Origin;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::pipeline::{HeldCopies, Outstanding};
use crate::broker::persistence::receipt::ReceiptChange;
use crate::broker::persistence::record::{Addressed, Record, RetainedChange};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::blocked::WaitsFor;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::publish::plan::{
    Admission, Chosen, Copies, Distribution, Verdict, choose_members, may_need_record, only_receiver,
    queueing_receivers,
};
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::resolved::Resolved;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::number::StreamNumber;
use crate::codec::{Message, PacketId, Qos, ReasonCode};
use crate::routing::{RetainedStore, Route, SessionKey, ShareViews, Subscriber};
use crate::session::{Application, Delivery, DeliveryPlace, Ticket};

impl Shard {
    /// Accepts a message: retains it if RETAIN is set, and delivers it to every matching Session.
    pub(in crate::broker) fn accept(
        &mut self,
        publisher: &Publisher,
        application: Application,
        turn: &mut Turn<'_>,
    ) -> Verdict {
        // Taken out of `self` to avoid cloning the `Arc` of the route. Re-entrant publishes (dead letters) see an empty cache.
        let mut routes = self.routes.take().unwrap_or_default();
        // Locked before the route is resolved and until the message is retained. SUBSCRIBE holds the same lock while it inserts its
        // subscriptions and creates its cursors, so a new subscription gets the message once: by the route or by its cursor.
        let shared = application.retain.then(|| Arc::clone(&self.shared));
        let retained = shared.as_deref().map(Shared::retained_mut);
        let resolved = routes.resolve(&self.shared, &self.settings, &application.message.topic);
        let has_shares = !resolved.route.shares.is_empty();
        let mut views = if has_shares { mem::take(&mut self.share_views) } else { ShareViews::default() };
        let mut cells = self.other_cells(publisher, (&application.message.topic, application.retain));
        let chosen = self.choose_for_shares(publisher, (&resolved.route, &application.message), &mut cells);
        let verdict = self.accept_for((resolved, retained, &mut views), (publisher, cells, chosen), application, turn);
        self.routes = Some(routes);
        if has_shares {
            self.share_views = views;
        }
        verdict
    }

    /// The same for a message whose receivers are known, but for those of shares. Inlined, because it is on the path of each message. `cells`: further ones, which are other cells or chosen members.
    #[inline(always)]
    pub(in crate::broker) fn accept_for(
        &mut self,
        (resolved, retained, views): (&Resolved, Option<RwLockWriteGuard<'_, RetainedStore>>, &mut ShareViews),
        (publisher, cells, chosen): (&Publisher, CellReceivers, ChosenShares),
        application: Application,
        turn: &mut Turn<'_>,
    ) -> Verdict {
        let route = &resolved.route;
        // The record replaces a stored message (a Will, a message of a share), so it must be as durable.
        let topic_level = if publisher.instead_of.is_some() { Durability::PowerLoss } else { resolved.level };
        let (streams, is_in_stream) = self.streams_entered(resolved, publisher, application.qos);
        let is_for_cells = !cells.is_empty() && self.enters_links(&cells, &application);
        let is_owed = is_in_stream || is_for_cells;
        let level = topic_level.of_record(&application, route, is_owed);
        let waits = topic_level > Durability::None || application.retain || is_in_stream;
        let needs_store = || level > Durability::None && (is_owed || self.needs_store(publisher, &application, route));
        // A message that is stored already needs no further room on the disk.
        let needs_room = || publisher.instead_of.is_none() && needs_store();
        if self.store_room == StoreRoom::None && needs_room() {
            return Verdict::full(application, WaitsFor::Disk);
        }
        let chosen = choose_members(views, (route, &chosen, cells), publisher, &application.message.topic);
        let room = match self.room_for(publisher, &application, route, &chosen) {
            Ok(room) => room,
            Err((room, taken)) => {
                self.free_reserved(room.bytes, queueing_receivers(publisher, route, &chosen).take(taken), turn);
                return Verdict::full(application, WaitsFor::Queue(room));
            }
        };
        let stamp = self.stamp(publisher, &application).map(|stamp| (stamp, false));
        let mut new_id = || (self.identifiers.next_message_id(), self.journeys.admits(turn.now));
        let id = stamp.or_else(|| (application.qos > Qos::AtMostOnce).then(&mut new_id));
        let is_told = is_in_stream && (self.shared.groups.exist() || self.wants_details(publisher));
        let mut accepted = AcceptedMessage::new(application, id, (resolved, is_for_cells), turn.now);
        accepted.enter(level, (streams, is_told));
        if let Some(retained) = retained
            && !self.retain(retained, &mut accepted, publisher, turn)
        {
            if let Admission::Reserved { bytes } = room {
                self.free_reserved(bytes, queueing_receivers(publisher, route, &chosen), turn);
            }
            return Verdict::refused(ReasonCode::QuotaExceeded);
        }
        self.fan_out((resolved, &chosen, room), publisher, (accepted, waits), turn)
    }

    /// Whether the client that publishes wants to know what was done with its message.
    #[cold]
    pub(in crate::broker) fn wants_details(&self, publisher: &Publisher) -> bool {
        let connection = publisher.slot.and_then(|slot| self.sessions.get(slot)?.connection);
        connection.and_then(|id| self.connection(id)).is_some_and(|connection| connection.wants_details())
    }

    /// Delivers an admitted message to its receivers and writes its record. `waits`: its acknowledgement is sent when the record is stable.
    #[inline(always)]
    pub(in crate::broker) fn fan_out(
        &mut self,
        (resolved, chosen, room): (&Resolved, &Chosen<'_>, Admission),
        publisher: &Publisher,
        (accepted, waits): (AcceptedMessage, bool),
        turn: &mut Turn<'_>,
    ) -> Verdict {
        let (route, level) = (&resolved.route, accepted.level);
        let must_wait = || match level {
            // It has no record, but must not overtake a batch of the publisher, which is more durable. [MQTT-4.6.0-6]
            Durability::None => !self.pipeline.is_stable(self.copies_held_until(publisher)),
            Durability::Crash | Durability::PowerLoss => self.copies_must_wait(publisher, accepted.qos),
        };
        let copies_wait = self.is_grouping() || must_wait();
        let only = only_receiver(publisher, route, chosen);
        let has_receivers = !(route.receivers.is_empty() && chosen.is_empty());
        let only_key = only.map(|(receiver, _)| receiver.subscriber.key);
        let origin = if has_receivers { self.origin_of(publisher, only_key, turn.now) } else { None };
        let mut distribution = Distribution::new(origin, room, level, copies_wait, resolved.published());
        let may_need_record = copies_wait
            || !accepted.streams.is_empty()
            || may_need_record(publisher, &accepted)
            || self.is_fenced_by_record(&accepted);
        let noted = self.note_accepted(&accepted, publisher, waits, turn);
        if let Some((receiver, publisher)) = only
            && !may_need_record
            && !receiver.subscriber.is_durable()
        {
            if let Some(granted) = receiver.delivery(publisher) {
                self.distribute(&mut distribution, &receiver.subscriber, accepted.into_delivery(granted), turn);
            }
            self.note_receivers(noted, distribution.receivers);
            // Fast path: one transient receiver, nothing to persist.
            return Verdict::Answer { reason_code: distribution.reason_code(), wait: None };
        }
        for (place, receiver) in route.receivers.places() {
            if let Some(granted) = receiver.delivery(publisher.key) {
                distribution.place = Some(place);
                self.distribute(&mut distribution, &receiver.subscriber, accepted.delivery(granted), turn);
            }
        }
        distribution.place = None;
        Self::forward_groups(&mut distribution, route, &accepted, publisher, turn);
        let source = self.source_for_cells(publisher, &accepted);
        for receiver in chosen {
            if let Some(granted) = receiver.delivery(None) {
                let mut delivery = accepted.delivery(granted);
                self.make_for_cell(&receiver.subscriber, &mut delivery, source.as_ref());
                self.distribute(&mut distribution, &receiver.subscriber, delivery, turn);
            }
        }
        self.note_receivers(noted, distribution.receivers);
        let (reason_code, copies) = (distribution.reason_code(), distribution.copies);
        if !may_need_record && copies.durable.is_empty() {
            return Verdict::Answer { reason_code, wait: None };
        }
        if self.shared.cell.is_some() {
            self.note_owed(publisher, &accepted, &copies.durable);
        }
        let ticket = self.persist_accepted(publisher, accepted, copies, turn);
        self.journeys.recorded(noted, ticket);
        self.defer_later_copies(publisher, ticket);
        Verdict::Answer { reason_code, wait: ticket.filter(|_| waits) }
    }

    /// Begins the journey of a message that has one, and its trace. `waits`: its acknowledgement is sent when its record is stable.
    #[inline]
    fn note_accepted(
        &mut self,
        accepted: &AcceptedMessage,
        publisher: &Publisher,
        waits: bool,
        turn: &mut Turn<'_>,
    ) -> Option<u64> {
        if self.settings.traced_per_million.is_some() {
            self.sample(accepted, publisher, waits, turn);
        }
        let id = accepted.message.id.filter(|_| accepted.message.is_noted)?;
        Some(self.journeys.accepted((id, accepted.qos), publisher, accepted.message.topic.as_str(), turn.now))
    }

    /// Keeps the number of receivers of a message: for its publisher, and in its journey.
    #[inline]
    fn note_receivers(&mut self, noted: Option<u64>, receivers: usize) {
        self.receivers = receivers;
        self.journeys.matched(noted, receivers);
    }

    /// The streams that a message enters, and whether there are any. While the disk is full, a message at QoS 0 enters none, because it has no
    /// acknowledgement that could tell its publisher of the full disk.
    #[inline]
    fn streams_entered<'a>(
        &self,
        resolved: &'a Resolved,
        publisher: &Publisher,
        qos: Qos,
    ) -> (&'a [StreamNumber], bool) {
        let is_full = self.store_room == StoreRoom::None;
        let is_left_out = is_full && qos == Qos::AtMostOnce && publisher.instead_of.is_none();
        let streams = if is_left_out { &[] } else { resolved.streams() };
        (streams, !streams.is_empty())
    }

    /// Whether a message at QoS 1 or 2 that no stream keeps needs a record.
    fn needs_store(&self, publisher: &Publisher, application: &Application, route: &Route) -> bool {
        application.qos > Qos::AtMostOnce
            && (application.retain
                || publisher.deduplicated.is_some()
                || publisher.receipt.is_some()
                || self.stores_received_ids(publisher)
                || !route.shares.is_empty()
                || route.receivers.iter().any(|receiver| receiver.subscriber.is_durable()))
    }

    /// Whether the set of received Packet Identifiers of the publisher is stored.
    pub(in crate::broker) fn stores_received_ids(&self, publisher: &Publisher) -> bool {
        publisher.received.is_some_and(|(slot, _)| self.sessions.get(slot).is_some_and(SessionSlot::is_durable))
    }

    /// Whether copies that are not part of the record wait for its commit. If a crash lost the record, the publisher would send the message
    /// again and it would be accepted twice, so no receiver may get it before. Later messages must not overtake it. [MQTT-4.6.0-6]
    fn copies_must_wait(&self, publisher: &Publisher, qos: Qos) -> bool {
        let is_resent = publisher.resends(qos) && self.stores_received_ids(publisher);
        is_resent
            || publisher.deduplicated.is_some()
            || publisher.instead_of.is_some()
            || !self.pipeline.is_stable(self.copies_held_until(publisher))
    }

    /// The ticket that all copies of this publisher's messages wait for; 0: none.
    pub(in crate::broker) fn copies_held_until(&self, publisher: &Publisher) -> Ticket {
        let entry = publisher.received.and_then(|(slot, _)| self.sessions.get(slot));
        entry.map_or(Ticket::default(), |entry| entry.copies_held_until)
    }

    /// Makes later messages of this publisher wait for `ticket`, if this message has a `dedup-id` or itself waits for such a message.
    fn defer_later_copies(&mut self, publisher: &Publisher, ticket: Option<Ticket>) {
        let (Some((slot, _)), Some(ticket)) = (publisher.received, ticket) else { return };
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        if publisher.deduplicated.is_some() || !self.pipeline.is_stable(entry.copies_held_until) {
            entry.copies_held_until = entry.copies_held_until.max(ticket);
        }
    }

    /// Delivers one copy to one receiver, at once or when its record is stable.
    pub(in crate::broker) fn distribute(
        &mut self,
        distribution: &mut Distribution,
        to: &Arc<Subscriber>,
        mut delivery: Delivery,
        turn: &mut Turn<'_>,
    ) {
        distribution.receivers += 1;
        if delivery.qos > Qos::AtMostOnce && !self.queue_room.take(&distribution.room, to, &delivery) {
            distribution.copies.left_out += u32::from(to.is_durable());
            return self.drop_newest(to, &delivery, turn);
        }
        // The sequence is taken here, from the counter of the receiver's queue, because it is part of the record, and because it keeps the
        // order of a publisher that reconnects to another shard while its earlier messages are still being forwarded. [MQTT-4.6.0-6]
        let sequence = (delivery.qos > Qos::AtMostOnce).then(|| to.take_sequence());
        match sequence {
            Some(sequence) if distribution.level > Durability::None && to.is_durable() => {
                delivery.place = DeliveryPlace::Record;
                distribution.copies.durable.push(Addressed { to: Arc::clone(to), sequence, delivery })
            }
            sequence if distribution.copies_wait => {
                delivery.place = DeliveryPlace::Memory;
                let sequenced = SequencedDelivery { sequence, delivery, routed: distribution.copies.routed };
                distribution.copies.held.push((Arc::clone(to), sequenced))
            }
            sequence => {
                if let Some(place) = distribution.place
                    && let Some(shard) = self.remote_shard(to)
                {
                    return distribution.groups.add(shard, place, sequence);
                }
                delivery.place = DeliveryPlace::Memory;
                let sequenced = SequencedDelivery { sequence, delivery, routed: distribution.copies.routed };
                self.deliver(to, sequenced, distribution.copies.origin, turn);
            }
        }
    }

    /// Writes the record of an accepted message, if one is needed. Returns its ticket.
    pub(in crate::broker) fn persist_accepted(
        &mut self,
        publisher: &Publisher,
        accepted: AcceptedMessage,
        copies: Copies,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let Copies { origin, routed, durable, held, left_out } = copies;
        let is_fence = self.is_fenced_by_record(&accepted);
        let receipt = self.receipt_change(publisher, (&durable, left_out), turn.now);
        if accepted.level == Durability::None {
            self.persist_evicted(publisher, turn);
            self.hold_unrecorded(publisher, origin, held);
            if let Some(change) = receipt {
                self.settle_receipt(publisher, (*change, &accepted.message), None, turn.now);
            }
            return None;
        }
        let received = self.received_id(publisher, accepted.qos);
        let retained = accepted.retained;
        let deduplicated = publisher.deduplicated.clone();
        let instead_of = publisher.instead_of;
        let (streams, sequences) = (accepted.streams, accepted.sequences);
        let is_awaited =
            publisher.is_operator() || accepted.qos == Qos::AtMostOnce && self.is_record_awaited(&streams, &durable);
        let is_retained = matches!(retained, RetainedChange::Set { .. });
        let puts_nothing =
            durable.is_empty() && received.is_none() && !is_retained && streams.is_empty() && receipt.is_none();
        if puts_nothing
            && retained == RetainedChange::None
            && deduplicated.is_none()
            && instead_of.is_none()
            && !is_fence
        {
            self.hold_unrecorded(publisher, origin, held);
            return None;
        }
        let message = if puts_nothing && deduplicated.is_none() {
            Arc::new(Message::new(accepted.message.topic.clone(), "")) // the record has no key that needs the content
        } else {
            accepted.message
        };
        let settled = receipt.as_ref().map(|change| (ReceiptChange::clone(change), Arc::clone(&message)));
        let deliveries = Arc::new(durable);
        let receivers = Arc::clone(&deliveries);
        let record = Record::Accepted {
            publisher: received,
            message,
            qos: accepted.qos,
            at: turn.now,
            expires_at: accepted.expires_at,
            retained,
            deduplicated,
            receivers,
            streams,
            sequences,
            durability: accepted.level,
            is_awaited,
            instead_of,
            delayed: None,
            receipt,
        };
        let ticket = self.persist_entering(record, turn);
        if let Some((change, message)) = settled {
            self.settle_receipt(publisher, (change, &message), Some(ticket), turn.now);
        }
        if !(deliveries.is_empty() && held.is_empty()) {
            self.defer(Outstanding { ticket, origin, deliveries, held, routed });
        }
        Some(ticket)
    }

    /// Whether a message that nothing has to remember gets a record all the same: the record of a broker that is not the owner of its log any more
    /// never becomes stable. Without one it would acknowledge a message that the durable Sessions at its successor do not get.
    #[inline]
    fn is_fenced_by_record(&self, accepted: &AcceptedMessage) -> bool {
        self.settings.is_replicated && accepted.qos > Qos::AtMostOnce && accepted.level > Durability::None
    }

    /// Holds copies back that have no record, but wait for that of another message.
    fn hold_unrecorded(&mut self, publisher: &Publisher, origin: Option<Origin>, held: HeldCopies) {
        if !held.is_empty() {
            let ticket = self.defer_behind(self.copies_held_until(publisher), origin, held);
            self.defer_later_copies(publisher, ticket);
        }
    }

    /// The Session of a durable publisher of a QoS 2 message and the Packet Identifier, which is stored with the message.
    pub(in crate::broker) fn received_id(&self, publisher: &Publisher, qos: Qos) -> Option<(SessionKey, PacketId)> {
        let (slot, packet_id) = publisher.received.filter(|_| publisher.resends(qos))?;
        let entry = self.sessions.get(slot).filter(|entry| entry.is_durable())?;
        Some((entry.subscriber.key, packet_id))
    }

    /// Writes the evictions from the deduplication window that were caused by a message without a record.
    fn persist_evicted(&mut self, publisher: &Publisher, turn: &mut Turn<'_>) {
        let left = publisher.deduplicated.as_ref().map(|entry| &entry.left).filter(|left| !left.is_empty());
        if let Some(numbers) = left.cloned() {
            self.persist(Record::DeduplicationRemoved { numbers }, turn);
        }
    }
}
