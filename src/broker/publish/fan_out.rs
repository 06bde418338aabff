//! Delivers copies of a message to receivers on this shard, on another shard, or moving between shards.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::counters::DropReason;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::ids::Origin;
use crate::broker::operator::drops::Lost;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::pipeline::Outstanding;
use crate::broker::persistence::receipt::CopyOutcome;
use crate::broker::persistence::record::{Addressed, InsteadOf};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::publish::group::{Group, Member};
use crate::broker::publish::plan::Distribution;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Qos;
use crate::routing::{Location, Route, ShardId, Subscriber};
use crate::session::{self, Delivery, DeliveryPlace, Ticket};

impl Shard {
    /// Delivers the copies of a message whose record is stable.
    pub(in crate::broker) fn deliver_outstanding(&mut self, outstanding: Outstanding, turn: &mut Turn<'_>) {
        for Addressed { to, sequence, delivery } in Arc::unwrap_or_clone(outstanding.deliveries) {
            let sequenced = SequencedDelivery { sequence: Some(sequence), delivery, routed: outstanding.routed };
            self.deliver(&to, sequenced, outstanding.origin, turn);
        }
        for (to, sequenced) in outstanding.held {
            self.deliver(&to, sequenced, outstanding.origin, turn);
        }
    }

    /// Delivers a copy to its receiver, or forwards it to the shard of the receiver's Session.
    pub(in crate::broker) fn deliver(
        &mut self,
        to: &Arc<Subscriber>,
        sequenced: SequencedDelivery,
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) {
        let location = to.location();
        let slot = location.slot as usize;
        if location.slot == Location::ENDED {
            return self.redirect_or_drop(to, sequenced, turn);
        }
        if location.shard != self.id {
            let message = ShardMessageKind::Deliver { to: Arc::clone(to), sequenced, origin };
            return turn.actions.push(Action::Forward { shard: location.shard, message: ShardMessage(message) });
        }
        if location.slot == Location::ARRIVING {
            if sequenced.sequence.is_some() {
                return self.sessions.keep_early(to, sequenced);
            }
            return self.drop_copy(to, &sequenced.delivery, DropReason::NotConnected, turn);
        }
        let Some(entry) = self.session(slot, to.key) else { return self.redirect_or_drop(to, sequenced, turn) };
        if sequenced.routed < entry.access_since && self.denies(slot, &sequenced) {
            return self.drop_denied(slot, &sequenced.delivery, turn);
        }
        match sequenced.sequence {
            None if self.drops_qos0(slot) => {
                let lost = Lost::delivery(to.client_id.as_str(), &sequenced.delivery, DropReason::SlowReceiver);
                self.note_lost(lost, turn);
                return self.drop_qos0(slot, to.key, origin, turn);
            }
            None => self.drive_inlined(slot, session::Event::DeliverQos0(sequenced.delivery), turn),
            Some(sequence) => self.drive_inlined(slot, session::Event::Deliver(sequence, sequenced.delivery), turn),
        }
        self.pause_publisher(slot, origin, turn);
    }

    /// Handles a copy for a Session that has ended: moves it to another member of its share, or drops it.
    fn redirect_or_drop(&mut self, to: &Subscriber, sequenced: SequencedDelivery, turn: &mut Turn<'_>) {
        let is_stored = to.is_durable() && sequenced.delivery.place == DeliveryPlace::Record;
        let (key, sequence) = (to.key, sequenced.sequence.filter(|_| is_stored));
        let copy = sequenced.delivery.clone();
        if self.redirect(to, sequenced, turn) {
            return;
        }
        self.drop_copy(to, &copy, DropReason::SessionEnded, turn);
        if let Some(sequence) = sequence {
            // Its record may follow the end of the Session in the log.
            self.persist_left(key, sequence, CopyOutcome::SessionEnded, turn);
        }
    }

    /// Counts and notes a copy that is dropped before it is in the queue of its receiver.
    #[cold]
    fn drop_copy(&mut self, to: &Subscriber, delivery: &Delivery, reason: DropReason, turn: &mut Turn<'_>) {
        self.counters.dropped(reason, 1);
        self.note_undelivered(to, delivery, reason, turn);
    }

    /// Delivers a copy from another shard. If the Session has moved again, a QoS 0 copy is dropped: it could arrive after later messages.
    pub(in crate::broker) fn on_delivery_forwarded(
        &mut self,
        to: &Arc<Subscriber>,
        sequenced: SequencedDelivery,
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) {
        if sequenced.sequence.is_none() && to.location().shard != self.id {
            return self.drop_copy(to, &sequenced.delivery, DropReason::NotConnected, turn);
        }
        self.deliver(to, sequenced, origin, turn);
    }

    /// Delivers a retained message to the Session in `slot`. Returns the ticket that it waits for.
    pub(in crate::broker) fn deliver_retained(
        &mut self,
        slot: usize,
        delivery: Delivery,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let to = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber))?;
        let routed = self.shared.route_generations.published();
        let level = self.redelivery_level(&delivery);
        let accepted = AcceptedMessage::of_delivery(&delivery).with_level(level);
        let mut distribution = Distribution::redelivery(level, None, routed);
        self.distribute(&mut distribution, &to, delivery, turn);
        let publisher = Publisher::broker();
        self.persist_accepted(&publisher, accepted, distribution.copies, turn)
    }

    /// The durability of the record of a message that was accepted before and is delivered to one more receiver.
    fn redelivery_level(&self, delivery: &Delivery) -> Durability {
        match delivery.qos {
            // As for a new message: after a crash, the receiver's Packet Identifiers are derived from its records.
            Qos::ExactlyOnce => Durability::PowerLoss,
            Qos::AtMostOnce | Qos::AtLeastOnce => self.settings.durability_of(&delivery.message.topic),
        }
    }

    /// Moves a message of a Session that has ended to another member of its share, or to a cell with members. Returns `false` if there is none.
    pub(in crate::broker) fn redirect(
        &mut self,
        from: &Subscriber,
        sequenced: SequencedDelivery,
        turn: &mut Turn<'_>,
    ) -> bool {
        let SequencedDelivery { sequence, delivery, .. } = sequenced;
        let Some(filter) = delivery.share().cloned() else { return false };
        let routed = self.shared.route_generations.published(); // read before the share
        let topic = &delivery.message.topic;
        let share = self.shared.directory.share(&filter, topic);
        let member = share.and_then(|share| share.choose(None, topic, Some(from.key)));
        let Some(receiver) = member.or_else(|| self.member_elsewhere(&filter, topic)) else { return false };
        let Some(granted) = receiver.delivery(None) else { return false };
        let qos = receiver.qos_of(delivery.message.qos.min(granted.qos));
        let delivery = Delivery { qos, matched: granted.matched.clone(), ..delivery };
        let stored = sequence.filter(|_| from.is_durable() && delivery.place == DeliveryPlace::Record);
        let instead_of = stored.map(|sequence| InsteadOf::Queued(from.key, sequence));
        let level = if instead_of.is_some() { Durability::PowerLoss } else { self.redelivery_level(&delivery) };
        let accepted = AcceptedMessage::of_delivery(&delivery).with_level(level);
        let mut distribution = Distribution::redelivery(level, instead_of, routed);
        self.distribute(&mut distribution, &receiver.subscriber, delivery, turn);
        let publisher = Publisher { instead_of, ..Publisher::broker() };
        self.persist_accepted(&publisher, accepted, distribution.copies, turn);
        true
    }

    /// Forwards each group to its shard. Messages between two shards stay in order, so each receiver gets a publisher's messages in order.
    pub(in crate::broker) fn forward_groups(
        distribution: &mut Distribution,
        route: &Arc<Route>,
        accepted: &AcceptedMessage,
        publisher: &Publisher,
        turn: &mut Turn<'_>,
    ) {
        let origin = distribution.copies.origin;
        for (shard, members) in distribution.groups.drain() {
            let publisher = publisher.key;
            let (route, accepted) = (Arc::clone(route), accepted.unshared_copy());
            let group = Group { route, accepted, publisher, origin, members, routed: distribution.copies.routed };
            let message = ShardMessage(ShardMessageKind::DeliverGroup(Box::new(group)));
            turn.actions.push(Action::Forward { shard, message });
        }
    }

    /// The shard of a Session, if that is another shard and the Session has not ended.
    pub(in crate::broker) fn remote_shard(&self, subscriber: &Subscriber) -> Option<ShardId> {
        let location = subscriber.location();
        (location.shard != self.id && location.slot != Location::ENDED).then_some(location.shard)
    }

    /// Delivers a message from another shard to its receivers on this one.
    pub(in crate::broker) fn on_group_forwarded(&mut self, group: Group, turn: &mut Turn<'_>) {
        let Group { route, accepted, publisher, origin, members, routed } = group;
        for Member { place, sequence } in members {
            // The sending shard used the same route, so each place is valid and each receiver is granted the message. A skipped receiver
            // would leave a gap in the sequences of its queue.
            let Some(receiver) = route.receivers.get(place) else { continue };
            let Some(granted) = receiver.delivery(publisher) else { continue };
            let sequence = sequence.map(NonZeroU64::get);
            let sequenced = SequencedDelivery { sequence, delivery: accepted.delivery(granted), routed };
            self.on_delivery_forwarded(&receiver.subscriber, sequenced, origin, turn);
        }
    }
}
