//! Handles a PUBLISH to the topic of batches: reads it, accepts it, and answers it.

use bytestring::ByteString;

use crate::broker::batch::members::{NEEDS_ANSWER, RefusedBatch, UNANSWERED};
use crate::broker::batch::plan::Unplanned;
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::operator::query::RefusedAction;
use crate::broker::operator::refusals::Refused;
use crate::broker::publish::blocked::{BlockedMessage, WaitsFor};
use crate::broker::publish::deduplicate::{DeduplicationVerdict, PublisherName};
use crate::broker::publish::ingress::{Denial, PublishAnswer};
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::refusal::Refusal;
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::session::Application;

impl Shard {
    /// Accepts a batch of the client in `slot`, and answers it. Returns it if it can be neither accepted nor refused now.
    #[cold]
    pub(in crate::broker) fn publish_batch(
        &mut self,
        slot: usize,
        batch: Application,
        turn: &mut Turn<'_>,
    ) -> Option<Box<BlockedMessage>> {
        let id = self.sessions.get(slot)?.connection?;
        let members = match batch.packet_id {
            Some(_) => self.members_of(id, &batch),
            None => Err(RefusedBatch {
                refusal: Refusal { reason_code: UNANSWERED, ..Refusal::malformed(NEEDS_ANSWER) },
                topic: batch.message.topic.as_str().into(),
            }),
        };
        let members = match members {
            Ok(members) => members,
            Err(refused) => {
                self.refuse_batch((slot, id), &batch, refused, turn);
                return None;
            }
        };
        let mut publisher = self.publisher_of_batch(slot, id, &batch)?;
        let name = PublisherName::of(self.connection(id)?);
        match self.look_up(&name, &publisher, &batch, turn) {
            DeduplicationVerdict::Accept(entry) => publisher.deduplicated = entry.map(Box::new),
            DeduplicationVerdict::Duplicate(wait) => {
                let answer = PublishAnswer { reason_code: ReasonCode::Success, wait, duplicate: true };
                self.answer_batch((slot, id), &batch, answer, turn);
                return None;
            }
            DeduplicationVerdict::Pending => {
                return Some(Box::new(BlockedMessage { application: batch, waits_for: WaitsFor::Deduplication }));
            }
            DeduplicationVerdict::Refuse(reason_code) => {
                let answer = PublishAnswer { reason_code, wait: None, duplicate: false };
                self.answer_batch((slot, id), &batch, answer, turn);
                return None;
            }
        }
        let outcome = self.accept_batch(&publisher, &batch, members, turn);
        let wait = outcome.as_ref().ok().and_then(|accepted| accepted.wait);
        self.settle(publisher.deduplicated, outcome.is_ok(), wait, turn);
        match outcome {
            Ok(accepted) => {
                self.counters.batches += 1;
                self.counters.batch_messages += accepted.messages as u64;
                let answer = PublishAnswer { reason_code: accepted.reason_code, wait, duplicate: false };
                self.answer_batch((slot, id), &batch, answer, turn);
                self.count_members(id, accepted.messages, turn);
                None
            }
            Err(Unplanned::Full(waits_for)) => self.batch_is_full((slot, id), batch, waits_for, turn),
            Err(Unplanned::Refused(limit)) => {
                let topic = batch.message.topic.as_str();
                let reason_code = ReasonCode::QuotaExceeded;
                let refused = Refused {
                    action: RefusedAction::Publish,
                    reason_code,
                    rule: None,
                    reason: Some(&limit),
                    topic: Some(topic),
                };
                self.note_refusal(id, refused, turn);
                let refusal = Refusal { reason_code, ..Refusal::malformed(limit) };
                self.counters.batches_refused += 1;
                self.refuse_publish(slot, &batch, refusal, turn);
                None
            }
        }
    }

    fn publisher_of_batch(&self, slot: usize, id: ConnectionId, batch: &Application) -> Option<Publisher> {
        let entry = self.sessions.get(slot)?;
        Some(Publisher {
            key: Some(entry.subscriber.key),
            slot: Some(slot),
            client_id: Some(entry.subscriber.client_id.clone()),
            owner: Some(entry.owner.clone()),
            origin: Some(Origin::new(self.id, id)),
            received: batch.packet_id.map(|packet_id| (slot, packet_id)),
            deduplicated: None,
            instead_of: None,
            receipt: None,
            is_link: false,
        })
    }

    /// Refuses a batch of which a message is malformed or denied, and reports that. At QoS 0 it is dropped.
    fn refuse_batch(
        &mut self,
        (slot, id): (usize, ConnectionId),
        batch: &Application,
        RefusedBatch { refusal, topic }: RefusedBatch,
        turn: &mut Turn<'_>,
    ) {
        self.counters.batches_refused += 1;
        let (reason_code, rule) = (refusal.reason_code, ByteString::clone(&refusal.rule));
        self.report_denied(id, Denial { packet: "PUBLISH", topic, reason_code, rule }, turn);
        self.refuse_publish(slot, batch, refusal, turn);
    }

    /// Refuses a batch without room, or returns it if its client can't be told that.
    fn batch_is_full(
        &mut self,
        (slot, id): (usize, ConnectionId),
        batch: Application,
        waits_for: WaitsFor,
        turn: &mut Turn<'_>,
    ) -> Option<Box<BlockedMessage>> {
        let blocked = Box::new(BlockedMessage { application: batch, waits_for });
        if !self.connection(id)?.version.has_properties() {
            return Some(blocked);
        }
        self.counters.batches_refused += 1;
        self.refuse_full(slot, &blocked, turn);
        None
    }

    fn answer_batch(
        &mut self,
        (slot, id): (usize, ConnectionId),
        batch: &Application,
        answer: PublishAnswer,
        turn: &mut Turn<'_>,
    ) {
        if self.detail.is_on()
            && let Some(published) = self.describe(id, batch)
        {
            self.report_published(published, answer.reason_code, answer.duplicate, turn);
        }
        let explains = self.connection(id).is_some_and(|connection| connection.wants_details());
        if let Some(packet_id) = batch.packet_id {
            self.answer_publish(slot, (packet_id, batch.qos, explains), answer, turn);
        }
    }

    /// Counts the messages behind the first against the rate limit of the client: the PUBLISH counts for that.
    fn count_members(&mut self, id: ConnectionId, messages: usize, turn: &mut Turn<'_>) {
        if self.connection(id).is_some_and(|connection| connection.has_message_rate()) {
            (1..messages).for_each(|_| self.count_message(id, turn));
        }
    }
}
