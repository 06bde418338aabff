//! What happens when a receiver doesn't take its messages as fast as they come.
//!
//! Publishers wait for it, so that nothing is lost to a burst; but only for a moment, so that one slow client never delays
//! others: a receiver that stays full for `slow_receiver_grace` is slow, nobody waits for it any more, and what is too much for it is
//! dropped at QoS 0 and queued at QoS 1 and 2. It counts as slow until it has caught up.

use crate::broker::action::Action;
use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::{Congestion, HoldUp};
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;

impl Shard {
    /// Whether a QoS 0 message for the Session in `slot` has no room.
    pub(in crate::broker) fn is_overrun(&self, slot: usize) -> bool {
        let connection = self.sessions.get(slot).and_then(|entry| entry.connection);
        let Some(connection) = connection.and_then(|id| self.connection(id)) else { return false };
        let maximum = self.settings.outgoing_bytes_max;
        match connection.congestion {
            Congestion::Slow => connection.buffered >= maximum / 2,
            Congestion::None | Congestion::HoldingUp(_) => connection.buffered >= maximum,
        }
    }

    /// Holds up the publisher of a message that was just given to the Session in `slot`, if that has too much to send.
    pub(in crate::broker) fn hold_up(&mut self, slot: usize, origin: Option<Origin>, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(id) = entry.connection else { return };
        let full = self.settings.outgoing_bytes_max / 2;
        let unsent_max = (self.settings.queued_messages_max as u64 / 2).max(1);
        // No more is unsent than is in the queue, and to count it takes longer.
        let queued = entry.session.queued().0 as u64;
        let unsent = if queued < unsent_max { queued } else { entry.session.unsent() };
        let grace = self.settings.slow_receiver_grace;
        let waits_for_itself = origin == Some(Origin { shard: self.id, connection: id });
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.buffered < full && unsent < unsent_max {
            return;
        }
        if waits_for_itself && connection.buffered < full {
            return; // it must be read from to acknowledge what it has
        }
        let begins = matches!(connection.congestion, Congestion::None);
        if begins {
            connection.congestion =
                Congestion::HoldingUp(Box::new(HoldUp { publishers: Vec::new(), until: turn.now + grace }));
        }
        if let (Congestion::HoldingUp(hold_up), Some(origin)) = (&mut connection.congestion, origin)
            && !hold_up.publishers.contains(&origin)
        {
            hold_up.publishers.push(origin);
            if origin.shard == self.id {
                self.pause(origin.connection, PauseReason::SlowReceiver, turn);
            } else {
                let message = ShardMessage(ShardMessageKind::Pause(origin.connection));
                turn.actions.push(Action::Forward { shard: origin.shard, message });
            }
        }
        if begins {
            self.timers.set(turn.now + grace, Timer::Slow(id));
        }
    }

    /// Ends the congestion of a connection that has caught up.
    pub(super) fn relieve(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
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
            self.release_publishers(publishers, turn);
        }
    }

    /// A receiver was full for the whole grace: nobody waits for it any more.
    pub(in crate::broker) fn on_grace_over(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection_mut(id) else { return };
        if matches!(&connection.congestion, Congestion::HoldingUp(hold_up) if hold_up.until <= turn.now) {
            let publishers = std::mem::replace(&mut connection.congestion, Congestion::Slow);
            self.release_publishers(publishers, turn);
        }
    }

    /// Lets the publishers go that wait for a receiver.
    pub(in crate::broker) fn release_publishers(&mut self, congestion: Congestion, turn: &mut Turn<'_>) {
        let Congestion::HoldingUp(hold_up) = congestion else { return };
        for origin in hold_up.publishers {
            if origin.shard == self.id {
                self.resume(origin.connection, PauseReason::SlowReceiver, turn);
            } else {
                let message = ShardMessage(ShardMessageKind::Resume(origin.connection));
                turn.actions.push(Action::Forward { shard: origin.shard, message });
            }
        }
    }
}
