use std::collections::BTreeSet;

use super::event::ConnectionId;
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

/// Everything that a shard waits for, in the order it is due.
///
/// Whoever gets an entry looks whether it is still wanted, and sets the next one: so a packet that puts off a Keep Alive
/// costs nothing here.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Timestamp, Timer)>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// CONNECT or the Keep Alive of a connection.
    Connection(ConnectionId),
    /// The grace of a receiver that doesn't keep up.
    Slow(ConnectionId),
    /// A publisher that waits for room in a queue.
    Blocked(ConnectionId),
    /// The Will Delay Interval or the Session Expiry Interval of a Session without connection.
    Session(SessionKey, usize),
    /// What happens every second.
    Tick,
}

impl Timers {
    pub(super) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.due.insert((at, timer));
    }

    pub(super) fn cancel(&mut self, at: Timestamp, timer: Timer) {
        self.due.remove(&(at, timer));
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next that is due at `now`.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }
}
