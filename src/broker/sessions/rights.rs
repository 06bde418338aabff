//! What the client of a Session may receive is decided again when a message is delivered, by the access rules in force then.
//!
//! A message is routed by the rules at that time. When the rules of a Session change, [`SessionSlot::access_since`] gets the number of the
//! change of routes that they cause, and the Session checks what is in its queue before it sends it. A message that was routed before the
//! change, but arrives after it (from another shard, or from a commit), is recognized by its number. While no rules change, a message
//! costs two comparisons.

use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::connection::cause::Cause;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::state::Phase;
use crate::broker::counters::DropReason;
use crate::broker::event::Revocation;
use crate::broker::ids::ConnectionId;
use crate::broker::operator::drops::Lost;
use crate::broker::owner::Owner;
use crate::broker::persistence::receipt::CopyOutcome;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{ClientId, ReasonCode};
use crate::routing::Access;
use crate::session::{self, Delivery, DeliveryPlace, Rights};
use crate::topic::TopicName;

impl Rights for Access {
    fn may_receive(&self, topic: &TopicName) -> bool {
        self.receive(topic)
    }
}

/// Access rules, as a Session checks them.
pub(in crate::broker) fn rights(access: &Arc<Access>) -> Arc<dyn Rights> {
    Arc::<Access>::clone(access)
}

impl Shard {
    /// Replaces the access rules of the Session in `slot`.
    pub(in crate::broker) fn change_access(&mut self, slot: usize, access: &Arc<Access>, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        if *entry.subscriber.access() == **access {
            return;
        }
        let key = entry.subscriber.key;
        entry.subscriber.set_access(Arc::clone(access));
        self.shared.directory.access_changed(key);
        entry.access_since = self.shared.route_generations.published();
        self.drive(slot, session::Event::RightsChanged(rights(access)), turn);
        self.wake_for_change(slot, turn);
    }

    /// The client, the owner and the access rights of the Session in `slot`, if it has no connection.
    pub fn away(&self, slot: usize) -> Option<(&ClientId, &Owner, Arc<Access>)> {
        let entry = self.sessions.get(slot).filter(|entry| entry.connection.is_none())?;
        Some((&entry.subscriber.client_id, &entry.owner, entry.subscriber.access()))
    }

    /// The end of the slots of [`away`](Self::away).
    pub fn slots_end(&self) -> usize {
        self.sessions.slots_end()
    }

    /// The access rules of the Session in `slot`, which has no connection, were read again.
    pub(in crate::broker) fn on_away_access_changed(&mut self, slot: usize, access: &Arc<Access>, turn: &mut Turn<'_>) {
        let is_away = |entry: &&SessionSlot| entry.connection.is_none() && !entry.owner.is_link();
        let Some(entry) = self.sessions.get(slot).filter(is_away) else { return };
        let access = Arc::clone(access).below(entry.owner.mount_point());
        if entry.has_shares && access.has_rules() && *entry.subscriber.access() == *access {
            // After a restart: the members of its shares are known now.
            return self.drive(slot, session::Event::RightsChanged(rights(&access)), turn);
        }
        self.change_access(slot, &access, turn);
    }

    /// A message for the Session in `slot` was routed before its access rules changed. Returns whether it may not be delivered; a message of
    /// the queue is checked when it is sent.
    #[cold]
    pub(in crate::broker) fn denies(&mut self, slot: usize, sequenced: &SequencedDelivery) -> bool {
        let Some(entry) = self.sessions.get_mut(slot) else { return false };
        let access = entry.subscriber.access();
        if access.receive(&sequenced.delivery.message.topic) {
            return false;
        }
        let Some(sequence) = sequenced.sequence else { return true };
        entry.session.recheck(sequence + 1, rights(&access));
        false
    }

    /// The client of the Session in `slot` may not receive a message of its queue, which was never sent.
    pub(in crate::broker) fn on_denied(&mut self, slot: usize, sequence: u64, delivery: Delivery, turn: &mut Turn<'_>) {
        let Some(subscriber) = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber)) else { return };
        let (is_recorded, copy) = (delivery.place == DeliveryPlace::Record, delivery.clone());
        let sequenced = SequencedDelivery { sequence: Some(sequence), delivery, routed: 0 };
        if self.redirect(&subscriber, sequenced, turn) {
            return; // its record was replaced
        }
        self.drop_denied(slot, &copy, turn);
        if is_recorded {
            self.persist_done(slot, sequence, CopyOutcome::NotAuthorized, turn);
        }
    }

    /// Counts a message that the client of the Session in `slot` may not receive any more.
    #[cold]
    pub(in crate::broker) fn drop_denied(&mut self, slot: usize, delivery: &Delivery, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let to = Arc::clone(&entry.subscriber);
        self.note_lost(Lost::delivery(to.client_id.as_str(), delivery, DropReason::NotAuthorized), turn);
        let key = to.key;
        self.count_dropped(slot, key, DropReason::NotAuthorized, turn);
    }

    /// A reload ends the connection of a client. `access`: the rules of its Session from now on.
    pub(in crate::broker) fn on_revoked(
        &mut self,
        id: ConnectionId,
        access: &Arc<Access>,
        revocation: Revocation,
        turn: &mut Turn<'_>,
    ) {
        self.on_access_changed(id, access, turn);
        let Some(connection) = self.connection(id) else { return };
        let (slot, awaits_connect) = (connection.session(), matches!(connection.phase, Phase::AwaitingConnect));
        if awaits_connect {
            return self.break_off(id, revocation.cause(), turn); // nothing may be sent before its CONNECT
        }
        let cause = Cause::private(ByteString::from_static(revocation.cause()), "not authorized any more");
        let Some(slot) = slot else { return self.refuse(id, ReasonCode::NotAuthorized, cause, turn) };
        if let Revocation::Certificate | Revocation::Authority = revocation {
            self.discard_will(slot, revocation.cause(), turn); // the user may publish it, but not the holder of a revoked key
        }
        self.end_connection(id, Ending::with_disconnect(ReasonCode::NotAuthorized, cause), turn);
    }
}
