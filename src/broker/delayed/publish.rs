//! Publishes delayed messages when they are due.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::counters::DropReason;
use crate::broker::delayed::batch::{Content, DelayedBatch, Item};
use crate::broker::delayed::schedule::Entry;
use crate::broker::operator::drops::Lost;
use crate::broker::operator::query::RefusedAction;
use crate::broker::operator::refusals::Refused;
use crate::broker::persistence::delay::Delay;
use crate::broker::persistence::delayed_message::DelayedMessage;
use crate::broker::persistence::receipt::Originator;
use crate::broker::persistence::record::{InsteadOf, Record};
use crate::broker::publish::dead_letter::dead_letter_of;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::refusal::Refusal;
use crate::broker::report::{ClientLabel, Report};
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::routing::{Denied, SessionKey};
use crate::session::Application;
use crate::timestamp::Timestamp;

impl Shard {
    /// Sets the timer for the next delayed message.
    pub(in crate::broker) fn arm_delayed(&mut self) {
        let next = self.schedule.next_due();
        if self.schedule.armed == next {
            return;
        }
        if let Some(at) = self.schedule.armed {
            self.timers.clear(at, Timer::Delayed);
        }
        if let Some(at) = next {
            self.timers.set(at, Timer::Delayed);
        }
        self.schedule.armed = next;
    }

    /// Requests the next batch of messages that are due.
    pub(in crate::broker) fn on_delayed_due(&mut self, turn: &mut Turn<'_>) {
        self.schedule.armed = None;
        if self.lifecycle.is_shutting_down() {
            return; // they are published after the next start
        }
        if self.flow.is_store_congested() || self.flow.has_full_shards() {
            self.schedule.pause(turn.now + CONGESTION_PAUSE);
        } else {
            let messages = self.schedule.begin_batch(turn.now);
            if !messages.is_empty() {
                turn.actions.push(Action::PrepareDelayed(Box::new(DelayedBatch::new(messages))));
            }
        }
        self.arm_delayed();
    }

    /// Publishes a batch, of which each message has its content and the rights of its originator.
    pub(in crate::broker) fn on_delayed_prepared(&mut self, batch: DelayedBatch, turn: &mut Turn<'_>) {
        if self.lifecycle.is_shutting_down() {
            return; // the store may be closing: they are published after the next start
        }
        let entries = self.schedule.end_batch();
        for (entry, item) in entries.into_iter().zip(batch.items) {
            self.publish_delayed(entry, item, turn);
        }
        if self.schedule.next_due().is_some_and(|due| due <= turn.now) {
            return self.on_delayed_due(turn);
        }
        self.arm_delayed();
    }

    fn publish_delayed(&mut self, entry: Entry, item: Item, turn: &mut Turn<'_>) {
        let Item { number, content, access } = item;
        let message = match content {
            Content::Read(message) => message,
            Content::Stored | Content::Unavailable => {
                return self.schedule.put_back(entry, turn.now + RETRY, None);
            }
            Content::Damaged(cause) => return self.drop_damaged(entry, cause, turn),
        };
        let is_expired = message.expires_at.is_some_and(|expires_at| expires_at <= turn.now);
        if self.schedule.take_expired(number) || is_expired {
            return self.drop_delayed(entry, &message, DropReason::Expired, turn);
        }
        if message.delay.retain && self.is_memory_short() {
            // Retained messages are refused then. This one was accepted, so it waits.
            let content = self.settings.queue_head.is_none().then_some(message);
            return self.schedule.put_back(entry, turn.now + RETRY, content);
        }
        let allowed = access.ok_or(Denied { rule: None }).and_then(|access| access.publish(&message.message.topic));
        if let Err(denied) = allowed {
            self.report_delayed_denied(&message, denied, turn);
            return self.drop_delayed(entry, &message, DropReason::NotAuthorized, turn);
        }
        let Delay { session, client_id, owner, .. } = &message.delay;
        let publisher = Publisher {
            key: Some(*session).filter(|session| *session != SessionKey(0)),
            client_id: Some(client_id.clone()),
            owner: Some(owner.clone()),
            instead_of: Some(InsteadOf::Delayed(number)),
            receipt: self.receipt_of_delayed((&message.message, message.qos), || Originator {
                client_id: client_id.clone(),
                owner: owner.clone(),
            }),
            ..Publisher::broker()
        };
        match self.accept(&publisher, application(&message, turn.now), turn) {
            Verdict::Answer { reason_code, .. } if !reason_code.is_error() => {
                self.counters.delayed_published += 1;
                self.shared.delayed.free(entry.owner, entry.bytes as usize);
            }
            // `accept` has counted it.
            Verdict::Answer { .. } => self.remove_delayed(entry, &message, DropReason::RetainedFull, turn),
            // A queue is full, and the operator has chosen that nothing is lost: it stays delayed.
            Verdict::Full(_) | Verdict::Pending(_) => {
                let content = self.settings.queue_head.is_none().then_some(message);
                self.schedule.put_back(entry, turn.now + RETRY, content);
            }
        }
    }

    /// Drops a delayed message and counts it.
    fn drop_delayed(&mut self, entry: Entry, message: &DelayedMessage, reason: DropReason, turn: &mut Turn<'_>) {
        self.counters.dropped(reason, 1);
        let (topic, qos) = (Some(message.message.topic.as_str()), Some(message.qos));
        let client_id = message.delay.client_id.as_str();
        self.note_lost(Lost { topic, qos, ..Lost::several(client_id, 1, reason) }, turn);
        self.remove_delayed(entry, message, reason, turn);
    }

    /// Deletes a delayed message that is not published, or makes it a dead letter with the same record.
    fn remove_delayed(&mut self, entry: Entry, message: &DelayedMessage, reason: DropReason, turn: &mut Turn<'_>) {
        let Entry { number, bytes, owner, .. } = entry;
        self.shared.delayed.free(owner, bytes as usize);
        let client_id = message.delay.client_id.as_str();
        let topic = self.settings.dead_letter_topic.clone().filter(|topic| *topic != message.message.topic);
        if let Some(topic) = topic {
            let letter = dead_letter_of(topic, &message.message, message.qos, (reason, client_id));
            let publisher = Publisher { instead_of: Some(InsteadOf::Delayed(number)), ..Publisher::broker() };
            match self.accept(&publisher, letter, turn) {
                Verdict::Answer { reason_code, .. } if !reason_code.is_error() => {
                    self.counters.dead_letters += 1;
                    return;
                }
                Verdict::Answer { .. } | Verdict::Full(_) | Verdict::Pending(_) => self.counters.dead_letters_lost += 1,
            }
        }
        self.persist(Record::DelayedRemoved { numbers: vec![number] }, turn);
    }

    /// Drops a delayed message that the store cannot read.
    fn drop_damaged(&mut self, Entry { number, bytes, owner, .. }: Entry, cause: ByteString, turn: &mut Turn<'_>) {
        self.schedule.take_expired(number);
        self.shared.delayed.free(owner, bytes as usize);
        self.counters.dropped(DropReason::Unreadable, 1);
        self.note_lost(Lost::several("", 1, DropReason::Unreadable), turn);
        let report = Report::Unreadable { client: ClientLabel::default(), sequence: number, cause };
        turn.actions.push(Action::Report(Box::new(report)));
        self.persist(Record::DelayedRemoved { numbers: vec![number] }, turn);
    }

    /// Reports that the originator of a delayed message may not publish it any more.
    fn report_delayed_denied(&mut self, message: &DelayedMessage, denied: Denied, turn: &mut Turn<'_>) {
        let Refusal { reason_code, rule, .. } = Refusal::by_access(denied);
        let client_id = Some(message.delay.client_id.clone());
        let client = ClientLabel { client_id, ..ClientLabel::default() };
        let topic = ByteString::from(message.message.topic.as_str());
        let action = RefusedAction::Publish;
        let refused = Refused { action, reason_code, rule: Some(&rule), reason: None, topic: Some(&topic) };
        self.operator.refused(turn.now, &client, refused);
        let report = Report::Denied { client, packet: "delayed PUBLISH", topic, reason_code, rule };
        turn.actions.push(Action::Report(Box::new(report)));
    }
}

/// The message as it is published at `now`. Its Message Expiry Interval has counted since it was accepted; the rest is rounded up.
fn application(message: &DelayedMessage, now: Timestamp) -> Application {
    let rest = message.expires_at.map(|expires_at| expires_at.since(now).as_millis().div_ceil(1_000));
    Application {
        message: Arc::clone(&message.message),
        is_topic_copied: true,
        qos: message.qos,
        retain: message.delay.retain,
        packet_id: None,
        message_expiry_interval: rest.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
    }
}

/// The pause after which a message that could not be read, or that a full queue refused, is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The pause while the store or another shard is overloaded.
const CONGESTION_PAUSE: Duration = Duration::from_millis(20);
