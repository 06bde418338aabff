//! An operator ends a connection.

use crate::broker::action::Action;
use crate::broker::connection::disconnect::Ending;
use crate::broker::query::{Answer, Kick, KickOutcome, KickedClient, QueryId};
use crate::broker::shard::{Shard, Turn};

impl Shard {
    /// Ends the connection of a Session with DISCONNECT; its Will is published as at any end that the client did not announce.
    /// [MQTT-3.1.2-8]
    pub(in crate::broker) fn on_kick(&mut self, id: QueryId, kick: &Kick, turn: &mut Turn<'_>) {
        let outcome = self.kick(kick, turn);
        turn.actions.push(Action::Answer(id, Box::new(Answer::Kick(outcome))));
    }

    fn kick(&mut self, kick: &Kick, turn: &mut Turn<'_>) -> KickOutcome {
        let Some(entry) = self.session_of(&kick.client_id) else { return KickOutcome::NotHere };
        let Some(connection) = entry.connection.and_then(|id| self.connection(id)) else {
            return KickOutcome::NotConnected;
        };
        let id = connection.id;
        let verified_user = connection.verified_user().cloned();
        let client = KickedClient { verified_user, address: connection.identity.peer.address, ban: kick.ban };
        if kick.ban.is_some() && client.verified_user.is_none() && client.address.is_none() {
            return KickOutcome::NotBannable;
        }
        self.end_connection(id, Ending::kicked(kick.reason_code), turn);
        KickOutcome::Kicked(Box::new(client))
    }
}
