//! Passes the messages of streams to their subscribers, at the rate at which these read them.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::action::Action;
use crate::broker::connection::cause::Cause;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::pause::PauseReason;
use crate::broker::counters::DropReason;
use crate::broker::ids::ConnectionId;
use crate::broker::memory_level::MemoryLevel;
use crate::broker::operator::drops::Lost;
use crate::broker::publish::plan::Admission;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::cursor::CursorState;
use crate::broker::streams::cursors::StreamCursors;
use crate::broker::streams::groups::group::Group;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::read::{StreamChunk, StreamReadError};
use crate::broker::timers::Timer;
use crate::codec::{Qos, ReasonCode};
use crate::routing::{Access, SessionKey};
use crate::session::{self, Delivery};

impl Shard {
    /// Sends messages of streams to the client of the Session in `slot`, and asks for further ones. Returns the number of messages that were
    /// handled, at most [`MESSAGES_PER_TURN`].
    pub(in crate::broker) fn send_streams(&mut self, slot: usize, turn: &mut Turn<'_>) -> usize {
        let Some(entry) = self.sessions.get_mut(slot) else { return 0 };
        let (key, connection) = (entry.subscriber.key, entry.connection);
        let Some(id) = connection.filter(|_| entry.incidents.streams().is_some()) else { return 0 };
        // Taken out of `self`, so that the rest of the shard can be changed meanwhile.
        let Some(mut cursors) = entry.incidents.take_streams() else { return 0 };
        let access = entry.subscriber.access();
        let handled = self.advance_streams((slot, key, id), &mut cursors, &access, turn);
        if let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == key) {
            entry.incidents.put_streams(cursors);
        }
        handled
    }

    fn advance_streams(
        &mut self,
        (slot, key, id): (usize, SessionKey, ConnectionId),
        cursors: &mut StreamCursors,
        access: &Access,
        turn: &mut Turn<'_>,
    ) -> usize {
        let is_durable = self.sessions.get(slot).is_some_and(SessionSlot::is_durable);
        let is_marked = self.connection(id).is_some_and(|connection| connection.version.has_properties());
        let (mut handled, mut sent, mut waiting) = (0, 0, None);
        for _ in 0..cursors.len() {
            let Some(cursor) = cursors.current() else { break };
            if is_durable && cursor.kept().is_some() {
                handled += self.fill_window((slot, key, id), cursor, access, turn);
                cursors.rotate();
                if handled >= MESSAGES_PER_TURN {
                    self.defer_stream((slot, key), turn);
                    break;
                }
                continue;
            }
            let mut is_blocked = false;
            while handled < MESSAGES_PER_TURN
                && let Some(qos) = cursor.next_qos()
            {
                is_blocked = !self.has_room_for_stream(slot, id, qos);
                if is_blocked {
                    break;
                }
                handled += 1;
                let Some(stored) = cursor.take(turn.now) else { continue };
                if !access.receive(&stored.message.topic) {
                    continue;
                }
                let sequence = stored.sequence;
                let delivery = cursor.delivery(stored, is_marked);
                if self.send_of_stream(slot, delivery, turn) {
                    cursor.sent(sequence);
                    sent += 1;
                }
            }
            if cursor.next_qos().is_none() {
                cursors.rotate();
                continue;
            }
            if is_blocked && self.has_room_for_stream(slot, id, Qos::AtMostOnce) {
                // It waits for an acknowledgement, and others have messages at QoS 0.
                waiting.get_or_insert(cursors.turn());
                cursors.rotate();
                continue;
            }
            // It could go on, or nothing that was sent will be flushed or acknowledged, so nothing else continues the subscription.
            if sent == 0 && !is_blocked || !self.is_awaited(slot, id) {
                self.defer_stream((slot, key), turn);
            }
            break;
        }
        if let Some(first) = waiting {
            // The next acknowledgement makes room for this one.
            cursors.set_turn(first);
            if !self.is_awaited(slot, id) {
                self.defer_stream((slot, key), turn);
            }
        }
        for _ in 0..cursors.len() {
            self.read_stream((slot, key, id), cursors, turn);
            cursors.rotate();
        }
        handled
    }

    /// Begins a read for the subscription whose turn it is, if it needs one.
    fn read_stream(
        &mut self,
        (slot, key, id): (usize, SessionKey, ConnectionId),
        cursors: &mut StreamCursors,
        turn: &mut Turn<'_>,
    ) {
        let Some(cursor) = cursors.current() else { return };
        if cursor.kept().is_some() && !self.may_read_window((slot, key, id), cursor, turn) {
            return;
        }
        match cursor.state() {
            CursorState::Reading(_) => return,
            CursorState::Failed(at) if at > turn.now => return,
            CursorState::Ready | CursorState::CaughtUp | CursorState::Failed(_) => {
                cursor.set_state(CursorState::Ready);
            }
        }
        let bytes_max = if self.memory >= MemoryLevel::High { SHORT_CHUNK_BYTES_MAX } else { CHUNK_BYTES_MAX };
        let Some(wanted) = cursor.wanted_read(bytes_max) else { return };
        if !self.has_room_for_stream(slot, id, Qos::AtMostOnce) {
            return;
        }
        if let Some(next) = cursor.next()
            && self.shared.stream_board.range(cursor.stream).end <= next
            && self.shared.streams().get(cursor.stream).is_some() // that of a removed one says so
            && self.shared.stream_board.await_more(self.id, cursor.stream, next)
        {
            self.streams.wait(cursor.stream, (slot, key));
            turn.actions.push(Action::Hurry); // it may be on its way to the store
            return cursor.set_state(CursorState::CaughtUp);
        }
        let Some((number, request)) = self.streams.begin_read((slot, key), wanted) else { return };
        cursor.set_state(CursorState::Reading(number));
        if let Some(request) = request {
            self.queued_total += bytes_max as u64;
            turn.actions.push(Action::ReadStream(Box::new(request)));
        }
    }

    /// Whether the client has room for a message of a stream at this QoS: in its outgoing buffer, and in its Receive Maximum.
    pub(in crate::broker) fn has_room_for_stream(&self, slot: usize, id: ConnectionId, qos: Qos) -> bool {
        let Some(entry) = self.sessions.get(slot) else { return false };
        let Some(connection) = self.connection(id) else { return false };
        entry.session.is_open()
            && !connection.pause_reasons().contains(PauseReason::ManyFilters) // SUBACK comes first
            && connection.unsent_bytes() < self.outgoing_bytes_max / 2
            && (qos == Qos::AtMostOnce || entry.session.sends_at_once())
    }

    /// Whether the client will flush or acknowledge something, or its CONNACK or SUBACK will be sent.
    pub(in crate::broker) fn is_awaited(&self, slot: usize, id: ConnectionId) -> bool {
        let Some(entry) = self.sessions.get(slot) else { return true };
        let Some(connection) = self.connection(id) else { return true };
        connection.unsent_bytes() > 0
            || entry.session.in_flight() > 0
            || !entry.session.is_open()
            || connection.pause_reasons().contains(PauseReason::ManyFilters)
    }

    /// Sends a message of a stream, unless the client takes no packets of this size. Returns whether it was sent.
    fn send_of_stream(&mut self, slot: usize, delivery: Delivery, turn: &mut Turn<'_>) -> bool {
        let Some(entry) = self.sessions.get(slot) else { return false };
        let to = Arc::clone(&entry.subscriber);
        if !entry.session.takes(&delivery) {
            let reason = DropReason::PacketTooLarge;
            self.note_lost(Lost::delivery(to.client_id.as_str(), &delivery, reason), turn);
            self.count_dropped(slot, to.key, reason, turn);
            return false;
        }
        if delivery.qos == Qos::AtMostOnce {
            self.drive(slot, session::Event::DeliverQos0(delivery), turn);
        } else {
            self.queue_room.take(&Admission::Unchecked, &to, &delivery);
            self.drive(slot, session::Event::Deliver(to.take_sequence(), delivery), turn);
        }
        true
    }

    /// Handles messages that were read. A Session that waits for them may have ended, and its subscription may have been replaced.
    pub(in crate::broker) fn on_stream_read(&mut self, mut chunk: StreamChunk, turn: &mut Turn<'_>) {
        let read = chunk.request().cursor.read;
        let error = chunk.error.take();
        let messages = chunk.into_messages(turn.now);
        for place in self.streams.end_read(read) {
            if let Some(group) = Group::at(place) {
                self.on_group_read((group, read), error.map_or_else(|| Ok(messages.clone()), Err), turn);
                continue;
            }
            let (slot, key) = place;
            let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == key) else { continue };
            let mut removed = None;
            while let Some(cursor) = entry.incidents.streams_mut().and_then(|streams| streams.reading(read)) {
                match error {
                    None if entry.connection.is_none() => cursor.set_state(CursorState::Ready),
                    None => cursor.on_read(messages.clone()),
                    Some(StreamReadError::Gone) if entry.session.is_open() => {
                        cursor.set_state(CursorState::Ready);
                        removed = Some((Arc::clone(cursor.name()), cursor.stream));
                    }
                    // A client that is away is told when it is back, and one that waits for CONNACK after that.
                    Some(StreamReadError::Gone) if entry.connection.is_none() => cursor.set_state(CursorState::Ready),
                    Some(StreamReadError::Temporary | StreamReadError::Gone) => {
                        let at = turn.now + RETRY_PAUSE;
                        cursor.set_state(CursorState::Failed(at));
                        self.timers.set(at, Timer::StreamRetry(slot, key));
                    }
                }
            }
            match removed {
                Some((name, stream)) => self.end_for_stream(slot, (&name, stream), turn),
                None if error.is_none() => self.streams.defer(place),
                None => {}
            }
        }
        self.resume_streams(turn);
    }

    /// There are further messages of a stream.
    pub(in crate::broker) fn on_stream_advanced(&mut self, stream: StreamNumber, turn: &mut Turn<'_>) {
        self.streams.wake(stream);
        self.resume_streams(turn);
    }

    /// Continues subscriptions that wait for a read or for another turn.
    pub(in crate::broker) fn resume_streams(&mut self, turn: &mut Turn<'_>) {
        self.continue_streams(MESSAGES_PER_TURN, turn);
    }

    /// The same, until this number of messages was handled.
    pub(in crate::broker) fn continue_streams(&mut self, messages_max: usize, turn: &mut Turn<'_>) {
        let (mut handled, mut sessions) = (0, 0);
        while handled < messages_max
            && sessions < SESSIONS_PER_TURN
            && let Some((slot, key)) = self.streams.next_ready()
        {
            if let Some(group) = Group::at((slot, key)) {
                sessions += 1;
                self.resume_group(group, turn);
            } else if self.session(slot, key).is_some() {
                sessions += 1;
                handled += self.send_streams(slot, turn) + self.send_groups(slot, turn);
            }
        }
        if self.streams.has_ready() {
            self.timers.set(turn.now + PAUSE, Timer::Streams);
        }
    }

    /// Memory is short: gives back what was read for clients that do not take it.
    pub(in crate::broker) fn give_back_streams(&mut self) {
        for slot in 0..self.sessions.slots_end() {
            let streams = self.sessions.get_mut(slot).and_then(|entry| entry.incidents.streams_mut());
            streams.into_iter().for_each(StreamCursors::give_back);
        }
    }

    /// A failed read is tried again.
    pub(in crate::broker) fn retry_streams(&mut self, slot: usize, key: SessionKey, turn: &mut Turn<'_>) {
        if let Some(group) = Group::at((slot, key)) {
            self.resume_group(group, turn);
        } else if self.session(slot, key).is_some() {
            self.send_streams(slot, turn);
        }
    }

    /// The Session leaves this shard.
    pub(in crate::broker) fn forget_streams(&mut self, slot: usize, entry: &SessionSlot) {
        if entry.incidents.streams().is_some() {
            self.streams.forget((slot, entry.subscriber.key));
        }
    }

    /// A stream was removed: the Session in `slot` has no subscriptions to it any more, alone or in groups. Its client is disconnected, because there
    /// is no other way to tell it.
    pub(in crate::broker) fn end_for_stream(
        &mut self,
        slot: usize,
        (name, stream): (&str, StreamNumber),
        turn: &mut Turn<'_>,
    ) {
        self.forget_positions(slot, stream, turn);
        self.forget_memberships(slot, stream, turn);
        let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) else { return };
        let cause = Cause::private(format!("the stream {name} was removed"), "a stream was removed");
        self.end_connection(id, Ending::with_disconnect(ReasonCode::AdministrativeAction, cause), turn);
    }
}

/// The greatest number of messages of streams that one event sends or skips.
pub(in crate::broker) const MESSAGES_PER_TURN: usize = 512;
/// The greatest number of Sessions that continue in one event. Most of them join a read, which takes about a microsecond.
const SESSIONS_PER_TURN: usize = 1_024;
/// A chunk ends with the message that exceeds this number of bytes.
pub(in crate::broker) const CHUNK_BYTES_MAX: usize = 128 * 1024;
/// The same while memory is short.
pub(in crate::broker) const SHORT_CHUNK_BYTES_MAX: usize = 8 * 1024;
/// The delay before a subscription continues in another turn, so that other events are handled first.
pub(in crate::broker) const PAUSE: Duration = Duration::from_millis(1);
/// The delay before a failed read is tried again.
pub(in crate::broker) const RETRY_PAUSE: Duration = Duration::from_secs(1);
