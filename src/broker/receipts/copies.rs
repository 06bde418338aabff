//! Writes what becomes of the copies of messages with receipts.

use std::sync::Arc;

use crate::broker::persistence::receipt::{CopyChange, CopyOutcome, ReceiptChange, ReceiptState};
use crate::broker::persistence::record::{Addressed, InsteadOf, Record};
use crate::broker::publish::publisher::Publisher;
use crate::broker::receipts::receipt::Receipt;
use crate::broker::receipts::request::ReceiptRequest;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Message;
use crate::routing::SessionKey;
use crate::session::Ticket;
use crate::timestamp::Timestamp;
use crate::topic::MountPoint;

impl Shard {
    /// Deletes a message from the stored queue of a Session, which it has left for good in this way.
    #[inline]
    pub(in crate::broker) fn persist_left(
        &mut self,
        key: SessionKey,
        sequence: u64,
        outcome: CopyOutcome,
        turn: &mut Turn<'_>,
    ) {
        if self.shared.receipts.may_track(key, sequence) {
            return self.persist_tracked(key, sequence, outcome, turn);
        }
        self.persist(Record::Done { key, sequence }, turn);
    }

    #[cold]
    fn persist_tracked(&mut self, key: SessionKey, sequence: u64, outcome: CopyOutcome, turn: &mut Turn<'_>) {
        let Some(change) = self.copy_left(key, sequence, outcome, turn.now) else {
            self.persist(Record::Done { key, sequence }, turn);
            return;
        };
        let ticket = self.persist(Record::CopyLeft { key, sequence, change }, turn);
        self.settle_copy(change, ticket, turn.now);
    }

    /// A message leaves the queue of a Session for good. If it has a receipt, the caller writes the change in the record that removes it, and
    /// [settles](Self::settle_copy) it.
    pub(in crate::broker) fn copy_left(
        &self,
        key: SessionKey,
        sequence: u64,
        outcome: CopyOutcome,
        now: Timestamp,
    ) -> Option<CopyChange> {
        let receipts = &self.shared.receipts;
        receipts.may_track(key, sequence).then(|| receipts.leave((key, sequence), outcome, now))?
    }

    /// The change of a copy is in the record with this ticket.
    pub(in crate::broker) fn settle_copy(&self, change: CopyChange, ticket: Ticket, now: Timestamp) {
        self.shared.receipts.settle(change, (self.id, ticket), now);
    }

    /// A Session ended with the record of this ticket. `left`: the sequences of its messages; `None`: all.
    pub(in crate::broker) fn session_left_receipts(
        &self,
        key: SessionKey,
        left: Option<&[u64]>,
        ticket: Ticket,
        now: Timestamp,
    ) {
        if self.shared.receipts.len() > 0 {
            self.shared.receipts.end_session(key, left, (self.id, ticket), now);
        }
    }

    /// What the record of an accepted message tells of receipts: of its own, or of that of the message that it moves.
    #[inline]
    pub(in crate::broker) fn receipt_change(
        &self,
        publisher: &Publisher,
        (durable, left_out): (&[Addressed], u32),
        now: Timestamp,
    ) -> Option<Box<ReceiptChange>> {
        if let Some(request) = publisher.receipt.as_deref() {
            return Some(self.opened(request, (durable, left_out), now));
        }
        match publisher.instead_of? {
            InsteadOf::Queued(key, sequence) | InsteadOf::Refused(key, sequence, _) => {
                self.moved_copy((key, sequence), durable, now).map(|change| Box::new(ReceiptChange::Copy(change)))
            }
            InsteadOf::Will(_) | InsteadOf::Delayed(_) | InsteadOf::DeadLetter(_) | InsteadOf::Receipt(_) => None,
        }
    }

    #[cold]
    fn opened(
        &self,
        request: &ReceiptRequest,
        (durable, left_out): (&[Addressed], u32),
        at: Timestamp,
    ) -> Box<ReceiptChange> {
        let places = durable.iter().map(|copy| (copy.to.key, copy.sequence)).collect();
        let (originator, to) = (Arc::clone(&request.originator), request.to.clone());
        let number = self.shared.receipts.next_number(at);
        Box::new(ReceiptChange::Opened(Box::new(ReceiptState { number, originator, to, at, left_out, places })))
    }

    fn moved_copy(&self, from: (SessionKey, u64), durable: &[Addressed], now: Timestamp) -> Option<CopyChange> {
        let receipts = &self.shared.receipts;
        if !receipts.may_track(from.0, from.1) {
            return None;
        }
        match durable.first() {
            Some(copy) => receipts.moved(from, (copy.to.key, copy.sequence)),
            None => receipts.leave(from, CopyOutcome::Untracked, now),
        }
    }

    /// The record of a message with this change has this ticket; `None`: it has none, so nothing of it is stored.
    #[cold]
    pub(in crate::broker) fn settle_receipt(
        &self,
        publisher: &Publisher,
        (change, message): (ReceiptChange, &Message),
        ticket: Option<Ticket>,
        now: Timestamp,
    ) {
        match (change, ticket) {
            (ReceiptChange::Opened(state), ticket) => {
                let ReceiptState { number, originator, to, at, left_out, places } = *state;
                let mount_point = originator.owner.mount_point();
                let topic = known_as(message.topic.as_str(), mount_point).into();
                let correlation = publisher.receipt.as_ref().and_then(|request| request.correlation.clone());
                let of = (message.id, topic, correlation);
                let receipt = Receipt::new((originator, to), of, at, (places, left_out));
                self.shared.receipts.open(number, receipt, ticket.map(|ticket| (self.id, ticket)));
            }
            (ReceiptChange::Copy(change), Some(ticket)) => self.settle_copy(change, ticket, now),
            (ReceiptChange::Copy(_), None) => {}
        }
    }
}

/// The topic as a client with this mount point knows it.
pub(super) fn known_as<'a>(topic: &'a str, mount_point: Option<&MountPoint>) -> &'a str {
    mount_point.and_then(|mount_point| mount_point.below(topic)).unwrap_or(topic)
}
