//! From a shard to a receiver: here, on another shard, or on its way.

use std::sync::Arc;

use crate::broker::directory::message::{Origin, Said, ShardMessage};
use crate::broker::persistence::record::{Addressed, InsteadOf};
use crate::broker::publish::accept::Distribution;
use crate::broker::publish::accepted::Kept;
use crate::broker::publish::ingress::{Outstanding, Parcel, Publisher};
use crate::broker::shard::Turn;
use crate::broker::{Action, DropReason, Durability, Record, Shard};
use crate::codec::Qos;
use crate::routing::{Location, Subscriber};
use crate::session::{self, Delivery, DeliveryPlace, Ticket};

impl Shard {
    /// The record of these messages is stable: their receivers get them.
    pub(in crate::broker) fn deliver_outstanding(&mut self, outstanding: Outstanding, turn: &mut Turn<'_>) {
        for Addressed { to, sequence, delivery } in Arc::unwrap_or_clone(outstanding.deliveries) {
            let parcel = Parcel { sequence: Some(sequence), delivery };
            self.deliver(&to, parcel, outstanding.origin, turn);
        }
        for (to, parcel) in outstanding.held {
            self.deliver(&to, parcel, outstanding.origin, turn);
        }
    }

    /// Gives a message to its receiver: here, on another shard, or on its way here.
    pub(in crate::broker) fn deliver(
        &mut self,
        to: &Arc<Subscriber>,
        parcel: Parcel,
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) {
        let location = to.location();
        let slot = location.slot as usize;
        if location.slot == Location::ENDED {
            self.give_up(to, parcel, turn);
        } else if location.shard != self.id {
            let said = Said::Deliver { to: Arc::clone(to), parcel, origin };
            turn.actions.push(Action::Forward { shard: location.shard, message: ShardMessage(said) });
        } else if location.slot == Location::ARRIVING {
            if parcel.sequence.is_some() {
                self.early.entry(to.key).or_default().push((Arc::clone(to), parcel));
            } else {
                self.counters.dropped(DropReason::NotConnected, 1);
            }
        } else if self.session(slot, to.key).is_none() {
            self.give_up(to, parcel, turn);
        } else if parcel.sequence.is_none() && self.is_overrun(slot) {
            self.count_dropped(slot, to.key, DropReason::SlowReceiver, turn);
        } else {
            match parcel.sequence {
                Some(sequence) => self.drive_known(slot, session::Event::Deliver(sequence, parcel.delivery), turn),
                None => self.drive_known(slot, session::Event::DeliverQos0(parcel.delivery), turn),
            }
            self.hold_up(slot, origin, turn);
        }
    }

    /// A message came too late for its Session, which has ended: it goes to another member of its share, or nowhere.
    fn give_up(&mut self, to: &Subscriber, parcel: Parcel, turn: &mut Turn<'_>) {
        let is_stored = to.is_durable() && parcel.delivery.place == DeliveryPlace::Record;
        let (key, sequence) = (to.key, parcel.sequence.filter(|_| is_stored));
        if self.hand_on(to, parcel, turn) {
            return;
        }
        self.counters.dropped(DropReason::SessionEnded, 1);
        if let Some(sequence) = sequence {
            self.persist(Record::Done { key, sequence }, turn); // its record may have come behind the end of the Session
        }
    }

    /// A message that another shard sent: at QoS 0, one that would have to go on is dropped instead, because it would come behind later ones.
    pub(in crate::broker) fn on_delivery_forwarded(
        &mut self,
        to: &Arc<Subscriber>,
        parcel: Parcel,
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) {
        if parcel.sequence.is_none() && to.location().shard != self.id {
            return self.counters.dropped(DropReason::NotConnected, 1);
        }
        self.deliver(to, parcel, origin, turn);
    }

    /// Gives a retained message to a new subscription of the Session in `slot`. Returns what must be stable before it is there.
    pub(in crate::broker) fn deliver_retained(
        &mut self,
        slot: usize,
        delivery: Delivery,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let to = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber))?;
        let level = self.level_again(&delivery);
        let kept = Kept::again(&delivery).at(level);
        let mut distribution = Distribution::again(level, None);
        self.distribute(&mut distribution, &to, delivery, turn);
        let publisher = Publisher::broker();
        self.persist_accepted(&publisher, kept, distribution.copies, turn)
    }

    /// The level of the record of a message that was accepted before, and goes to one more receiver.
    fn level_again(&self, delivery: &Delivery) -> Durability {
        match delivery.qos {
            // As for one that is new: the receiver's Packet Identifiers follow from its records.
            Qos::ExactlyOnce => Durability::PowerLoss,
            Qos::AtMostOnce | Qos::AtLeastOnce => self.settings.durability_of(&delivery.message.topic),
        }
    }

    /// Gives a message of a Session that has ended to another member of its share. `false` if there is none.
    pub(in crate::broker) fn hand_on(&mut self, from: &Subscriber, parcel: Parcel, turn: &mut Turn<'_>) -> bool {
        let Parcel { sequence, delivery } = parcel;
        let Some(filter) = delivery.share().cloned() else { return false };
        let Some(share) = self.shared.index().share(&filter, &delivery.message.topic) else { return false };
        let Some(receiver) = share.choose(None, &delivery.message.topic, Some(from.key)) else { return false };
        let Some(granted) = receiver.delivery(None) else { return false };
        let delivery =
            Delivery { qos: delivery.message.qos.min(granted.qos), matched: granted.matched.clone(), ..delivery };
        let stored = sequence.filter(|_| from.is_durable() && delivery.place == DeliveryPlace::Record);
        let instead_of = stored.map(|sequence| InsteadOf::Queued(from.key, sequence));
        let level = if instead_of.is_some() { Durability::PowerLoss } else { self.level_again(&delivery) };
        let kept = Kept::again(&delivery).at(level);
        let mut distribution = Distribution::again(level, instead_of);
        self.distribute(&mut distribution, &receiver.subscriber, delivery, turn);
        let publisher = Publisher { instead_of, ..Publisher::broker() };
        self.persist_accepted(&publisher, kept, distribution.copies, turn);
        true
    }
}
