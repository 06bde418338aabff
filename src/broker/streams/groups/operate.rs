//! Groups for operators: what they have, and changes of them.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::directory::state::Shared;
use crate::broker::persistence::record::Record;
use crate::broker::persistence::stream_group::{GroupPosition, StreamGroup};
use crate::broker::query::{Answer, QueryId};
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::groups::group::Group;
use crate::broker::streams::groups::query::{GroupAnswer, GroupQuery, GroupView};
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::start::StreamStart;

impl Shared {
    /// Restores the groups of subscribers of the previous run. The streams must be set.
    pub fn restore_groups(&self, groups: Vec<StreamGroup>) {
        let streams = self.streams();
        self.groups.restore(groups.into_iter().filter(|group| streams.get(group.stream).is_some()).collect());
    }

    /// A stream was removed: its groups without members are gone. Those with members see it at their next read.
    pub fn end_groups_of(&self, stream: StreamNumber) {
        for group in self.groups.of(stream) {
            let mut ledger = group.ledger();
            if ledger.members() == (0, 0) {
                ledger.is_gone = true; // it is not stored any more
                drop(ledger);
                self.groups.remove(group.number);
            }
        }
    }

    /// The groups of subscribers of a stream.
    pub fn groups_of(&self, stream: StreamNumber) -> Vec<GroupView> {
        let range = self.stream_board.range(stream);
        let view = |group: &Arc<Group>| {
            let ledger = group.ledger();
            let ((read, open), (members, in_flight)) = (ledger.progress(), ledger.members());
            let unread = range.end.saturating_sub(read.unwrap_or(range.start).max(range.start));
            let position = match ledger.position().from {
                StreamStart::Sequence(position) => Some(position),
                StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_) => None,
            };
            GroupView {
                number: group.number,
                name: Arc::clone(&group.name.name),
                filter: group.name.filter.clone(),
                position,
                lag: unread + open as u64,
                members,
                in_flight,
            }
        };
        self.groups.of(stream).iter().map(view).collect()
    }
}

impl Shard {
    /// Changes a group for an operator.
    pub(in crate::broker) fn on_group_query(&mut self, id: QueryId, query: &GroupQuery, turn: &mut Turn<'_>) {
        let outcome = match *query {
            GroupQuery::Reset(number, start) => self.reset_group(number, start, turn),
            GroupQuery::Remove(number) => self.remove_group(number, turn),
        };
        match outcome {
            Ok(()) => self.answer_when_stable(id, Answer::Group(GroupAnswer::Done), turn),
            Err(answer) => turn.actions.push(Action::Answer(id, Box::new(Answer::Group(answer)))),
        }
    }

    fn reset_group(&mut self, number: u64, start: StreamStart, turn: &mut Turn<'_>) -> Result<(), GroupAnswer> {
        let group = self.shared.groups.get(number).ok_or(GroupAnswer::Unknown)?;
        let range = self.shared.stream_board.range(group.name.stream);
        let from = match start {
            StreamStart::Latest => StreamStart::Sequence(range.end),
            StreamStart::Sequence(sequence) if sequence < range.start => {
                return Err(GroupAnswer::Trimmed(range.start));
            }
            StreamStart::Earliest | StreamStart::Sequence(_) | StreamStart::Time(_) => start,
        };
        if !self.may_save(&group.ledger().saved) {
            return Err(GroupAnswer::Busy);
        }
        group.ledger().reset(GroupPosition::new(from));
        // If another shard has stored the old position in between, the caller tries again.
        let is_stored = self.save_awaited(&group, turn).is_some();
        self.change_group(&group, None, |_| (), turn);
        if is_stored { Ok(()) } else { Err(GroupAnswer::Busy) }
    }

    fn remove_group(&mut self, number: u64, turn: &mut Turn<'_>) -> Result<(), GroupAnswer> {
        let group = self.shared.groups.get(number).ok_or(GroupAnswer::Unknown)?;
        let mut ledger = group.ledger();
        if ledger.members() != (0, 0) {
            return Err(GroupAnswer::HasMembers);
        }
        if !self.may_save(&ledger.saved) {
            return Err(GroupAnswer::Busy);
        }
        ledger.is_gone = true;
        drop(ledger);
        self.shared.groups.remove(number);
        self.persist(Record::GroupRemoved { stream: group.name.stream, number }, turn);
        Ok(())
    }
}
