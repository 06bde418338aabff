use crate::broker::action::Action;
use crate::broker::cells::of_shard::Waiting;
use crate::broker::cells::state::CellState;
use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::Connection;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::filter_request::{FilterPacket, FilterRequest};
use crate::broker::ids::ConnectionId;
use crate::broker::shard::{Shard, Turn};

impl Shard {
    /// Keeps a request whose SUBACK must wait until all other cells know its filters; gives it back if they do.
    pub(in crate::broker) fn hold_for_cells(
        &mut self,
        request: FilterRequest,
        turn: &mut Turn<'_>,
    ) -> Option<FilterRequest> {
        let is_subscribe = matches!(request.packet, FilterPacket::Subscribe(_));
        let Some(cell) = self.shared.cell.clone().filter(|_| is_subscribe) else { return Some(request) };
        let number = cell.number();
        if cell.has_noted(number) {
            return Some(request);
        }
        self.pause(request.connection, PauseReason::CellsToBeTold, turn);
        self.links.waiting.0.push_back(Waiting { number, request });
        cell.set_waiting(self.id, true);
        // Another shard that has noticed it before it saw this one wait does not wake it.
        self.answer_noted(&cell, turn);
        None
    }

    /// More changes are noted by all other cells than before: wakes the shards whose answers wait for that.
    pub(super) fn on_noted(&mut self, cell: &CellState, turn: &mut Turn<'_>) {
        for shard in cell.with_waiting() {
            if shard == self.id {
                self.answer_noted(cell, turn);
            } else {
                let message = ShardMessage(ShardMessageKind::InterestNoted);
                turn.actions.push(Action::Forward { shard, message });
            }
        }
    }

    /// Sends the SUBACKs that wait for nothing any more.
    pub(in crate::broker) fn answer_noted(&mut self, cell: &CellState, turn: &mut Turn<'_>) {
        while self.links.waiting.0.front().is_some_and(|waiting| cell.has_noted(waiting.number)) {
            let Some(Waiting { request, .. }) = self.links.waiting.0.pop_front() else { break };
            let id = request.connection;
            let Some(slot) = self.connection(id).and_then(Connection::session) else { continue };
            self.answer_told(slot, request, turn);
            self.bound_responses(slot, turn);
            self.resume(id, PauseReason::CellsToBeTold, turn);
        }
        if self.links.waiting.0.is_empty() {
            cell.set_waiting(self.id, false);
        }
    }

    /// Forgets what waits for a connection that has ended.
    pub(in crate::broker) fn forget_waiting(&mut self, id: ConnectionId) {
        if !self.links.waiting.0.is_empty() {
            self.links.waiting.0.retain(|waiting| waiting.request.connection != id);
        }
    }
}
