//! Messages with a `dedup-id` of one user in several cells: each is accepted once.
//!
//! A publisher is a user, whose clients are in all cells, or a client without a user. Each cell has the window of what it has accepted itself. For a user, one cell
//! is the *home*: its window also says which other cell has the *permit* to accept the message with a `dedup-id`. One cell at a time has it, and a cell
//! accepts such a message with a permit alone, in the turn in which it takes it. So the message is a duplicate, or it is new, in the whole cluster.
//!
//! | message | the home says | after |
//! | --- | --- | --- |
//! | no cell has the permit, and none has accepted the message | granted | the record with the permit is stable |
//! | the home has accepted it | duplicate | its record is stable |
//! | the cell that asks has the permit already: it has not used it, because it looks into its own window first | granted | the record of a new permit is stable |
//! | another cell has the permit | later, and it asks that cell, which says that it has accepted the message (when the record is stable), or that it has not, and does not | then it is a duplicate, or the permit is that of the cell that asks |
//!
//! While a message waits for the permit in the cell that has it, the cell says nothing: it is about to use it. One that says that it has not accepted a message has first voided the permit that it may have, and its own requests. It says so when a record is stable
//! that was made behind that: a former owner, whose records never are, can't say it, because its successor may know better. For the same reason a former owner
//! grants nothing. So after any crash there is at most one cell with a permit, and that has the message in its log, or can be asked.
//!
//! What is lost with a connection is asked for again: the message waits, and its connection is not read meanwhile, which keeps the order of its publisher.
//! While the home has no owner, or the cell with the permit for that message has none, it waits until there is one.

use crate::broker::action::Action;
use crate::broker::cells::control::Control;
use crate::broker::cells::of_shard::AwaitedRecord;
use crate::broker::cells::permit_message::{DedupName, PermitAnswer, PermitMessage};
use crate::broker::connection::waiting::ReadyTask;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::event::StoreRoom;
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::owner::Owner;
use crate::broker::persistence::record::{Deduplicated, Record};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::permit_home::HomeAnswer;
use crate::broker::publish::plan::Copies;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::routing::{CellId, ShardId};
use crate::session::Ticket;

impl Shard {
    /// The other cell that permits to accept messages with a `dedup-id` of this publisher. `None`: there is none.
    pub(in crate::broker) fn permit_home(&self, publisher: &str) -> Option<CellId> {
        let terms = &self.shared.cell.as_ref()?.terms;
        // All clients without a user that are the same publisher are in this cell.
        let is_user = Owner::client_of(publisher).is_none();
        let home = is_user.then(|| CellId::of_client(publisher, terms.cells))?;
        (home != terms.cell).then_some(home)
    }

    /// Requests or questions wait to be sent: the shards with control connections send them.
    pub(in crate::broker) fn send_permits(&mut self, turn: &mut Turn<'_>) {
        let Some(cell) = self.shared.cell.clone() else { return };
        for shard in cell.with_control() {
            if shard == self.id {
                self.send_own_permits(turn);
            } else {
                let message = ShardMessage(ShardMessageKind::PermitsToSend);
                turn.actions.push(Action::Forward { shard, message });
            }
        }
    }

    /// The same for the control connections of this shard.
    pub(in crate::broker) fn send_own_permits(&mut self, turn: &mut Turn<'_>) {
        let links = || self.links.controls.0.iter().filter(|link| link.epoch.is_some());
        let outgoing = self.shared.deduplication.take_outgoing(|cell| links().any(|link| link.cell == cell));
        for (cell, message) in outgoing {
            let link = self.links.controls.0.iter().find(|link| link.cell == cell && link.epoch.is_some());
            if let Some(connection) = link.map(|link| link.connection) {
                self.send_control(connection, &Control::Permit(message), turn);
            }
        }
    }

    /// Takes what another cell says on a control connection.
    pub(super) fn on_permit_message(
        &mut self,
        (id, other): (ConnectionId, CellId),
        message: PermitMessage,
        turn: &mut Turn<'_>,
    ) {
        match message {
            PermitMessage::Request { number, name } => self.on_permit_request((id, other), (number, name), turn),
            PermitMessage::Answer { number, answer } => {
                if let Some(origin) = self.shared.deduplication.permit_answered(number, answer, turn.now) {
                    self.permit_is_known(origin, turn);
                }
            }
            PermitMessage::Question { number, name } => {
                let is_stable = |shard, ticket| self.is_stable_at(shard, ticket);
                match self.shared.deduplication.outcome(turn.now, self.window_bounds(), &name, is_stable) {
                    None => {}
                    Some(true) => self.send_permit(id, PermitMessage::Outcome { number, is_accepted: true }, turn),
                    Some(false) => {
                        let ticket = self.persist(Record::Fence, turn);
                        let message = PermitMessage::Outcome { number, is_accepted: false };
                        self.links.awaited.push_back(AwaitedRecord { ticket, connection: id, message });
                    }
                }
            }
            PermitMessage::Outcome { number, is_accepted } => {
                self.shared.deduplication.holder_said(number, other, is_accepted);
            }
        }
    }

    fn on_permit_request(
        &mut self,
        (id, other): (ConnectionId, CellId),
        (number, name): (u64, DedupName),
        turn: &mut Turn<'_>,
    ) {
        let answer = |answer| PermitMessage::Answer { number, answer };
        let bounds = self.window_bounds();
        if bounds.time.is_zero() {
            return self.send_permit(id, answer(PermitAnswer::Granted), turn);
        }
        if self.store_room == StoreRoom::None {
            return self.send_permit(id, answer(PermitAnswer::Later), turn);
        }
        let is_stable = |shard, ticket| self.is_stable_at(shard, ticket);
        match self.shared.deduplication.permit(turn.now, bounds, (name, other), is_stable) {
            HomeAnswer::Grant(entry) => {
                self.counters.deduplication_left += entry.left.len() as u64;
                if let Some(ticket) = self.persist_permit(entry, turn) {
                    let message = answer(PermitAnswer::Granted);
                    self.links.awaited.push_back(AwaitedRecord { ticket, connection: id, message });
                }
            }
            HomeAnswer::Duplicate => self.send_permit(id, answer(PermitAnswer::Duplicate), turn),
            HomeAnswer::Later => {
                self.send_permit(id, answer(PermitAnswer::Later), turn);
                // The cell with the permit may have to be asked.
                self.send_permits(turn);
            }
        }
    }

    /// Writes the record of a permit: that of a message without content and receivers, with its entry in the window.
    fn persist_permit(&mut self, entry: Deduplicated, turn: &mut Turn<'_>) -> Option<Ticket> {
        let publisher = Publisher { deduplicated: Some(Box::new(entry)), ..Publisher::broker() };
        self.persist_accepted(&publisher, AcceptedMessage::of_permit(), Copies::default(), turn)
    }

    /// Sends what waited for records that are stable now.
    pub(in crate::broker) fn send_stable_permits(&mut self, turn: &mut Turn<'_>) {
        while self.links.awaited.front().is_some_and(|awaited| self.pipeline.is_stable(awaited.ticket)) {
            let Some(AwaitedRecord { connection, message, .. }) = self.links.awaited.pop_front() else { return };
            self.send_permit(connection, message, turn);
        }
    }

    /// The message of a connection can go on.
    fn permit_is_known(&mut self, Origin { shard, connection, .. }: Origin, turn: &mut Turn<'_>) {
        if shard == self.id {
            self.flow.push_ready(connection, ReadyTask::Retry(None));
        } else {
            let message = ShardMessage(ShardMessageKind::PermitKnown(connection));
            turn.actions.push(Action::Forward { shard, message });
        }
    }

    fn send_permit(&mut self, id: ConnectionId, message: PermitMessage, turn: &mut Turn<'_>) {
        if self.links.controls.0.iter().any(|link| link.connection == id) {
            self.send_control(id, &Control::Permit(message), turn);
        }
    }

    fn is_stable_at(&self, shard: ShardId, ticket: Ticket) -> bool {
        if shard == self.id { self.pipeline.is_stable(ticket) } else { self.shared.stable(shard) >= ticket }
    }
}
