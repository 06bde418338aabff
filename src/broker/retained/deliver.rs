//! Replays retained messages to new subscriptions, at the rate at which the client reads them.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::connection::pause::PauseReason;
use crate::broker::counters::DropReason;
use crate::broker::directory::state::Shared;
use crate::broker::event::StoreRoom;
use crate::broker::operator::drops::Lost;
use crate::broker::retained::replay::NextReplayed;
use crate::broker::retained::source::SourceCheck;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::number::StreamNumber;
use crate::broker::timers::Timer;
use crate::codec::Message;
use crate::routing::{Access, RetainedMessage};
use crate::session::{Delivery, DeliveryPlace};
use crate::timestamp::Timestamp;

impl Shard {
    /// Continues what the client of the Session in `slot` is sent as fast as it reads: retained messages, and messages of streams.
    pub(in crate::broker) fn replay(&mut self, slot: usize, turn: &mut Turn<'_>) {
        self.replay_retained(slot, turn);
        self.send_streams(slot, turn);
        self.send_groups(slot, turn);
    }

    /// Sends retained messages to the new subscriptions of the Session in `slot`. At most [`RECORDED_MAX`] messages wait for a commit at a time,
    /// because they are not in the queue, and not bounded by it, until their record is stable. Deferred replays wait for their turn.
    fn replay_retained(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot).filter(|entry| !entry.replays.is_empty()) else { return };
        if entry.replays.is_deferred() {
            return;
        }
        let access = entry.subscriber.access();
        let rights = self.shared.rights.as_ref().filter(|_| self.settings.check_retain_source);
        let check = rights.map(SourceCheck::new);
        let (mut recorded, mut bytes, mut last) = (0, 0, None);
        while recorded < RECORDED_MAX
            && bytes < self.outgoing_bytes_max / 2
            && self.has_room_for_retained(slot, recorded)
        {
            let delivery = match self.next_retained(slot, (&access, check.as_ref()), turn) {
                Step::Deliver(delivery) => delivery,
                Step::Skip => continue,
                Step::Defer => {
                    self.defer_replays(slot, turn.now);
                    break;
                }
                Step::End => break,
            };
            let length = delivery.message.payload.len();
            if let Some(ticket) = self.deliver_retained(slot, delivery, turn) {
                recorded += 1;
                bytes += length;
                last = Some(ticket);
            }
        }
        let Some(ticket) = last else { return };
        self.wait_for(slot, ticket);
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.replays.wait_for(ticket);
        }
    }

    /// Continues replays that used up the visits of an earlier event.
    pub(in crate::broker) fn resume_replays(&mut self, turn: &mut Turn<'_>) {
        // Each once: one that waits for a commit defers itself again.
        for _ in 0..self.retained.deferred() {
            let Some((slot, key)) = self.retained.next_deferred() else { break };
            if let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == key)
                && entry.replays.set_deferred(false)
            {
                self.replay_retained(slot, turn);
            }
        }
        if self.retained.has_deferred() {
            self.timers.set(turn.now + PAUSE, Timer::Replays);
        }
    }

    /// Continues the replays of the Session in `slot` in a later turn, after those of other Sessions.
    fn defer_replays(&mut self, slot: usize, now: Timestamp) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        if entry.replays.set_deferred(true) && self.retained.defer(slot, entry.subscriber.key) {
            self.timers.set(now + PAUSE, Timer::Replays);
        }
    }

    /// Whether the client of the Session in `slot` has room for a retained message. `recorded`: messages that wait for a commit.
    fn has_room_for_retained(&self, slot: usize, recorded: usize) -> bool {
        let Some(entry) = self.sessions.get(slot) else { return false };
        let Some(connection) = entry.connection.and_then(|id| self.connection(id)) else { return false };
        entry.session.is_open()
            && self.pipeline.is_stable(entry.replays.after())
            && entry.session.unsent() == 0
            // SUBACK comes first.
            && !connection.pause_reasons().contains(PauseReason::ManyFilters)
            && !connection.pause_reasons().contains(PauseReason::CellsToBeTold)
            && entry.session.queued().0 + recorded < entry.session.limits().queued_messages_max
            && connection.unsent_bytes() < self.outgoing_bytes_max / 2
    }

    /// The next retained message for the Session in `slot`, if `access` allows its client to receive it, and `check` its publisher to publish it.
    fn next_retained(
        &mut self,
        slot: usize,
        (access, check): (&Access, Option<&SourceCheck>),
        turn: &mut Turn<'_>,
    ) -> Step {
        let now = turn.now;
        let Some(entry) = self.sessions.get_mut(slot) else { return Step::End };
        let must_judge = check.zip(entry.replays.found()).is_some_and(|(check, found)| check.must_judge(found));
        if must_judge && *self.retained.visits() == 0 {
            return Step::Defer;
        }
        let is_full = self.store_room == StoreRoom::None;
        let may_be_sent = |retained: &RetainedMessage| has_final_sequences(retained, &self.shared, is_full);
        let visits = self.retained.visits();
        let (retained, granted) = match entry.replays.next(|| self.shared.retained(), now, visits, may_be_sent) {
            NextReplayed::Message(retained, granted) => (retained, granted),
            NextReplayed::OutOfVisits => return Step::Defer,
            NextReplayed::Finished => return Step::End,
        };
        if retained.expires_at.is_some_and(|at| at <= now) {
            self.counters.dropped(DropReason::Expired, 1);
            entry.incidents.add_dropped(DropReason::Expired);
            let to = Arc::clone(&entry.subscriber);
            let (client_id, topic) = (to.client_id.as_str(), Some(retained.message.topic.as_str()));
            let (qos, reason) = (Some(retained.qos.min(granted.qos)), DropReason::Expired);
            let lost = Lost { topic, qos, ..Lost::several(client_id, 1, reason) };
            self.note_lost(Lost { message_id: retained.message.id, ..lost }, turn);
            return Step::Skip;
        }
        let is_own = granted.no_local && retained.publisher.as_ref() == Some(&entry.subscriber.client_id);
        // A message that was replaced meanwhile is skipped: the subscription got the new one when that was published.
        if is_own || !retained.current.is() || !access.receive(&retained.message.topic) {
            return Step::Skip;
        }
        if check.is_some_and(|check| !check.allows(&retained, self.retained.visits())) {
            return Step::Skip;
        }
        Step::Deliver(Delivery {
            message: with_sequences(&retained, &self.shared),
            qos: retained.qos.min(granted.qos),
            retain: true, // [MQTT-3.3.1-8]
            expires_at: retained.expires_at.unwrap_or(Timestamp::NEVER),
            matched: granted.matched.clone(),
            place: DeliveryPlace::Memory,
        })
    }
}

/// Whether the sequences of a message in its streams stay the same through each crash. A reader of the retained message continues in the stream behind
/// them: if a loss of power gave such a sequence to another message, the reader would miss that message. They are final when the record of the
/// message is stable and the message is in the files of its streams. While the disk is full they count as final, because that can take long.
fn has_final_sequences(retained: &RetainedMessage, shared: &Shared, is_full: bool) -> bool {
    let Some(sequences) = retained.sequences.as_ref().filter(|sequences| !sequences.are_final()) else { return true };
    let Some(given) = sequences.get() else { return false };
    let table = shared.streams();
    let is_there = |(stream, sequence): &(u32, u64)| {
        let stream = StreamNumber(*stream);
        table.get(stream).is_none() || shared.stream_board.range(stream).end > *sequence
    };
    if !given.iter().all(is_there) {
        return is_full;
    }
    sequences.set_final();
    true
}

/// The message as it is replayed: one that streams keep says for each of them where it is in it, so that who reads the state can go on from there.
fn with_sequences(retained: &RetainedMessage, shared: &Shared) -> Arc<Message> {
    let Some(sequences) = retained.sequences.as_ref().and_then(|sequences| sequences.get()) else {
        return Arc::clone(&retained.message);
    };
    let table = shared.streams();
    let known = sequences.iter().filter_map(|(number, sequence)| Some((table.get(StreamNumber(*number))?, sequence)));
    let known: Vec<_> = known.map(|(stream, sequence)| (Arc::clone(&stream.name), sequence.to_string())).collect();
    let own = known.iter().flat_map(|(name, sequence)| [("stream", &**name), ("stream-sequence", sequence.as_str())]);
    let properties = retained.message.properties.behind_user_properties(own);
    Arc::new(Message { properties, ..Message::clone(&retained.message) })
}

/// What to do with the next retained message.
enum Step {
    Deliver(Delivery),
    /// Skip it: expired, replaced, denied, or excluded by No Local.
    Skip,
    /// Look for it in a later turn.
    Defer,
    /// All replays are finished.
    End,
}

/// Retained messages for one Session that wait for a commit at a time.
const RECORDED_MAX: usize = 64;
/// The delay before replays that used up their visits continue, so that other events are handled first.
const PAUSE: Duration = Duration::from_millis(1);
