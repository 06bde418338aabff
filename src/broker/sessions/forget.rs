//! An operator ends a Session.

use crate::broker::action::Action;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::last_end::ReasonText;
use crate::broker::history::EventKind;
use crate::broker::query::{Answer, ForgetOutcome, QueryId};
use crate::broker::report::SessionChange;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{ClientId, ReasonCode};

impl Shard {
    /// Ends a Session, and its connection before, as if its Session Expiry Interval had passed. Answers when that is stable.
    pub(in crate::broker) fn on_forget(&mut self, id: QueryId, client_id: &ClientId, turn: &mut Turn<'_>) {
        let Some(slot) = self.slot_of(client_id) else {
            return turn.actions.push(Action::Answer(id, Box::new(Answer::Forget(ForgetOutcome::NotHere))));
        };
        let client = self.label_of_session(slot);
        let Some(entry) = self.sessions.get(slot) else { return };
        let (key, connection) = (entry.subscriber.key, entry.connection);
        if let Some(connection) = connection {
            self.end_connection(connection, Ending::kicked(ReasonCode::AdministrativeAction), turn);
        }
        if self.session(slot, key).is_some() {
            self.report_session(slot, SessionChange::Ended { cause: FORGOTTEN }, turn);
            self.end_session(slot, turn);
        }
        self.note(&client, EventKind::SessionEnded, (None, Some(ReasonText::of(FORGOTTEN))), turn.now);
        self.answer_when_stable(id, Answer::Forget(ForgetOutcome::Forgotten), turn);
    }
}

const FORGOTTEN: &str = "forgotten by an operator";
