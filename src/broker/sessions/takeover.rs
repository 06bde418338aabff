//! A Session follows its client: who holds it, who wants it, and how it moves from shard to shard.
//!
//! Whoever claims a Client Identifier becomes its holder at once and asks the holder before it for the Session. Claims of one
//! identifier thus form a queue: a holder that hasn't got the Session yet passes it on when it comes.

use crate::broker::action::Action;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::establish::GrantedClaim;
use crate::broker::directory::claim::{Claim, Claimant, Holder};
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::routing::Location;

impl Shard {
    /// Asks the last holder for the Session.
    pub(in crate::broker) fn ask_holder(&mut self, holder: Holder, claimant: Claimant, turn: &mut Turn<'_>) {
        if holder.shard() == self.id {
            return self.on_claimed(holder.claim(), claimant, turn);
        }
        let message = ShardMessageKind::Claimed { prior: holder.claim(), claimant };
        turn.actions.push(Action::Forward { shard: holder.shard(), message: ShardMessage(message) });
    }

    /// Somebody wants the Session that this shard had with the claim `prior`.
    pub(in crate::broker) fn on_claimed(&mut self, prior: Claim, claimant: Claimant, turn: &mut Turn<'_>) {
        if let Some(pending) = self.claims.get_mut(&prior) {
            pending.successor = Some(claimant);
            return;
        }
        let Some(slot) = self.by_claim.get(&prior).map(|slot| *slot as usize) else {
            return self.surrender(claimant, None, turn);
        };
        if let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) {
            self.counters.sessions_taken_over += 1;
            let ending = Ending::taken_over(claimant.clean_start);
            self.end_connection(id, ending, turn); // [MQTT-3.1.4-3]
        }
        // What is due and waits only for its timer comes before the new connection. [MQTT-3.1.3-9]
        self.on_session_due(slot, turn);
        // A Session that ended with its connection is gone by now.
        let Some(entry) = self.sessions.get(slot).filter(|entry| entry.claim == prior) else {
            return self.surrender(claimant, None, turn);
        };
        if claimant.clean_start {
            return self.end_for(claimant, slot, turn);
        }
        if !self.pipeline.is_stable(entry.last_ticket) {
            self.leaving.push((entry.last_ticket, prior, claimant));
            return;
        }
        let entry = self.remove_session(slot);
        self.surrender(claimant, entry, turn);
    }

    /// Ends the Session in `slot` for somebody who wants it so. CONNACK will say that it is gone: it must not be back after a crash. [MQTT-3.1.2-4]
    fn end_for(&mut self, claimant: Claimant, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let (prior, is_stored) = (entry.claim, entry.stored);
        self.end_session(slot, turn);
        if is_stored && self.pipeline.unstable() > 0 {
            self.leaving.push((self.pipeline.last(), prior, claimant));
        } else {
            self.surrender(claimant, None, turn);
        }
    }

    /// Sessions that were claimed while records of theirs were not stable may go now.
    pub(in crate::broker) fn surrender_stable(&mut self, turn: &mut Turn<'_>) {
        let stable = self.pipeline.stable();
        if !self.leaving.iter().any(|(ticket, ..)| *ticket <= stable) {
            return;
        }
        for (ticket, prior, claimant) in std::mem::take(&mut self.leaving) {
            if ticket <= stable {
                self.on_claimed(prior, claimant, turn);
            } else {
                self.leaving.push((ticket, prior, claimant));
            }
        }
    }

    /// Takes a Session out of this shard as plain data, to be given to another or back to itself.
    fn remove_session(&mut self, slot: usize) -> Option<Box<SessionSlot>> {
        let mut entry = self.sessions.try_remove(slot)?;
        self.cancel_session_due(slot);
        let (messages, bytes) = entry.session.queued();
        self.counters.sessions -= 1;
        self.counters.queued_messages -= messages as u64;
        self.counters.queued_bytes -= bytes as u64;
        self.by_claim.remove(&entry.claim);
        entry.session.forget_shard();
        entry.last_ticket = crate::session::Ticket::default();
        entry.held_until = crate::session::Ticket::default();
        entry.replays.forget_shard();
        Some(Box::new(entry))
    }

    /// Gives a Session, or the news that there is none, to who claimed it.
    fn surrender(&mut self, claimant: Claimant, session: Option<Box<SessionSlot>>, turn: &mut Turn<'_>) {
        if let Some(entry) = &session {
            // From now on messages for it go to its new shard.
            entry.subscriber.set_location(Location { shard: claimant.shard, slot: Location::ARRIVING });
        }
        if claimant.shard == self.id {
            return self.on_surrendered(claimant.claim, session, turn);
        }
        let message = ShardMessage(ShardMessageKind::Surrendered { claim: claimant.claim, session });
        turn.actions.push(Action::Forward { shard: claimant.shard, message });
    }

    /// The Session of a pending CONNECT is here, or there is none.
    pub(in crate::broker) fn on_surrendered(
        &mut self,
        claim: Claim,
        session: Option<Box<SessionSlot>>,
        turn: &mut Turn<'_>,
    ) {
        let Some(pending) = self.claims.remove(&claim) else { return };
        let key = session.as_ref().map(|entry| entry.subscriber.key);
        let connection = pending.connection.filter(|id| self.connection(*id).is_some());
        if let Some(claimant) = pending.successor {
            if let Some(id) = connection {
                self.break_off(id, "session taken over before CONNACK", turn);
            }
            self.pass_on(claim, claimant, session, turn);
        } else if let Some(id) = connection {
            let granted = GrantedClaim { claim, connecting: pending.connecting };
            self.finish_connect(id, granted, session, turn);
        } else if let Some(mut entry) = session {
            // The client is gone again: its Session waits for the next CONNECT.
            entry.claim = claim;
            let slot = self.insert_session(*entry);
            self.schedule_session(slot);
        } else {
            self.shared.unclaim(&pending.connecting.client_id, claim);
        }
        for (to, sequenced) in key.and_then(|key| self.early.remove(&key)).unwrap_or_default() {
            self.deliver(&to, sequenced, None, turn);
        }
    }

    /// Gives a Session on that has just come, to who claimed it while it was on its way.
    fn pass_on(&mut self, claim: Claim, claimant: Claimant, session: Option<Box<SessionSlot>>, turn: &mut Turn<'_>) {
        match session {
            Some(mut entry) if claimant.clean_start => {
                entry.claim = claim;
                let slot = self.insert_session(*entry);
                self.end_for(claimant, slot, turn);
            }
            session => self.surrender(claimant, session, turn),
        }
    }
}
