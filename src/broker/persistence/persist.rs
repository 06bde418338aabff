//! Passes records to the store, and handles their commit. [`pipeline`](super::pipeline) has the overview.

use crate::broker::action::Action;
use crate::broker::persistence::receipt::CopyOutcome;
use crate::broker::persistence::record::Record;
use crate::broker::shard::{Shard, Turn};
use crate::routing::SessionKey;
use crate::session::{self, Ticket};

impl Shard {
    /// Passes a record to the store, or adds it to the open [group](super::group). Returns its ticket.
    pub(in crate::broker) fn persist(&mut self, record: Record, turn: &mut Turn<'_>) -> Ticket {
        if let Some(group) = &mut self.group {
            return group.add(record, &mut self.pipeline);
        }
        let ticket = self.pipeline.issue();
        turn.actions.push(Action::Persist { ticket, record: Box::new(record) });
        ticket
    }

    /// Passes a record of the Session in `slot` to the store if the Session is durable. The caller sends an answer that waits for it.
    pub(in crate::broker) fn persist_for(
        &mut self,
        slot: usize,
        record: impl FnOnce(SessionKey) -> Record,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let ticket = self.persist_unawaited(slot, record, turn)?;
        self.wait_for(slot, ticket);
        Some(ticket)
    }

    /// Passes a record of the Session in `slot` to the store if the Session is durable. No answer waits for it.
    pub(in crate::broker) fn persist_unawaited(
        &mut self,
        slot: usize,
        record: impl FnOnce(SessionKey) -> Record,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let key = self.sessions.get(slot).filter(|entry| entry.is_durable())?.subscriber.key;
        let ticket = self.persist(record(key), turn);
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.last_ticket = ticket;
        }
        Some(ticket)
    }

    /// Deletes a message from the stored queue of the Session in `slot`. Nothing waits for this record, not even a move of the Session to
    /// another shard.
    pub(in crate::broker) fn persist_done(
        &mut self,
        slot: usize,
        sequence: u64,
        outcome: CopyOutcome,
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let key = entry.subscriber.key;
        // A Session that is not durable any more may still be stored, and messages in its queue with it.
        if entry.is_durable() || (entry.stored && self.shared.receipts.may_track(key, sequence)) {
            self.persist_left(key, sequence, outcome, turn);
        }
    }

    /// If the log is replicated, lets an answer to the Session in `slot` wait for a record that changes nothing. The record of a broker that is not the
    /// owner of the log any more never becomes stable, so it neither resumes Sessions nor shows retained messages that its successor has changed.
    /// A record that was issued before the client asked would not do: it may have become stable before there was a successor.
    pub(in crate::broker) fn fence(&mut self, slot: usize, turn: &mut Turn<'_>) -> Option<Ticket> {
        let ticket = self.settings.is_replicated.then(|| self.persist(Record::Fence, turn))?;
        self.wait_for(slot, ticket);
        Some(ticket)
    }

    /// Notifies the Session in `slot` when `ticket` is stable, because it has an answer that waits for it.
    pub(in crate::broker) fn wait_for(&mut self, slot: usize, ticket: Ticket) {
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.last_ticket = entry.last_ticket.max(ticket);
            self.pipeline.await_answer(ticket, entry.subscriber.key, slot);
        }
    }

    /// All records up to `ticket` are stable: delivers the waiting messages, then sends the waiting answers, closes the waiting
    /// connections, and moves claimed Sessions.
    pub(in crate::broker) fn on_persisted(&mut self, ticket: Ticket, turn: &mut Turn<'_>) {
        if ticket > self.pipeline.stable() {
            self.journeys.committed(ticket, turn.now);
        }
        self.pipeline.advance(ticket);
        self.shared.set_stable(self.id, self.pipeline.stable());
        if self.schedule.has_unstable() {
            self.on_delayed_stable();
        }
        if !self.unstable_letters.is_empty() {
            self.settle_letters();
        }
        while let Some(message) = self.pipeline.next_stable_message() {
            self.deliver_outstanding(message, turn);
        }
        if self.streams.has_entering() {
            self.offer_entered(turn);
        }
        while let Some(answer) = self.pipeline.next_stable_answer() {
            if self.session(answer.slot, answer.key).is_some() {
                self.drive(answer.slot, session::Event::Persisted(answer.ticket), turn);
                self.replay(answer.slot, turn);
                self.bound_responses(answer.slot, turn);
            }
        }
        while let Some(connection) = self.pipeline.next_stable_close() {
            turn.actions.push(Action::Close { connection });
        }
        if self.shared.receipts.has_due() {
            self.publish_receipts(turn);
        }
        self.surrender_stable(turn);
        if !self.links.awaited.is_empty() {
            self.send_stable_permits(turn);
        }
        self.answer_stable(turn);
        self.answer_operators(turn);
    }
}
