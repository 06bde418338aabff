//! Publishers whose message has no room and cannot be refused: they are paused until they are woken.
//!
//! Freeing room for n messages in a queue wakes n publishers. A publisher whose message is then accepted wakes the next one if there is
//! still room, and a wake-up for a closed connection is passed on to the next. A message that waits for the commit of its first copy on
//! another shard (`dedup-id`) is retried by a timer instead, because it waits for one commit only.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::action::Action;
use crate::broker::connection::state::Connection;
use crate::broker::connection::waiting::ReadyTask;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::directory::room_waiters::Position;
use crate::broker::event::StoreRoom;
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::publish::blocked::{BlockedMessage, WaitsFor};
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timer;
use crate::routing::{SessionKey, Subscriber};

impl Shard {
    /// Pauses a publisher whose message can be neither accepted nor refused now.
    pub(in crate::broker) fn block(
        &mut self,
        id: ConnectionId,
        mut blocked: Box<BlockedMessage>,
        position: Position,
        turn: &mut Turn<'_>,
    ) {
        if self.connection(id).is_none() {
            return;
        }
        if !blocked.application.is_topic_copied {
            // The message may wait for long, and its Topic Name would keep the larger read buffer alive.
            let message = Arc::make_mut(&mut blocked.application.message);
            message.topic = message.topic.detached();
            blocked.application.is_topic_copied = true;
        }
        self.pause(id, blocked.waits_for.reason(), turn);
        match &blocked.waits_for {
            WaitsFor::Queue(room) => {
                let origin = Origin::new(self.id, id);
                self.shared.room_waiters.wait(&room.to, origin, position);
                if room.is_available(self.queue_room.bounds_of(&room.to)) {
                    // The room was freed before this publisher was in the list, so no wake-up comes.
                    self.shared.room_waiters.leave(&room.to, origin);
                    self.flow.push_ready(id, ReadyTask::Retry(Some(room.to.key)));
                } else if room.is_shared {
                    self.flow.wait_for_share(id, &self.connections);
                }
            }
            WaitsFor::Disk => self.flow.wait_for_disk(id, &self.connections),
            // While the other cells are not known, nothing that is due is done.
            WaitsFor::Deduplication | WaitsFor::Cells => {
                self.timers.set(turn.now + REPEAT_RETRY, Timer::Deduplication(id));
            }
        }
        if let Some(connection) = self.connection_mut(id) {
            connection.blocked = Some(blocked);
        }
    }

    /// Tries again to accept the blocked message of a publisher. `woken_for`: the Session whose queue has room, if it was woken for that.
    pub(in crate::broker) fn retry(&mut self, id: ConnectionId, woken_for: Option<SessionKey>, turn: &mut Turn<'_>) {
        let wanted = |blocked: &mut Box<BlockedMessage>| woken_for.is_none() || blocked.waits_for.queue() == woken_for;
        let taken = self.connection_mut(id).and_then(|connection| {
            let slot = connection.session()?;
            Some((slot, connection.blocked.take_if(wanted)?))
        });
        let Some((slot, blocked)) = taken else { return self.pass_wakeup_on(woken_for, turn) };
        self.leave_queue(id, &blocked.waits_for);
        let (queue, reason) = (blocked.waits_for.queue(), blocked.waits_for.reason());
        let before = self.pipeline.last();
        let again = if self.link_of(id).is_some() {
            self.publish_of_cell((slot, id), blocked.application, turn)
        } else if self.is_for_batches(&blocked.application.message.topic) {
            self.publish_batch(slot, blocked.application, turn)
        } else {
            self.publish(slot, blocked.application, turn)
        };
        let Some(again) = again else {
            self.bound_responses(slot, turn);
            self.pause_for_store(id, before, turn);
            self.resume(id, reason, turn);
            return self.pass_wakeup_on(woken_for, turn);
        };
        let same_queue = queue.is_some() && again.waits_for.queue() == queue;
        let other_reason = again.waits_for.reason() != reason;
        self.block(id, again, if same_queue { Position::Front } else { Position::Back }, turn);
        if other_reason {
            self.resume(id, reason, turn);
        }
        if !same_queue {
            self.pass_wakeup_on(woken_for, turn);
        }
    }

    /// Wakes the next publisher after one that did not use the room, or after which there is still room.
    fn pass_wakeup_on(&mut self, woken_for: Option<SessionKey>, turn: &mut Turn<'_>) {
        let Some(to) = woken_for.and_then(|to| self.shared.room_waiters.awaited(to)) else { return };
        self.wake_for_room(&to, 1, turn);
    }

    /// Wakes up to `places` publishers that wait for room in a queue, if it has room.
    pub(in crate::broker) fn wake_for_room(&mut self, to: &Arc<Subscriber>, places: usize, turn: &mut Turn<'_>) {
        if !to.has_room(1, 0, self.queue_room.bounds_of(to)) {
            return;
        }
        for _ in 0..places {
            if !self.wake_next(to, turn) {
                return;
            }
        }
    }

    /// Wakes all publishers that wait for room in a queue, because the Session may no longer be a receiver of their messages.
    ///
    /// It takes the lock of the list in any case: either this sees a publisher that begins to wait at the same time, or the publisher sees
    /// the end of the Session.
    pub(in crate::broker) fn wake_all_for(&mut self, to: &Arc<Subscriber>, turn: &mut Turn<'_>) {
        while self.wake_next(to, turn) {}
    }

    /// Wakes the publishers that wait for room in the queue of the Session in `slot`, after a change of what the Session receives.
    pub(in crate::broker) fn wake_for_change(&mut self, slot: usize, turn: &mut Turn<'_>) {
        if let Some(entry) = self.sessions.get(slot).filter(|entry| entry.subscriber.is_awaited()) {
            let subscriber = Arc::clone(&entry.subscriber);
            self.wake_all_for(&subscriber, turn);
        }
    }

    fn wake_next(&mut self, to: &Arc<Subscriber>, turn: &mut Turn<'_>) -> bool {
        let Some(Origin { shard, connection, .. }) = self.shared.room_waiters.next(to) else { return false };
        if shard == self.id {
            self.flow.push_ready(connection, ReadyTask::Retry(Some(to.key)));
        } else {
            let message = ShardMessage(ShardMessageKind::RoomFreed { to: to.key, publisher: connection });
            turn.actions.push(Action::Forward { shard, message });
        }
        true
    }

    /// The disk is full, or has room again.
    pub(in crate::broker) fn on_store_room(&mut self, room: StoreRoom) {
        self.store_room = room;
        if room == StoreRoom::Some {
            self.flow.on_disk_room();
        }
    }

    /// The retry timer of a publisher whose message waits for the commit of the first message with its `dedup-id`, or for what other cells want.
    pub(in crate::broker) fn retry_repeat(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let blocked = self.connection(id).and_then(|connection| connection.blocked.as_ref());
        if blocked.is_some_and(|blocked| matches!(blocked.waits_for, WaitsFor::Deduplication | WaitsFor::Cells)) {
            self.retry(id, None, turn);
        }
    }

    /// Drops the blocked message of a connection that ends. The message was not acknowledged, so the client sends it again.
    pub(in crate::broker) fn drop_blocked(&mut self, connection: &mut Connection, turn: &mut Turn<'_>) {
        let (Some(blocked), Some(slot)) = (connection.blocked.take(), connection.session()) else { return };
        self.leave_queue(connection.id, &blocked.waits_for);
        if let Some(packet_id) = blocked.application.packet_id {
            self.withdraw(slot, blocked.application.qos, packet_id, turn);
        }
    }

    fn leave_queue(&self, id: ConnectionId, waits_for: &WaitsFor) {
        if let WaitsFor::Queue(room) = waits_for {
            self.shared.room_waiters.leave(&room.to, Origin::new(self.id, id));
        }
    }
}

/// The interval of retries while a message waits for a commit of another shard.
const REPEAT_RETRY: Duration = Duration::from_millis(20);
