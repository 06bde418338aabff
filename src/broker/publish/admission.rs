//! Admission to the queues of Sessions.
//!
//! The shard of the publisher charges each message to the queue before it is accepted, and the shard of the Session credits it when it
//! leaves the queue. So messages that are still being forwarded count as well, and no queue exceeds its bounds. With `drop-oldest` there is
//! no charge: the Session drops its oldest message instead.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::counters::DropReason;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::publish::blocked::AwaitedRoom;
use crate::broker::publish::plan::{Admission, Chosen, queueing_receivers};
use crate::broker::publish::publisher::Publisher;
use crate::broker::settings::QueueOverflow;
use crate::broker::shard::{Shard, Turn};
use crate::codec::Qos;
use crate::routing::{Location, QueueBounds, Route, SessionKey, Subscriber};
use crate::session::{self, Application, Delivery};

impl Shard {
    /// Determines how a message is admitted. With `reject`, reserves room in the queues of all receivers. Returns the first receiver without
    /// room as an error, with the number of receivers before it whose reservations the caller must free.
    pub(in crate::broker) fn room_for(
        &self,
        publisher: &Publisher,
        application: &Application,
        route: &Route,
        chosen: &Chosen<'_>,
    ) -> Result<Admission, (AwaitedRoom, usize)> {
        let topic = &application.message.topic;
        let is_dead_letter = publisher.key.is_none()
            && (self.settings.dead_letter_topic.as_ref() == Some(topic)
                || self.settings.redelivery.has_dead_letters(topic));
        if let Some(room) = full_link(application, chosen) {
            return Err((room, 0));
        }
        match self.settings.queue_overflow {
            _ if is_dead_letter => return Ok(Admission::BestEffort),
            QueueOverflow::DropOldest => return Ok(Admission::Unchecked),
            QueueOverflow::DropNewest => return Ok(Admission::BestEffort),
            QueueOverflow::Reject if application.qos == Qos::AtMostOnce => return Ok(Admission::BestEffort),
            QueueOverflow::Reject => {}
        }
        let bytes = session::queued_bytes(application.message.content_len());
        let room = &self.queue_room;
        let full = queueing_receivers(publisher, route, chosen)
            .enumerate()
            .find(|(_, subscriber)| !room.reserve(subscriber, bytes));
        let Some((taken, to)) = full else { return Ok(Admission::Reserved { bytes }) };
        let messages =
            1 + queueing_receivers(publisher, route, chosen).take(taken).filter(|other| other.key == to.key).count();
        let is_shared = !route.shares.is_empty();
        Err((AwaitedRoom { to: Arc::clone(to), messages, bytes, is_shared }, taken))
    }

    /// Frees the reservations of a message that is not accepted, and wakes publishers that wait for room.
    pub(in crate::broker) fn free_reserved<'a>(
        &mut self,
        bytes: usize,
        from: impl Iterator<Item = &'a Arc<Subscriber>>,
        turn: &mut Turn<'_>,
    ) {
        for subscriber in from {
            subscriber.free(1, bytes);
            if subscriber.is_awaited() {
                self.wake_for_room(subscriber, 1, turn);
            }
        }
    }

    /// Drops a message because the queue of its receiver is full, and notifies the receiver's shard, which counts it.
    pub(in crate::broker) fn drop_newest(&mut self, to: &Arc<Subscriber>, delivery: &Delivery, turn: &mut Turn<'_>) {
        self.dead_letter_of_dropped(to, delivery, turn);
        self.note_undelivered(to, delivery, DropReason::QueueFull, turn);
        let location = to.location();
        if location.shard == self.id || location.slot == Location::ENDED {
            return self.on_dropped_newest(to.key, location.slot, turn);
        }
        let message = ShardMessage(ShardMessageKind::DroppedNewest { to: to.key, slot: location.slot });
        turn.actions.push(Action::Forward { shard: location.shard, message });
    }

    /// A message for a Session of this shard was dropped because its queue is full.
    pub(in crate::broker) fn on_dropped_newest(&mut self, to: SessionKey, slot: u32, turn: &mut Turn<'_>) {
        self.count_dropped(slot as usize, to, DropReason::QueueFull, turn);
    }
}

/// The queue for another cell that has no room for a message. Such a message is never dropped.
fn full_link(application: &Application, chosen: &Chosen<'_>) -> Option<AwaitedRoom> {
    if chosen.is_empty() || application.qos == Qos::AtMostOnce && !application.retain {
        return None;
    }
    let bytes = session::queued_bytes(application.message.content_len());
    let mut links = chosen.iter().map(|chosen| &chosen.subscriber).filter(|subscriber| subscriber.is_link());
    let full = links.find(|link| !link.has_room(1, bytes, QueueBounds::LINK))?;
    Some(AwaitedRoom { to: Arc::clone(full), messages: 1, bytes, is_shared: false })
}
