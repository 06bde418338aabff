//! Reads for groups, and tells their members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::action::Action;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::memory_level::MemoryLevel;
use crate::broker::persistence::record::Record;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::deliver::{CHUNK_BYTES_MAX, PAUSE, RETRY_PAUSE, SHORT_CHUNK_BYTES_MAX};
use crate::broker::streams::groups::group::Group;
use crate::broker::streams::groups::ledger::{Ledger, Reading};
use crate::broker::streams::read::{ReadMessages, StreamReadError};
use crate::broker::streams::start::StreamStart;
use crate::broker::streams::state::{Place, ReadKey};
use crate::broker::timers::Timer;
use crate::routing::{Location, SessionKey, ShardId, Subscriber};
use crate::timestamp::Timestamp;

impl Shard {
    /// Changes the messages of a group, and does what follows: wakes the members that have got some, reads further ones, and stores the position later.
    /// The member `acting` is not woken, because the caller goes on with it.
    pub(in crate::broker) fn change_group<R>(
        &mut self,
        group: &Arc<Group>,
        acting: Option<SessionKey>,
        change: impl FnOnce(&mut Ledger) -> R,
        turn: &mut Turn<'_>,
    ) -> R {
        let mut ledger = group.ledger();
        let result = change(&mut ledger);
        ledger.follow_fresh();
        let (ready, is_wanted) = (ledger.take_ready(), ledger.wanted().is_some());
        if ledger.saved.is_outdated && !ledger.saved.is_scheduled && !ledger.is_gone {
            ledger.saved.is_scheduled = true;
            self.schedule_save(group.number, turn.now);
        }
        if let Some(at) = ledger.arm() {
            self.timers.set(at.max(Timestamp(turn.now.0 + 1)), Timer::GroupRefused(group.number));
        }
        drop(ledger);
        if !ready.is_empty() {
            self.wake_members(ready, acting, turn);
        }
        if is_wanted {
            self.read_for(group, turn);
        }
        result
    }

    /// Tells members that there are messages for them.
    pub(in crate::broker) fn wake_members(
        &mut self,
        members: Vec<Arc<Subscriber>>,
        acting: Option<SessionKey>,
        turn: &mut Turn<'_>,
    ) {
        let mut others: BTreeMap<ShardId, Vec<Place>> = BTreeMap::new();
        for member in members.into_iter().filter(|member| Some(member.key) != acting) {
            let Location { shard, slot } = member.location();
            let place = (slot as usize, member.key);
            if shard == self.id {
                self.defer_stream(place, turn);
            } else {
                others.entry(shard).or_default().push(place);
            }
        }
        for (shard, places) in others {
            let message = ShardMessage(ShardMessageKind::StreamsReady(places));
            turn.actions.push(Action::Forward { shard, message });
        }
    }

    /// Another shard has given messages to members on this one. A Session may have moved or ended meanwhile; then its messages went to others.
    pub(in crate::broker) fn on_streams_ready(&mut self, places: Vec<Place>, turn: &mut Turn<'_>) {
        places.into_iter().for_each(|place| self.streams.defer(place));
        self.resume_streams(turn);
    }

    /// Continues a group for which this shard waited.
    pub(in crate::broker) fn resume_group(&mut self, number: u64, turn: &mut Turn<'_>) {
        if let Some(group) = self.shared.groups.get(number) {
            group.ledger().stop_waiting(self.id);
            self.read_for(&group, turn);
        }
    }

    /// Begins a read for a group, if it needs one. If it gets its messages without reads, the missing ones are on their way: the read begins only if none has
    /// come after a pause.
    fn read_for(&mut self, group: &Arc<Group>, turn: &mut Turn<'_>) {
        let bytes_max = if self.memory >= MemoryLevel::High { SHORT_CHUNK_BYTES_MAX } else { CHUNK_BYTES_MAX };
        let (stream, mut ledger) = (group.name.stream, group.ledger());
        let (Some(from), messages_max) = (ledger.wanted(), ledger.chunk_max()) else { return };
        ledger.set_reading(Reading::Waits(self.id));
        if let StreamStart::Sequence(next) = from
            && self.shared.stream_board.range(stream).end <= next
            && self.shared.stream_board.await_more(self.id, stream, next)
        {
            turn.actions.push(Action::Hurry); // it may be on its way to the store
            return self.streams.wait(stream, group.place());
        }
        if ledger.awaits_fresh() {
            let (slot, key) = group.place();
            return self.timers.set(turn.now + FRESH_PAUSE, Timer::StreamRetry(slot, key));
        }
        let key = ReadKey { stream, from, filter: group.name.filter.clone(), messages_max, bytes_max };
        let Some((number, request)) = self.streams.begin_read(group.place(), key) else { return };
        ledger.set_reading(Reading::Reads(self.id, number));
        drop(ledger);
        if let Some(request) = request {
            self.queued_total += bytes_max as u64;
            turn.actions.push(Action::ReadStream(Box::new(request)));
        }
    }

    /// A read for a group has ended. It is not the group's any more if the group was reset meanwhile.
    pub(in crate::broker) fn on_group_read(
        &mut self,
        (number, read): (u64, u64),
        outcome: Result<ReadMessages, StreamReadError>,
        turn: &mut Turn<'_>,
    ) {
        let Some(group) = self.shared.groups.get(number) else { return };
        let table = self.shared.streams();
        let dispatch = table.get(group.name.stream).map(|stream| stream.group_dispatch.clone()).unwrap_or_default();
        let own_id = self.id;
        let own = Reading::Reads(self.id, read);
        let (mut is_failed, mut is_gone, mut members) = (false, false, Vec::new());
        let change = |ledger: &mut Ledger| match outcome {
            _ if ledger.reading() != own => {}
            Ok(messages) => ledger.on_read(messages, dispatch),
            Err(StreamReadError::Temporary) => {
                ledger.set_reading(Reading::Waits(own_id));
                is_failed = true;
            }
            Err(StreamReadError::Gone) => {
                ledger.set_reading(Reading::Idle);
                (ledger.is_gone, members) = (true, ledger.subscribers());
                is_gone = true;
            }
        };
        self.change_group(&group, None, change, turn);
        if is_failed {
            let (slot, key) = group.place();
            self.timers.set(turn.now + RETRY_PAUSE, Timer::StreamRetry(slot, key));
        }
        if is_gone {
            self.shared.groups.remove(number);
            self.persist(Record::GroupRemoved { stream: group.name.stream, number }, turn);
            self.wake_members(members, None, turn);
        }
    }

    /// Continues in a later turn, after other events.
    pub(in crate::broker) fn defer_stream(&mut self, place: Place, turn: &Turn<'_>) {
        self.streams.defer(place);
        self.timers.set(turn.now + PAUSE, Timer::Streams);
    }
}

/// How long a group waits for the next message that is stable, before it reads it.
const FRESH_PAUSE: Duration = Duration::from_millis(5);
