//! Backpressure from a receiver that does not read its messages as fast as they come.
//!
//! Its publishers are paused, so that a burst loses no message. A pause delays the other receivers of these publishers, so a budget limits
//! it: `slow_receiver_grace` at first, refilled at one fiftieth of the elapsed time; one tenth of the grace for each pause; and one twentieth
//! of the elapsed time for all receivers of a shard together. When too little is left, the receiver is *slow*: its publishers are not paused,
//! and excess messages are dropped at QoS 0 and queued at QoS 1 and 2, until it has caught up.
//!
//! A receiver that has caught up resumes its publishers in slices of 64, the next one when it has caught up again, but not within
//! [`SLICE_INTERVAL`]: thousands of publishers that are resumed at once would fill its outgoing buffer with one message each. A slice after
//! which messages were dropped is followed by a smaller one.
//!
//! Pausing a publisher that has had only this receiver for more than a second delays no other receiver. Such a pause is not charged to the
//! budget and lasts for the grace at most.

use crate::broker::action::Action;
use crate::broker::connection::backlog::{PauseBudgets, PauseDecision, SLICE_INTERVAL};
use crate::broker::connection::pause::PauseReason;
use crate::broker::counters::DropReason;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::routing::SessionKey;
use crate::session::Session;
use crate::timestamp::Timestamp;

impl Shard {
    /// Whether a QoS 0 message for the Session in `slot` must be dropped, because the outgoing buffer is full or the receiver is slow.
    pub(in crate::broker) fn drops_qos0(&self, slot: usize) -> bool {
        let connection = self.sessions.get(slot).and_then(|entry| entry.connection);
        let Some(connection) = connection.and_then(|id| self.connection(id)) else { return false };
        let maximum = self.outgoing_bytes_max;
        if connection.unsent_bytes() < maximum / 2 {
            return false;
        }
        connection.unsent_bytes() >= maximum || connection.backlog.is_slow()
    }

    /// Pauses the publisher of a message that was delivered to the Session in `slot`, if that has too many unsent bytes or messages.
    #[inline]
    pub(in crate::broker) fn pause_publisher(&mut self, slot: usize, origin: Option<Origin>, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(connection) = entry.connection.and_then(|id| self.connection(id)) else { return };
        let unsent_max = entry.session.limits().queued_messages_max / 2;
        if connection.unsent_bytes() >= self.outgoing_bytes_max / 2 || entry.session.queued().0 >= unsent_max {
            self.decide_pause(slot, origin, turn);
        }
    }

    /// The same for a receiver that may have too many.
    #[cold]
    fn decide_pause(&mut self, slot: usize, origin: Option<Origin>, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(id) = entry.connection else { return };
        let full = self.outgoing_bytes_max / 2;
        let unsent_max = (entry.session.limits().queued_messages_max as u64 / 2).max(1);
        // The queue length bounds the number of unsent messages, and is cheaper to get.
        let queued = entry.session.queued().0 as u64;
        let unsent = if queued < unsent_max { queued } else { entry.session.unsent() };
        let grace = self.settings.slow_receiver_grace;
        let waits_for_itself = origin == Some(Origin::new(self.id, id));
        let of_shard = &mut self.pause_budget;
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.unsent_bytes() < full && unsent < unsent_max {
            return;
        }
        if waits_for_itself && connection.unsent_bytes() < full {
            return; // a paused client could not send the acknowledgements that make room
        }
        match connection.backlog.decide(origin, PauseBudgets { now: turn.now, grace, of_shard }) {
            PauseDecision::AlreadySlow => {}
            PauseDecision::Until(_) => self.arm_pause_end(id, turn.now),
            PauseDecision::Join => {}
            PauseDecision::BecomesSlow(publishers) => return self.release_publishers(publishers, turn),
        }
        let Some(connection) = self.connection_mut(id) else { return };
        if let Some(origin) = origin.filter(|origin| connection.backlog.add(*origin)) {
            if origin.shard == self.id {
                self.pause(origin.connection, PauseReason::SlowReceiver, turn);
            } else {
                let message = ShardMessage(ShardMessageKind::Pause(origin.connection));
                turn.actions.push(Action::Forward { shard: origin.shard, message });
            }
        }
    }

    /// The origin of a message, by which receivers pause its publisher. `receiver`: the only receiver of this message, if there is only one.
    #[inline]
    pub(in crate::broker) fn origin_of(
        &mut self,
        publisher: &Publisher,
        receiver: Option<SessionKey>,
        now: Timestamp,
    ) -> Option<Origin> {
        let origin = publisher.origin?;
        let connection = self.connections.get_mut(origin.connection)?;
        Some(Origin { is_sole: connection.sole_receiver.note(receiver, now), ..origin })
    }

    /// Drops a QoS 0 message to the Session in `slot` for which [`drops_qos0`](Self::drops_qos0) is true, and pauses its publisher unless the
    /// receiver is slow: otherwise all messages that it sends until the receiver has caught up are dropped.
    #[cold]
    pub(in crate::broker) fn drop_qos0(
        &mut self,
        slot: usize,
        key: SessionKey,
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) {
        let connection = self.sessions.get(slot).and_then(|entry| entry.connection);
        if let Some(connection) = connection.and_then(|id| self.connections.get_mut(id)) {
            connection.backlog.dropped();
        }
        self.count_dropped(slot, key, DropReason::SlowReceiver, turn);
        self.pause_publisher(slot, origin, turn);
    }

    /// Sets the timer for the end of a receiver's pause, unless one is set.
    fn arm_pause_end(&mut self, id: ConnectionId, now: Timestamp) {
        if let Some(at) = self.connections.get_mut(id).and_then(|connection| connection.backlog.arm(now)) {
            self.timers.set(at, Timer::PauseEnds(id));
        }
    }

    /// Resumes the next publishers of a receiver that has caught up.
    pub(in crate::broker) fn end_congestion(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let low = self.outgoing_bytes_max / 4;
        let grace = self.settings.slow_receiver_grace;
        let Some(connection) = self.connection(id) else { return };
        if connection.unsent_bytes() >= low || !connection.backlog.is_congested() {
            return;
        }
        let slot = connection.session();
        let session = slot.and_then(|slot| self.sessions.get(slot)).map(|entry| &entry.session);
        let unsent_low = |session: &Session| (session.limits().queued_messages_max as u64 / 4).max(1);
        if session.is_none_or(|session| session.unsent() < unsent_low(session)) {
            let time = PauseBudgets { now: turn.now, grace, of_shard: &mut self.pause_budget };
            let slice = self.connections.get_mut(id).map(|connection| connection.backlog.caught_up(time));
            let slice = slice.unwrap_or_default();
            if slice.more {
                self.timers.set(turn.now + SLICE_INTERVAL, Timer::NextSlice(id));
            }
            self.release_publishers(slice.publishers, turn);
        }
    }

    /// The timer of a receiver's pause: resumes its publishers if the pause is over.
    pub(in crate::broker) fn on_pause_ends(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        self.end_congestion(id, turn);
        let grace = self.settings.slow_receiver_grace;
        let time = PauseBudgets { now: turn.now, grace, of_shard: &mut self.pause_budget };
        let publishers = self.connections.get_mut(id).map(|connection| connection.backlog.end_if_due(time));
        self.release_publishers(publishers.unwrap_or_default(), turn);
        self.arm_pause_end(id, turn.now);
    }

    /// Resumes publishers that were paused for a receiver.
    pub(in crate::broker) fn release_publishers(&mut self, publishers: Vec<Origin>, turn: &mut Turn<'_>) {
        for origin in publishers {
            if origin.shard == self.id {
                self.resume(origin.connection, PauseReason::SlowReceiver, turn);
            } else {
                let message = ShardMessage(ShardMessageKind::Resume(origin.connection));
                turn.actions.push(Action::Forward { shard: origin.shard, message });
            }
        }
    }
}
