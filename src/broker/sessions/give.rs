//! An operator gives a Session to another owner.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::connection::cause::Cause;
use crate::broker::connection::disconnect::Ending;
use crate::broker::ids::ConnectionId;
use crate::broker::owner::{AnonymousSessions, Owner, Succession};
use crate::broker::persistence::record::{Record, WillState};
use crate::broker::query::{Answer, Gift, GiftOutcome, QueryId};
use crate::broker::report::{OwnerChange, Report};
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;

impl Shard {
    /// Gives a Session to another owner, and answers when that is stable.
    pub(in crate::broker) fn on_give(&mut self, id: QueryId, gift: &Gift, turn: &mut Turn<'_>) {
        match self.give(gift, turn) {
            Ok(()) => self.answer_when_stable(id, Answer::Gift(GiftOutcome::Given), turn),
            Err(outcome) => turn.actions.push(Action::Answer(id, Box::new(Answer::Gift(outcome)))),
        }
    }

    fn give(&mut self, Gift { client_id, owner, access }: &Gift, turn: &mut Turn<'_>) -> Result<(), GiftOutcome> {
        let slot = self.slot_of(client_id).ok_or(GiftOutcome::NotHere)?;
        let entry = self.sessions.get(slot).ok_or(GiftOutcome::NotHere)?;
        let claim = entry.claim;
        if !entry.is_durable() {
            return Err(GiftOutcome::NotDurable);
        }
        let (client, previous, connected) = (self.label_of_session(slot), entry.owner.clone(), entry.connection);
        // Its subscriptions and its queue have the topics of its mount point.
        let owner = owner.clone().below(previous.mount_point());
        let heir = connected.and_then(|id| self.heir(id, &owner));
        let owner = heir.clone().unwrap_or(owner);
        if !self.shared.directory.set_owner(client_id, claim, &owner) {
            return Err(GiftOutcome::NotHere); // another CONNECT has claimed it meanwhile
        }
        turn.actions.push(Action::Report(Box::new(Report::OwnerChanged {
            client,
            owner: owner.clone(),
            previous,
            change: OwnerChange::Given,
        })));
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.owner = owner;
        }
        self.limit_session(slot);
        if let (Some(id), None) = (connected, heir) {
            let log = "an operator gave its session to another owner";
            let ending = Ending::with_disconnect(ReasonCode::AdministrativeAction, Cause::private(log, ""));
            self.end_connection(id, ending, turn);
        }
        if let Some(access) = access {
            self.change_access_of(slot, access, turn);
        }
        self.persist_owner(slot, turn);
        Ok(())
    }

    /// The owner of a connection, if `owner` is the same user.
    fn heir(&self, id: ConnectionId, owner: &Owner) -> Option<Owner> {
        let claimant = &self.connection(id)?.identity.owner;
        let is_heir = match owner.succession(claimant, AnonymousSessions::End) {
            Succession::Keep | Succession::Adopt => true,
            Succession::End | Succession::Refuse => false,
        };
        is_heir.then(|| claimant.clone())
    }

    /// Sets the rules of a Session whose client is not connected.
    fn change_access_of(&mut self, slot: usize, access: &Arc<crate::routing::Access>, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot).filter(|entry| entry.connection.is_none()) else { return };
        let access = Arc::clone(access).below(entry.owner.mount_point());
        if *entry.subscriber.access() != *access {
            let key = entry.subscriber.key;
            entry.subscriber.set_access(access);
            self.shared.directory.access_changed(key);
            self.wake_for_change(slot, turn);
        }
    }

    /// Stores the owner of a durable Session.
    fn persist_owner(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let will = entry.will.clone().filter(|_| entry.will_refusal.is_none());
        let (client_id, owner) = (entry.subscriber.client_id.clone(), entry.owner.clone());
        let (session_expiry_interval, is_away) = (entry.session_expiry_interval, entry.connection.is_none());
        let will_state = WillState::of(entry.will_at());
        let record = |key| Record::SessionOpened { key, client_id, owner, session_expiry_interval, will };
        self.persist_unawaited(slot, record, turn);
        if is_away {
            // The record above says that its client is connected.
            self.persist_detached(slot, will_state, turn);
        }
    }
}
