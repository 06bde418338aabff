//! Publishers that wait for room in the queue of a Session, wherever they and the Session are.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;

use crate::broker::ids::Origin;
use crate::routing::{SessionKey, Subscriber};

/// The waiting publishers of each Session, in the order in which they are woken.
///
/// Whoever frees room looks at [`Subscriber::is_awaited`] alone, and comes here if it is set. A publisher
/// [waits](Self::wait) first, and then looks once more whether there is room: so either it sees the room, or who freed it sees that
/// somebody waits.
#[derive(Debug, Default)]
pub(in crate::broker) struct RoomWaiters(Mutex<HashMap<SessionKey, VecDeque<Origin>, RandomState>>);

/// Where a publisher is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Position {
    /// Behind all that wait already.
    Back,
    /// Before them: it was woken, and there was too little room for its message.
    Front,
}

impl RoomWaiters {
    /// A publisher waits from now on, until it is taken out by [`next`](Self::next), or leaves.
    pub(in crate::broker) fn wait(&self, to: &Subscriber, origin: Origin, position: Position) {
        let mut all = self.lock();
        let waiters = all.entry(to.key).or_default();
        match position {
            Position::Back => waiters.push_back(origin),
            Position::Front => waiters.push_front(origin),
        }
        to.set_awaited(true);
    }

    /// Takes the first out, to be woken.
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

    /// A publisher waits no longer.
    pub(in crate::broker) fn leave(&self, to: &Subscriber, origin: Origin) {
        let mut all = self.lock();
        let Some(waiters) = all.get_mut(&to.key) else { return };
        waiters.retain(|other| *other != origin);
        if waiters.is_empty() {
            all.remove(&to.key);
            to.set_awaited(false);
        }
    }

    /// How many publishers wait for room in any queue.
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
