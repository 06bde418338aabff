//! Client Identifiers that depend on user names, by a setting of the listener.

use std::sync::Arc;

use crate::broker::client_ids::ClientIds;
use crate::broker::connection::cause::Cause;
use crate::broker::connection::state::Connecting;
use crate::broker::ids::ConnectionId;
use crate::broker::shard::Shard;
use crate::codec::{ClientId, ReasonCode};

impl Shard {
    /// Applies the setting of the listener to a client that was accepted, before it claims the Session of its Client Identifier.
    ///
    /// # Errors
    /// The client has no verified user name, or another Client Identifier than it may have.
    pub(in crate::broker) fn decide_client_id(
        &mut self,
        id: ConnectionId,
        connecting: &mut Connecting,
    ) -> Result<(), (ReasonCode, Cause)> {
        let length_max = self.settings.client_id_length_max;
        let Some(connection) = self.connection_mut(id) else { return Ok(()) };
        let rule = connection.identity.peer.client_ids;
        if rule == ClientIds::Any {
            return Ok(());
        }
        let refusal = |reason_code, text: &'static str| Err((reason_code, text.into()));
        let Some(user) = connection.verified_user() else {
            let text = "the listener gives Client Identifiers to verified users only, and the client is none";
            return refusal(ReasonCode::NotAuthorized, text);
        };
        if connecting.client_id.as_str() == &**user {
            return Ok(());
        }
        if rule == ClientIds::MustBeUserName {
            let text = "the Client Identifier must be the user name at this listener";
            return refusal(ReasonCode::ClientIdentifierNotValid, text);
        }
        if user.len() > length_max {
            let text = "the user name, which is the Client Identifier, is longer than client_id_length_max";
            return refusal(ReasonCode::ClientIdentifierNotValid, text);
        }
        let client_id = ClientId(Arc::clone(user));
        connection.client_id = Some(client_id.clone());
        connecting.client_id = client_id;
        Ok(())
    }
}
