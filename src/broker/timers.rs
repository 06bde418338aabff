use std::collections::BTreeSet;

use crate::broker::ids::ConnectionId;
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

/// The deadlines of a shard, in the order in which they are due.
///
/// Lazy timers: the handler re-checks the deadline and re-arms if it moved. So a packet that extends a Keep Alive does not change
/// this structure.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// `connect_timeout` or Keep Alive of connections.
    connections: Deadlines,
    /// Will Delay Interval or Session Expiry Interval of Sessions without connection.
    sessions: Deadlines,
    due: BTreeSet<(Timestamp, Timer)>,
}

/// A timer that is not the deadline of a connection or Session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The end of a receiver's pause of its publishers.
    PauseEnds(ConnectionId),
    /// The next slice of a receiver's publishers.
    NextSlice(ConnectionId),
    /// A retry of a message that waits for the commit of the first message with its `dedup-id` on another shard, or for what other cells want.
    Deduplication(ConnectionId),
    /// A client that has sent more than its rate limits allow may continue.
    RateAllows(ConnectionId),
    /// The next batch of connections that can continue.
    ReadyTasks,
    /// Messages in the queue of a restored Session that have expired by decision of the start.
    ExpireQueue(usize, SessionKey),
    /// Refused messages of a Session that are sent again.
    Redelivery(usize, SessionKey),
    /// The next delayed message.
    Delayed,
    /// Deferred replays of retained messages.
    Replays,
    /// Subscriptions to streams that continue in another turn.
    Streams,
    /// A failed read of a stream is tried again for this Session.
    StreamRetry(usize, SessionKey),
    /// Positions of groups that are to be stored.
    Groups,
    /// Messages that members of the group with this number have refused are sent again.
    GroupRefused(u64),
    /// Events of clients that wait to be published.
    ClientEvents,
    /// The next part of a SUBSCRIBE or UNSUBSCRIBE packet.
    Filters,
    /// The periodic work of every second.
    Tick,
}

/// A deadline that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// `connect_timeout` or Keep Alive of the connection in this slot.
    Connection(u32),
    /// Will Delay Interval or Session Expiry Interval of the Session in this slot.
    Session(u32),
    Timer(Timer),
}

impl Timers {
    pub(super) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.due.insert((at, timer));
    }

    /// Sets the deadline of the connection in `slot`; it replaces an earlier one.
    pub(super) fn set_connection(&mut self, slot: u32, at: Timestamp) {
        self.connections.set(slot, at);
    }

    /// Removes a timer that is set for this time.
    pub(super) fn clear(&mut self, at: Timestamp, timer: Timer) {
        self.due.remove(&(at, timer));
    }

    /// Removes the deadline of the connection in `slot`.
    pub(super) fn cancel_connection(&mut self, slot: u32) {
        self.connections.remove(slot);
    }

    /// Sets the deadline of the Session in `slot`; it replaces an earlier one.
    pub(super) fn set_session(&mut self, slot: u32, at: Timestamp) {
        self.sessions.set(slot, at);
    }

    /// Removes the deadline of the Session in `slot`.
    pub(super) fn cancel_session(&mut self, slot: u32) {
        self.sessions.remove(slot);
    }

    /// The number of deadlines.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.connections.heap.len() + self.sessions.heap.len() + self.due.len()
    }

    /// Whether this timer is set.
    #[cfg(test)]
    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.due.iter().any(|(_, other)| *other == timer)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let timer = self.due.first().map(|(at, _)| *at);
        let of_slots = [&self.connections, &self.sessions].into_iter().filter_map(Deadlines::first);
        of_slots.map(|first| first.at).chain(timer).min()
    }

    /// Takes the earliest deadline that has passed at `now`.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Due> {
        let at = self.next().filter(|at| *at <= now)?;
        if let Some(first) = self.connections.first().filter(|first| first.at == at) {
            self.connections.remove(first.slot);
            return Some(Due::Connection(first.slot));
        }
        if let Some(first) = self.sessions.first().filter(|first| first.at == at) {
            self.sessions.remove(first.slot);
            return Some(Due::Session(first.slot));
        }
        self.due.pop_first().map(|(_, timer)| Due::Timer(timer))
    }
}

/// At most one deadline for each slot: a binary heap, and the heap index of each slot, so that a deadline can be moved and removed. It uses
/// 20 bytes per deadline.
#[derive(Debug, Default)]
struct Deadlines {
    heap: Vec<Deadline>,
    /// The heap index of each slot; [`NO_PLACE`] if it has no deadline.
    places: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Timestamp,
    slot: u32,
}

impl Deadlines {
    fn first(&self) -> Option<Deadline> {
        self.heap.first().copied()
    }

    fn set(&mut self, slot: u32, at: Timestamp) {
        let deadline = Deadline { at, slot };
        let place = self.place(slot).unwrap_or(self.heap.len());
        match self.heap.get_mut(place) {
            Some(before) => *before = deadline,
            None => {
                self.heap.push(deadline);
                if self.places.len() <= slot as usize {
                    self.places.resize(slot as usize + 1, NO_PLACE);
                }
            }
        }
        self.settle(place);
    }

    fn remove(&mut self, slot: u32) {
        let Some(place) = self.place(slot) else { return };
        self.heap.swap_remove(place);
        if let Some(place) = self.places.get_mut(slot as usize) {
            *place = NO_PLACE;
        }
        if place < self.heap.len() {
            self.settle(place);
        }
    }

    /// The heap index of a slot.
    fn place(&self, slot: u32) -> Option<usize> {
        self.places.get(slot as usize).filter(|place| **place != NO_PLACE).map(|place| *place as usize)
    }

    /// Restores the heap order after a change at this index.
    fn settle(&mut self, mut place: usize) {
        while let Some(parent) = place.checked_sub(1).map(|before| before / 2)
            && self.heap.get(place) < self.heap.get(parent)
        {
            self.swap(place, parent);
            place = parent;
        }
        while let Some(child) = self.first_child(place)
            && self.heap.get(child) < self.heap.get(place)
        {
            self.swap(place, child);
            place = child;
        }
        self.note(place);
    }

    /// The child of this index that is due first.
    fn first_child(&self, place: usize) -> Option<usize> {
        let (left, right) = (2 * place + 1, 2 * place + 2);
        let first = self.heap.get(left)?;
        Some(if self.heap.get(right).is_some_and(|second| second < first) { right } else { left })
    }

    fn swap(&mut self, place: usize, other: usize) {
        self.heap.swap(place, other);
        self.note(place);
        self.note(other);
    }

    fn note(&mut self, place: usize) {
        if let Some(deadline) = self.heap.get(place)
            && let Some(noted) = self.places.get_mut(deadline.slot as usize)
        {
            *noted = u32::try_from(place).unwrap_or(NO_PLACE);
        }
    }
}

/// Marks a slot without deadline. It is not a valid heap index, because there are fewer deadlines than 32-bit slot numbers.
const NO_PLACE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Set(u32, u64),
        Cancel(u32),
        SetSession(u32, u64),
        CancelSession(u32),
        Timer(u64),
        Pop(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40_u32, 0..1_000_u64).prop_map(|(slot, at)| Step::Set(slot, at)),
            1 => (0..40_u32).prop_map(Step::Cancel),
            4 => (0..40_u32, 0..1_000_u64).prop_map(|(slot, at)| Step::SetSession(slot, at)),
            1 => (0..40_u32).prop_map(Step::CancelSession),
            1 => (0..1_000_u64).prop_map(Step::Timer),
            2 => (0..1_000_u64).prop_map(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn deadlines_are_taken_in_the_order_of_a_sorted_set(steps in prop::collection::vec(step(), 0..300)) {
            let mut timers = Timers::default();
            // Deadlines with the same time: connections first, then Sessions, then other timers.
            let mut oracle: BTreeSet<(u64, u32)> = BTreeSet::new();
            const SESSION: u32 = 1 << 16;
            const OTHER: u32 = u32::MAX;
            for step in steps {
                match step {
                    Step::Set(slot, at) => {
                        oracle.retain(|(_, other)| *other != slot);
                        oracle.insert((at, slot));
                        timers.set_connection(slot, Timestamp(at));
                    }
                    Step::Cancel(slot) => {
                        oracle.retain(|(_, other)| *other != slot);
                        timers.cancel_connection(slot);
                    }
                    Step::SetSession(slot, at) => {
                        oracle.retain(|(_, other)| *other != SESSION + slot);
                        oracle.insert((at, SESSION + slot));
                        timers.set_session(slot, Timestamp(at));
                    }
                    Step::CancelSession(slot) => {
                        oracle.retain(|(_, other)| *other != SESSION + slot);
                        timers.cancel_session(slot);
                    }
                    Step::Timer(at) => {
                        oracle.insert((at, OTHER));
                        timers.set(Timestamp(at), Timer::Tick);
                    }
                    Step::Pop(now) => {
                        let expected = oracle.first().copied().filter(|(at, _)| *at <= now);
                        let due = expected.map(|(at, slot)| {
                            oracle.remove(&(at, slot));
                            match slot {
                                OTHER => Due::Timer(Timer::Tick),
                                SESSION.. => Due::Session(slot - SESSION),
                                _ => Due::Connection(slot),
                            }
                        });
                        prop_assert_eq!(timers.pop(Timestamp(now)), due);
                    }
                }
                prop_assert_eq!(timers.next(), oracle.first().map(|(at, _)| Timestamp(*at)));
                prop_assert_eq!(timers.len(), oracle.len());
            }
        }
    }
}
