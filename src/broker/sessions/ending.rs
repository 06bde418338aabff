//! Sessions with Shared Subscriptions that end while messages for them may be on their way.
//!
//! A message of a share is stored in the queue of the chosen member, and passed to the shard of that Session when its record is stable. If the
//! Session ends in between, the message is moved to another member when it arrives. Until then it is in the queue of a Session that has
//! ended, so the end must not delete it: a crash would lose an acknowledged message. Such a Session therefore ends in two records:
//!
//! 1. `SessionGone` deletes the Session and the messages in its queue, but not the messages that are on their way. After a crash, the next run moves those to other members.
//! 2. `SessionEnded` deletes everything, when no message can be on its way any more: each one holds a reference to its receiver.

use std::sync::Arc;

use crate::broker::counters::DropReason;
use crate::broker::persistence::record::Record;
use crate::broker::persistence::recovery::Orphan;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::shard::{Shard, Turn};
use crate::codec::ClientId;
use crate::routing::{Location, Subscriber};

impl Shard {
    /// Writes the records of the end of a Session, of which the messages with the sequences `left` were in the queue.
    pub(in crate::broker) fn persist_end(
        &mut self,
        subscriber: Arc<Subscriber>,
        has_shares: bool,
        left: Vec<u64>,
        turn: &mut Turn<'_>,
    ) {
        let key = subscriber.key;
        if !(has_shares && subscriber.is_durable()) {
            let ticket = self.persist(Record::SessionEnded { key }, turn);
            return self.session_left_receipts(key, None, ticket, turn.now);
        }
        // Usually one record, so that a crash keeps or ends the Session with its queue.
        let mut left = left.chunks(LEFT_MAX);
        let first = left.next().unwrap_or_default();
        for more in std::iter::once(first).chain(left) {
            let ticket = self.persist(Record::SessionGone { key, left: more.to_vec() }, turn);
            self.session_left_receipts(key, Some(more), ticket, turn.now);
        }
        self.endings.add(subscriber);
    }

    /// Deletes the records of ended Sessions to which no message is on its way. Called once a second.
    pub(in crate::broker) fn sweep_endings(&mut self, turn: &mut Turn<'_>) {
        for orphan in self.endings.take_orphans() {
            self.redirect_orphan(orphan, turn);
        }
        for key in self.endings.take_unused() {
            let ticket = self.persist(Record::SessionEnded { key }, turn);
            self.session_left_receipts(key, None, ticket, turn.now);
        }
    }

    /// Moves the messages to other members of their shares, and deletes the other records.
    fn redirect_orphan(&mut self, orphan: Orphan, turn: &mut Turn<'_>) {
        let Orphan { key, messages } = orphan;
        let ended = Location { shard: self.id, slot: Location::ENDED };
        let from = Subscriber::new(key, ClientId("".into()), ended, Arc::clone(&self.no_access));
        from.set_durable(true);
        for (sequence, delivery) in messages {
            if !self.redirect(&from, SequencedDelivery { sequence: Some(sequence), delivery, routed: 0 }, turn) {
                self.counters.dropped(DropReason::SessionEnded, 1);
            }
        }
        let ticket = self.persist(Record::SessionEnded { key }, turn);
        self.session_left_receipts(key, None, ticket, turn.now);
    }
}

/// The messages that one record deletes; it is limited by the store.
const LEFT_MAX: usize = 16_384;
