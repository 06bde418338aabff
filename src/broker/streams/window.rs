//! Windows: how a Session that outlives its connection gets the messages of a stream.
//!
//! The next messages of the stream are put into the queue of the Session as copies, in one change of the store together with the position behind
//! them. This is a window. Its messages are sent when that is stable, and from then on they are messages of the queue: their Packet Identifiers
//! follow from their sequences in it, and they are sent again, acknowledged, refused and moved with the Session as all others. Those at QoS 0 are
//! sent once, when the window is stable.
//!
//! | after a crash | in the queue | read again |
//! | --- | --- | --- |
//! | before the window is stable | nothing of it, and nothing of it was sent | all of it |
//! | after it | all of it that is at QoS 1 and was not acknowledged | nothing of it |
//!
//! The next window is taken while the client is connected, when the one before is stable, at most half a window waits in the queue to be sent,
//! and the queue is not half full. So a Session that is away has at most what it had when it left, and other messages have room.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::counters::DropReason;
use crate::broker::event::StoreRoom;
use crate::broker::ids::ConnectionId;
use crate::broker::operator::drops::Lost;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::record::{Addressed, Record};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::publish::plan::{Admission, Copies};
use crate::broker::publish::publisher::Publisher;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::cursor::{Cursor, CursorState, Granted};
use crate::broker::streams::cursors::StreamCursors;
use crate::broker::streams::name::StreamTarget;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::position::StreamPosition;
use crate::broker::streams::start::StreamStart;
use crate::broker::streams::state::CHUNK_MESSAGES_MAX;
use crate::broker::streams::subscriptions::mounted_filter;
use crate::broker::timers::Timer;
use crate::codec::{EncodedUserProperties, Qos};
use crate::routing::{Access, SessionKey, Subscriber};
use crate::session::{Delivery, DeliveryPlace, Ticket};

impl Shard {
    /// Takes the next window of the messages that were read for a subscription. Returns the number of messages that were handled, at most
    /// [`CHUNK_MESSAGES_MAX`].
    pub(super) fn fill_window(
        &mut self,
        (slot, key, id): (usize, SessionKey, ConnectionId),
        cursor: &mut Cursor,
        access: &Access,
        turn: &mut Turn<'_>,
    ) -> usize {
        if cursor.next_bytes().is_none() {
            return 0;
        }
        let Some(mut room) = self.window_room(slot, id, cursor) else { return 0 };
        let Some(entry) = self.sessions.get(slot) else { return 0 };
        let (to, routed) = (Arc::clone(&entry.subscriber), self.shared.route_generations.published());
        let (mut handled, mut is_empty) = (0, true);
        self.begin_group();
        while handled < CHUNK_MESSAGES_MAX
            && let Some(bytes) = cursor.next_bytes()
            && room.has(bytes)
        {
            handled += 1;
            let Some(stored) = cursor.take(turn.now) else { continue };
            if !access.receive(&stored.message.topic) {
                continue;
            }
            let sequence = stored.sequence;
            // Also for a client of an older version: a later connection of the Session may be another.
            let delivery = cursor.delivery(stored, true);
            if !self.takes_of_stream((slot, &to), &delivery, turn) {
                continue;
            }
            room.take(&delivery);
            self.add_to_window(&to, delivery, routed, turn);
            cursor.sent(sequence);
            is_empty = false;
        }
        if !is_empty && let Some(position) = cursor.store_position() {
            self.persist(Record::StreamPosition { key, position: Box::new(position) }, turn);
        }
        if let Some(ticket) = self.end_group(Durability::PowerLoss, Ticket::default(), turn) {
            cursor.wait_for(ticket);
            self.wait_for(slot, ticket);
        }
        handled
    }

    /// Whether the client takes packets of this size; if not, the message is left out and counted.
    fn takes_of_stream(&mut self, (slot, to): (usize, &Subscriber), delivery: &Delivery, turn: &mut Turn<'_>) -> bool {
        let takes = self.sessions.get(slot).is_some_and(|entry| entry.session.takes(delivery));
        if !takes {
            let reason = DropReason::PacketTooLarge;
            self.note_lost(Lost::delivery(to.client_id.as_str(), delivery, reason), turn);
            self.count_dropped(slot, to.key, reason, turn);
        }
        takes
    }

    /// Adds a message to the open group of records.
    fn add_to_window(&mut self, to: &Arc<Subscriber>, mut delivery: Delivery, routed: u64, turn: &mut Turn<'_>) {
        // Its content is a slice of what was read: a few messages in a queue must not keep all of that.
        let message = Arc::make_mut(&mut delivery.message);
        message.detach();
        message.topic = message.topic.detached();
        let to = Arc::clone(to);
        if delivery.qos == Qos::AtMostOnce {
            let copy = SequencedDelivery { sequence: None, delivery, routed };
            self.defer_behind(Ticket::default(), None, vec![(to, copy)]);
            return;
        }
        self.queue_room.take(&Admission::Unchecked, &to, &delivery);
        delivery.place = DeliveryPlace::Record;
        let accepted = AcceptedMessage::of_delivery(&delivery);
        let sequence = to.take_sequence();
        let durable = vec![Addressed { to, sequence, delivery }];
        let copies = Copies { routed, durable, ..Copies::default() };
        self.persist_accepted(&Publisher::broker(), accepted, copies, turn);
    }

    /// The room for the next window of a subscription; `None`: it has to wait.
    fn window_room(&self, slot: usize, id: ConnectionId, cursor: &Cursor) -> Option<WindowRoom> {
        let (entry, kept) = (self.sessions.get(slot)?, cursor.kept()?);
        let is_ready = self.pipeline.is_stable(kept.wait)
            && self.store_room != StoreRoom::None
            && !self.flow.is_store_congested()
            && entry.session.waiting() <= CHUNK_MESSAGES_MAX / 2
            && self.has_room_for_stream(slot, id, Qos::AtMostOnce);
        let (limits, (messages, bytes)) = (entry.session.limits(), entry.session.queued());
        let unsent = self.connection(id)?.unsent_bytes();
        let room = WindowRoom {
            messages: (limits.queued_messages_max / 2).max(1).saturating_sub(messages),
            half: (limits.queued_bytes_max / 2).saturating_sub(bytes),
            whole: limits.queued_bytes_max.saturating_sub(bytes),
            sendable: (self.outgoing_bytes_max / 2).saturating_sub(unsent),
            is_empty: messages == 0,
        };
        Some(room).filter(|room| is_ready && room.has(0))
    }

    /// Whether the messages of the next window may be read now. If not, and if no other event continues the subscription, a timer does.
    pub(super) fn may_read_window(
        &mut self,
        (slot, key, id): (usize, SessionKey, ConnectionId),
        cursor: &mut Cursor,
        turn: &mut Turn<'_>,
    ) -> bool {
        let is_durable = self.sessions.get(slot).is_some_and(SessionSlot::is_durable);
        if !is_durable {
            return true; // it lasts as long as its connection now, and needs no window
        }
        if cursor.unstored() >= UNSTORED_MAX {
            self.store_positions(slot, cursor.store_position().into_iter().collect(), turn);
        }
        if self
            .window_room(slot, id, cursor)
            .is_some_and(|room| cursor.next_bytes().is_none_or(|bytes| room.has(bytes)))
        {
            return true;
        }
        let is_due = |at| at <= turn.now;
        if matches!(cursor.state(), CursorState::CaughtUp)
            || matches!(cursor.state(), CursorState::Failed(at) if is_due(at))
        {
            cursor.set_state(CursorState::Ready); // it waits for room now
        }
        let is_stable = cursor.kept().is_none_or(|kept| self.pipeline.is_stable(kept.wait));
        let at = turn.now + ROOM_PAUSE;
        if is_stable && !self.is_awaited(slot, id) && cursor.needs_timer(turn.now, at) {
            self.timers.set(at, Timer::StreamRetry(slot, key));
        }
        false
    }

    /// The connection of the Session in `slot` has ended: its subscriptions wait for the next one where they are.
    pub(in crate::broker) fn pause_streams(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let Some(streams) = entry.incidents.streams_mut() else { return };
        streams.iter_mut().for_each(Cursor::pause);
        let passed = streams.iter_mut().filter(|cursor| cursor.unstored() > 0);
        let positions = passed.filter_map(Cursor::store_position).collect();
        self.store_positions(slot, positions, turn);
    }

    /// Stores positions behind messages that were passed over. Nothing waits for that: after a crash, they are passed over again.
    fn store_positions(&mut self, slot: usize, positions: Vec<StreamPosition>, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot).filter(|entry| entry.is_durable()) else { return };
        let key = entry.subscriber.key;
        for position in positions {
            self.persist(Record::StreamPosition { key, position: Box::new(position) }, turn);
        }
    }

    /// A stream was removed: the Session in `slot` has no subscriptions to it any more. What is in its queue stays there.
    pub(super) fn forget_positions(&mut self, slot: usize, stream: StreamNumber, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.is_durable()) else { return };
        let Some(streams) = entry.incidents.streams_mut() else { return };
        let numbers = streams.remove_all_of(stream);
        if streams.len() == 0 {
            entry.incidents.take_streams();
        }
        if !numbers.is_empty() {
            self.persist_unawaited(slot, |key| Record::StreamPositionsRemoved { key, numbers }, turn);
        }
    }
}

/// The subscriptions of a durable Session after a start.
pub(in crate::broker) fn restored_streams(positions: Vec<StreamPosition>, access: &Access) -> StreamCursors {
    let mut streams = StreamCursors::default();
    for StreamPosition { number, stream, subscription, subscription_id, place } in positions {
        let (filter, none) = (subscription.filter.clone(), EncodedUserProperties::new());
        let Ok(target) = StreamTarget::parse(&filter, &none) else { continue };
        let Ok(mounted) = mounted_filter(access.mount_point(), target.filter.as_ref()) else { continue };
        let (name, wanted) = (Arc::from(target.name), target.filter);
        let (start, goes_on) = (StreamStart::Latest, true);
        let granted = Granted { subscription, subscription_id, stream, name, wanted, filter: mounted, start, goes_on };
        streams.set(Cursor::restored(granted, number, place), |_| false);
    }
    streams
}

/// What a window may add to a queue.
#[derive(Debug)]
struct WindowRoom {
    messages: usize,
    /// The bytes after which no further message is added, and those that no message may exceed.
    half: usize,
    whole: usize,
    /// The bytes at QoS 0 after which no further message is added: they are sent at once.
    sendable: usize,
    /// Whether the queue has no message. It takes one of any size then.
    is_empty: bool,
}

impl WindowRoom {
    const fn has(&self, bytes: usize) -> bool {
        self.messages > 0 && self.half > 0 && self.sendable > 0 && (self.is_empty || bytes <= self.whole)
    }

    fn take(&mut self, delivery: &Delivery) {
        let bytes = delivery.queued_bytes();
        if delivery.qos == Qos::AtMostOnce {
            self.sendable = self.sendable.saturating_sub(bytes);
            return;
        }
        self.half = self.half.saturating_sub(bytes);
        self.whole = self.whole.saturating_sub(bytes);
        self.messages -= 1;
        self.is_empty = false;
    }
}

/// A position is stored when it has passed this many messages that were not wanted: a start passes over at most as many again.
const UNSTORED_MAX: u64 = 1_024;
/// How long a subscription waits for room in a queue or on the disk if no packet of its client is expected.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
