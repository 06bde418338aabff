//! Lists and deletes retained messages for operators.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::broker::operator::query::{DeletionProgress, DeletionRequest, RetainedRequest, TopicAnswer};
use crate::broker::persistence::record::Record;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::query::PAGE_MAX;
use crate::broker::retained::state::VISITS_MAX;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Message, Qos};
use crate::routing::{RetainedCursor, RetainedMessage};
use crate::session::{Application, Ticket};
use crate::timestamp::Timestamp;
use crate::topic::{TopicFilter, TopicName};

impl Shard {
    /// The retained message of a topic.
    pub(super) fn retained_message(&self, topic: &TopicName, now: Timestamp) -> Option<Arc<RetainedMessage>> {
        let is_current = |retained: &&Arc<RetainedMessage>| retained.expires_at.is_none_or(|at| at > now);
        self.shared.retained().get(topic).filter(is_current).map(Arc::clone)
    }

    pub(super) fn retained_messages(&self, request: &RetainedRequest, now: Timestamp) -> TopicAnswer {
        let (found, next) = self.next_retained_messages(request, request.limit.clamp(1, PAGE_MAX), now);
        TopicAnswer::Retained(found, next)
    }

    /// Deletes some messages: each as a PUBLISH at QoS 0 with RETAIN and without payload does, so their records are in order with those of clients,
    /// and subscribers get the empty message. Returns the ticket of the last record.
    pub(super) fn delete_retained(
        &mut self,
        DeletionRequest { filter, progress }: &DeletionRequest,
        turn: &mut Turn<'_>,
    ) -> (TopicAnswer, Option<Ticket>) {
        let (DeletionProgress { number, cursor }, mut last) = match progress {
            Some(progress) => (progress.clone(), None),
            None => self.begin_deletion(filter, turn),
        };
        let request = RetainedRequest { filter: filter.clone(), cursor, limit: DELETED_MAX };
        let (found, next) = self.next_retained_messages(&request, DELETED_MAX, turn.now);
        let mut deleted = 0;
        for retained in found.iter().filter(|retained| number.is_none_or(|number| retained.number < number)) {
            let application = Application {
                message: Arc::new(Message::new(retained.message.topic.clone(), "")),
                is_topic_copied: true,
                qos: Qos::AtMostOnce,
                retain: true,
                packet_id: None,
                message_expiry_interval: None,
            };
            match self.accept(&Publisher::operator(), application, turn) {
                Verdict::Answer { wait, .. } => {
                    deleted += 1;
                    last = last.max(wait);
                }
                Verdict::Full(_) | Verdict::Pending(_) => {} // at QoS 0 only if the queue for another cell is full: then it stays
            }
        }
        if let (Some(number), None) = (number, &next) {
            self.shared.retained_order.end_deletion(number);
        }
        let next = next.map(|cursor| DeletionProgress { number, cursor: Some(cursor) });
        (TopicAnswer::Deleted(deleted, next), last)
    }

    /// Records a deletion of several messages before the first of them is cleared. With other cells each is cleared by itself, because a start would not tell
    /// these what it clears.
    fn begin_deletion(&mut self, filter: &TopicFilter, turn: &mut Turn<'_>) -> (DeletionProgress, Option<Ticket>) {
        if !filter.has_wildcard() || self.shared.cell.is_some() {
            return (DeletionProgress { number: None, cursor: None }, None);
        }
        let number = self.retained.begin_deletion(&self.shared);
        let ticket = self.persist(Record::RetainedDeletion { number, filter: filter.clone() }, turn);
        (DeletionProgress { number: Some(number), cursor: None }, Some(ticket))
    }

    /// The next messages that the filter matches, and where to continue. The lock is held for a bounded number of visits.
    fn next_retained_messages(
        &self,
        RetainedRequest { filter, cursor, .. }: &RetainedRequest,
        limit: usize,
        now: Timestamp,
    ) -> (Vec<Arc<RetainedMessage>>, Option<RetainedCursor>) {
        let (mut found, mut visits) = (Vec::new(), VISITS_MAX);
        let retained = self.shared.retained();
        let mut cursor = cursor.clone().unwrap_or_else(|| retained.cursor());
        retained.advance((&mut cursor, filter), now, &mut visits, |message| {
            // A cursor comes from outside, so it may be one of another filter.
            if filter.matches(&message.message.topic) {
                found.push(Arc::clone(message));
            }
            if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (found, (!cursor.is_finished()).then_some(cursor))
    }
}

/// Messages that are deleted in one turn. It takes about a millisecond.
const DELETED_MAX: usize = 256;
