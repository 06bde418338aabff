//! The members of a group, and which of them gets a message.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::broker::streams::groups::dispatch::{GroupDispatch, rank};
use crate::routing::{SessionKey, Subscriber};
use crate::topic::TopicName;

/// The connected members of a group, and the messages that they have not acknowledged.
///
/// Invariants:
/// - a message of a key is given to a member only if no other member has one of that key that it has not acknowledged, and if none before it of that
///   key waits because it was refused;
/// - without keys, a message waits in `pending` only if no member that may receive it has room.
#[derive(Debug, Default)]
pub(in crate::broker) struct Roster {
    dispatch: GroupDispatch,
    /// In the order in which they joined.
    members: Vec<Member>,
    /// The place of each member.
    places: HashMap<SessionKey, usize, RandomState>,
    /// The number of members that have room.
    free: usize,
    /// The member whose turn it is.
    turn: usize,
    /// Messages for which no member has room, without keys only.
    pending: BTreeSet<u64>,
    /// The keys of messages that were given to members and are not acknowledged.
    keys: HashMap<u64, Key, RandomState>,
    /// The keys of messages that were refused and wait for their next attempt.
    refused: HashMap<u64, Refused, RandomState>,
}

#[derive(Debug)]
struct Member {
    subscriber: Arc<Subscriber>,
    /// The greatest number of messages that it is given and has not acknowledged, without keys.
    limit: usize,
    /// Given, and not sent yet, with their keys.
    queue: VecDeque<(u64, Option<u64>)>,
    /// The number of messages that it has: in `queue`, and sent and not acknowledged.
    load: usize,
}

#[derive(Debug)]
struct Key {
    /// The member that has messages of the key.
    holder: SessionKey,
    /// How many of them: given, and sent and not acknowledged.
    count: usize,
    /// Messages for another member, which wait until these are acknowledged.
    waiting: BTreeSet<u64>,
}

/// The messages of a key that were refused and wait for their next attempt.
#[derive(Debug, Default)]
struct Refused {
    messages: BTreeSet<u64>,
    /// Later messages of the key, which wait behind them, and those that are due and wait behind an earlier one.
    waiting: BTreeSet<u64>,
}

/// A message as far as its place depends on it.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Item<'a> {
    pub(in crate::broker) sequence: u64,
    pub(in crate::broker) topic: &'a TopicName,
    pub(in crate::broker) key: Option<u64>,
}

/// Where a message went.
#[derive(Debug)]
pub(in crate::broker) enum Placed {
    /// To this member, which had none that was not sent.
    Given(Arc<Subscriber>),
    /// Behind others to the same member.
    Queued,
    /// It waits.
    Waits,
    /// No member may receive it.
    Nobody,
}

impl Roster {
    pub(in crate::broker) const fn dispatch(&self) -> &GroupDispatch {
        &self.dispatch
    }

    pub(in crate::broker) fn set_dispatch(&mut self, dispatch: GroupDispatch) {
        self.dispatch = dispatch;
    }

    pub(in crate::broker) const fn len(&self) -> usize {
        self.members.len()
    }

    pub(in crate::broker) fn subscribers(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        self.members.iter().map(|member| &member.subscriber)
    }

    /// The number of messages that wait for room, without keys.
    pub(in crate::broker) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Adds a member, to which `sent` messages were sent before that are awaited. The caller places all others again.
    pub(in crate::broker) fn join(&mut self, subscriber: Arc<Subscriber>, limit: usize, sent: usize) {
        debug_assert!(!self.is_member(subscriber.key), "a member joins twice");
        self.places.insert(subscriber.key, self.members.len());
        self.members.push(Member { subscriber, limit: limit.max(1), queue: VecDeque::new(), load: sent });
    }

    /// Removes a member. The caller takes its messages back, those that were sent too, and places all messages again.
    pub(in crate::broker) fn leave(&mut self, member: SessionKey) {
        self.keys.retain(|_, key| key.holder != member);
        self.retire(member);
    }

    /// Removes a member. What was sent to it is awaited; the caller places all others again.
    pub(in crate::broker) fn retire(&mut self, member: SessionKey) {
        let Some(place) = self.places.remove(&member) else { return };
        let Member { queue, .. } = self.members.remove(place);
        queue.into_iter().for_each(|(_, key)| take_back(&mut self.keys, key));
        for other in self.places.values_mut().filter(|other| **other > place) {
            *other -= 1;
        }
        self.count_free();
    }

    pub(in crate::broker) fn is_member(&self, member: SessionKey) -> bool {
        self.places.contains_key(&member)
    }

    /// Forgets where the messages are that were not sent: the caller places all of them again, in their order.
    pub(in crate::broker) fn recall(&mut self) {
        self.pending.clear();
        for member in &mut self.members {
            member.load -= member.queue.len();
            member.queue.drain(..).for_each(|(_, key)| take_back(&mut self.keys, key));
        }
        for key in self.keys.values_mut() {
            key.waiting.clear();
        }
        self.refused.clear();
        self.count_free();
    }

    /// The same for those that were sent: they do not count any more.
    pub(in crate::broker) fn clear(&mut self) {
        self.recall();
        self.keys.clear();
        for member in &mut self.members {
            member.load = 0;
        }
        self.count_free();
    }

    fn count_free(&mut self) {
        self.free = self.members.iter().filter(|member| member.has_room()).count();
    }

    /// Gives a message to a member, or lets it wait.
    pub(in crate::broker) fn place(&mut self, item: Item<'_>) -> Placed {
        match item.key {
            Some(key) => self.place_keyed(item, key),
            None => self.place_in_turn(item),
        }
    }

    fn place_in_turn(&mut self, Item { sequence, topic, .. }: Item<'_>) -> Placed {
        let count = if self.free > 0 { self.members.len() } else { 0 };
        for step in 0..count {
            let place = (self.turn + step) % count;
            let fits = |member: &Member| member.has_room() && member.subscriber.may_receive(topic);
            if self.members.get(place).is_some_and(fits) {
                self.turn = place + 1;
                return self.give(place, (sequence, None));
            }
        }
        if !self.members.iter().any(|member| member.subscriber.may_receive(topic)) {
            return Placed::Nobody;
        }
        self.pending.insert(sequence);
        Placed::Waits
    }

    fn place_keyed(&mut self, Item { sequence, topic, .. }: Item<'_>, key: u64) -> Placed {
        let Some(place) = self.member_for(key, topic) else { return Placed::Nobody };
        if let Some(refused) = self.refused.get_mut(&key)
            && refused.holds_back(sequence)
        {
            refused.waiting.insert(sequence);
            return Placed::Waits;
        }
        let Some(holder) = self.members.get(place).map(|member| member.subscriber.key) else { return Placed::Nobody };
        let held = self.keys.entry(key).or_insert_with(|| Key { holder, count: 0, waiting: BTreeSet::new() });
        if held.holder != holder || !held.waiting.is_empty() {
            held.waiting.insert(sequence);
            return Placed::Waits;
        }
        held.count += 1;
        self.give(place, (sequence, Some(key)))
    }

    fn give(&mut self, place: usize, message: (u64, Option<u64>)) -> Placed {
        let Some(member) = self.members.get_mut(place) else { return Placed::Nobody };
        let had_room = member.has_room();
        member.queue.push_back(message);
        member.load += 1;
        self.free -= usize::from(had_room && !member.has_room());
        if member.queue.len() > 1 { Placed::Queued } else { Placed::Given(Arc::clone(&member.subscriber)) }
    }

    /// The member that gets the messages of a key.
    fn member_for(&self, key: u64, topic: &TopicName) -> Option<usize> {
        let by_rank = |(_, member): &(usize, &Member)| rank(key, member.subscriber.key);
        let (place, best) = self.members.iter().enumerate().max_by_key(by_rank)?;
        if best.subscriber.may_receive(topic) {
            return Some(place);
        }
        let allowed = self.members.iter().enumerate().filter(|(_, member)| member.subscriber.may_receive(topic));
        allowed.max_by_key(by_rank).map(|(place, _)| place)
    }

    /// Gives messages that wait for room to a member, as far as it has room now and may receive them. Returns the member if it had none that was
    /// not sent, and has one now.
    pub(in crate::broker) fn fill<'a>(
        &mut self,
        member: SessionKey,
        topic_of: impl Fn(u64) -> Option<&'a TopicName>,
    ) -> Option<Arc<Subscriber>> {
        let place = *self.places.get(&member)?;
        let (mut next, mut ready) = (0, None);
        while let Some(member) = self.members.get(place).filter(|member| member.has_room())
            && let Some(sequence) = self.pending.range(next..).next().copied()
        {
            next = sequence + 1;
            if topic_of(sequence).is_none_or(|topic| member.subscriber.may_receive(topic)) {
                self.pending.remove(&sequence);
                if let Placed::Given(to) = self.give(place, (sequence, None)) {
                    ready = Some(to);
                }
            }
        }
        ready
    }

    /// The next message for a member, without taking it.
    pub(in crate::broker) fn next_of(&self, member: SessionKey) -> Option<u64> {
        self.members.get(*self.places.get(&member)?)?.queue.front().map(|(sequence, _)| *sequence)
    }

    /// Takes the next message of a member, which counts as one of it until [`done`](Self::done).
    pub(in crate::broker) fn take(&mut self, member: SessionKey) -> Option<u64> {
        self.members.get_mut(*self.places.get(&member)?)?.queue.pop_front().map(|(sequence, _)| sequence)
    }

    /// A member has a message less that it had taken. `key`: that of the message. Returns the messages that waited for that: the caller places them
    /// again, in their order.
    pub(in crate::broker) fn done(&mut self, member: SessionKey, key: Option<u64>) -> BTreeSet<u64> {
        if let Some(of) = self.places.get(&member).and_then(|place| self.members.get_mut(*place)) {
            let had_room = of.has_room();
            of.load = of.load.saturating_sub(1);
            self.free += usize::from(!had_room && of.has_room());
        }
        let Some(key) = key else { return BTreeSet::new() };
        let Some(held) = self.keys.get_mut(&key) else { return BTreeSet::new() };
        held.count = held.count.saturating_sub(1);
        if held.count > 0 {
            return BTreeSet::new();
        }
        self.keys.remove(&key).map(|held| held.waiting).unwrap_or_default()
    }

    /// A message of a key was refused and waits for its next attempt. Later messages of the key that were not sent to this member wait, too.
    pub(in crate::broker) fn refuse(&mut self, member: SessionKey, key: u64, sequence: u64) {
        self.hold(key, sequence);
        let Some(refused) = self.refused.get_mut(&key) else { return };
        let Some(of) = self.places.get(&member).and_then(|place| self.members.get_mut(*place)) else { return };
        let (had_room, before) = (of.has_room(), of.queue.len());
        of.queue.retain(|(other, of_key)| {
            let waits = *of_key == Some(key) && refused.holds_back(*other);
            !(waits && refused.waiting.insert(*other))
        });
        let removed = before - of.queue.len();
        of.load -= removed;
        // The refused message counts until it is done.
        if let Some(held) = self.keys.get_mut(&key) {
            held.count = held.count.saturating_sub(removed);
        }
        self.free += usize::from(!had_room && of.has_room());
    }

    /// A message of a key waits, because it was refused. None behind it was given to a member.
    pub(in crate::broker) fn hold(&mut self, key: u64, sequence: u64) {
        self.refused.entry(key).or_default().messages.insert(sequence);
    }

    /// A refused message of a key is due. Returns the messages that the caller places again, in their order.
    pub(in crate::broker) fn due(&mut self, key: u64, sequence: u64) -> BTreeSet<u64> {
        let Some(refused) = self.refused.get_mut(&key) else { return BTreeSet::from([sequence]) };
        refused.messages.remove(&sequence);
        refused.waiting.insert(sequence);
        match refused.messages.first() {
            Some(first) => {
                let behind = refused.waiting.split_off(first);
                std::mem::replace(&mut refused.waiting, behind)
            }
            None => self.refused.remove(&key).map(|refused| refused.waiting).unwrap_or_default(),
        }
    }
}

/// A message that was given to a member is not any more. Nothing waits for it.
fn take_back(keys: &mut HashMap<u64, Key, RandomState>, key: Option<u64>) {
    let Some(key) = key else { return };
    let Some(held) = keys.get_mut(&key) else { return };
    held.count = held.count.saturating_sub(1);
    if held.count == 0 {
        keys.remove(&key);
    }
}

impl Refused {
    /// Whether a message of the key waits behind a refused one.
    fn holds_back(&self, sequence: u64) -> bool {
        self.messages.first().is_some_and(|first| *first < sequence)
    }
}

impl Member {
    const fn has_room(&self) -> bool {
        self.load < self.limit
    }
}
