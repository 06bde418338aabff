//! Admission in the queues of Sessions, where it must be had before a message is accepted.
//!
//! Publishers count what they give to a Session, and its own shard what it is done with: so a queue is never overfull, whatever is on
//! its way. With `drop-oldest` nobody counts, and the Session itself makes room.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::connection::state::Connection;
use crate::broker::counters::DropReason;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::ids::ConnectionId;
use crate::broker::publish::plan::{Admission, Chosen, queueing};
use crate::broker::publish::publisher::Publisher;
use crate::broker::settings::QueueOverflow;
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::codec::Qos;
use crate::routing::{Location, Route, Subscriber};
use crate::session::{self, Application, Delivery};

impl Shard {
    /// How a message gets its room; `None` if a receiver has none, and that is a reason not to accept it.
    pub(in crate::broker) fn room_for<'a>(
        &self,
        publisher: &Publisher,
        application: &Application,
        route: &'a Route,
        chosen: &Chosen<'a>,
    ) -> Option<Admission> {
        let is_dead_letter =
            publisher.key.is_none() && self.settings.dead_letter_topic.as_ref() == Some(&application.message.topic);
        match self.settings.queue_overflow {
            _ if is_dead_letter => return Some(Admission::BestEffort),
            QueueOverflow::DropOldest => return Some(Admission::Unchecked),
            QueueOverflow::DropNewest => return Some(Admission::BestEffort),
            QueueOverflow::Reject if application.qos == Qos::AtMostOnce => return Some(Admission::BestEffort),
            QueueOverflow::Reject => {}
        }
        let bytes = session::queued_bytes(application.message.content_len());
        let room = &self.queue_room;
        let full = queueing(publisher, route, chosen).position(|subscriber| !room.reserve(subscriber, bytes));
        if let Some(taken) = full {
            queueing(publisher, route, chosen).take(taken).for_each(|subscriber| subscriber.free(1, bytes));
            return None;
        }
        Some(Admission::Reserved { bytes })
    }

    /// A message is dropped because the queue of its receiver is full: its shard says so.
    pub(in crate::broker) fn drop_newest(&mut self, to: &Arc<Subscriber>, delivery: &Delivery, turn: &mut Turn<'_>) {
        self.publish_dead_letter(to, DropReason::QueueFull, delivery, turn);
        let location = to.location();
        if location.shard == self.id || location.slot == Location::ENDED {
            return self.on_dropped_newest(to, turn);
        }
        let message = ShardMessage(ShardMessageKind::DroppedNewest { to: Arc::clone(to) });
        turn.actions.push(Action::Forward { shard: location.shard, message });
    }

    /// A message for a Session of this shard was dropped because its queue is full.
    pub(in crate::broker) fn on_dropped_newest(&mut self, to: &Subscriber, turn: &mut Turn<'_>) {
        self.count_dropped(to.location().slot as usize, to.key, DropReason::QueueFull, turn);
    }

    /// Holds up a publisher whose message has no room, and which can't be told so.
    pub(in crate::broker) fn block(&mut self, id: ConnectionId, application: Box<Application>, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection_mut(id) else { return };
        let mut application = application;
        if !application.has_own_topic {
            // It may be long until there is room, and the name is a small part of the read buffer.
            let message = Arc::make_mut(&mut application.message);
            message.topic = message.topic.detached();
            application.has_own_topic = true;
        }
        connection.blocked = Some(application);
        self.timers.set(turn.now + RETRY, Timer::Blocked(id));
        self.hold(id, turn);
    }

    /// A publisher that waits for room tries again.
    pub(in crate::broker) fn on_retry(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection_mut(id) else { return };
        let (Some(application), Some(slot)) = (connection.blocked.take(), connection.session()) else { return };
        // If there is no room still, this blocks it once more.
        self.publish(slot, *application, turn);
        self.let_go(id, turn);
        self.hold_for_store(slot, turn);
    }

    /// A publisher is gone before there was room for its message, which counts as never come: it isn't acknowledged.
    pub(in crate::broker) fn forget_blocked(&mut self, connection: &mut Connection, turn: &mut Turn<'_>) {
        let (Some(application), Some(slot)) = (connection.blocked.take(), connection.session()) else { return };
        if let Some(packet_id) = application.packet_id {
            self.withdraw(slot, application.qos, packet_id, turn);
        }
    }
}

/// How often a publisher that waits for room looks for it.
const RETRY: std::time::Duration = std::time::Duration::from_millis(20);
