//! A Session follows its client: who holds it, who wants it, and how it moves from shard to shard.
//!
//! Whoever claims a Client Identifier becomes its holder at once and asks the holder before it for the Session. Claims of one
//! identifier thus form a queue: a holder that hasn't got the Session yet passes it on when it comes.

use super::connection::Connecting;
use super::end::Ending;
use super::event::ConnectionId;
use super::forward::{Said, ShardMessage};
use super::session_slot::SessionSlot;
use super::shared::{Claim, Holder};
use super::{Action, Shard};
use crate::codec::ClientId;
use crate::routing::{Location, ShardId};
use crate::timestamp::Timestamp;

/// A CONNECT that waits for its Session.
#[derive(Debug)]
pub(super) struct PendingClaim {
    /// Gone if it closed meanwhile.
    pub(super) connection: Option<ConnectionId>,
    pub(super) connecting: Box<Connecting>,
    /// Who wants the Session next.
    pub(super) successor: Option<Claimant>,
}

/// Who wants a Session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant {
    pub(super) claim: Claim,
    pub(super) shard: ShardId,
    /// Whether the Session is not wanted, but its end.
    pub(super) clean_start: bool,
}

impl Shard {
    /// Asks the last holder for the Session.
    pub(super) fn ask_holder(
        &mut self,
        now: Timestamp,
        client_id: &ClientId,
        holder: Holder,
        claimant: Claimant,
        actions: &mut Vec<Action>,
    ) {
        if holder.shard == self.id {
            return self.on_claimed(now, client_id, holder.claim, claimant, actions);
        }
        let said = Said::Claimed {
            client_id: client_id.clone(),
            claim: claimant.claim,
            prior: holder.claim,
            shard: claimant.shard,
            clean_start: claimant.clean_start,
        };
        actions.push(Action::Forward { shard: holder.shard, message: ShardMessage(said) });
    }

    /// Somebody wants the Session that this shard had with the claim `prior`.
    pub(super) fn on_claimed(
        &mut self,
        now: Timestamp,
        client_id: &ClientId,
        prior: Claim,
        claimant: Claimant,
        actions: &mut Vec<Action>,
    ) {
        if let Some(pending) = self.claims.get_mut(&prior) {
            pending.successor = Some(claimant);
            return;
        }
        let slot = self.by_client.get(client_id).copied();
        let Some(slot) = slot.filter(|slot| self.sessions.get(*slot).is_some_and(|entry| entry.claim == prior)) else {
            return self.surrender(now, claimant, None, actions);
        };
        if let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) {
            self.counters.sessions_taken_over += 1;
            let ending = Ending::taken_over(claimant.clean_start);
            self.end_connection(now, id, ending, actions); // [MQTT-3.1.4-3]
        }
        // A Session that ended with its connection is gone by now.
        let Some(entry) = self.sessions.get(slot).filter(|entry| entry.claim == prior) else {
            return self.surrender(now, claimant, None, actions);
        };
        if claimant.clean_start {
            self.end_session(now, slot, actions); // [MQTT-3.1.2-4]
            return self.surrender(now, claimant, None, actions);
        }
        if entry.last_ticket > self.stable {
            self.leaving.push((entry.last_ticket, prior, claimant, client_id.clone()));
            return;
        }
        let entry = self.remove_session(slot);
        self.surrender(now, claimant, entry, actions);
    }

    /// Sessions that were claimed while records of theirs were not stable may go now.
    pub(super) fn surrender_stable(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let stable = self.stable;
        if !self.leaving.iter().any(|(ticket, ..)| *ticket <= stable) {
            return;
        }
        for (ticket, prior, claimant, client_id) in std::mem::take(&mut self.leaving) {
            if ticket <= stable {
                self.on_claimed(now, &client_id, prior, claimant, actions);
            } else {
                self.leaving.push((ticket, prior, claimant, client_id));
            }
        }
    }

    /// Takes a Session out of this shard as plain data, to be given to another or back to itself.
    fn remove_session(&mut self, slot: usize) -> Option<Box<SessionSlot>> {
        let mut entry = self.sessions.try_remove(slot)?;
        let (messages, bytes) = entry.session.queued();
        self.counters.sessions -= 1;
        self.counters.queued_messages -= messages as u64;
        self.counters.queued_bytes -= bytes as u64;
        self.by_client.remove(&entry.subscriber.client_id);
        entry.session.forget_tickets();
        entry.last_ticket = crate::session::Ticket::default();
        Some(Box::new(entry))
    }

    /// Gives a Session, or the news that there is none, to who claimed it.
    fn surrender(
        &mut self,
        now: Timestamp,
        claimant: Claimant,
        session: Option<Box<SessionSlot>>,
        actions: &mut Vec<Action>,
    ) {
        if let Some(entry) = &session {
            // From now on messages for it go to its new shard.
            entry.subscriber.set_location(Location { shard: claimant.shard, slot: Location::ARRIVING });
        }
        if claimant.shard == self.id {
            return self.on_surrendered(now, claimant.claim, session, actions);
        }
        let message = ShardMessage(Said::Surrendered { claim: claimant.claim, session });
        actions.push(Action::Forward { shard: claimant.shard, message });
    }

    /// The Session of a pending CONNECT is here, or there is none.
    pub(super) fn on_surrendered(
        &mut self,
        now: Timestamp,
        claim: Claim,
        session: Option<Box<SessionSlot>>,
        actions: &mut Vec<Action>,
    ) {
        let Some(pending) = self.claims.remove(&claim) else { return };
        let key = session.as_ref().map(|entry| entry.subscriber.key);
        let connection = pending.connection.filter(|id| self.connection(*id).is_some());
        if let Some(claimant) = pending.successor {
            if let Some(id) = connection {
                self.break_off(now, id, "session taken over before CONNACK", actions);
            }
            self.pass_on(now, claim, claimant, session, actions);
        } else if let Some(id) = connection {
            self.finish_connect(now, id, claim, *pending.connecting, session, actions);
        } else if let Some(mut entry) = session {
            // The client is gone again: its Session waits for the next CONNECT.
            entry.claim = claim;
            let slot = self.insert_session(*entry);
            self.schedule_session(slot);
        } else {
            self.shared.unclaim(&pending.connecting.client_id, claim);
        }
        for (to, sequence, delivery) in key.and_then(|key| self.early.remove(&key)).unwrap_or_default() {
            self.deliver(now, &to, Some(sequence), delivery, None, actions);
        }
    }

    /// Gives a Session on that has just come, to who claimed it while it was on its way.
    fn pass_on(
        &mut self,
        now: Timestamp,
        claim: Claim,
        claimant: Claimant,
        session: Option<Box<SessionSlot>>,
        actions: &mut Vec<Action>,
    ) {
        match session {
            Some(mut entry) if claimant.clean_start => {
                entry.claim = claim;
                let slot = self.insert_session(*entry);
                self.end_session(now, slot, actions);
                self.surrender(now, claimant, None, actions);
            }
            session => self.surrender(now, claimant, session, actions),
        }
    }
}
