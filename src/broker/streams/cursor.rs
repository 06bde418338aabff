//! The subscription of a Session to a stream: where it is, and what was read for it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::broker::query::SubscriptionView;
use crate::broker::streams::marks::Marks;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::read::{ReadMessages, StoredStreamMessage};
use crate::broker::streams::start::StreamStart;
use crate::broker::streams::state::ReadKey;
use crate::codec::{Matched, Qos, Subscription, SubscriptionId};
use crate::session::{Delivery, DeliveryPlace};
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

/// The subscription of a Session to a stream.
///
/// Invariant: at most one read is in progress, and none while there are messages in `chunk`; so at most one chunk is in memory.
#[derive(Debug)]
pub(in crate::broker) struct Cursor {
    /// What was subscribed, as the client named it, with the granted QoS.
    subscription: Subscription,
    subscription_id: Option<SubscriptionId>,
    matched: Option<Arc<Matched>>,
    pub(in crate::broker) stream: StreamNumber,
    name: Arc<str>,
    /// The filter behind the name, as the client named it.
    wanted: Option<TopicFilter>,
    /// The same with the mount point of the client.
    filter: Option<TopicFilter>,
    /// What is read next, once the chunk is sent.
    next: StreamStart,
    /// Messages that were accepted before this time, in milliseconds of the wall clock, are skipped until one was not.
    since: Option<u64>,
    state: CursorState,
    /// The next messages, and which of them is the next one. Subscriptions that read the same share them.
    chunk: Option<(Arc<Vec<StoredStreamMessage>>, usize)>,
    /// The last message that was sent.
    previous: Option<u64>,
    /// What the next message says about those before it.
    trimmed: Option<RangeInclusive<u64>>,
    unreadable: Option<RangeInclusive<u64>>,
}

/// What a cursor without messages waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum CursorState {
    /// It may read.
    Ready,
    /// The read with this number is in progress.
    Reading(u64),
    /// All messages are sent.
    CaughtUp,
    /// A read failed, and is tried again at this time.
    Failed(Timestamp),
}

/// What a client may subscribe to.
#[derive(Debug)]
pub(in crate::broker) struct Granted {
    pub(in crate::broker) subscription: Subscription,
    pub(in crate::broker) subscription_id: Option<SubscriptionId>,
    pub(in crate::broker) stream: StreamNumber,
    pub(in crate::broker) name: Arc<str>,
    pub(in crate::broker) wanted: Option<TopicFilter>,
    pub(in crate::broker) filter: Option<TopicFilter>,
    pub(in crate::broker) start: StreamStart,
}

impl Cursor {
    pub(in crate::broker) fn new(granted: Granted) -> Self {
        let Granted { subscription, subscription_id, stream, name, wanted, filter, start } = granted;
        Self {
            subscription,
            subscription_id,
            matched: Matched::new(subscription_id.into_iter().collect(), None),
            stream,
            name,
            wanted,
            filter,
            next: start,
            since: if let StreamStart::Time(since) = start { Some(since) } else { None },
            state: CursorState::Ready,
            chunk: None,
            previous: None,
            trimmed: None,
            unreadable: None,
        }
    }

    /// Whether it is the subscription to this stream and this filter behind its name.
    pub(in crate::broker) fn is(&self, name: &str, wanted: Option<&TopicFilter>) -> bool {
        &*self.name == name && self.wanted.as_ref() == wanted
    }

    /// The subscription, for operators.
    pub(in crate::broker) fn view(&self) -> SubscriptionView {
        SubscriptionView { subscription: self.subscription.clone(), id: self.subscription_id }
    }

    pub(in crate::broker) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(in crate::broker) const fn state(&self) -> CursorState {
        self.state
    }

    pub(in crate::broker) fn set_state(&mut self, state: CursorState) {
        self.state = state;
    }

    /// The first sequence that was not read; `None`: it is not known yet.
    pub(in crate::broker) const fn next(&self) -> Option<u64> {
        match self.next {
            StreamStart::Sequence(next) => Some(next),
            StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_) => None,
        }
    }

    /// What is to be read; `None`: a read may not begin.
    pub(in crate::broker) fn wanted_read(&self, bytes_max: usize) -> Option<ReadKey> {
        let may_read = self.chunk.is_none() && self.state == CursorState::Ready;
        let (stream, from, filter) = (self.stream, self.next, self.filter.clone());
        may_read.then_some(ReadKey { stream, from, filter, bytes_max })
    }

    /// Handles the messages that were read.
    pub(in crate::broker) fn on_read(&mut self, read: ReadMessages) {
        let ReadMessages { messages, next, oldest, unreadable } = read;
        self.state = CursorState::Ready;
        if let StreamStart::Sequence(wanted) = self.next
            && wanted < oldest
        {
            self.trimmed = Some(joined(self.trimmed.take(), wanted..=oldest - 1));
        }
        if let Some(range) = unreadable {
            self.unreadable = Some(joined(self.unreadable.take(), range));
        }
        let reached = next.max(oldest);
        self.next = match self.next {
            StreamStart::Sequence(before) => StreamStart::Sequence(before.max(reached)),
            start @ (StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_)) => {
                if reached == 0 {
                    start
                } else {
                    StreamStart::Sequence(reached)
                }
            }
        };
        self.chunk = (!messages.is_empty()).then_some((messages, 0));
    }

    /// Gives back the messages that were read and not sent. They will be read again.
    pub(in crate::broker) fn give_back(&mut self) {
        let Some((messages, place)) = self.chunk.take() else { return };
        if let Some(stored) = messages.get(place) {
            self.next = StreamStart::Sequence(stored.sequence);
        }
    }

    /// The QoS at which the next message is sent; `None`: there is none in memory.
    pub(in crate::broker) fn next_qos(&self) -> Option<Qos> {
        let (messages, place) = self.chunk.as_ref()?;
        messages.get(*place).map(|stored| self.granted(stored))
    }

    fn granted(&self, stored: &StoredStreamMessage) -> Qos {
        stored.message.qos.min(self.subscription.options.qos)
    }

    /// Takes the next message, unless it has expired or is older than the wanted time. The caller has seen [`next_qos`](Self::next_qos).
    pub(in crate::broker) fn take(&mut self, now: Timestamp) -> Option<StoredStreamMessage> {
        let (messages, place) = self.chunk.as_mut()?;
        let stored = messages.get(*place).cloned();
        *place += 1;
        if *place >= messages.len() {
            self.chunk = None;
        }
        let stored = stored?;
        if self.since.is_some_and(|since| stored.timestamp < since) {
            return None;
        }
        self.since = None;
        (stored.expires_at > now).then_some(stored)
    }

    /// The delivery of a message. `is_marked`: whether the client's version has properties.
    pub(in crate::broker) fn delivery(&self, stored: StoredStreamMessage, is_marked: bool) -> Delivery {
        let (qos, expires_at) = (self.granted(&stored), stored.expires_at);
        let marks = is_marked.then(|| Marks {
            stream: &self.name,
            sequence: stored.sequence,
            timestamp: stored.timestamp,
            previous: self.previous,
            trimmed: self.trimmed.as_ref(),
            unreadable: self.unreadable.as_ref(),
        });
        let properties = marks.map(|marks| marks.before(&stored.message.properties));
        let mut message = stored.into_message();
        if let Some(properties) = properties {
            Arc::make_mut(&mut message).properties = properties;
        }
        let (matched, place) = (self.matched.clone(), DeliveryPlace::Memory);
        Delivery { message, qos, retain: false, expires_at, matched, place }
    }

    /// The message with this sequence is sent.
    pub(in crate::broker) fn sent(&mut self, sequence: u64) {
        (self.previous, self.trimmed, self.unreadable) = (Some(sequence), None, None);
    }
}

/// One range with all messages of two.
fn joined(before: Option<RangeInclusive<u64>>, range: RangeInclusive<u64>) -> RangeInclusive<u64> {
    match before {
        Some(before) => *before.start().min(range.start())..=*range.end().max(before.end()),
        None => range,
    }
}
