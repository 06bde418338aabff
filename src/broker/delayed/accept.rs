//! Accepts messages that are published later.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::delayed::prefix::{is_delayed, parse};
use crate::broker::delayed::quota::{Counted, Full};
use crate::broker::delayed::schedule::Entry;
use crate::broker::event::StoreRoom;
use crate::broker::memory::MEMORY_SHORT;
use crate::broker::persistence::delay::Delay;
use crate::broker::persistence::delayed_message::{DelayedMessage, RecoveredDelayed};
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::record::{Record, RetainedChange};
use crate::broker::publish::blocked::{BlockedMessage, WaitsFor};
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::refusal::Refusal;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::table::TopicStreams;
use crate::codec::{Message, Qos, ReasonCode};
use crate::routing::SessionKey;
use crate::session::{self, Application};
use crate::timestamp::{Stamp, Timestamp};
use crate::topic::TopicName;

/// The delay of a message, whose topic is the final one already.
#[derive(Debug)]
pub(in crate::broker) struct Postponed {
    pub(in crate::broker) seconds: u32,
    /// The message with the topic that the client sent, and whether that is a copy.
    original: (Arc<Message>, bool),
}

impl Postponed {
    /// Gives a message that waits for room its topic back: it is accepted anew.
    pub(in crate::broker) fn undo(self, mut blocked: Box<BlockedMessage>) -> Box<BlockedMessage> {
        (blocked.application.message, blocked.application.is_topic_copied) = self.original;
        blocked
    }
}

impl Shard {
    /// The topic to which a message is published in the end: behind `$delayed/SECONDS/`.
    pub(in crate::broker) fn final_topic(&self, topic: &TopicName) -> Result<(u32, TopicName), Refusal> {
        if self.settings.delayed_publish && is_delayed(topic.as_str()) {
            return parse(topic.as_str());
        }
        Ok((0, topic.clone()))
    }

    /// Replaces the topic of a delayed message by the final one. `None`: the message is published at once.
    #[inline]
    pub(in crate::broker) fn take_delay(&self, application: &mut Application) -> Result<Option<Postponed>, Refusal> {
        if !is_delayed(application.message.topic.as_str()) || !self.settings.delayed_publish {
            return Ok(None);
        }
        let (seconds, topic) = parse(application.message.topic.as_str())?;
        let original = (Arc::clone(&application.message), application.is_topic_copied);
        application.message = Arc::new(Message { topic, ..Message::clone(&application.message) });
        application.is_topic_copied = true;
        Ok((seconds > 0).then_some(Postponed { seconds, original }))
    }

    /// Accepts a message of the Session of `publisher` that is published after `seconds`, instead of [`accept`](Self::accept).
    pub(in crate::broker) fn postpone(
        &mut self,
        publisher: &Publisher,
        application: Application,
        seconds: u32,
        turn: &mut Turn<'_>,
    ) -> Verdict {
        self.receivers = 0;
        let is_new = publisher.instead_of.is_none();
        if self.store_room == StoreRoom::None && is_new {
            if application.qos == Qos::AtMostOnce {
                return self.refuse_postponed("the store of the broker is full");
            }
            return Verdict::full(application, WaitsFor::Disk);
        }
        match self.count_delayed(publisher, &application) {
            Ok(counted) => self.postpone_counted(publisher, application, (seconds, counted), turn),
            Err(limit) => self.refuse_postponed(limit),
        }
    }

    /// Counts a message that is to be delayed.
    pub(in crate::broker) fn count_delayed(
        &self,
        publisher: &Publisher,
        application: &Application,
    ) -> Result<Counted, Full> {
        if self.is_memory_short() {
            return Err(MEMORY_SHORT);
        }
        let entry = publisher.slot.and_then(|slot| self.sessions.get(slot)).ok_or(MEMORY_SHORT)?;
        let name = entry.owner.publisher_name(entry.subscriber.client_id.as_str());
        let bytes = session::queued_bytes(application.message.content_len());
        self.shared.delayed.take(&name, bytes, self.settings.delayed_limits)
    }

    /// Accepts a message that was counted.
    pub(in crate::broker) fn postpone_counted(
        &mut self,
        publisher: &Publisher,
        application: Application,
        (seconds, counted): (u32, Counted),
        turn: &mut Turn<'_>,
    ) -> Verdict {
        let Some(entry) = publisher.slot.and_then(|slot| self.sessions.get(slot)) else {
            return Verdict::refused(ReasonCode::UnspecifiedError);
        };
        let (client_id, owner) = (entry.subscriber.client_id.clone(), entry.owner.clone());
        let Application { mut message, qos, retain, message_expiry_interval, .. } = application;
        let bytes = session::queued_bytes(message.content_len());
        Arc::make_mut(&mut message).qos = qos;
        let (session, at) = (entry_key(publisher), turn.now);
        let due = at + Duration::from_secs(u64::from(seconds));
        let delay = Delay { number: counted.number, due, at, retain, session, client_id, owner };
        let expires_at = message_expiry_interval.map(|seconds| at + Duration::from_secs(u64::from(seconds)));
        let content = self.settings.queue_head.is_none().then(|| {
            let topic = message.topic.detached();
            let mut message = Message { topic, received: Stamp::NONE, ..Message::clone(&message) };
            message.detach();
            Box::new(DelayedMessage { message: Arc::new(message), qos, expires_at, delay: delay.clone() })
        });
        // A delayed message is state, as a retained one: there is no weaker level at which it could only be in memory.
        let level = self.settings.durability_of(&message.topic);
        let durability = if level == Durability::None { Durability::PowerLoss } else { level };
        let record = Record::Accepted {
            publisher: self.received_id(publisher, qos),
            message,
            qos,
            at,
            expires_at,
            retained: RetainedChange::None,
            deduplicated: publisher.deduplicated.clone(),
            receivers: Arc::default(),
            sequences: None,
            streams: TopicStreams::new(), // it enters them when it is published
            durability,
            is_awaited: false,
            instead_of: publisher.instead_of,
            delayed: Some(Box::new(delay)),
            receipt: None, // it is opened when the message is published
        };
        let ticket = self.persist(record, turn);
        self.counters.delayed_accepted += 1;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.schedule.add(ticket, Entry { due, number: counted.number, bytes, owner: counted.owner }, content);
        Verdict::Answer { reason_code: ReasonCode::Success, wait: (qos > Qos::AtMostOnce).then_some(ticket) }
    }

    /// Refuses a delayed message because of a limit.
    fn refuse_postponed(&mut self, limit: Full) -> Verdict {
        self.counters.delayed_refused += 1;
        self.delayed_limit = limit;
        Verdict::refused(ReasonCode::QuotaExceeded)
    }

    /// The records of delayed messages are stable up to the present ticket: their times count.
    pub(in crate::broker) fn on_delayed_stable(&mut self) {
        self.schedule.settle(self.pipeline.stable());
        self.arm_delayed();
    }

    /// Restores delayed messages of the previous run, before the first event.
    pub fn restore_delayed(&mut self, messages: Vec<RecoveredDelayed>) {
        for RecoveredDelayed { number, due, bytes, counted_for, is_expired, .. } in messages {
            let owner = self.shared.delayed.restore(&counted_for, number, bytes as usize);
            let due = if is_expired { Timestamp::default() } else { due };
            self.schedule.restore(Entry { due, number, bytes, owner }, is_expired);
        }
        self.arm_delayed();
    }
}

/// The Session of the originator.
fn entry_key(publisher: &Publisher) -> SessionKey {
    publisher.key.unwrap_or(SessionKey(0))
}
