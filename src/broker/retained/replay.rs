//! The retained messages that the new subscriptions of a Session are still to get.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, RwLockReadGuard};

use crate::broker::retained::state::VISITS_MAX;
use crate::codec::{Matched, Qos};
use crate::routing::{RetainedCursor, RetainedMessage, RetainedStore};
use crate::session::Ticket;
use crate::timestamp::Timestamp;
use crate::topic::{Filter, TopicFilter};

/// The replays of one Session. Most Sessions have none at most times, and then this owns no memory.
///
/// A replay is a cursor for each Topic Filter, however often the client subscribes to it: so there are no more than the Session has
/// subscriptions. The first one goes on, the others wait for its end. Of the messages that are still to come, at most [`FOUND_MAX`] are
/// referred to.
#[derive(Debug, Default)]
pub(in crate::broker) struct Replays(Option<Box<Waiting>>);

#[derive(Debug)]
struct Waiting {
    current: (TopicFilter, Replay),
    later: BTreeMap<TopicFilter, Replay>,
    /// The next messages of the current replay, taken from the store with one lock.
    found: VecDeque<Arc<RetainedMessage>>,
    /// They go on when this record is stable: that of a subscription, or of the last message that needed one.
    after: Ticket,
    /// Whether the shard goes on with them by itself in a later turn.
    is_deferred: bool,
}

/// A new subscription on its way through the retained messages.
#[derive(Debug)]
pub(in crate::broker) struct Replay {
    granted: Granted,
    cursor: RetainedCursor,
    /// How often the client named the filter once more in the same packet.
    repeats: usize,
    /// Nodes that it has visited.
    visited: usize,
}

/// How a subscription gets retained messages.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Granted {
    /// The granted QoS.
    pub(in crate::broker) qos: Qos,
    /// Whether messages that the client published itself are left out.
    pub(in crate::broker) no_local: bool,
    pub(in crate::broker) matched: Option<Arc<Matched>>,
}

/// What comes next of the replays of a Session.
#[derive(Debug)]
pub(in crate::broker) enum NextReplayed<'a> {
    /// A message for this subscription.
    Message(Arc<RetainedMessage>, &'a Granted),
    /// The visits are used up.
    OutOfVisits,
    /// Nothing: they are finished.
    Nothing,
}

impl Replay {
    /// The replay for a filter that one packet names `repeats` times more.
    pub(in crate::broker) const fn new(granted: Granted, cursor: RetainedCursor, repeats: usize) -> Self {
        Self { granted, cursor, repeats, visited: 0 }
    }

    /// Begins again for the next time that the packet named the filter, as if each had come in a packet of its own. [MQTT-3.8.4-5] Of many
    /// packets that come at once, only the last is replayed to its end: so it is here, if to repeat it would cost too much.
    fn repeats(&mut self) -> bool {
        if self.repeats == 0 || self.visited > VISITS_MAX {
            return false;
        }
        self.repeats -= 1;
        self.cursor.restart();
        true
    }
}

impl Replays {
    pub(in crate::broker) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Begins the replay of a new subscription, in place of an earlier one of the same filter.
    pub(in crate::broker) fn begin(&mut self, filter: TopicFilter, replay: Replay) {
        match &mut self.0 {
            None => {
                let (current, found) = ((filter, replay), VecDeque::new());
                let (later, after) = (BTreeMap::new(), Ticket::default());
                self.0 = Some(Box::new(Waiting { current, later, found, after, is_deferred: false }));
            }
            Some(waiting) if waiting.current.0 == filter => {
                waiting.current.1 = replay;
                waiting.found.clear();
            }
            Some(waiting) => _ = waiting.later.insert(filter, replay),
        }
        self.check();
    }

    /// A subscription was replaced by one that starts no replay: what is still to come of an earlier one comes as granted now.
    pub(in crate::broker) fn regrant(&mut self, filter: &TopicFilter, granted: Granted) {
        let Some(waiting) = &mut self.0 else { return };
        let replay =
            if waiting.current.0 == *filter { Some(&mut waiting.current.1) } else { waiting.later.get_mut(filter) };
        if let Some(replay) = replay {
            replay.granted = granted;
        }
    }

    /// Forgets the replay of a subscription that is gone. [MQTT-3.10.4-2]
    pub(in crate::broker) fn forget(&mut self, filter: &Filter) {
        let Some(waiting) = self.0.as_mut().filter(|_| filter.share.is_none()) else { return };
        if waiting.current.0 == filter.topic_filter {
            waiting.found.clear();
            self.end_current();
        } else {
            waiting.later.remove(&filter.topic_filter);
        }
        self.check();
    }

    /// The rest goes on when this record is stable.
    pub(in crate::broker) fn wait_for(&mut self, ticket: Ticket) {
        if let Some(waiting) = &mut self.0 {
            waiting.after = waiting.after.max(ticket);
        }
    }

    /// What they wait for.
    pub(in crate::broker) fn after(&self) -> Ticket {
        self.0.as_ref().map_or(Ticket::default(), |waiting| waiting.after)
    }

    /// The Session moves to another shard: what the replays wait for is stable, and the other shard counts other tickets.
    pub(in crate::broker) fn forget_shard(&mut self) {
        if let Some(waiting) = &mut self.0 {
            (waiting.after, waiting.is_deferred) = (Ticket::default(), false);
        }
    }

    /// Notes that the shard goes on with them in a later turn, or does so now. Returns whether that is new.
    pub(in crate::broker) fn set_deferred(&mut self, is_deferred: bool) -> bool {
        let Some(waiting) = &mut self.0 else { return false };
        std::mem::replace(&mut waiting.is_deferred, is_deferred) != is_deferred
    }

    /// The next message of `store`, which costs visits only if it has to be looked for.
    pub(in crate::broker) fn next<'s>(
        &mut self,
        store: impl Fn() -> RwLockReadGuard<'s, RetainedStore>,
        now: Timestamp,
        visits: &mut usize,
    ) -> NextReplayed<'_> {
        while let Some(waiting) = &mut self.0 {
            let (filter, replay) = &mut waiting.current;
            if !waiting.found.is_empty() {
                break;
            }
            if replay.cursor.is_finished() {
                if !replay.repeats() {
                    self.end_current();
                }
                continue;
            }
            if *visits == 0 {
                return NextReplayed::OutOfVisits;
            }
            let (mut bytes, before) = (0, *visits);
            store().advance((&mut replay.cursor, filter), now, visits, |retained| {
                bytes += retained.message.payload.len();
                waiting.found.push_back(Arc::clone(retained));
                let is_enough = waiting.found.len() >= FOUND_MAX || bytes >= FOUND_BYTES_MAX;
                if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            replay.visited += before - *visits;
        }
        self.check();
        let next = self.0.as_mut().and_then(|waiting| Some((waiting.found.pop_front()?, &waiting.current.1.granted)));
        next.map_or(NextReplayed::Nothing, |(retained, granted)| NextReplayed::Message(retained, granted))
    }

    /// The current replay is finished, and the next one begins.
    fn end_current(&mut self) {
        let Some(waiting) = &mut self.0 else { return };
        match waiting.later.pop_first() {
            Some(next) => waiting.current = next,
            None => self.0 = None,
        }
    }

    /// What a subscriber still gets costs a cursor, not a copy.
    fn check(&self) {
        debug_assert!(self.0.as_ref().is_none_or(|waiting| waiting.found.len() <= FOUND_MAX));
        debug_assert!(self.0.as_ref().is_none_or(|waiting| !waiting.later.contains_key(&waiting.current.0)));
    }
}

/// Messages of one Session that are taken from the store at a time, at most.
pub(in crate::broker) const FOUND_MAX: usize = 64;
/// Their payloads: with that many no further message is taken.
const FOUND_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use super::*;
    use crate::codec::Message;
    use crate::routing::{Current, RetainedLimits};
    use crate::topic::TopicName;

    const GRANTED: Granted = Granted { qos: Qos::AtMostOnce, no_local: false, matched: None };

    fn store(messages: u64) -> RwLock<RetainedStore> {
        let limits = RetainedLimits { retained_messages_max: usize::MAX, retained_bytes_max: usize::MAX };
        let mut store = RetainedStore::new(limits);
        for number in 1..=messages {
            let topic = TopicName::try_from(format!("{number}").as_str()).unwrap();
            let message = Arc::new(Message::new(topic, "x"));
            let (qos, expires_at, publisher, current) = (Qos::AtMostOnce, None, None, Current::default());
            store.set(RetainedMessage { message, qos, expires_at, publisher, number, current }).unwrap();
        }
        RwLock::new(store)
    }

    fn begin(replays: &mut Replays, filter: &str, store: &RwLock<RetainedStore>) {
        let cursor = store.read().unwrap().cursor();
        replays.begin(TopicFilter::try_from(filter).unwrap(), Replay::new(GRANTED, cursor, 0));
    }

    /// The numbers of all messages that come with so many visits.
    fn take(replays: &mut Replays, store: &RwLock<RetainedStore>, mut visits: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let NextReplayed::Message(retained, _) =
            replays.next(|| store.read().unwrap(), Timestamp::default(), &mut visits)
        {
            numbers.push(retained.number);
        }
        numbers
    }

    #[test]
    fn repeated_filter_is_one_cursor() {
        let store = store(3);
        let mut replays = Replays::default();
        for _ in 0..3_000 {
            begin(&mut replays, "+", &store);
            begin(&mut replays, "2", &store);
        }
        assert_eq!(replays.0.as_ref().unwrap().later.len(), 1);
        assert_eq!(take(&mut replays, &store, 100), [1, 2, 3, 2]);
        assert!(replays.is_empty());
    }

    #[test]
    fn filter_that_a_packet_repeats_is_repeated_unless_that_costs_much() {
        for (messages, repeats, expected) in [(3, 1, 6), (3, 9, 30), (VISITS_MAX as u64, 9, VISITS_MAX)] {
            let store = store(messages);
            let mut replays = Replays::default();
            let cursor = store.read().unwrap().cursor();
            replays.begin(TopicFilter::try_from("#").unwrap(), Replay::new(GRANTED, cursor, repeats));
            assert_eq!(take(&mut replays, &store, usize::MAX).len(), expected);
            assert!(replays.is_empty());
        }
    }

    #[test]
    fn repeated_filter_begins_again() {
        let store = store(3);
        let mut replays = Replays::default();
        begin(&mut replays, "+", &store);
        assert_eq!(take(&mut replays, &store, 2), [1]);
        begin(&mut replays, "+", &store);
        assert_eq!(take(&mut replays, &store, 100), [1, 2, 3]);
    }

    #[test]
    fn few_messages_are_held_at_a_time() {
        let store = store(1_000);
        let mut replays = Replays::default();
        begin(&mut replays, "#", &store);
        let mut visits = usize::MAX;
        for _ in 0..1_000 {
            let next = replays.next(|| store.read().unwrap(), Timestamp::default(), &mut visits);
            assert!(matches!(next, NextReplayed::Message(..)));
            assert!(replays.0.as_ref().unwrap().found.len() < FOUND_MAX);
        }
    }

    #[test]
    fn forgotten_replay_ends_and_the_next_begins() {
        let store = store(3);
        let mut replays = Replays::default();
        begin(&mut replays, "+", &store);
        begin(&mut replays, "2", &store);
        assert!(matches!(
            replays.next(|| store.read().unwrap(), Timestamp::default(), &mut 100),
            NextReplayed::Message(..)
        ));
        replays.forget(&Filter::try_from("$share/g/+").unwrap());
        replays.forget(&Filter::try_from("+").unwrap());
        assert_eq!(take(&mut replays, &store, 100), [2]);
        replays.forget(&Filter::try_from("2").unwrap());
        assert!(replays.is_empty());
    }
}
