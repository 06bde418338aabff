//! The rate limits of a client: messages and bytes per second. A client beyond them is not read for a while.

use crate::broker::connection::pause::PauseReason;
use crate::broker::ids::ConnectionId;
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::timestamp::Timestamp;

impl Shard {
    /// Whether [`Event::Received`](crate::broker::Event::Received) is wanted.
    pub fn limits_bytes(&self) -> bool {
        self.settings.client_bytes_per_second_max.is_some() || self.settings.user_limits.limit_bytes()
    }

    /// Counts bytes that were read from a client.
    pub(in crate::broker) fn on_received(&mut self, id: ConnectionId, bytes: usize, turn: &mut Turn<'_>) {
        // CONNECT has its own limits.
        if !self.connection(id).is_some_and(|connection| connection.session().is_some() && connection.has_byte_rate()) {
            return;
        }
        let Some(maximum) = self.settings.rate_limits(self.class_of(id)).bytes else { return };
        let continues_at = self.rates.take_bytes(id, bytes, maximum, turn.now);
        self.pause_for_rate(id, continues_at, turn);
    }

    /// Counts a PUBLISH of a client whose messages are limited.
    pub(in crate::broker) fn count_message(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(maximum) = self.settings.rate_limits(self.class_of(id)).messages else { return };
        if self.connection(id).is_none() {
            return; // the PUBLISH has ended it
        }
        let continues_at = self.rates.take_message(id, maximum, turn.now);
        self.pause_for_rate(id, continues_at, turn);
    }

    fn pause_for_rate(&mut self, id: ConnectionId, continues_at: Option<Timestamp>, turn: &mut Turn<'_>) {
        let Some(continues_at) = continues_at else { return };
        let is_paused =
            self.connection(id).is_some_and(|connection| connection.pause_reasons().contains(PauseReason::RateLimited));
        if !is_paused {
            self.counters.rate_pauses += 1;
            self.pause(id, PauseReason::RateLimited, turn);
            self.timers.set(continues_at, Timer::RateAllows(id));
        }
    }

    /// The timer of a client beyond its rate is due.
    pub(in crate::broker) fn on_rate_allows(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        // A packet that was read before the pause may have taken more meanwhile.
        let Some(continues_at) = self.rates.continues_at(id) else { return };
        if continues_at > turn.now {
            self.timers.set(continues_at, Timer::RateAllows(id));
        } else {
            self.resume(id, PauseReason::RateLimited, turn);
        }
    }
}
