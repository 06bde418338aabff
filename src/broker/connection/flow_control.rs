//! Backpressure: pauses reading from a connection, and resumes it.
//!
//! Each connection has a set of [`PauseReason`]s. Adding the first reason emits [`Action::Pause`], removing the last one emits
//! [`Action::Resume`].
//!
//! | reason | paused connection | it waits for | at most | resumed by |
//! | --- | --- | --- | --- | --- |
//! | `Authenticating` | a client after CONNECT or AUTH | the provider, for whose threads it may have to queue | `AUTHENTICATION_MAX` at CONNECT; until its peer has closed, for [`AUTHENTICATING_CLOSED_MAX`] | `Event::Authenticated` |
//! | `Claiming` | a client after CONNECT | the shard that holds its Session, then the store | `connect_timeout` for the shard | sending CONNACK |
//! | `ResponsesUnsent` | a client with `outgoing_bytes_max` unsent bytes | its own reads | `write_timeout` without progress | `Event::Flushed` below half of it |
//! | `ResponsesUnstable` | a client whose responses wait for a commit | the store | `PAUSE_MAX`, with Keep Alive | `Event::Persisted`, below half of the bound |
//! | `SlowReceiver` | a publisher | a receiver whose outgoing buffer is full | the receiver's budget, see [`slow_receiver`](super::slow_receiver) | the receiver catches up: 64 publishers at a time, the next after 1 ms (`Timer::NextSlice`) or at the next `Event::Flushed` with little unsent; all of them when the pause ends (`Timer::PauseEnds`), the receiver becomes slow, or it disconnects |
//! | `StoreCongested` | a client whose packet made a record | the store | `PAUSE_MAX`, with Keep Alive | `Event::StoreCongestion(false)`, a bounded number after each event |
//! | `ShardFull` | the publisher of a message for that shard | the shard | `PAUSE_MAX`, with Keep Alive | `Event::ShardCongestion`, a bounded number after each event |
//! | `NoRoom` | a 3.1.1 publisher | room in a queue or on the disk | `PAUSE_MAX`, with Keep Alive; until its peer closes | freed room in the queue, the end of the Session, `Event::StoreRoom` |
//! | `DeduplicationPending` | a publisher with a `dedup-id` | a commit of another shard, or another cell | that commit; while that cell has no owner, `PAUSE_MAX`, with Keep Alive | a timer, every 20 ms; the answer of the cell |
//! | `RateLimited` | a client beyond `client_messages_per_second_max` or `client_bytes_per_second_max` | time | a minute, see [`rate_limits`](super::rate_limits) | `Timer::RateAllows` |
//! | `CellsToBeTold` | a client after SUBSCRIBE | the owners of all other cells, and their successors | `PAUSE_MAX`, with Keep Alive | the last of their answers |
//! | `CellsUnknown` | another cell whose message is for a share without a member here | the owners of all other cells | until the connection ends | `Timer::Deduplication`, as soon as something that is due is done |
//! | `ManyFilters` | a client after SUBSCRIBE or UNSUBSCRIBE | the turns of the shard, a millisecond for 1,024 filters | its packet | `Timer::Filters` |
//!
//! Responses and deliveries both count as unsent bytes of a connection. From half of `outgoing_bytes_max` on, QoS 1 and 2 messages stay
//! in the queue. Beyond `outgoing_bytes_max`, QoS 0 messages are dropped, and a response pauses reading until the client has read half
//! of the bytes. Delivery to a paused client continues, so that paused connections cannot wait for each other in a cycle.
//!
//! Keep Alive is suspended while a connection is paused, for [`PAUSE_MAX`] at most, and restarts when the connection is read again. The
//! caller checks whether the peer has closed ([`Event::PeerClosed`](crate::broker::Event::PeerClosed)): a client that waits for room is
//! then closed at once, one that waits for its authentication after a second, so that no password is hashed for a connection that has ended, any other after [`PEER_CLOSED_MAX`], because packets that it sent before may not have been read. A DISCONNECT among
//! them is handled even then ([`Shard::gives_up`]).

use std::time::Duration;

use crate::broker::action::Action;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::packet_effect::PacketEffect;
use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::{Connection, Phase};
use crate::broker::connection::waiting::ReadyTask;
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::routing::ShardId;
use crate::session::{self, Ticket};
use crate::timestamp::Timestamp;

impl Shard {
    /// Adds a pause reason, and emits [`Action::Pause`] if it is the first.
    pub(in crate::broker) fn pause(&mut self, id: ConnectionId, reason: PauseReason, turn: &mut Turn<'_>) {
        if self.connections.pause(id, reason, turn.now) {
            turn.actions.push(Action::Pause { connection: id });
        }
    }

    /// Removes a pause reason, and emits [`Action::Resume`] if it was the last.
    pub(in crate::broker) fn resume(&mut self, id: ConnectionId, reason: PauseReason, turn: &mut Turn<'_>) {
        if self.connections.resume(id, reason, turn.now) {
            turn.actions.push(Action::Resume { connection: id });
        }
    }

    /// Adds `bytes` to the estimate of unsent bytes; `Event::Flushed` corrects it.
    /// `messages` of the packets are PUBLISH packets.
    pub(in crate::broker) fn add_unsent(&mut self, id: ConnectionId, bytes: usize, messages: u32) {
        self.queued_total += bytes as u64;
        if let Some(connection) = self.connection_mut(id) {
            connection.set_unsent_bytes(connection.unsent_bytes().saturating_add(bytes));
            connection.count_sent(messages);
        }
    }

    /// The transport accepted bytes of the outgoing buffer; `remaining` bytes are still in it.
    pub(in crate::broker) fn on_flushed(&mut self, id: ConnectionId, remaining: usize, turn: &mut Turn<'_>) {
        let full = self.outgoing_bytes_max / 2;
        let Some(connection) = self.connection_mut(id) else { return };
        connection.set_unsent_bytes(remaining);
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

    /// Runs after a packet of the client in `slot`: continues its replays, and pauses it if too many responses or bytes are pending. `before`
    /// is the last ticket that was issued before the packet.
    #[inline(always)]
    pub(in crate::broker) fn after_packet(
        &mut self,
        slot: usize,
        effect: PacketEffect,
        before: Ticket,
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(id) = entry.connection else { return };
        let (held, held_bytes) = entry.session.unstable_responses();
        if !entry.replays.is_empty() || entry.incidents.has_streams() {
            self.replay(slot, turn);
        }
        if effect == PacketEffect::None {
            return;
        }
        let maximum = self.outgoing_bytes_max;
        if held >= RESPONSES_UNSTABLE_MAX || held_bytes >= maximum {
            self.pause(id, PauseReason::ResponsesUnstable, turn);
        }
        if effect.is_answered() && self.connection(id).is_some_and(|connection| connection.unsent_bytes() >= maximum) {
            self.pause(id, PauseReason::ResponsesUnsent, turn);
        }
        if self.flow.is_store_congested() && effect.may_record() {
            self.pause_for_store(id, before, turn);
        }
    }

    /// Pauses a client if the store is congested and a record was written for it after the ticket `before`.
    pub(in crate::broker) fn pause_for_store(&mut self, id: ConnectionId, before: Ticket, turn: &mut Turn<'_>) {
        let has_record = self.pipeline.last() > before;
        let waits = |connection: &Connection| connection.pause_reasons().contains(PauseReason::StoreCongested);
        if self.flow.is_store_congested() && has_record && self.connection(id).is_some_and(|c| !waits(c)) {
            self.pause(id, PauseReason::StoreCongested, turn);
            self.flow.wait_for_store(id, &self.connections);
        }
    }

    /// Runs after an event: pauses publishers whose messages went to a full shard, and continues up to [`READY_PER_EVENT`] connections that
    /// no longer wait.
    pub(in crate::broker) fn after_event(&mut self, turn: &mut Turn<'_>) {
        if self.flow.has_full_shards() {
            self.pause_for_full_shards(turn);
        }
        for _ in 0..READY_PER_EVENT {
            let Some((id, task)) = self.flow.next_ready() else { break };
            match task {
                ReadyTask::Resume(PauseReason::StoreCongested) if self.flow.is_store_congested() => {
                    self.flow.wait_for_store(id, &self.connections); // congested again before this task ran
                }
                ReadyTask::Resume(reason) => self.resume(id, reason, turn),
                ReadyTask::Retry(woken_for) => self.retry(id, woken_for, turn),
            }
        }
        if self.flow.has_ready() {
            self.timers.set(turn.now + READY_PAUSE, Timer::ReadyTasks);
        }
    }

    /// Pauses the publishers of this shard whose messages are forwarded to a full shard in this turn.
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

    /// The peer has closed. A connection that is not paused is ended by the reader, which reads the end of the stream.
    pub(in crate::broker) fn on_peer_closed(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection(id).filter(|connection| has_waited(connection, turn.now)) else {
            return;
        };
        let reasons = connection.pause_reasons().describe();
        self.end_connection(id, Ending::peer_gone(format!("closed by the client while paused: {reasons}")), turn);
    }

    /// Whether [`Event::PeerClosed`](crate::broker::Event::PeerClosed) ends the connection of a Session at `now`. The caller then looks for a DISCONNECT in
    /// the unread input, and passes that instead, so that the Will of a client that has disconnected is not published. Its other packets are
    /// not handled: one before them was not acknowledged, and their order is kept.
    pub fn gives_up(&self, id: ConnectionId, now: Timestamp) -> bool {
        let ends = |connection: &Connection| connection.session().is_some() && has_waited(connection, now);
        self.connection(id).is_some_and(ends)
    }

    /// Pauses or resumes the client in `slot` after a change of its responses that wait for a commit, or of its unsent bytes.
    pub(in crate::broker) fn bound_responses(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(id) = entry.connection else { return };
        let (held, held_bytes) = entry.session.unstable_responses();
        let maximum = self.outgoing_bytes_max;
        let Some(connection) = self.connection(id) else { return };
        let (unsent, waits) =
            (connection.unsent_bytes(), connection.pause_reasons().contains(PauseReason::ResponsesUnstable));
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

/// Whether a connection whose peer has closed has been paused for so long that it ends.
fn has_waited(connection: &Connection, now: Timestamp) -> bool {
    let reasons = connection.pause_reasons();
    let stays_for = if reasons.contains(PauseReason::NoRoom) {
        Duration::ZERO
    } else if matches!(connection.phase, Phase::Authenticating(_)) {
        AUTHENTICATING_CLOSED_MAX
    } else {
        PEER_CLOSED_MAX
    };
    !reasons.is_empty() && now.since(connection.since()) >= stays_for
}

/// The number of responses of one client that may wait for a commit; their bytes are bounded by `outgoing_bytes_max`.
pub(in crate::broker) const RESPONSES_UNSTABLE_MAX: usize = 1_024;

/// The longest time that one pause suspends Keep Alive; then the connection is closed. It is longer than a disk or receiver needs to
/// recover from a temporary failure.
pub(in crate::broker) const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long a paused connection stays open after its peer has closed, so that packets sent before can still be read.
pub(in crate::broker) const PEER_CLOSED_MAX: Duration = Duration::from_secs(10);

/// How long a connection that waits for its authentication stays open after its peer has closed. A password is hashed in less unless many
/// wait, and then the client has given up.
pub(in crate::broker) const AUTHENTICATING_CLOSED_MAX: Duration = Duration::from_secs(1);

/// Connections that continue after one event. The bound avoids a burst when many wait for the same condition.
const READY_PER_EVENT: usize = 64;

/// When the next batch continues if no other event comes before.
const READY_PAUSE: Duration = Duration::from_millis(1);
