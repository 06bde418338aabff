//! Publishers that wait for room in the queue of a Session, on any shard.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;

use crate::broker::ids::Origin;
use crate::routing::{SessionKey, Subscriber};

/// The waiting publishers of each Session, in the order in which they are woken.
///
/// After freeing room, a shard checks [`Subscriber::is_awaited`], and uses this map only if that is set. A publisher first
/// [adds itself](Self::wait), and then checks for room once more. So either the publisher sees the freed room, or the shard that
/// freed it sees the waiting publisher.
#[derive(Debug, Default)]
pub(in crate::broker) struct RoomWaiters(Mutex<HashMap<SessionKey, VecDeque<Origin>, RandomState>>);

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
    pub(in crate::broker) fn wait(&self, to: &Subscriber, origin: Origin, position: Position) {
        let mut all = self.lock();
        let waiters = all.entry(to.key).or_default();
        match position {
            Position::Back => waiters.push_back(origin),
            Position::Front => waiters.push_front(origin),
        }
        to.set_awaited(true);
    }

    /// Removes and returns the first waiting publisher, which the caller wakes.
    pub(in crate::broker) fn next(&self, to: &Subscriber) -> Option<Origin> {
        let mut all = self.lock();
        let waiters = all.get_mut(&to.key)?;
        let next = waiters.pop_front();
        if waiters.is_empty() {
            all.remove(&to.key);
            to.set_awaited(false);
        }
        next
    }

    /// Removes a publisher that no longer waits.
    pub(in crate::broker) fn leave(&self, to: &Subscriber, origin: Origin) {
        let mut all = self.lock();
        let Some(waiters) = all.get_mut(&to.key) else { return };
        waiters.retain(|other| *other != origin);
        if waiters.is_empty() {
            all.remove(&to.key);
            to.set_awaited(false);
        }
    }

    /// The number of publishers that wait for room in any queue.
    #[cfg(test)]
    pub(in crate::broker) fn len(&self) -> usize {
        self.lock().values().map(VecDeque::len).sum()
    }

    /// Whether a publisher waits for room in this queue.
    #[cfg(test)]
    pub(in crate::broker) fn contains(&self, to: &Subscriber, origin: Origin) -> bool {
        self.lock().get(&to.key).is_some_and(|waiters| waiters.contains(&origin))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, VecDeque<Origin>, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
