//! What happens when a receiver doesn't take its messages as fast as they come.
//!
//! Publishers wait for it, so that nothing is lost to a burst; but only for a moment, so that one slow client never delays
//! others: a receiver that stays full for `slow_receiver_grace` is slow, nobody waits for it any more, and what is too much for it is
//! dropped at QoS 0 and queued at QoS 1 and 2. It counts as slow until it has caught up.

use super::connection::Congestion;
use super::event::ConnectionId;
use super::forward::{Origin, Said, ShardMessage};
use super::timers::Timer;
use super::{Action, Shard};
use crate::session;
use crate::timestamp::Timestamp;

impl Shard {
    /// Whether a QoS 0 message for the Session in `slot` has no room.
    pub(super) fn is_overrun(&self, slot: usize) -> bool {
        let connection = self.sessions.get(slot).and_then(|entry| entry.connection);
        let Some(connection) = connection.and_then(|id| self.connection(id)) else { return false };
        let maximum = self.settings.outgoing_bytes_max;
        match connection.congestion {
            Congestion::Slow => connection.buffered >= maximum / 2,
            Congestion::None | Congestion::HoldingUp { .. } => connection.buffered >= maximum,
        }
    }

    /// Holds up the publisher of a message that was just given to the Session in `slot`, if that has too much to send.
    pub(super) fn hold_up(&mut self, now: Timestamp, slot: usize, origin: Option<Origin>, actions: &mut Vec<Action>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let unsent = entry.session.unsent();
        let Some(id) = entry.connection else { return };
        let full = self.settings.outgoing_bytes_max / 2;
        let unsent_max = self.settings.queued_messages_max as u64 / 2;
        let grace = self.settings.slow_receiver_grace;
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.buffered < full && unsent < unsent_max.max(1) {
            return;
        }
        let begins = matches!(connection.congestion, Congestion::None);
        if begins {
            connection.congestion = Congestion::HoldingUp { publishers: Vec::new(), until: now + grace };
        }
        if let (Congestion::HoldingUp { publishers, .. }, Some(origin)) = (&mut connection.congestion, origin)
            && !publishers.contains(&origin)
        {
            publishers.push(origin);
            if origin.shard == self.id {
                self.hold(origin.connection, actions);
            } else {
                let message = ShardMessage(Said::HoldUp(origin.connection));
                actions.push(Action::Forward { shard: origin.shard, message });
            }
        }
        if begins {
            self.timers.set(now + grace, Timer::Slow(id));
        }
    }

    /// The transport of a connection took bytes.
    pub(super) fn on_flushed(&mut self, now: Timestamp, id: ConnectionId, remaining: usize, actions: &mut Vec<Action>) {
        let full = self.settings.outgoing_bytes_max / 2;
        let Some(connection) = self.connection_mut(id) else { return };
        connection.buffered = remaining;
        let Some(slot) = connection.session() else { return };
        if remaining < full {
            self.drive(now, slot, session::Event::Room(full - remaining), actions);
            self.replay(now, slot, actions);
        }
        self.relieve(now, id, actions);
    }

    /// Ends the congestion of a connection that has caught up.
    fn relieve(&mut self, now: Timestamp, id: ConnectionId, actions: &mut Vec<Action>) {
        let low = self.settings.outgoing_bytes_max / 4;
        let unsent_low = (self.settings.queued_messages_max as u64 / 4).max(1);
        let Some(connection) = self.connection(id) else { return };
        if matches!(connection.congestion, Congestion::None) || connection.buffered >= low {
            return;
        }
        let slot = connection.session();
        let unsent = slot.and_then(|slot| self.sessions.get(slot)).map_or(0, |entry| entry.session.unsent());
        if unsent < unsent_low
            && let Some(connection) = self.connection_mut(id)
        {
            let publishers = std::mem::take(&mut connection.congestion);
            self.release_publishers(now, publishers, actions);
        }
    }

    /// A receiver was full for the whole grace: nobody waits for it any more.
    pub(super) fn on_grace_over(&mut self, now: Timestamp, id: ConnectionId, actions: &mut Vec<Action>) {
        let Some(connection) = self.connection_mut(id) else { return };
        if matches!(connection.congestion, Congestion::HoldingUp { until, .. } if until <= now) {
            let publishers = std::mem::replace(&mut connection.congestion, Congestion::Slow);
            self.release_publishers(now, publishers, actions);
        }
    }

    /// Lets the publishers go that wait for a receiver.
    pub(super) fn release_publishers(&mut self, now: Timestamp, congestion: Congestion, actions: &mut Vec<Action>) {
        let Congestion::HoldingUp { publishers, .. } = congestion else { return };
        for origin in publishers {
            if origin.shard == self.id {
                self.let_go(now, origin.connection, actions);
            } else {
                let message = ShardMessage(Said::LetGo(origin.connection));
                actions.push(Action::Forward { shard: origin.shard, message });
            }
        }
    }

    /// One more reason not to read from a connection.
    pub(super) fn hold(&mut self, id: ConnectionId, actions: &mut Vec<Action>) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.holds += 1;
        if connection.holds == 1 {
            actions.push(Action::Pause { connection: id });
        }
    }

    /// One reason less.
    pub(super) fn let_go(&mut self, now: Timestamp, id: ConnectionId, actions: &mut Vec<Action>) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.holds = connection.holds.saturating_sub(1);
        if connection.holds == 0 {
            connection.last_packet = now;
            actions.push(Action::Resume { connection: id });
        }
    }

    /// A client whose responses wait for the store is not read from while there are too many of them.
    pub(super) fn hold_for_store(&mut self, now: Timestamp, slot: usize, actions: &mut Vec<Action>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let many = entry.session.held() >= HELD_MAX;
        let Some(id) = entry.connection else { return };
        let Some(connection) = self.connection_mut(id) else { return };
        if many == connection.held_by_store {
            return;
        }
        connection.held_by_store = many;
        if many {
            self.hold(id, actions);
        } else {
            self.let_go(now, id, actions);
        }
    }
}

/// Responses of one client that may wait for the store.
const HELD_MAX: usize = 1_024;
