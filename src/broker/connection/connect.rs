//! Handles the first packet of a connection, which must be CONNECT.

use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::connection::cause::Cause;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::state::{Connecting, Connection, Phase};
use crate::broker::event::{AuthenticationRequest, AuthenticationStep, Peer};
use crate::broker::ids::ConnectionId;
use crate::broker::memory::MEMORY_SHORT;
use crate::broker::owner::Owner;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{AnswerTerms, ClientId, ClientPacket, Connect, DecodeError, ReasonCode};
use crate::routing::{Access, CellId};

impl Shard {
    pub(in crate::broker) fn on_opened(&mut self, id: ConnectionId, peer: Peer, turn: &mut Turn<'_>) {
        let link = peer.link;
        self.connections.open(Connection::new(id, peer, turn.now, Arc::clone(&self.no_access)));
        self.counters.connections += 1;
        self.link_changed(link, true);
        if self.lifecycle.is_shutting_down() {
            return self.break_off(id, "shutting down", turn);
        }
        if let Some(link) = link {
            return self.on_link_opened(id, link, turn);
        }
        self.set_due(id, turn.now + self.settings.connect_timeout);
    }

    pub(in crate::broker) fn on_first_packet(&mut self, id: ConnectionId, packet: ClientPacket, turn: &mut Turn<'_>) {
        match packet {
            ClientPacket::Connect(connect) => self.on_connect(id, *connect, turn),
            // [MQTT-3.1.0-1]
            ClientPacket::Publish(_)
            | ClientPacket::Puback(_)
            | ClientPacket::Pubrec(_)
            | ClientPacket::Pubrel(_)
            | ClientPacket::Pubcomp(_)
            | ClientPacket::Subscribe(_)
            | ClientPacket::Unsubscribe(_)
            | ClientPacket::Pingreq
            | ClientPacket::Disconnect(_)
            | ClientPacket::Auth(_) => self.break_off(id, "first packet is not CONNECT", turn),
        }
    }

    fn on_connect(&mut self, id: ConnectionId, connect: Connect, turn: &mut Turn<'_>) {
        let assigned = connect.client_id.is_empty();
        let client_id = if assigned {
            let own = self.listener_terms(id).and_then(|terms| terms.assigned_client_id_prefix.clone());
            self.assigned_client_id(&own.unwrap_or_else(|| self.settings.assigned_client_id_prefix.clone()))
        } else {
            ClientId::from(&*connect.client_id)
        };
        let Some(connection) = self.connection_mut(id) else { return };
        connection.set_terms(connect.answer_terms());
        connection.client_id = Some(client_id.clone());
        connection.identity.is_bridge = connect.is_bridge;
        connection.set_user(connect.user_name.as_deref());
        connection.identity.authentication_method = connect.properties.authentication_method.clone().map(Box::new);
        if let Err((reason_code, cause)) = self.check_connect(id, &connect) {
            return self.refuse(id, reason_code, cause.into(), turn);
        }
        let request = AuthenticationRequest {
            client_id: client_id.clone(),
            user_name: connect.user_name.clone(),
            password: connect.password.clone(),
            method: connect.properties.authentication_method.clone(),
            data: connect.properties.authentication_data.clone(),
            step: AuthenticationStep::Connect,
        };
        let connecting =
            Box::new(Connecting { connect, client_id, assigned, owner: Owner::Anonymous, authentication_data: None });
        self.authenticate(id, connecting, request, turn);
    }

    /// A new Client Identifier, whose Session is in this cell.
    fn assigned_client_id(&mut self, prefix: &str) -> ClientId {
        loop {
            let client_id = self.identifiers.next_client_id(prefix);
            let Some(cell) = &self.shared.cell else { return client_id };
            if CellId::of_client(client_id.as_str(), cell.terms.cells) == cell.terms.cell {
                return client_id;
            }
        }
    }

    /// Checks a CONNECT against the settings before authentication.
    fn check_connect(&self, id: ConnectionId, connect: &Connect) -> Result<(), (ReasonCode, &'static str)> {
        let settings = &self.settings;
        if let Some(terms) = self.listener_terms(id) {
            if !terms.accepts(connect.version) {
                // [MQTT-3.1.2-2]
                return Err((ReasonCode::UnsupportedProtocolVersion, VERSION_NOT_ACCEPTED));
            }
            if connect.client_id.is_empty() && !terms.assigns_client_ids {
                return Err((ReasonCode::ClientIdentifierNotValid, NO_IDENTIFIER_ASSIGNED)); // [MQTT-3.1.3-8]
            }
        }
        if settings.is_standby {
            return Err((ReasonCode::UseAnotherServer, STANDBY));
        }
        if settings.server_reference.is_some() {
            return Err((ReasonCode::UseAnotherServer, "clients are referred to another server"));
        }
        if self.is_memory_short() {
            return Err((ReasonCode::ServerUnavailable, MEMORY_SHORT));
        }
        if connect.client_id.len() > settings.client_id_length_max {
            return Err((
                ReasonCode::ClientIdentifierNotValid,
                "Client Identifier is longer than client_id_length_max",
            ));
        }
        let Some(will) = &connect.will else { return Ok(()) };
        let offer = self.offer(id);
        if will.qos > offer.maximum_qos {
            return Err((ReasonCode::QosNotSupported, "Will QoS is above the Maximum QoS")); // [MQTT-3.2.2-12]
        }
        if will.retain && !offer.retain_available {
            return Err((ReasonCode::RetainNotSupported, "Will Retain is not available")); // [MQTT-3.2.2-13]
        }
        if !self.within_limits(will.topic.as_str()) {
            return Err((ReasonCode::TopicNameInvalid, "Will Topic exceeds topic_length_max or topic_levels_max"));
        }
        let is_text = settings.validate_payload_format && will.properties.payload_is_utf8();
        if is_text && std::str::from_utf8(&will.payload).is_err() {
            return Err((ReasonCode::PayloadFormatInvalid, "Will Payload is not UTF-8"));
        }
        Ok(())
    }

    /// Ends a connection on which the client speaks another protocol.
    pub(in crate::broker) fn on_not_mqtt(&mut self, id: ConnectionId, cause: ByteString, turn: &mut Turn<'_>) {
        self.counters.protocol_errors += 1;
        self.end_connection(id, Ending::with_disconnect(ReasonCode::MalformedPacket, Cause::private(cause, "")), turn);
    }

    /// Ends a connection whose bytes cannot be decoded. `answer`: what CONNACK may have if the packet was a CONNECT.
    pub(in crate::broker) fn on_undecodable(
        &mut self,
        id: ConnectionId,
        error: DecodeError,
        answer: Option<AnswerTerms>,
        turn: &mut Turn<'_>,
    ) {
        self.counters.protocol_errors += 1;
        let Some(connection) = self.connection_mut(id) else { return };
        match (answer, &connection.phase) {
            (Some(terms), Phase::AwaitingConnect) => {
                connection.set_terms(terms);
                self.refuse(id, error.reason_code(), error.into(), turn);
            }
            (None, Phase::AwaitingAuth(_)) => self.refuse(id, error.reason_code(), error.into(), turn),
            _ => self.end_connection(id, Ending::with_disconnect(error.reason_code(), error), turn),
        }
    }
}

/// What clients and the log read.
const VERSION_NOT_ACCEPTED: &str = "the listener does not accept this version of MQTT";
const STANDBY: &str = "this server is a standby, and another one serves the clients";
const NO_IDENTIFIER_ASSIGNED: &str = "the Client Identifier is empty, and the listener assigns none";

impl Shard {
    /// The remote end of a connection.
    pub fn peer(&self, id: ConnectionId) -> Option<&Peer> {
        Some(&self.connection(id)?.identity.peer)
    }

    /// Whether a provider is to judge the CONNECT of this connection.
    pub fn awaits_authentication(&self, id: ConnectionId) -> bool {
        self.connection(id).is_some_and(|connection| matches!(connection.phase, Phase::Authenticating(_)))
    }

    /// Whether the client of this connection was accepted, so that its user is known.
    pub fn is_accepted(&self, id: ConnectionId) -> bool {
        self.connection(id).is_some_and(Connection::is_accepted)
    }

    /// Client Identifier, owner and access rights of a connection, once CONNECT has been read.
    pub fn identity(&self, id: ConnectionId) -> Option<(&ClientId, &Owner, &Arc<Access>)> {
        let connection = self.connection(id)?;
        Some((connection.client_id.as_ref()?, &connection.identity.owner, &connection.access))
    }
}
