//! The state of one shard for retained messages: its changes, and its deferred replays.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::broker::directory::state::Shared;
use crate::broker::owner::Owner;
use crate::broker::persistence::record::{ObsoleteRetained, RetainedChange};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::publisher::Publisher;
use crate::broker::retained::order::RetainedOrder;
use crate::codec::Qos;
use crate::routing::{
    Cleared, Current, PublishRight, RetainedFull, RetainedMessage, RetainedStore, SessionKey, ShardId,
};
use crate::timestamp::Timestamp;

/// A shard's state for the retained messages, which all shards share.
///
/// Invariant: a replay is represented by a cursor in [`Replays`](crate::broker::retained::replay::Replays), not by copies of messages. A
/// Session is in `deferred` once at most.
#[derive(Debug)]
pub(in crate::broker) struct Retained {
    shard: ShardId,
    /// Whether other cells change the same topics, so that each change has a place in the order of all.
    has_cells: bool,
    /// Whether the current event changed retained messages.
    has_changed: bool,
    /// Nodes of the topic tree that replays may still visit in the current event.
    visits: usize,
    /// Sessions whose replays used up the visits of an event, in that order.
    deferred: VecDeque<(usize, SessionKey)>,
    /// The Sessions in `deferred`, so that each is there once.
    is_deferred: HashSet<(usize, SessionKey), RandomState>,
}

impl Retained {
    pub(in crate::broker) fn new(shard: ShardId, has_cells: bool) -> Self {
        Self {
            shard,
            has_cells,
            has_changed: false,
            visits: VISITS_MAX,
            deferred: VecDeque::new(),
            is_deferred: HashSet::default(),
        }
    }

    /// Runs before each event of the shard, when the records of the previous event are in the log.
    pub(in crate::broker) fn begin_event(&mut self, shared: &Shared) {
        self.visits = VISITS_MAX;
        if std::mem::take(&mut self.has_changed) {
            shared.retained_order.logged(self.shard);
        }
    }

    /// Sets or clears the retained message of the topic of `accepted`, unless a later change of another cell came before. [MQTT-3.3.1-5] [MQTT-3.3.1-6]
    pub(in crate::broker) fn set(
        &mut self,
        (retained, order): (&mut RetainedStore, &RetainedOrder),
        accepted: &AcceptedMessage,
        publisher: &Publisher,
        now: Timestamp,
    ) -> Result<RetainedChange, RetainedFull> {
        let AcceptedMessage { message, qos, expires_at, .. } = accepted;
        let is_stored = publisher.key.is_some();
        let is_stamped = self.has_cells && is_stored;
        if is_stamped && retained.last_change(&message.topic) > message.id {
            return Ok(RetainedChange::None);
        }
        if message.payload.is_empty() {
            return Ok(self.clear((retained, order), accepted, publisher, now));
        }
        self.has_changed = true;
        let number = order.next(self.shard);
        let is_admitted = publisher.is_link && *qos > Qos::AtMostOnce; // by the cell of its publisher
        let (publisher, owner) = (publisher.client_id.clone(), publisher.owner.clone());
        let (user, right) = owner.as_ref().map_or((None, PublishRight::always()), Owner::as_source);
        let new = RetainedMessage {
            message: Arc::clone(message),
            qos: *qos,
            expires_at: *expires_at,
            publisher: publisher.clone(),
            user,
            right,
            number,
            sequences: accepted.sequences.clone(),
            current: Current::default(),
        };
        let replaced = if is_admitted { retained.set_beyond_limits(new) } else { retained.set(new)? };
        if !is_stored {
            return Ok(RetainedChange::None); // `$SYS` messages are not stored: the broker publishes them again after a restart
        }
        let cleared = if is_stamped { retained.forget_cleared(&message.topic) } else { None };
        let gone = order.replace(number, replaced.map(|replaced| replaced.number).into_iter().chain(cleared));
        Ok(RetainedChange::Set { number, gone, publisher, owner: owner.map(Box::new) })
    }

    /// Clears the retained message of the topic of `accepted`. At QoS 1 and 2 the change has a record even if there is no retained message,
    /// because the record of an earlier change that cleared it may not be stable when this message is acknowledged.
    pub(in crate::broker) fn clear(
        &mut self,
        (retained, order): (&mut RetainedStore, &RetainedOrder),
        accepted: &AcceptedMessage,
        publisher: &Publisher,
        now: Timestamp,
    ) -> RetainedChange {
        let topic = &accepted.message.topic;
        let before = retained.get(topic).map(|before| before.number);
        let stamp = accepted.message.id.filter(|_| self.has_cells && publisher.key.is_some());
        let changes = before.is_some() || accepted.qos > Qos::AtMostOnce || stamp.is_some();
        retained.clear(topic);
        if !changes || publisher.key.is_none() {
            return RetainedChange::None;
        }
        self.has_changed = true;
        let number = order.next(self.shard);
        let obsolete = match stamp {
            Some(id) => retained.note_cleared(topic, Cleared { id, number }, now),
            None => vec![number],
        };
        let gone = order.replace(number, before.into_iter().chain(obsolete));
        RetainedChange::Cleared { number, gone }
    }

    /// The number of a deletion by a filter, which concerns the messages of earlier changes.
    pub(in crate::broker) fn begin_deletion(&mut self, shared: &Shared) -> u64 {
        let _changing = shared.retained_mut();
        self.has_changed = true;
        shared.retained_order.next(self.shard)
    }

    /// Removes retained messages that have expired at `now`, and returns the obsolete records.
    pub(in crate::broker) fn expire(&mut self, shared: &Shared, now: Timestamp) -> ObsoleteRetained {
        let mut retained = shared.retained_mut();
        let obsolete = if self.has_cells {
            let mut obsolete = retained.clear_expired(now, EXPIRED_MAX);
            let long_ago = Timestamp(now.0.saturating_sub(CLEARED_TIME));
            obsolete.extend(retained.forget_cleared_until(long_ago, EXPIRED_MAX));
            obsolete
        } else {
            retained.remove_expired(now, EXPIRED_MAX)
        };
        drop(retained);
        shared.retained_order.expire(&obsolete);
        self.has_changed = true;
        shared.retained_order.sweep(self.shard)
    }

    /// The remaining visits of this event.
    pub(in crate::broker) const fn visits(&mut self) -> &mut usize {
        &mut self.visits
    }

    /// Defers the replays of a Session to a later event. Returns whether no other Session was deferred before.
    pub(in crate::broker) fn defer(&mut self, slot: usize, key: SessionKey) -> bool {
        if !self.is_deferred.insert((slot, key)) {
            return false;
        }
        self.deferred.push_back((slot, key));
        self.deferred.len() == 1
    }

    /// The next deferred Session, while this event has visits left.
    pub(in crate::broker) fn next_deferred(&mut self) -> Option<(usize, SessionKey)> {
        if self.visits == 0 {
            return None;
        }
        let next = self.deferred.pop_front()?;
        self.is_deferred.remove(&next);
        Some(next)
    }

    /// The number of Sessions whose replays continue after a later event.
    pub(in crate::broker) fn deferred(&self) -> usize {
        self.deferred.len()
    }

    /// Whether any Session is deferred.
    pub(in crate::broker) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }
}

/// The greatest number of nodes that the replays of one event visit. It takes less than a millisecond, which bounds how long the lock of the
/// retained messages is held.
pub(in crate::broker) const VISITS_MAX: usize = 4_096;
/// The greatest number of expired retained messages removed in one tick.
const EXPIRED_MAX: usize = 10_000;
/// How long it is known that a topic has no retained message, in milliseconds: longer than a change of another cell takes to arrive.
const CLEARED_TIME: u64 = 24 * 60 * 60 * 1_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::publish::accepted::AcceptedMessage;
    use crate::codec::Message;
    use crate::routing::RetainedLimits;
    use crate::session::{Delivery, DeliveryPlace};
    use crate::topic::TopicName;

    fn accepted(payload: &'static str, expires_at: Timestamp) -> AcceptedMessage {
        let message = Arc::new(Message::new(TopicName::try_from("t").unwrap(), payload));
        let (qos, retain, matched, place) = (Qos::AtMostOnce, false, None, DeliveryPlace::Memory);
        AcceptedMessage::of_delivery(&Delivery { message, qos, retain, expires_at, matched, place })
    }

    #[test]
    fn replays_share_the_visits_of_an_event() {
        let shared = Shared::new(1, RetainedLimits { retained_messages_max: 1, retained_bytes_max: 1_000 });
        let mut retained = Retained::new(ShardId(0), false);
        *retained.visits() = 0;
        assert!(retained.defer(1, SessionKey(10)));
        assert!(!retained.defer(2, SessionKey(20)));
        assert_eq!(retained.next_deferred(), None);
        retained.begin_event(&shared);
        assert_eq!(retained.next_deferred(), Some((1, SessionKey(10))));
        *retained.visits() = 0;
        assert_eq!(retained.next_deferred(), None);
        assert!(retained.has_deferred());
    }

    #[test]
    fn record_of_a_change_is_obsolete_when_a_later_one_is_in_the_log() {
        let shared = Shared::new(1, RetainedLimits { retained_messages_max: 1, retained_bytes_max: 1_000 });
        let mut retained = Retained::new(ShardId(0), false);
        let publisher = Publisher { key: Some(SessionKey(1)), ..Publisher::broker() };
        let (never, now) = (Timestamp::NEVER, Timestamp::default());
        let first = retained
            .set((&mut shared.retained_mut(), &shared.retained_order), &accepted("x", never), &publisher, now)
            .unwrap();
        assert!(matches!(first, RetainedChange::Set { number: 1, .. }));
        let end = Timestamp::default() + Duration::from_secs(1);
        let second = retained
            .set((&mut shared.retained_mut(), &shared.retained_order), &accepted("y", end), &publisher, now)
            .unwrap();
        assert!(matches!(second, RetainedChange::Set { number: 2, gone, .. } if gone.is_empty()));
        retained.begin_event(&shared);
        assert_eq!(retained.expire(&shared, end).messages, [1, 2]);
        assert!(shared.retained().is_empty());
        assert_eq!(
            retained.clear((&mut shared.retained_mut(), &shared.retained_order), &accepted("", never), &publisher, end),
            RetainedChange::None
        );
    }
}
