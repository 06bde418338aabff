//! Moves a Session to the shard that its client connects to.
//!
//! A CONNECT makes its shard the holder of the Client Identifier in the [directory](crate::broker::directory) at once. The shard then
//! requests the Session from the previous holder. So the claims of one identifier form a queue: a holder whose Session has not arrived yet
//! passes it on when it arrives.

use crate::broker::action::Action;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::establish::GrantedClaim;
use crate::broker::directory::claim::{Claim, Claimant, Holder, Takes};
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::persistence::record::WillState;
use crate::broker::report::{ClientLabel, SessionChange};
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::sessions::table::PendingClaim;
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::routing::Location;
use crate::session::Ticket;
use crate::timestamp::Timestamp;

impl Shard {
    /// Requests the Session from the previous holder for `claimant`.
    pub(in crate::broker) fn ask_holder(&mut self, holder: Holder, claimant: Claimant, turn: &mut Turn<'_>) {
        if holder.shard() == self.id {
            return self.on_claimed(holder.claim(), claimant, turn);
        }
        let message = ShardMessageKind::Claimed { prior: holder.claim(), claimant };
        turn.actions.push(Action::Forward { shard: holder.shard(), message: ShardMessage(message) });
    }

    /// `claimant` requests the Session that this shard has, or is about to receive, by the claim `prior`.
    pub(in crate::broker) fn on_claimed(&mut self, prior: Claim, claimant: Claimant, turn: &mut Turn<'_>) {
        if let Some(before) = self.sessions.pass_on(prior, claimant) {
            if let PendingClaim::Waiting { connection, .. } = before {
                let cause = "session taken over before CONNACK".into();
                self.refuse(connection, ReasonCode::ServerUnavailable, cause, turn);
            }
            return;
        }
        let Some(slot) = self.sessions.slot_of(prior) else {
            return self.surrender(claimant, None, turn);
        };
        if let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) {
            self.counters.sessions_taken_over += 1;
            self.report_session(slot, SessionChange::TakenOver, turn);
            let ending = if claimant.shard == self.id && !claimant.takes.ends_session() {
                Ending::resumed()
            } else {
                Ending::taken_over(claimant.takes.ends_session())
            };
            self.end_connection(id, ending, turn); // [MQTT-3.1.4-3]
        }
        // A Will or an expiry that is due, but whose timer has not been handled yet, precedes the new connection. [MQTT-3.1.3-9]
        self.on_session_due(slot, turn);
        // A Session may have ended with its connection just now.
        let Some(entry) = self.sessions.get(slot).filter(|entry| entry.claim == prior) else {
            return self.surrender(claimant, None, turn);
        };
        if claimant.takes.ends_session() {
            return self.end_for_claimant(claimant, slot, turn);
        }
        if claimant.shard == self.id {
            return self.keep_session(slot, claimant.claim, turn);
        }
        if !self.pipeline.is_stable(entry.last_ticket) {
            return self.sessions.delay_departure(entry.last_ticket, prior, claimant);
        }
        let entry = self.remove_session(slot);
        self.surrender(claimant, entry, turn);
    }

    /// Gives the Session in `slot`, which has no connection, to a later CONNECT of this shard. It stays where it is, with what it waits for:
    /// CONNACK waits for a record that is stable after all others of the Session.
    fn keep_session(&mut self, slot: usize, claim: Claim, turn: &mut Turn<'_>) {
        let Some(pending) = self.sessions.end_claim(claim) else { return self.record_end(slot, turn) };
        self.sessions.change_claim(slot, claim);
        match pending {
            PendingClaim::PassOn(claimant) => {
                self.record_end(slot, turn);
                self.on_claimed(claim, claimant, turn);
            }
            PendingClaim::Waiting { connection, connecting } => {
                if let Some(entry) = self.sessions.get_mut(slot)
                    && entry.owner != connecting.owner
                {
                    self.record_end(slot, turn);
                    if let Some(entry) = self.sessions.get_mut(slot) {
                        entry.owner = connecting.owner.clone();
                    }
                    self.limit_session(slot);
                }
                if self.connection(connection).is_some() {
                    self.cancel_session_due(slot);
                    let granted = GrantedClaim { claim, connecting, after: Ticket::default() };
                    self.finish_connect(connection, granted, Some(slot), turn);
                } else {
                    self.record_end(slot, turn);
                }
            }
        }
    }

    /// Records the end of the last connection of the Session in `slot`, which no other connection resumes at once as
    /// [expected](Ending::resumed).
    fn record_end(&mut self, slot: usize, turn: &mut Turn<'_>) {
        if self.sessions.get(slot).is_some_and(|entry| entry.recorded_as_connected && entry.connection.is_none()) {
            self.persist_detached(slot, WillState::Absent, turn);
        }
    }

    /// Ends the Session in `slot` for a CONNECT with Clean Start, or of another owner. CONNACK confirms the end, so the record of the end
    /// must be stable first. [MQTT-3.1.2-4]
    fn end_for_claimant(&mut self, claimant: Claimant, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let (prior, is_stored) = (entry.claim, entry.stored);
        if claimant.takes == Takes::NothingOfOthers {
            self.report_session(slot, SessionChange::Ended { cause: "CONNECT of a verified user" }, turn);
            self.end_session_of_others(slot, turn);
        } else {
            self.report_session(slot, SessionChange::Ended { cause: "CONNECT with Clean Start" }, turn);
            self.end_session(slot, turn);
        }
        let last = self.pipeline.last();
        if !is_stored || self.pipeline.is_stable(last) {
            self.surrender(claimant, None, turn);
        } else if claimant.shard == self.id {
            self.on_surrendered(claimant.claim, None, last, turn);
        } else {
            self.sessions.delay_departure(last, prior, claimant);
        }
    }

    /// Surrenders the claimed Sessions whose records are stable now.
    pub(in crate::broker) fn surrender_stable(&mut self, turn: &mut Turn<'_>) {
        for (prior, claimant) in self.sessions.take_departures(&self.pipeline) {
            self.on_claimed(prior, claimant, turn);
        }
    }

    /// Removes a Session that moves to another shard.
    fn remove_session(&mut self, slot: usize) -> Option<Box<SessionSlot>> {
        let mut entry = self.sessions.remove(slot, &mut self.counters)?;
        self.cancel_session_due(slot);
        self.forget_streams(slot, &entry);
        self.journeys.left(entry.subscriber.key, &entry.subscriber.client_id, false);
        entry.reset_shard_state();
        Some(Box::new(entry))
    }

    /// Sends the Session to `claimant`, or `None` if there is none.
    fn surrender(&mut self, claimant: Claimant, session: Option<Box<SessionSlot>>, turn: &mut Turn<'_>) {
        if let Some(entry) = &session {
            // Publishers forward messages to the new shard from now on.
            entry.subscriber.set_location(Location { shard: claimant.shard, slot: Location::ARRIVING });
        }
        if claimant.shard == self.id {
            return self.on_surrendered(claimant.claim, session, Ticket::default(), turn);
        }
        if let Some(entry) = &session
            && self.detail.is_on()
        {
            let client = ClientLabel { client_id: Some(entry.subscriber.client_id.clone()), ..ClientLabel::default() };
            self.report_change_of(client, SessionChange::Moved { to: claimant.shard }, turn);
        }
        let message = ShardMessage(ShardMessageKind::Surrendered { claim: claimant.claim, session });
        turn.actions.push(Action::Forward { shard: claimant.shard, message });
    }

    /// The Session of a pending claim has arrived, or there is none. CONNACK also waits for the ticket `after`.
    pub(in crate::broker) fn on_surrendered(
        &mut self,
        claim: Claim,
        session: Option<Box<SessionSlot>>,
        after: Ticket,
        turn: &mut Turn<'_>,
    ) {
        let Some(pending) = self.sessions.end_claim(claim) else { return };
        let key = session.as_ref().map(|entry| entry.subscriber.key);
        match pending {
            PendingClaim::PassOn(claimant) => self.pass_on(claim, claimant, session, turn),
            PendingClaim::Waiting { connection, connecting } if self.connection(connection).is_some() => {
                let owner = connecting.owner.clone();
                let slot = session.map(|entry| self.insert_session(SessionSlot { claim, owner, ..*entry }));
                let granted = GrantedClaim { claim, connecting, after };
                self.finish_connect(connection, granted, slot, turn);
            }
            // The connection has closed meanwhile: the Session is kept for the next CONNECT.
            PendingClaim::Waiting { connecting, .. } => match session {
                Some(mut entry) => {
                    (entry.claim, entry.owner) = (claim, connecting.owner);
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

    /// Passes a Session that has just arrived on to a later claimant.
    fn pass_on(&mut self, claim: Claim, claimant: Claimant, session: Option<Box<SessionSlot>>, turn: &mut Turn<'_>) {
        match session {
            Some(mut entry) if claimant.takes.ends_session() => {
                entry.claim = claim;
                let slot = self.insert_session(*entry);
                self.end_for_claimant(claimant, slot, turn);
            }
            session => self.surrender(claimant, session, turn),
        }
    }

    /// Inserts a Session and delivers the messages that arrived before it.
    pub(in crate::broker) fn insert_session(&mut self, entry: SessionSlot) -> usize {
        let slot = self.sessions.insert(entry, &mut self.counters);
        self.limit_session(slot); // those of the shard it came from may be others
        self.arm_redelivery(slot, Timestamp::default());
        slot
    }
}
