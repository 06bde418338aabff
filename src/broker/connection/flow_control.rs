//! Why a connection is not read, and who lets it go on.
//!
//! Each connection has a set of [`PauseReason`]s. The first one leads to [`Action::Pause`], the end of the last one to
//! [`Action::Resume`]; the caller only obeys these two.
//!
//! | reason | who waits | for whom | at most | who wakes it |
//! | --- | --- | --- | --- | --- |
//! | `Authenticating` | a client, at CONNECT or AUTH | the provider | `connect_timeout` at CONNECT | `Event::Authenticated` |
//! | `Claiming` | a client at CONNECT | the shard that has its Session, then the store | `connect_timeout` for the shard | CONNACK leaves |
//! | `ResponsesUnsent` | a client with `outgoing_bytes_max` unsent bytes | itself, to read | `write_timeout` without progress | `Event::Flushed` with less than half |
//! | `ResponsesUnstable` | a client whose responses wait for the store | the store | `PAUSE_MAX`, with Keep Alive | `Event::Persisted`, below half |
//! | `SlowReceiver` | a publisher | a receiver that is full | the receiver's budget, see [`slow_receiver`](super::slow_receiver) | the receiver has caught up, is slow, or is gone |
//! | `StoreCongested` | the publisher of a record | the store | `PAUSE_MAX`, with Keep Alive | `Event::StoreCongestion(false)`, some after each event |
//! | `ShardFull` | the publisher of a message for that shard | the shard | `PAUSE_MAX`, with Keep Alive | `Event::ShardCongestion`, some after each event |
//! | `NoRoom` | a 3.1.1 publisher | room in a queue or on the disk | `PAUSE_MAX`, with Keep Alive; until its peer closes | who frees room in the queue, its Session's end, `Event::StoreRoom` |
//! | `DeduplicationPending` | a publisher with a `dedup-id` | a commit of another shard | that commit | its own timer, every 20 ms |
//!
//! What a client is answered counts as what it is delivered: both are unsent bytes of its connection. QoS 0 messages beyond
//! `outgoing_bytes_max` are dropped, QoS 1 and 2 messages wait in the queue from half of it on, and what is answered beyond it has the
//! client not read until it has taken half. Delivery to it goes on meanwhile, as far as it takes its bytes, so nobody waits for
//! something that waits for it.
//!
//! While a connection is paused, its client cannot be heard: Keep Alive is suspended, for [`PAUSE_MAX`] at the most, and begins anew when
//! the connection is read again. The caller looks whether the peer is still there ([`Event::PeerClosed`](crate::broker::Event::PeerClosed)):
//! a client that waits for room is closed at once, any other after [`PEER_CLOSED_MAX`], since it may have sent something before it closed.

use std::time::Duration;

use crate::broker::action::Action;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::packet_effect::PacketEffect;
use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::Connection;
use crate::broker::connection::waiting::GoOn;
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::routing::ShardId;
use crate::session::{self, Ticket};

impl Shard {
    /// Adds a reason not to read from a connection.
    pub(in crate::broker) fn pause(&mut self, id: ConnectionId, reason: PauseReason, turn: &mut Turn<'_>) {
        if self.connections.pause(id, reason, turn.now) {
            turn.actions.push(Action::Pause { connection: id });
        }
    }

    /// Takes a reason away.
    pub(in crate::broker) fn resume(&mut self, id: ConnectionId, reason: PauseReason, turn: &mut Turn<'_>) {
        if self.connections.resume(id, reason, turn.now) {
            turn.actions.push(Action::Resume { connection: id });
        }
    }

    /// Adds `bytes` to the estimate of what a connection has not sent; `Event::Flushed` corrects it.
    pub(in crate::broker) fn add_unsent(&mut self, id: ConnectionId, bytes: usize) {
        if let Some(connection) = self.connection_mut(id) {
            connection.buffered += bytes;
        }
    }

    /// The transport of a connection took bytes.
    pub(in crate::broker) fn on_flushed(&mut self, id: ConnectionId, remaining: usize, turn: &mut Turn<'_>) {
        let full = self.settings.outgoing_bytes_max / 2;
        let Some(connection) = self.connection_mut(id) else { return };
        connection.buffered = remaining;
        let waits = connection.pause_reasons().contains(PauseReason::ResponsesUnsent);
        let Some(slot) = connection.session() else { return };
        if remaining < full {
            self.drive(slot, session::Event::Room(full - remaining), turn);
            self.replay(slot, turn);
            if waits {
                self.resume(id, PauseReason::ResponsesUnsent, turn);
            }
        }
        self.end_congestion(id, turn);
    }

    /// After a packet of the client in `slot`: it may take more retained messages, or have too many responses waiting.
    #[inline]
    pub(in crate::broker) fn after_packet(
        &mut self,
        slot: usize,
        effect: PacketEffect,
        before: Ticket,
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(id) = entry.connection else { return };
        let (held, held_bytes) = entry.session.held();
        if !entry.replays.is_empty() {
            self.replay(slot, turn);
        }
        let maximum = self.settings.outgoing_bytes_max;
        if held >= RESPONSES_UNSTABLE_MAX || held_bytes >= maximum {
            self.pause(id, PauseReason::ResponsesUnstable, turn);
        }
        if self.connection(id).is_some_and(|connection| connection.buffered >= maximum) && effect.is_answered() {
            self.pause(id, PauseReason::ResponsesUnsent, turn);
        }
        if self.flow.is_store_congested() && effect.may_record() {
            self.pause_for_store(id, before, turn);
        }
    }

    /// Pauses a client if a record was made of what it sent since `before`, and the store is congested.
    pub(in crate::broker) fn pause_for_store(&mut self, id: ConnectionId, before: Ticket, turn: &mut Turn<'_>) {
        let has_record = self.pipeline.last() > before;
        let waits = |connection: &Connection| connection.pause_reasons().contains(PauseReason::StoreCongested);
        if self.flow.is_store_congested() && has_record && self.connection(id).is_some_and(|c| !waits(c)) {
            self.pause(id, PauseReason::StoreCongested, turn);
            self.flow.wait_for_store(id, &self.connections);
        }
    }

    /// After an event: publishers of what went to a full shard wait, and some of those go on that may.
    pub(in crate::broker) fn after_event(&mut self, turn: &mut Turn<'_>) {
        if self.flow.has_full_shards() {
            self.pause_for_full_shards(turn);
        }
        for _ in 0..READY_PER_EVENT {
            let Some((id, go_on)) = self.flow.next_ready() else { break };
            match go_on {
                GoOn::Resume(PauseReason::StoreCongested) if self.flow.is_store_congested() => {
                    self.flow.wait_for_store(id, &self.connections); // again, before it was its turn
                }
                GoOn::Resume(reason) => self.resume(id, reason, turn),
                GoOn::Retry(woken_for) => self.retry(id, woken_for, turn),
            }
        }
        if self.flow.has_ready() {
            self.timers.set(turn.now + READY_PAUSE, Timer::GoOn);
        }
    }

    /// Pauses the publishers of this shard whose messages went to a full one.
    fn pause_for_full_shards(&mut self, turn: &mut Turn<'_>) {
        let to_full = |action: &Action| {
            let Action::Forward { shard, message } = action else { return None };
            self.flow.is_full(*shard).then_some(())?;
            Some((*shard, message.origin()?))
        };
        let publishers: Vec<(ShardId, Origin)> = turn.actions.iter().filter_map(to_full).collect();
        for (shard, Origin { shard: of, connection: id, .. }) in publishers {
            let waits = |connection: &Connection| connection.pause_reasons().contains(PauseReason::ShardFull);
            if of == self.id && self.connection(id).is_some_and(|connection| !waits(connection)) {
                self.pause(id, PauseReason::ShardFull, turn);
                self.flow.wait_for_shard(shard, id, &self.connections);
            }
        }
    }

    /// The peer of a connection sends nothing more. If we read it, we read its end.
    pub(in crate::broker) fn on_peer_closed(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection(id) else { return };
        let reasons = connection.pause_reasons();
        if reasons.is_empty() {
            return;
        }
        let waits_for_room = reasons.contains(PauseReason::NoRoom);
        if waits_for_room || turn.now.since(connection.since()) >= PEER_CLOSED_MAX {
            self.end_connection(id, Ending::gone(format!("closed by the client while {}", reasons.describe())), turn);
        }
    }

    /// After a change of what waits for the store, and of what is unsent, of the client in `slot`.
    pub(in crate::broker) fn bound_responses(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(id) = entry.connection else { return };
        let (held, held_bytes) = entry.session.held();
        let maximum = self.settings.outgoing_bytes_max;
        let Some(connection) = self.connection(id) else { return };
        let (unsent, waits) =
            (connection.buffered, connection.pause_reasons().contains(PauseReason::ResponsesUnstable));
        if held >= RESPONSES_UNSTABLE_MAX || held_bytes >= maximum {
            self.pause(id, PauseReason::ResponsesUnstable, turn);
        } else if waits && held < RESPONSES_UNSTABLE_MAX / 2 && held_bytes < maximum / 2 {
            self.resume(id, PauseReason::ResponsesUnstable, turn);
        }
        if unsent >= maximum {
            self.pause(id, PauseReason::ResponsesUnsent, turn);
        }
    }
}

/// Responses of one client that may wait for the store, if they are small.
pub(in crate::broker) const RESPONSES_UNSTABLE_MAX: usize = 1_024;

/// How long Keep Alive is suspended for one pause, and a client without a word of ours believed to be there: longer than a disk or a
/// receiver takes that will be well again, shorter than anyone leaves a dead one.
pub(in crate::broker) const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long what a client sent before it closed waits to be read.
pub(in crate::broker) const PEER_CLOSED_MAX: Duration = Duration::from_secs(10);

/// Connections that go on after one event, so that a thousand don't all at once.
const READY_PER_EVENT: usize = 64;

/// The others go on then, if no other event comes before.
const READY_PAUSE: Duration = Duration::from_millis(1);
