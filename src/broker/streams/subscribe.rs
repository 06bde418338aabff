//! SUBSCRIBE and UNSUBSCRIBE of streams.
//!
//! - `$stream/NAME@OFFSET/FILTER` is the subscription to the messages of the stream NAME that match FILTER. Another SUBSCRIBE with the same NAME and
//!   FILTER replaces it, and begins again, whatever the offset is; UNSUBSCRIBE needs no offset. [MQTT-3.8.4-3]
//! - At most QoS 1 is granted.
//! - No Local and Retain As Published are refused: the stream does not have the publisher and the RETAIN flag of a message, which is sent with RETAIN
//!   0. Retain Handling has no effect, because no retained messages are sent.
//! - The subscription counts in `subscriptions_per_session_max`.
//! - The client must be allowed to receive some of the topics. Each message is checked again when it is sent.
//! - `$share/GROUP/$stream/NAME@OFFSET/FILTER` makes the Session a member of a [group](super::groups), which has a position of its own.
//! - Otherwise, if the Session outlives its connection, the [position](super::position) is stored. Such a subscription goes on where it was if SUBSCRIBE
//!   names no offset.

use std::sync::Arc;

use crate::broker::ids::ConnectionId;
use crate::broker::persistence::record::Record;
use crate::broker::publish::ingress::Denial;
use crate::broker::publish::refusal::Refusal;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::cursor::{Cursor, Granted};
use crate::broker::streams::cursors::StreamCursors;
use crate::broker::streams::groups::group::GroupName;
use crate::broker::streams::groups::table::GROUPS_MAX;
use crate::broker::streams::name::{StreamTarget, has_offset, is_stream};
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::position::StreamPosition;
use crate::broker::streams::start::StreamStart;
use crate::broker::streams::subscriptions::{STREAMS_PER_SESSION_MAX, mounted_filter, stream_subscriptions};
use crate::broker::streams::table::{Stream, TrimmedOffset};
use crate::codec::{EncodedUserProperties, Qos, ReasonCode, Subscribe, Subscription, SubscriptionOptions};
use crate::session::Ticket;
use crate::topic::{Filter, ShareName, TopicFilter};

impl Shard {
    /// Subscribes the Session in `slot` to a stream, for a Topic Filter for which [`is_stream`] is true. Returns the Reason Code of SUBACK and the
    /// ticket that it waits for, and reports a refusal.
    pub(in crate::broker) fn subscribe_stream(
        &mut self,
        (slot, id): (usize, ConnectionId),
        (subscription, subscribe): (&Subscription, &Subscribe),
        turn: &mut Turn<'_>,
    ) -> (ReasonCode, Option<Ticket>) {
        let granted = match self.judge_stream((slot, id), subscription, subscribe) {
            Ok(granted) => granted,
            Err(Refusal { reason_code, rule, .. }) => {
                let topic = subscription.filter.to_string().into();
                self.report_denied(id, Denial { packet: "SUBSCRIBE", topic, reason_code, rule }, turn);
                return (reason_code, None);
            }
        };
        if granted.subscription.filter.share.is_some() {
            return (self.subscribe_group(slot, granted, turn), None);
        }
        let Some(entry) = self.sessions.get_mut(slot) else { return (ReasonCode::UnspecifiedError, None) };
        let of_streams = stream_subscriptions(entry);
        let streams = entry.incidents.streams();
        if !streams.is_some_and(|streams| streams.has(&granted.name, granted.wanted.as_ref())) {
            let others = self.shared.directory.subscription_count_of(entry.subscriber.key);
            let count = others + of_streams;
            if count >= entry.session.limits().subscriptions_max || of_streams >= STREAMS_PER_SESSION_MAX {
                return (ReasonCode::QuotaExceeded, None);
            }
        }
        let qos = granted.subscription.options.qos;
        let is_durable = entry.is_durable();
        let position = place_cursor(entry.incidents.need_streams(), granted, is_durable);
        let wait = position.and_then(|position| {
            let position = Box::new(position);
            self.persist_for(slot, |key| Record::StreamPosition { key, position }, turn)
        });
        (if qos == Qos::AtMostOnce { ReasonCode::GrantedQos0 } else { ReasonCode::GrantedQos1 }, wait)
    }

    /// The Reason String for a refused subscription to a stream; `None`: it is none, or would not be refused any more.
    pub(in crate::broker) fn why_stream_refused(
        &self,
        (slot, id): (usize, ConnectionId),
        (subscription, reason_code): (&Subscription, ReasonCode),
        subscribe: &Subscribe,
    ) -> Option<String> {
        if !is_stream(&subscription.filter) {
            return None;
        }
        if let Err(refusal) = self.judge_stream((slot, id), subscription, subscribe) {
            return Some(refusal.sentence.to_string());
        }
        let has_all =
            self.sessions.get(slot).is_some_and(|entry| stream_subscriptions(entry) >= STREAMS_PER_SESSION_MAX);
        let is_reached = reason_code == ReasonCode::QuotaExceeded && has_all && !self.is_memory_short();
        is_reached.then(|| format!("a session has at most {STREAMS_PER_SESSION_MAX} subscriptions to streams"))
    }

    /// Removes the subscriptions to streams among `filters`, and sets whether they existed. An answer must wait for the last record.
    pub(in crate::broker) fn unsubscribe_streams(
        &mut self,
        slot: usize,
        filters: &[Filter],
        existed: &mut [bool],
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let Some(streams) = entry.incidents.streams_mut() else { return };
        let mut numbers = Vec::new();
        let is_alone = |filter: &Filter| is_stream(filter) && filter.share.is_none();
        for (filter, existed) in filters.iter().zip(existed).filter(|(filter, _)| is_alone(filter)) {
            if let Ok(target) = StreamTarget::parse(filter, &EncodedUserProperties::new()) {
                let removed = streams.remove(target.name, target.filter.as_ref());
                *existed |= removed.is_some();
                numbers.extend(removed.and_then(|cursor| Some(cursor.kept()?.number)));
            }
        }
        if streams.len() == 0 {
            entry.incidents.take_streams();
            self.streams.forget((slot, entry.subscriber.key));
        }
        if !numbers.is_empty() {
            self.persist_for(slot, |key| Record::StreamPositionsRemoved { key, numbers }, turn);
        }
    }

    /// The number of subscriptions of the Session in `slot` to streams.
    pub(in crate::broker) fn stream_count(&self, slot: usize) -> usize {
        self.sessions.get(slot).map_or(0, stream_subscriptions)
    }

    /// What a client may subscribe to, or why it may not.
    fn judge_stream(
        &self,
        (slot, id): (usize, ConnectionId),
        subscription: &Subscription,
        subscribe: &Subscribe,
    ) -> Result<Granted, Refusal> {
        let refused = |reason_code, sentence: String| Err(Refusal { reason_code, ..Refusal::by_limit(sentence) });
        let Subscription { filter, options } = subscription;
        let target = match StreamTarget::parse(filter, &subscribe.user_properties) {
            Ok(target) => target,
            Err(invalid) => return refused(invalid.reason_code(), invalid.to_string()),
        };
        let text = filter.topic_filter.as_str();
        if !self.within_limits(text) {
            return refused(ReasonCode::TopicFilterInvalid, self.topic_fault(text).unwrap_or_default());
        }
        if let Some(option) = unavailable(*options) {
            return refused(ReasonCode::ImplementationSpecificError, format!("{option} is not available for streams"));
        }
        let (Some(entry), Some(connection)) = (self.sessions.get(slot), self.connection(id)) else {
            return refused(ReasonCode::UnspecifiedError, String::new());
        };
        let table = self.shared.streams();
        let Some(stream) = table.named(target.name) else {
            return refused(ReasonCode::TopicFilterInvalid, format!("there is no stream {}", target.name));
        };
        let wanted = mounted_filter(connection.access.mount_point(), target.filter.as_ref())
            .map_err(|fault| Refusal { reason_code: ReasonCode::TopicFilterInvalid, ..Refusal::unmountable(fault) })?;
        let judged = Filter::from(wanted.clone().unwrap_or_else(|| stream.topic.clone()));
        connection.access.subscribe(&judged).map_err(|denied| {
            let sentence = "not authorized to receive any message of it".into();
            Refusal { sentence, ..Refusal::by_access(denied) }
        })?;
        let goes_on = filter.share.is_none() && entry.is_durable() && !has_offset(filter, &subscribe.user_properties);
        let is_same =
            |cursor: &Cursor| cursor.stream == stream.number && cursor.is(target.name, target.filter.as_ref());
        let goes_on = goes_on && entry.incidents.streams().is_some_and(|streams| streams.iter().any(is_same));
        let group = filter.share.as_ref().map(|share| self.judge_group(share, stream.number, wanted.as_ref()));
        let start = match group.transpose()? {
            Some(true) => target.start, // it has a position
            // What is not kept any more is named by the next message, as for a Session that was away.
            _ if goes_on => target.start,
            None | Some(false) => self.start_of(stream, target.start)?,
        };
        Ok(Granted {
            start,
            goes_on,
            subscription: Subscription {
                filter: filter.detached(),
                options: SubscriptionOptions {
                    qos: options.qos.min(Qos::AtLeastOnce).min(entry.session.maximum_qos()),
                    ..*options
                },
            },
            subscription_id: subscribe.subscription_id,
            stream: stream.number,
            name: Arc::clone(&stream.name),
            wanted: target.filter.map(|filter| filter.detached()),
            filter: wanted.map(|filter| filter.detached()),
        })
    }

    /// Whether there is a group, or that no further one can be made.
    fn judge_group(
        &self,
        share: &ShareName,
        stream: StreamNumber,
        filter: Option<&TopicFilter>,
    ) -> Result<bool, Refusal> {
        let name = GroupName { stream, name: share.as_str().into(), filter: filter.cloned() };
        if self.shared.groups.named(&name).is_some() {
            return Ok(true);
        }
        if !self.shared.groups.has_room() {
            let refusal = Refusal::by_limit(format!("there are {GROUPS_MAX} groups of streams already"));
            return Err(Refusal { reason_code: ReasonCode::QuotaExceeded, ..refusal });
        }
        Ok(false)
    }

    /// Where a subscription begins, or that the stream does not have the beginning any more.
    fn start_of(&self, stream: &Stream, start: StreamStart) -> Result<StreamStart, Refusal> {
        let range = self.shared.stream_board.range(stream.number);
        match start {
            // Messages that are accepted after SUBACK have this sequence or a later one.
            StreamStart::Latest => Ok(StreamStart::Sequence(range.end)),
            StreamStart::Sequence(wanted) if wanted < range.start && stream.trimmed_offset == TrimmedOffset::Refuse => {
                let sentence = format!("the oldest message of the stream {} is seq:{}", stream.name, range.start);
                let reason_code = ReasonCode::ImplementationSpecificError;
                Err(Refusal { reason_code, ..Refusal::by_limit(sentence) })
            }
            StreamStart::Earliest | StreamStart::Sequence(_) | StreamStart::Time(_) => Ok(start),
        }
    }
}

/// Adds a subscription, replaces the one to the same messages, or lets that go on. Returns its position if that is to be stored.
fn place_cursor(streams: &mut StreamCursors, granted: Granted, is_durable: bool) -> Option<StreamPosition> {
    let (name, wanted) = (Arc::clone(&granted.name), granted.wanted.clone());
    let free = streams.free_number();
    let before = streams.find(&name, wanted.as_ref());
    let number = before.as_ref().and_then(|before| before.kept()).map_or(free, |kept| kept.number);
    match before {
        Some(before) if granted.goes_on => before.renew(granted),
        _ => {
            let mut cursor = Cursor::new(granted);
            if is_durable {
                cursor.keep(number);
            }
            streams.set(cursor, |before| before.is(&name, wanted.as_ref()));
        }
    }
    streams.find(&name, wanted.as_ref()).filter(|_| is_durable).and_then(Cursor::store_position)
}

/// An option that a subscription to a stream cannot have.
const fn unavailable(options: SubscriptionOptions) -> Option<&'static str> {
    if options.no_local {
        Some("No Local")
    } else if options.retain_as_published {
        Some("Retain As Published")
    } else {
        None
    }
}
