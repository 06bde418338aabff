//! A Session follows its client from shard to shard.
//!
//! A CONNECT makes its shard the holder of the Client Identifier at once, in the [directory](crate::broker::directory). That shard then
//! asks the holder before it for the Session. So the claims of one identifier form a queue: a holder that has not got the Session yet
//! passes it on when it comes.

use crate::broker::action::Action;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::establish::GrantedClaim;
use crate::broker::directory::claim::{Claim, Claimant, Holder};
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::sessions::table::PendingClaim;
use crate::broker::shard::{Shard, Turn};
use crate::routing::Location;

impl Shard {
    /// Asks the holder before `claimant` for the Session.
    pub(in crate::broker) fn ask_holder(&mut self, holder: Holder, claimant: Claimant, turn: &mut Turn<'_>) {
        if holder.shard() == self.id {
            return self.on_claimed(holder.claim(), claimant, turn);
        }
        let message = ShardMessageKind::Claimed { prior: holder.claim(), claimant };
        turn.actions.push(Action::Forward { shard: holder.shard(), message: ShardMessage(message) });
    }

    /// `claimant` wants the Session that this shard has, or is about to get, for the claim `prior`.
    pub(in crate::broker) fn on_claimed(&mut self, prior: Claim, claimant: Claimant, turn: &mut Turn<'_>) {
        if let Some(before) = self.sessions.pass_on(prior, claimant) {
            if let PendingClaim::Waiting { connection, .. } = before {
                self.break_off(connection, "session taken over before CONNACK", turn);
            }
            return;
        }
        let Some(slot) = self.sessions.slot_of(prior) else {
            return self.surrender(claimant, None, turn);
        };
        if let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) {
            self.counters.sessions_taken_over += 1;
            let ending = Ending::taken_over(claimant.clean_start);
            self.end_connection(id, ending, turn); // [MQTT-3.1.4-3]
        }
        // A Will or an end that is due, and whose timer has not been handled yet, comes before the new connection. [MQTT-3.1.3-9]
        self.on_session_due(slot, turn);
        // A Session that ended with its connection is gone by now.
        let Some(entry) = self.sessions.get(slot).filter(|entry| entry.claim == prior) else {
            return self.surrender(claimant, None, turn);
        };
        if claimant.clean_start {
            return self.end_for(claimant, slot, turn);
        }
        if !self.pipeline.is_stable(entry.last_ticket) {
            return self.sessions.delay_departure(entry.last_ticket, prior, claimant);
        }
        let entry = self.remove_session(slot);
        self.surrender(claimant, entry, turn);
    }

    /// Ends the Session in `slot` for a CONNECT with Clean Start. Its CONNACK tells the client that the Session is gone, so the end must
    /// be stable first. [MQTT-3.1.2-4]
    fn end_for(&mut self, claimant: Claimant, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let (prior, is_stored) = (entry.claim, entry.stored);
        self.end_session(slot, turn);
        if is_stored && self.pipeline.unstable() > 0 {
            self.sessions.delay_departure(self.pipeline.last(), prior, claimant);
        } else {
            self.surrender(claimant, None, turn);
        }
    }

    /// Gives up the Sessions that were claimed before their records were stable, if they are now.
    pub(in crate::broker) fn surrender_stable(&mut self, turn: &mut Turn<'_>) {
        for (prior, claimant) in self.sessions.take_departures(&self.pipeline) {
            self.on_claimed(prior, claimant, turn);
        }
    }

    /// Takes a Session out of this shard, for another shard or another claim of this one.
    fn remove_session(&mut self, slot: usize) -> Option<Box<SessionSlot>> {
        let mut entry = self.sessions.remove(slot, &mut self.counters)?;
        self.cancel_session_due(slot);
        entry.forget_shard();
        Some(Box::new(entry))
    }

    /// Gives the Session to `claimant`, or tells it that there is none.
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
        let Some(pending) = self.sessions.end_claim(claim) else { return };
        let key = session.as_ref().map(|entry| entry.subscriber.key);
        match pending {
            PendingClaim::PassOn(claimant) => self.pass_on(claim, claimant, session, turn),
            PendingClaim::Waiting { connection, connecting } if self.connection(connection).is_some() => {
                let granted = GrantedClaim { claim, connecting };
                self.finish_connect(connection, granted, session, turn);
            }
            // The client is gone again: its Session waits for the next CONNECT.
            PendingClaim::Waiting { connecting, .. } => match session {
                Some(mut entry) => {
                    entry.claim = claim;
                    let slot = self.insert_session(*entry);
                    self.schedule_session(slot);
                }
                None => self.shared.directory.unclaim(&connecting.client_id, claim),
            },
        }
        if let Some(key) = key {
            for (to, sequenced) in self.sessions.take_early(key) {
                self.deliver(&to, sequenced, None, turn);
            }
        }
    }

    /// Gives a Session that has just come to the claimant that asked for it meanwhile.
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

    /// Gives a Session a slot here, and lets messages come to it.
    pub(in crate::broker) fn insert_session(&mut self, entry: SessionSlot) -> usize {
        self.sessions.insert(entry, &mut self.counters)
    }
}
