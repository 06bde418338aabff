//! The subscription of a Session to a stream: where it is, and what was read for it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::broker::query::{StreamProgress, SubscriptionView};
use crate::broker::streams::marks::Marks;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::position::{Kept, StreamPlace, StreamPosition};
use crate::broker::streams::read::{ReadMessages, StoredStreamMessage};
use crate::broker::streams::start::StreamStart;
use crate::broker::streams::state::{CHUNK_MESSAGES_MAX, ReadKey};
use crate::codec::{Matched, Qos, Subscription, SubscriptionId};
use crate::session::{Delivery, DeliveryPlace, Ticket};
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
    /// Where it is; what is read next comes behind the chunk.
    place: StreamPlace,
    state: CursorState,
    /// The next messages, and which of them is the next one. Subscriptions that read the same share them.
    chunk: Option<(Arc<Vec<StoredStreamMessage>>, usize)>,
    /// What is stored of it, if its Session is durable.
    kept: Option<Box<Kept>>,
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
    /// Whether the subscription of the Session to the same messages goes on instead.
    pub(in crate::broker) goes_on: bool,
}

impl Cursor {
    pub(in crate::broker) fn new(granted: Granted) -> Self {
        let Granted { subscription, subscription_id, stream, name, wanted, filter, start, goes_on: _ } = granted;
        Self {
            subscription,
            subscription_id,
            matched: Matched::new(subscription_id.into_iter().collect(), None),
            stream,
            name,
            wanted,
            filter,
            place: StreamPlace::at(start),
            state: CursorState::Ready,
            chunk: None,
            kept: None,
        }
    }

    /// The subscription of a durable Session after a start: as it was `granted`, at its stored position.
    pub(in crate::broker) fn restored(granted: Granted, number: u64, place: StreamPlace) -> Self {
        let kept = Some(Box::new(Kept::new(number, place.clone())));
        Self { place, kept, ..Self::new(granted) }
    }

    /// The client has subscribed again, and goes on where it was.
    pub(in crate::broker) fn renew(&mut self, granted: Granted) {
        let Granted { subscription, subscription_id, filter, .. } = granted;
        self.matched = Matched::new(subscription_id.into_iter().collect(), None);
        (self.subscription, self.subscription_id, self.filter) = (subscription, subscription_id, filter);
    }

    /// Its position is stored under this number.
    pub(in crate::broker) fn keep(&mut self, number: u64) {
        self.kept = Some(Box::new(Kept::new(number, self.place.clone())));
    }

    /// What is stored of it; `None`: nothing.
    pub(in crate::broker) fn kept(&self) -> Option<&Kept> {
        self.kept.as_deref()
    }

    /// The position for the store, which has it from now on; `None`: it is not stored.
    pub(in crate::broker) fn store_position(&mut self) -> Option<StreamPosition> {
        let place = self.reached();
        let kept = self.kept.as_deref_mut()?;
        kept.place.clone_from(&place);
        let (number, stream) = (kept.number, self.stream);
        let (subscription, subscription_id) = (self.subscription.clone(), self.subscription_id);
        Some(StreamPosition { number, stream, subscription, subscription_id, place })
    }

    /// How many messages it has passed that the stored position has not.
    pub(in crate::broker) fn unstored(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.place.distance_to(&self.reached()))
    }

    /// The record with its position waits for this ticket.
    pub(in crate::broker) fn wait_for(&mut self, ticket: Ticket) {
        if let Some(kept) = &mut self.kept {
            kept.wait = ticket;
        }
    }

    /// Whether a timer is to be set for it, because nothing else continues it before `at`.
    pub(in crate::broker) fn needs_timer(&mut self, now: Timestamp, at: Timestamp) -> bool {
        let Some(kept) = self.kept.as_mut().filter(|kept| kept.retry_at <= now) else { return false };
        kept.retry_at = at;
        true
    }

    /// Its Session has no connection any more: what was read and not taken is read again.
    pub(in crate::broker) fn pause(&mut self) {
        self.place = self.reached();
        self.chunk = None;
        if !matches!(self.state, CursorState::Reading(_)) {
            self.state = CursorState::Ready;
        }
    }

    /// Its Session moves to another shard, which has reads and tickets of its own.
    pub(in crate::broker) fn reset_shard_state(&mut self) {
        self.pause();
        self.state = CursorState::Ready;
        if let Some(kept) = &mut self.kept {
            (kept.wait, kept.retry_at) = Default::default();
        }
    }

    /// The place behind the last message that was taken.
    fn reached(&self) -> StreamPlace {
        let next = self.chunk.as_ref().and_then(|(messages, place)| messages.get(*place));
        let next = next.map_or(self.place.next, |stored| StreamStart::Sequence(stored.sequence));
        StreamPlace { next, ..self.place.clone() }
    }

    /// Whether it is the subscription to this stream and this filter behind its name.
    pub(in crate::broker) fn is(&self, name: &str, wanted: Option<&TopicFilter>) -> bool {
        &*self.name == name && self.wanted.as_ref() == wanted
    }

    /// The subscription, for operators. `end`: the sequence behind the last one of the stream.
    pub(in crate::broker) fn view(&self, end: u64) -> SubscriptionView {
        let next = match self.reached().next {
            StreamStart::Sequence(next) => Some(next),
            StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_) => None,
        };
        let progress = StreamProgress { next, lag: next.map(|next| end.saturating_sub(next)) };
        SubscriptionView { subscription: self.subscription.clone(), id: self.subscription_id, progress: Some(progress) }
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
        match self.place.next {
            StreamStart::Sequence(next) => Some(next),
            StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_) => None,
        }
    }

    /// What is to be read; `None`: a read may not begin.
    pub(in crate::broker) fn wanted_read(&self, bytes_max: usize) -> Option<ReadKey> {
        let may_read = self.chunk.is_none() && self.state == CursorState::Ready;
        let (stream, from, filter) = (self.stream, self.place.next, self.filter.clone());
        may_read.then_some(ReadKey { stream, from, filter, messages_max: CHUNK_MESSAGES_MAX, bytes_max })
    }

    /// Handles the messages that were read.
    pub(in crate::broker) fn on_read(&mut self, read: ReadMessages) {
        let ReadMessages { messages, next, oldest, unreadable } = read;
        self.state = CursorState::Ready;
        let place = &mut self.place;
        if let StreamStart::Sequence(wanted) = place.next
            && wanted < oldest
        {
            place.trimmed = Some(joined(place.trimmed.take(), wanted..=oldest - 1));
        }
        if let Some(range) = unreadable {
            place.unreadable = Some(joined(place.unreadable.take(), range));
        }
        let reached = next.max(oldest);
        place.next = match place.next {
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
            self.place.next = StreamStart::Sequence(stored.sequence);
        }
    }

    /// The QoS at which the next message is sent; `None`: there is none in memory.
    pub(in crate::broker) fn next_qos(&self) -> Option<Qos> {
        let (messages, place) = self.chunk.as_ref()?;
        messages.get(*place).map(|stored| self.granted(stored))
    }

    /// The bytes that the next message has in a queue, at most; `None`: there is none in memory.
    pub(in crate::broker) fn next_bytes(&self) -> Option<usize> {
        let (messages, place) = self.chunk.as_ref()?;
        messages.get(*place).map(|stored| stored.queued_bytes_max())
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
        if self.place.since.is_some_and(|since| stored.timestamp < since) {
            return None;
        }
        self.place.since = None;
        (stored.expires_at > now).then_some(stored)
    }

    /// The delivery of a message. `is_marked`: whether the client's version has properties.
    pub(in crate::broker) fn delivery(&self, stored: StoredStreamMessage, is_marked: bool) -> Delivery {
        let (qos, expires_at) = (self.granted(&stored), stored.expires_at);
        let marks = is_marked.then(|| Marks {
            stream: &self.name,
            sequence: stored.sequence,
            timestamp: stored.timestamp,
            previous: self.place.previous,
            trimmed: self.place.trimmed.as_ref(),
            unreadable: self.place.unreadable.as_ref(),
            attempt: 0,
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
        let place = &mut self.place;
        (place.previous, place.trimmed, place.unreadable) = (Some(sequence), None, None);
    }
}

/// One range with all messages of two.
fn joined(before: Option<RangeInclusive<u64>>, range: RangeInclusive<u64>) -> RangeInclusive<u64> {
    match before {
        Some(before) => *before.start().min(range.start())..=*range.end().max(before.end()),
        None => range,
    }
}
