//! Publishers that wait for room in the queue of a Session, on any shard.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;

use crate::broker::ids::{ConnectionId, Origin};
use crate::routing::{SessionKey, ShardId, Subscriber};

/// The waiting publishers of each Session, in the order in which they are woken.
///
/// After freeing room, a shard checks [`Subscriber::is_awaited`], and uses this map only if that is set. A publisher first
/// [adds itself](Self::wait), and then checks for room once more. So either the publisher sees the freed room, or the shard that
/// freed it sees the waiting publisher.
#[derive(Debug, Default)]
pub(in crate::broker) struct RoomWaiters(Mutex<HashMap<SessionKey, Waiters, RandomState>>);

/// The publishers that wait for room in the queue of one Session, each once. Removal does not search the others, because all may leave.
#[derive(Debug)]
struct Waiters {
    to: Arc<Subscriber>,
    in_order: BTreeMap<i64, Origin>,
    places: HashMap<(ShardId, ConnectionId), i64, RandomState>,
}

/// Where a publisher is inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Position {
    /// After all waiting publishers.
    Back,
    /// Before them, because it was woken and there was still too little room for its message.
    Front,
}

impl RoomWaiters {
    /// Adds a waiting publisher.
    pub(in crate::broker) fn wait(&self, to: &Arc<Subscriber>, origin: Origin, position: Position) {
        let mut all = self.lock();
        all.entry(to.key).or_insert_with(|| Waiters::new(to)).add(origin, position);
        to.set_awaited(true);
    }

    /// The Session with this key, if a publisher waits for room in its queue.
    pub(in crate::broker) fn awaited(&self, key: SessionKey) -> Option<Arc<Subscriber>> {
        self.lock().get(&key).map(|waiters| Arc::clone(&waiters.to))
    }

    /// Removes and returns the first waiting publisher, which the caller wakes.
    pub(in crate::broker) fn next(&self, to: &Subscriber) -> Option<Origin> {
        let mut all = self.lock();
        let waiters = all.get_mut(&to.key)?;
        let next = waiters.take_first();
        if waiters.in_order.is_empty() {
            all.remove(&to.key);
            to.set_awaited(false);
        }
        next
    }

    /// Removes a publisher that no longer waits.
    pub(in crate::broker) fn leave(&self, to: &Subscriber, origin: Origin) {
        let mut all = self.lock();
        let Some(waiters) = all.get_mut(&to.key) else { return };
        waiters.remove(origin);
        if waiters.in_order.is_empty() {
            all.remove(&to.key);
            to.set_awaited(false);
        }
    }

    /// The number of publishers that wait for room in any queue.
    #[cfg(test)]
    pub(in crate::broker) fn len(&self) -> usize {
        self.lock().values().map(|waiters| waiters.in_order.len()).sum()
    }

    /// Whether a publisher waits for room in this queue.
    #[cfg(test)]
    pub(in crate::broker) fn contains(&self, to: &Subscriber, origin: Origin) -> bool {
        self.lock().get(&to.key).is_some_and(|waiters| waiters.places.contains_key(&name(origin)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Waiters, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiters {
    fn new(to: &Arc<Subscriber>) -> Self {
        Self { to: Arc::clone(to), in_order: BTreeMap::new(), places: HashMap::default() }
    }

    /// Adds a publisher, and removes it from its previous position.
    fn add(&mut self, origin: Origin, position: Position) {
        self.remove(origin);
        let place = match position {
            Position::Back => self.in_order.last_key_value().map_or(0, |(last, _)| last + 1),
            Position::Front => self.in_order.first_key_value().map_or(0, |(first, _)| first - 1),
        };
        self.in_order.insert(place, origin);
        self.places.insert(name(origin), place);
    }

    fn take_first(&mut self) -> Option<Origin> {
        let (_, first) = self.in_order.pop_first()?;
        self.places.remove(&name(first));
        Some(first)
    }

    fn remove(&mut self, origin: Origin) {
        if let Some(place) = self.places.remove(&name(origin)) {
            self.in_order.remove(&place);
        }
    }
}

const fn name(origin: Origin) -> (ShardId, ConnectionId) {
    (origin.shard, origin.connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ClientId;
    use crate::routing::{Access, Location};

    fn subscriber() -> Arc<Subscriber> {
        let location = Location { shard: ShardId(0), slot: 0 };
        Arc::new(Subscriber::new(SessionKey(1), ClientId::from("s"), location, Arc::new(Access::everything())))
    }

    fn publisher(slot: u32) -> Origin {
        Origin::new(ShardId(1), ConnectionId { slot, generation: 0 })
    }

    fn order(waiters: &RoomWaiters, to: &Subscriber) -> Vec<u32> {
        std::iter::from_fn(|| waiters.next(to)).map(|origin| origin.connection.slot).collect()
    }

    #[test]
    fn publishers_are_woken_in_their_order_without_those_that_left() {
        let (waiters, to) = (RoomWaiters::default(), subscriber());
        for slot in 1..=4 {
            waiters.wait(&to, publisher(slot), Position::Back);
        }
        waiters.wait(&to, publisher(5), Position::Front);
        waiters.leave(&to, publisher(2));
        waiters.leave(&to, publisher(9));
        assert!(waiters.awaited(to.key).is_some_and(|found| Arc::ptr_eq(&found, &to)));
        assert!(to.is_awaited() && waiters.contains(&to, publisher(1)) && !waiters.contains(&to, publisher(2)));
        assert_eq!(order(&waiters, &to), [5, 1, 3, 4]);
        assert!(!to.is_awaited() && waiters.awaited(to.key).is_none());
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn publisher_that_waits_already_waits_once() {
        let (waiters, to) = (RoomWaiters::default(), subscriber());
        for (slot, position) in [(1, Position::Back), (2, Position::Back), (1, Position::Back), (2, Position::Front)] {
            waiters.wait(&to, publisher(slot), position);
        }
        assert_eq!(order(&waiters, &to), [2, 1]);
    }

    #[test]
    fn each_of_very_many_leaves_without_a_look_at_the_others() {
        let (waiters, to) = (RoomWaiters::default(), subscriber());
        let all = 0..200_000;
        all.clone().for_each(|slot| waiters.wait(&to, publisher(slot), Position::Back));
        all.rev().for_each(|slot| waiters.leave(&to, publisher(slot)));
        assert!(!to.is_awaited());
    }
}
