//! Replays of retained messages to the new subscriptions of a Session.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, RwLockReadGuard};

use crate::broker::retained::state::VISITS_MAX;
use crate::codec::{Matched, Qos};
use crate::routing::{RetainedCursor, RetainedMessage, RetainedStore};
use crate::session::Ticket;
use crate::timestamp::Timestamp;
use crate::topic::{Filter, TopicFilter};

/// The replays of one Session. Without a replay it allocates nothing.
///
/// A replay is one cursor for each Topic Filter, even if the client subscribes to the filter repeatedly, so the number of replays is bounded
/// by the subscriptions of the Session. Replays run one after the other. At most [`FOUND_MAX`] messages that are not sent yet are referred to.
#[derive(Debug, Default)]
pub(in crate::broker) struct Replays(Option<Box<ActiveReplays>>);

#[derive(Debug)]
struct ActiveReplays {
    current: (TopicFilter, Replay),
    later: BTreeMap<TopicFilter, Replay>,
    /// The next messages of the current replay, found under one lock.
    found: VecDeque<Arc<RetainedMessage>>,
    /// The replays continue when this record is stable: that of the subscription, or of the last message that needed a record.
    after: Ticket,
    /// Whether the shard continues the replays in a later turn.
    is_deferred: bool,
}

/// The replay to one new subscription.
#[derive(Debug)]
pub(in crate::broker) struct Replay {
    granted: Granted,
    cursor: RetainedCursor,
    /// How often the replay is still to be repeated, because the SUBSCRIBE packet contains the filter several times.
    repeats: usize,
    /// The nodes of the topic tree that were visited.
    visited: usize,
}

/// The properties of a subscription that apply to its retained messages.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Granted {
    /// The granted QoS.
    pub(in crate::broker) qos: Qos,
    /// Whether messages that the client published itself are skipped.
    pub(in crate::broker) no_local: bool,
    pub(in crate::broker) matched: Option<Arc<Matched>>,
}

/// The next step of the replays of a Session.
#[derive(Debug)]
pub(in crate::broker) enum NextReplayed<'a> {
    /// Send this message to this subscription.
    Message(Arc<RetainedMessage>, &'a Granted),
    /// The visits of this event are used up, or the sequences of the next message are not final yet.
    OutOfVisits,
    /// All replays are finished.
    Finished,
}

impl Replay {
    /// A replay that runs `1 + repeats` times.
    pub(in crate::broker) const fn new(granted: Granted, cursor: RetainedCursor, repeats: usize) -> Self {
        Self { granted, cursor, repeats, visited: 0 }
    }

    /// Restarts the replay for the next occurrence of the filter in the packet, which is handled as a packet of its own. [MQTT-3.8.4-5]
    /// Returns `false` if there is none, or if the replay is too expensive to repeat: of separate packets in quick succession, too, only the last
    /// replay runs to its end.
    fn restart_if_repeated(&mut self) -> bool {
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

    /// Begins the replay of a new subscription. It replaces an earlier replay of the same filter.
    pub(in crate::broker) fn begin(&mut self, filter: TopicFilter, replay: Replay) {
        match &mut self.0 {
            None => {
                let (current, found) = ((filter, replay), VecDeque::new());
                let (later, after) = (BTreeMap::new(), Ticket::default());
                self.0 = Some(Box::new(ActiveReplays { current, later, found, after, is_deferred: false }));
            }
            Some(active) if active.current.0 == filter => {
                active.current.1 = replay;
                active.found.clear();
            }
            Some(active) => _ = active.later.insert(filter, replay),
        }
        self.check();
    }

    /// A subscription was replaced by one that starts no replay: the rest of an earlier replay uses the new options.
    pub(in crate::broker) fn set_granted(&mut self, filter: &TopicFilter, granted: Granted) {
        let Some(active) = &mut self.0 else { return };
        let replay =
            if active.current.0 == *filter { Some(&mut active.current.1) } else { active.later.get_mut(filter) };
        if let Some(replay) = replay {
            replay.granted = granted;
        }
    }

    /// Cancels the replay of a subscription that was removed. [MQTT-3.10.4-2]
    pub(in crate::broker) fn cancel(&mut self, filter: &Filter) {
        let Some(active) = self.0.as_mut().filter(|_| filter.share.is_none()) else { return };
        if active.current.0 == filter.topic_filter {
            active.found.clear();
            self.end_current();
        } else {
            active.later.remove(&filter.topic_filter);
        }
        self.check();
    }

    /// Makes the replays wait until this record is stable.
    pub(in crate::broker) fn wait_for(&mut self, ticket: Ticket) {
        if let Some(active) = &mut self.0 {
            active.after = active.after.max(ticket);
        }
    }

    /// The ticket that the replays wait for; 0: none.
    pub(in crate::broker) fn after(&self) -> Ticket {
        self.0.as_ref().map_or(Ticket::default(), |active| active.after)
    }

    /// Resets the ticket and the deferral when the Session moves to another shard, which issues other tickets. The ticket is stable by then.
    pub(in crate::broker) fn reset_shard_state(&mut self) {
        if let Some(active) = &mut self.0 {
            (active.after, active.is_deferred) = (Ticket::default(), false);
        }
    }

    /// Sets whether the shard continues the replays in a later turn. Returns whether the value changed.
    pub(in crate::broker) fn set_deferred(&mut self, is_deferred: bool) -> bool {
        let Some(active) = &mut self.0 else { return false };
        std::mem::replace(&mut active.is_deferred, is_deferred) != is_deferred
    }

    /// Whether the shard continues the replays in a later turn.
    pub(in crate::broker) fn is_deferred(&self) -> bool {
        self.0.as_ref().is_some_and(|active| active.is_deferred)
    }

    /// The next message, if it is found already.
    pub(in crate::broker) fn found(&self) -> Option<&RetainedMessage> {
        self.0.as_ref()?.found.front().map(|retained| &**retained)
    }

    /// The next message, if it may be sent now. Searching `store` consumes `visits`; messages that are already found do not.
    pub(in crate::broker) fn next<'s>(
        &mut self,
        store: impl Fn() -> RwLockReadGuard<'s, RetainedStore>,
        now: Timestamp,
        visits: &mut usize,
        may_be_sent: impl Fn(&RetainedMessage) -> bool,
    ) -> NextReplayed<'_> {
        while let Some(active) = &mut self.0 {
            let (filter, replay) = &mut active.current;
            if !active.found.is_empty() {
                break;
            }
            if replay.cursor.is_finished() {
                if !replay.restart_if_repeated() {
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
                active.found.push_back(Arc::clone(retained));
                let is_enough = active.found.len() >= FOUND_MAX || bytes >= FOUND_BYTES_MAX;
                if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            replay.visited += before - *visits;
        }
        self.check();
        if self.found().is_some_and(|retained| !may_be_sent(retained)) {
            return NextReplayed::OutOfVisits;
        }
        let next = self.0.as_mut().and_then(|active| Some((active.found.pop_front()?, &active.current.1.granted)));
        next.map_or(NextReplayed::Finished, |(retained, granted)| NextReplayed::Message(retained, granted))
    }

    /// Ends the current replay and begins the next one.
    fn end_current(&mut self) {
        let Some(active) = &mut self.0 else { return };
        match active.later.pop_first() {
            Some(next) => active.current = next,
            None => self.0 = None,
        }
    }

    /// Checks the bounds in debug builds.
    fn check(&self) {
        debug_assert!(self.0.as_ref().is_none_or(|active| active.found.len() <= FOUND_MAX));
        debug_assert!(self.0.as_ref().is_none_or(|active| !active.later.contains_key(&active.current.0)));
    }
}

/// The greatest number of found messages of one Session.
pub(in crate::broker) const FOUND_MAX: usize = 64;
/// The search stops when the payloads of the found messages have this many bytes.
const FOUND_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use super::*;
    use crate::codec::Message;
    use crate::routing::{Current, PublishRight, RetainedLimits};
    use crate::topic::TopicName;

    const GRANTED: Granted = Granted { qos: Qos::AtMostOnce, no_local: false, matched: None };

    fn store(messages: u64) -> RwLock<RetainedStore> {
        let limits = RetainedLimits { retained_messages_max: usize::MAX, retained_bytes_max: usize::MAX };
        let mut store = RetainedStore::new(limits);
        for number in 1..=messages {
            let topic = TopicName::try_from(format!("{number}").as_str()).unwrap();
            let message = Arc::new(Message::new(topic, "x"));
            let (qos, expires_at, publisher, current) = (Qos::AtMostOnce, None, None, Current::default());
            let (user, right, sequences) = (None, PublishRight::always(), None);
            let retained =
                RetainedMessage { message, qos, expires_at, publisher, user, right, number, sequences, current };
            store.set(retained).unwrap();
        }
        RwLock::new(store)
    }

    fn begin(replays: &mut Replays, filter: &str, store: &RwLock<RetainedStore>) {
        let cursor = store.read().unwrap().cursor();
        replays.begin(TopicFilter::try_from(filter).unwrap(), Replay::new(GRANTED, cursor, 0));
    }

    /// The numbers of all messages that are found with this number of visits.
    fn take(replays: &mut Replays, store: &RwLock<RetainedStore>, mut visits: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let NextReplayed::Message(retained, _) =
            replays.next(|| store.read().unwrap(), Timestamp::default(), &mut visits, |_| true)
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
    fn replay_of_a_repeated_filter_is_repeated_unless_it_is_too_expensive() {
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
    fn repeated_subscription_restarts_its_replay() {
        let store = store(3);
        let mut replays = Replays::default();
        begin(&mut replays, "+", &store);
        assert_eq!(take(&mut replays, &store, 2), [1]);
        begin(&mut replays, "+", &store);
        assert_eq!(take(&mut replays, &store, 100), [1, 2, 3]);
    }

    #[test]
    fn replay_refers_to_a_bounded_number_of_messages() {
        let store = store(1_000);
        let mut replays = Replays::default();
        begin(&mut replays, "#", &store);
        let mut visits = usize::MAX;
        for _ in 0..1_000 {
            let next = replays.next(|| store.read().unwrap(), Timestamp::default(), &mut visits, |_| true);
            assert!(matches!(next, NextReplayed::Message(..)));
            assert!(replays.0.as_ref().unwrap().found.len() < FOUND_MAX);
        }
    }

    #[test]
    fn canceled_replay_ends_and_the_next_begins() {
        let store = store(3);
        let mut replays = Replays::default();
        begin(&mut replays, "+", &store);
        begin(&mut replays, "2", &store);
        assert!(matches!(
            replays.next(|| store.read().unwrap(), Timestamp::default(), &mut 100, |_| true),
            NextReplayed::Message(..)
        ));
        replays.cancel(&Filter::try_from("$share/g/+").unwrap());
        replays.cancel(&Filter::try_from("+").unwrap());
        assert_eq!(take(&mut replays, &store, 100), [2]);
        replays.cancel(&Filter::try_from("2").unwrap());
        assert!(replays.is_empty());
    }
}
