//! Stores the positions of groups.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::persistence::record::Record;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::groups::group::Group;
use crate::broker::streams::groups::saved::Saved;
use crate::broker::streams::state::Streams;
use crate::broker::timers::Timer;
use crate::routing::ShardId;
use crate::session::Ticket;
use crate::timestamp::Timestamp;

impl Shard {
    /// Stores the position of a group after a while.
    pub(in crate::broker) fn schedule_save(&mut self, group: u64, now: Timestamp) {
        if self.streams.add_save(group) {
            self.timers.set(now + SAVE_PAUSE, Timer::Groups);
        }
    }

    /// Stores the positions that have changed. Those whose last record is of another shard and not stable are stored later.
    pub(in crate::broker) fn save_groups(&mut self, turn: &mut Turn<'_>) {
        for number in self.streams.take_saves() {
            let Some(group) = self.shared.groups.get(number) else { continue };
            if !self.save_group(&group, turn) {
                self.schedule_save(number, turn.now);
            }
        }
    }

    /// Stores the position of a group, if it has changed. Returns whether nothing is left to do.
    fn save_group(&mut self, group: &Arc<Group>, turn: &mut Turn<'_>) -> bool {
        let mut ledger = group.ledger();
        if ledger.is_gone || !ledger.saved.is_outdated {
            ledger.saved.is_scheduled = false;
            return true;
        }
        if !self.may_save(&ledger.saved) {
            return false;
        }
        ledger.saved.is_scheduled = false;
        let group = Box::new(group.stored(ledger.position()));
        let ticket = self.persist(Record::GroupStored { group, is_awaited: false }, turn);
        (ledger.saved.last, ledger.saved.is_outdated) = (Some((self.id, ticket)), false);
        true
    }

    /// Stores the position of a group without connected members at once, because no further changes are expected.
    pub(in crate::broker) fn save_at_rest(&mut self, group: &Arc<Group>, turn: &mut Turn<'_>) {
        let is_at_rest = group.ledger().members().0 == 0;
        if is_at_rest {
            self.save_group(group, turn); // or by the timer that is set, if it can't be stored yet
        }
    }

    /// Whether a record of this shard follows the last one of the group, and what the position must follow, in the log.
    pub(in crate::broker) fn may_save(&self, saved: &Saved) -> bool {
        let is_before = |(shard, ticket): (ShardId, Ticket)| shard == self.id || self.shared.stable(shard) >= ticket;
        saved.last.is_none_or(is_before) && saved.behind.iter().all(|(shard, ticket)| is_before((*shard, *ticket)))
    }

    /// Stores a group whose position was set, and returns the ticket of the record; `None`: a record of another shard is not stable yet.
    pub(in crate::broker) fn save_awaited(&mut self, group: &Arc<Group>, turn: &mut Turn<'_>) -> Option<Ticket> {
        let mut ledger = group.ledger();
        if !self.may_save(&ledger.saved) {
            return None;
        }
        let stored = Box::new(group.stored(ledger.position()));
        let ticket = self.persist(Record::GroupStored { group: stored, is_awaited: true }, turn);
        (ledger.saved.last, ledger.saved.is_outdated) = (Some((self.id, ticket)), false);
        Some(ticket)
    }

    /// The record that SUBACK waits for, so that the group is there after a crash; `None`: it is stable.
    pub(in crate::broker) fn save_new(&mut self, group: &Arc<Group>, turn: &mut Turn<'_>) -> Option<Ticket> {
        let mut ledger = group.ledger();
        let is_stable = |(shard, ticket)| self.shared.stable(shard) >= ticket;
        if ledger.saved.is_restored || ledger.saved.made.is_some_and(is_stable) {
            return None;
        }
        // Another shard may have made it just now: its record and this one have nearly the same position, so their order does not matter.
        let stored = Box::new(group.stored(ledger.position()));
        let ticket = self.persist(Record::GroupStored { group: stored, is_awaited: true }, turn);
        (ledger.saved.made, ledger.saved.last) = (Some((self.id, ticket)), Some((self.id, ticket)));
        Some(ticket)
    }
}

impl Streams {
    /// Adds a group whose position is to be stored. Returns whether it is the first one.
    fn add_save(&mut self, group: u64) -> bool {
        let saves = self.saves();
        saves.push(group);
        saves.len() == 1
    }

    fn take_saves(&mut self) -> Vec<u64> {
        mem::take(self.saves())
    }
}

/// The position of a group is stored so long after it has changed.
const SAVE_PAUSE: Duration = Duration::from_millis(100);
