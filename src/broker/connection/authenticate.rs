//! Authentication by a provider, at CONNECT and at re-authentication with AUTH.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::connection::cause::Cause;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::{Connecting, Expiry, Phase};
use crate::broker::event::{AuthenticationOutcome, AuthenticationRequest, AuthenticationStep};
use crate::broker::ids::ConnectionId;
use crate::broker::owner::Owner;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Auth, ClientPacket, EncodedUserProperties, ReasonCode, ServerPacket};
use crate::routing::Access;
use crate::session::{self, ProtocolError};

impl Shard {
    pub(in crate::broker) fn authenticate(
        &mut self,
        id: ConnectionId,
        connecting: Box<Connecting>,
        request: AuthenticationRequest,
        turn: &mut Turn<'_>,
    ) {
        self.pause(id, PauseReason::Authenticating, turn);
        if let Some(connection) = self.connection_mut(id) {
            connection.phase = Phase::Authenticating(connecting);
            turn.actions.push(Action::Authenticate { connection: id, request: Box::new(request) });
        }
    }

    /// A packet before CONNACK during enhanced authentication: only AUTH and DISCONNECT are allowed. [MQTT-3.1.2-30]
    pub(in crate::broker) fn on_auth_answer(&mut self, id: ConnectionId, packet: ClientPacket, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection_mut(id) else { return };
        match (packet, std::mem::replace(&mut connection.phase, Phase::AwaitingConnect)) {
            (ClientPacket::Auth(auth), Phase::AwaitingAuth(connecting))
                if auth.reason_code == ReasonCode::ContinueAuthentication
                    && auth.authentication_method == connecting.connect.properties.authentication_method =>
            {
                let request = AuthenticationRequest {
                    client_id: connecting.client_id.clone(),
                    user_name: connecting.connect.user_name.clone(),
                    password: connecting.connect.password.clone(),
                    method: auth.authentication_method,
                    data: auth.authentication_data,
                    step: AuthenticationStep::Continue,
                };
                self.authenticate(id, connecting, request, turn);
            }
            (ClientPacket::Disconnect(_), _) => self.break_off(id, "DISCONNECT before CONNACK", turn),
            _ => self.refuse(
                id,
                ReasonCode::ProtocolError,
                "expected AUTH 0x18 with the same Authentication Method".into(),
                turn,
            ),
        }
    }

    /// AUTH on an established connection. [MQTT-4.12.1-1]
    pub(in crate::broker) fn on_reauthenticate(&mut self, slot: usize, auth: Auth, turn: &mut Turn<'_>) {
        let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) else { return };
        let Some(connection) = self.connection(id) else { return };
        let allowed = auth.authentication_method.is_some()
            && auth.authentication_method.as_ref() == connection.identity.authentication_method.as_deref()
            && matches!(auth.reason_code, ReasonCode::ReAuthenticate | ReasonCode::ContinueAuthentication);
        let Some(client_id) = connection.client_id.clone().filter(|_| allowed) else {
            return self.on_ended(slot, session::Ended::ByError(ProtocolError::UnexpectedAuth), turn);
        };
        let again = auth.reason_code == ReasonCode::ReAuthenticate;
        let step = if again { AuthenticationStep::Reauthenticate } else { AuthenticationStep::Continue };
        let request = AuthenticationRequest {
            client_id,
            // The Session stays with its user, so another one is refused before it proves anything.
            user_name: connection.verified_user().map(|user| (&**user).into()),
            password: None,
            method: auth.authentication_method,
            data: auth.authentication_data,
            step,
        };
        self.pause(id, PauseReason::Authenticating, turn);
        turn.actions.push(Action::Authenticate { connection: id, request: Box::new(request) });
    }

    pub(in crate::broker) fn on_authenticated(
        &mut self,
        id: ConnectionId,
        outcome: AuthenticationOutcome,
        turn: &mut Turn<'_>,
    ) {
        let Some(connection) = self.connection(id) else { return };
        if matches!(connection.phase, Phase::Authenticating(_)) {
            // What follows is limited by itself: the queue for the authentication may have taken longer.
            self.set_due(id, turn.now + self.settings.connect_timeout);
        }
        let Some(connection) = self.connection_mut(id) else { return };
        match std::mem::replace(&mut connection.phase, Phase::AwaitingConnect) {
            Phase::Authenticating(mut connecting) => match outcome {
                AuthenticationOutcome::Granted { access, user, verified_user, expires_at, authentication_data } => {
                    connection.identity.expiry = Expiry::of(expires_at);
                    connection.identity.owner = Owner::of(verified_user).below(access.mount_point());
                    connection.access = access;
                    if let Some(user) = connection.verified_user().cloned() {
                        connection.identity.user = Some(user);
                    } else if user.is_some() {
                        connection.set_user(user.as_deref());
                    }
                    connecting.authentication_data = authentication_data;
                    match self.decide_client_id(id, &mut connecting) {
                        Ok(()) => self.claim_session(id, connecting, turn),
                        Err((reason_code, cause)) => self.refuse(id, reason_code, cause, turn),
                    }
                }
                // [MQTT-4.12.0-6]
                AuthenticationOutcome::Continue { .. } if connection.identity.authentication_method.is_none() => {
                    let log = "provider continues an authentication without an Authentication Method";
                    let cause = Cause::of_refusal(ReasonCode::BadAuthenticationMethod, log.into());
                    self.refuse(id, ReasonCode::BadAuthenticationMethod, cause, turn);
                }
                AuthenticationOutcome::Continue { authentication_data } => {
                    let packet = continue_auth(
                        connection.identity.authentication_method.as_deref().cloned(),
                        authentication_data,
                    );
                    // [MQTT-3.1.2-24]
                    if !connection.fits(&packet) {
                        let log = "the AUTH packet of the provider exceeds the client's Maximum Packet Size";
                        let cause = Cause::of_refusal(ReasonCode::PacketTooLarge, log.into());
                        return self.refuse(id, ReasonCode::PacketTooLarge, cause, turn);
                    }
                    connection.phase = Phase::AwaitingAuth(connecting);
                    let bytes = self.counters.sending(&packet);
                    self.add_unsent(id, bytes, 0);
                    turn.actions.push(Action::Send { connection: id, packet });
                    self.resume(id, PauseReason::Authenticating, turn);
                }
                AuthenticationOutcome::Refused { reason_code, cause } => {
                    self.refuse(id, reason_code, Cause::of_refusal(reason_code, cause), turn);
                }
            },
            Phase::Connected(slot) => {
                connection.phase = Phase::Connected(slot);
                self.on_reauthenticated(id, slot, outcome, turn);
            }
            other @ (Phase::AwaitingConnect | Phase::AwaitingAuth(_) | Phase::Claiming | Phase::Control) => {
                connection.phase = other
            }
        }
    }

    fn on_reauthenticated(
        &mut self,
        id: ConnectionId,
        slot: usize,
        outcome: AuthenticationOutcome,
        turn: &mut Turn<'_>,
    ) {
        let method =
            self.connection(id).and_then(|connection| connection.identity.authentication_method.as_deref().cloned());
        let owner = self.connection(id).map(|connection| connection.identity.owner.clone());
        let packet = match outcome {
            AuthenticationOutcome::Granted { verified_user, access, .. }
                if Some(Owner::of(verified_user.clone()).below(access.mount_point())) != owner =>
            {
                let cause = Cause::of_refusal(ReasonCode::NotAuthorized, ANOTHER_USER.into());
                return self.end_connection(id, Ending::with_disconnect(ReasonCode::NotAuthorized, cause), turn);
            }
            AuthenticationOutcome::Granted { access, expires_at, authentication_data, .. } => {
                self.on_access_changed(id, &access, turn);
                if let Some(connection) = self.connection_mut(id) {
                    connection.identity.expiry = Expiry::of(expires_at);
                }
                self.arm(id, turn);
                auth_packet(ReasonCode::Success, method, authentication_data)
            }
            AuthenticationOutcome::Continue { authentication_data } => continue_auth(method, authentication_data),
            AuthenticationOutcome::Refused { reason_code, cause } => {
                // [MQTT-4.12.1-2]
                let cause = Cause::of_refusal(reason_code, cause);
                return self.end_connection(id, Ending::with_disconnect(reason_code, cause), turn);
            }
        };
        self.resume(id, PauseReason::Authenticating, turn);
        self.drive(slot, session::Event::Respond { packet, wait: None }, turn);
    }

    /// Replaces the access rules of a connected client. Its mount point stays.
    pub(in crate::broker) fn on_access_changed(&mut self, id: ConnectionId, access: &Arc<Access>, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection_mut(id).filter(|connection| connection.identity.peer.link.is_none())
        else {
            return;
        };
        let access = Arc::clone(access).below(connection.identity.owner.mount_point());
        connection.access = Arc::clone(&access);
        if let Some(slot) = connection.session() {
            self.change_access(slot, &access, turn);
        }
    }
}

/// The Session belongs to the user of the CONNECT, and has its mount point.
const ANOTHER_USER: &str = "re-authenticated as another user than that of its CONNECT, or for another mount point";

fn auth_packet(reason_code: ReasonCode, method: Option<ByteString>, data: Option<Bytes>) -> ServerPacket {
    ServerPacket::Auth(Box::new(Auth {
        reason_code,
        authentication_method: method,
        authentication_data: data,
        reason_string: None,
        user_properties: EncodedUserProperties::new(),
    }))
}

/// [MQTT-4.12.0-2]
fn continue_auth(method: Option<ByteString>, data: Option<Bytes>) -> ServerPacket {
    auth_packet(ReasonCode::ContinueAuthentication, method, data)
}
