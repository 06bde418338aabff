//! From the first byte of a connection to its CONNACK.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use super::connection::{Connecting, Connection, Phase};
use super::end::Ending;
use super::event::{AuthenticationOutcome, AuthenticationRequest, AuthenticationStep, ConnectionId, Peer};
use super::session_slot::SessionSlot;
use super::shard::Turn;
use super::shared::Claim;
use super::takeover::{Claimant, PendingClaim};
use super::{Action, Record, Report, Shard};
use crate::codec::{
    Auth, ClientId, ClientPacket, Connack, ConnackProperties, Connect, DecodeError, ProtocolVersion, Qos, ReasonCode,
    ServerPacket, Will,
};
use crate::routing::{Access, Location, Subscriber};
use crate::session::{self, Link, ProtocolError, Session};

impl Shard {
    pub(super) fn on_opened(&mut self, id: ConnectionId, peer: Box<Peer>, turn: &mut Turn<'_>) {
        let slot = id.slot as usize;
        if self.connections.len() <= slot {
            self.connections.resize_with(slot + 1, || None);
        }
        let connection = Connection::new(id, peer, turn.now, Arc::clone(&self.no_access));
        if let Some(place) = self.connections.get_mut(slot) {
            *place = Some(connection);
        }
        self.counters.connections += 1;
        if self.shutting_down {
            return self.break_off(id, "shutting down", turn);
        }
        self.set_due(id, turn.now + self.settings.connect_timeout);
    }

    pub(super) fn on_first_packet(&mut self, id: ConnectionId, packet: ClientPacket, turn: &mut Turn<'_>) {
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
        let client_id = if assigned { self.assign_client_id() } else { ClientId::from(&*connect.client_id) };
        let Some(connection) = self.connection_mut(id) else { return };
        connection.version = connect.version;
        connection.client_id = Some(client_id.clone());
        connection.user = connect.user_name.as_deref().map(Arc::from);
        connection.authentication_method.clone_from(&connect.properties.authentication_method);
        if let Err((reason_code, cause)) = self.check_connect(&connect) {
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
        let connecting = Box::new(Connecting { connect, client_id, assigned, authentication_data: None });
        self.authenticate(id, connecting, request, turn);
    }

    /// A Client Identifier of ours: new, and not to be guessed. [MQTT-3.1.3-6] [MQTT-3.2.2-16]
    fn assign_client_id(&mut self) -> ClientId {
        self.identifiers += 1;
        let prefix = &self.settings.assigned_client_id_prefix;
        let text = format!("{prefix}{:016x}-{}-{}", self.identifier_seed, self.id.0, self.identifiers);
        ClientId::from(text.as_str())
    }

    /// What can be said of a CONNECT without asking anybody.
    fn check_connect(&self, connect: &Connect) -> Result<(), (ReasonCode, &'static str)> {
        let settings = &self.settings;
        if settings.server_reference.is_some() {
            return Err((ReasonCode::UseAnotherServer, "clients are referred to another server"));
        }
        if connect.client_id.len() > settings.client_id_length_max {
            return Err((ReasonCode::ClientIdentifierNotValid, "Client Identifier is too long"));
        }
        let Some(will) = &connect.will else { return Ok(()) };
        if will.qos > settings.maximum_qos {
            return Err((ReasonCode::QosNotSupported, "Will QoS is above the Maximum QoS")); // [MQTT-3.2.2-12]
        }
        if will.retain && !settings.retain_available {
            return Err((ReasonCode::RetainNotSupported, "Will Retain is not available")); // [MQTT-3.2.2-13]
        }
        if !self.accepts_topic(&will.topic) {
            return Err((ReasonCode::TopicNameInvalid, "Will Topic is beyond the limits or belongs to the broker"));
        }
        let is_text = settings.validate_payload_format && will.properties.payload_is_utf8();
        if is_text && std::str::from_utf8(&will.payload).is_err() {
            return Err((ReasonCode::PayloadFormatInvalid, "Will Payload is not UTF-8"));
        }
        Ok(())
    }

    fn authenticate(
        &mut self,
        id: ConnectionId,
        connecting: Box<Connecting>,
        request: AuthenticationRequest,
        turn: &mut Turn<'_>,
    ) {
        self.hold(id, turn);
        if let Some(connection) = self.connection_mut(id) {
            connection.phase = Phase::Authenticating(connecting);
            turn.actions.push(Action::Authenticate { connection: id, request: Box::new(request) });
        }
    }

    /// The client's AUTH, while its CONNECT is not answered: nothing else may come. [MQTT-3.1.2-30]
    pub(super) fn on_auth_answer(&mut self, id: ConnectionId, packet: ClientPacket, turn: &mut Turn<'_>) {
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
            _ => self.refuse(id, ReasonCode::ProtocolError, "not the AUTH that must come".into(), turn),
        }
    }

    /// AUTH on an established connection. [MQTT-4.12.1-1]
    pub(super) fn on_reauthenticate(&mut self, slot: usize, auth: Auth, turn: &mut Turn<'_>) {
        let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) else { return };
        let Some(connection) = self.connection(id) else { return };
        let allowed = auth.authentication_method.is_some()
            && auth.authentication_method == connection.authentication_method
            && matches!(auth.reason_code, ReasonCode::ReAuthenticate | ReasonCode::ContinueAuthentication);
        let Some(client_id) = connection.client_id.clone().filter(|_| allowed) else {
            return self.on_ended(slot, session::Ended::ByError(ProtocolError::UnexpectedAuth), turn);
        };
        let step = match auth.reason_code {
            ReasonCode::ReAuthenticate => AuthenticationStep::Reauthenticate,
            _ => AuthenticationStep::Continue,
        };
        let request = AuthenticationRequest {
            client_id,
            user_name: None,
            password: None,
            method: auth.authentication_method,
            data: auth.authentication_data,
            step,
        };
        self.hold(id, turn);
        turn.actions.push(Action::Authenticate { connection: id, request: Box::new(request) });
    }

    pub(super) fn on_authenticated(&mut self, id: ConnectionId, outcome: AuthenticationOutcome, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection_mut(id) else { return };
        match std::mem::replace(&mut connection.phase, Phase::AwaitingConnect) {
            Phase::Authenticating(connecting) => match outcome {
                AuthenticationOutcome::Granted { access, user, authentication_data } => {
                    connection.access = access;
                    connection.user = user.or(connection.user.take());
                    let connecting = Box::new(Connecting { authentication_data, ..*connecting });
                    self.claim_session(id, connecting, turn);
                }
                // [MQTT-4.12.0-6]
                AuthenticationOutcome::Continue { .. } if connection.authentication_method.is_none() => {
                    let cause = "more to be said without an Authentication Method".into();
                    self.refuse(id, ReasonCode::BadAuthenticationMethod, cause, turn);
                }
                AuthenticationOutcome::Continue { authentication_data } => {
                    let packet = continue_auth(connection.authentication_method.clone(), authentication_data);
                    connection.phase = Phase::AwaitingAuth(connecting);
                    turn.actions.push(Action::Send { connection: id, packet });
                    self.let_go(id, turn);
                }
                AuthenticationOutcome::Refused { reason_code, cause } => {
                    self.refuse(id, reason_code, cause, turn);
                }
            },
            Phase::Connected(slot) => {
                connection.phase = Phase::Connected(slot);
                self.on_reauthenticated(id, slot, outcome, turn);
            }
            other @ (Phase::AwaitingConnect | Phase::AwaitingAuth(_) | Phase::Claiming) => connection.phase = other,
        }
    }

    fn on_reauthenticated(
        &mut self,
        id: ConnectionId,
        slot: usize,
        outcome: AuthenticationOutcome,
        turn: &mut Turn<'_>,
    ) {
        let method = self.connection(id).and_then(|connection| connection.authentication_method.clone());
        let packet = match outcome {
            AuthenticationOutcome::Granted { access, authentication_data, .. } => {
                self.on_access_changed(id, &access);
                auth_packet(ReasonCode::Success, method, authentication_data)
            }
            AuthenticationOutcome::Continue { authentication_data } => continue_auth(method, authentication_data),
            AuthenticationOutcome::Refused { reason_code, cause } => {
                // [MQTT-4.12.1-2]
                return self.end_connection(id, Ending::told(reason_code, cause), turn);
            }
        };
        self.let_go(id, turn);
        self.drive(slot, session::Event::Respond { packet, wait: None }, turn);
    }

    /// Makes this shard the holder of the Client Identifier, and gets the Session from whoever held it.
    fn claim_session(&mut self, id: ConnectionId, connecting: Box<Connecting>, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection_mut(id) else { return };
        if let Some(will) = &connecting.connect.will
            && let Err(denied) = connection.access.publish(&will.topic)
        {
            let client = connection.label();
            let report = Report::Denied {
                client,
                packet: "CONNECT",
                topic: will.topic.as_str().into(),
                reason_code: ReasonCode::NotAuthorized,
                rule: denied.to_string().into(),
            };
            self.counters.denied += 1;
            turn.actions.push(Action::Report(Box::new(report)));
            let cause = "not authorized to publish its Will".into();
            return self.refuse(id, ReasonCode::NotAuthorized, cause, turn);
        }
        let clean_start = connecting.connect.clean_start;
        let client_id = connecting.client_id.clone();
        let (claim, prior) = self.shared.claim(&client_id, self.id);
        if let Some(connection) = self.connection_mut(id) {
            connection.phase = Phase::Claiming;
        }
        self.claims.insert(claim, PendingClaim { connection: Some(id), connecting, successor: None });
        match prior {
            None => self.on_surrendered(claim, None, turn),
            Some(holder) => {
                let claimant = Claimant { claim, shard: self.id, clean_start };
                self.ask_holder(&client_id, holder, claimant, turn);
            }
        }
    }

    /// The Session is here, or there is none: CONNECT is answered.
    pub(super) fn finish_connect(
        &mut self,
        id: ConnectionId,
        claim: Claim,
        connecting: Connecting,
        session: Option<Box<SessionSlot>>,
        turn: &mut Turn<'_>,
    ) {
        let session_present = session.is_some();
        let slot = match session {
            Some(entry) => self.insert_session(*entry),
            None if self.shared.admit_session(self.settings.sessions_max) => {
                self.new_session(claim, connecting.client_id.clone(), id)
            }
            None => {
                self.shared.unclaim(&connecting.client_id, claim);
                let cause = "as many sessions as sessions_max allows".into();
                return self.refuse(id, ReasonCode::QuotaExceeded, cause, turn);
            }
        };
        let Connecting { mut connect, assigned, client_id, authentication_data } = connecting;
        let asked = connect.properties.session_expiry_interval;
        let session_expiry_interval = asked.min(self.settings.session_expiry_max);
        let keep_alive = self.keep_alive(&connect);
        let Some(connection) = self.connections.get_mut(id.slot as usize).and_then(Option::as_mut) else { return };
        connection.phase = Phase::Connected(slot);
        connection.keep_alive_ms = u64::from(keep_alive) * KEEP_ALIVE_MS;
        let access = Arc::clone(&connection.access);
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let was_durable = entry.is_durable();
        entry.claim = claim;
        entry.connection = Some(id);
        entry.session_expiry_interval = session_expiry_interval;
        entry.ends_at = None;
        entry.will_at = None;
        entry.will = connect.will.take().map(|will| Box::new(detached(&will)));
        entry.subscriber.set_connected(true);
        entry.subscriber.set_durable(session_expiry_interval > 0);
        let access_changed = *entry.subscriber.access() != *access;
        if access_changed {
            entry.subscriber.set_access(access);
        }
        let key = entry.subscriber.key;
        let will = entry.will.clone();
        if access_changed {
            drop(self.shared.index_mut()); // what it may receive is part of the routes
        }
        self.counters.sessions_connected += 1;
        self.counters.connects_accepted += 1;
        let record = Record::SessionOpened { key, client_id: client_id.clone(), session_expiry_interval, will };
        let wait = match (was_durable, session_expiry_interval > 0) {
            (_, true) => self.persist_for(slot, |_| record, turn),
            (true, false) => {
                let ticket = self.persist(Record::SessionEnded { key }, turn);
                self.wait_for(slot, ticket);
                Some(ticket)
            }
            (false, false) => None,
        };
        let link = self.link(&connect);
        let connack = Connack {
            session_present,
            reason_code: ReasonCode::Success,
            properties: self.connack_properties(
                id,
                &connect,
                Negotiated { client_id: assigned.then_some(&client_id), session_expiry_interval, keep_alive },
                authentication_data,
            ),
        };
        self.report_connected(id, &connect, session_present, turn);
        if keep_alive > 0 {
            self.set_due(id, turn.now + Duration::from_millis(u64::from(keep_alive) * KEEP_ALIVE_MS));
        }
        let event = session::Event::Connected { link: Box::new(link), connack: Box::new(fit(connack, &connect)), wait };
        self.drive(slot, event, turn);
        self.hold_for_store(slot, turn);
        self.let_go(id, turn);
        let room = self.settings.outgoing_bytes_max / 2;
        self.drive(slot, session::Event::Room(room), turn);
        self.replay(slot, turn);
    }

    fn new_session(&mut self, claim: Claim, client_id: ClientId, id: ConnectionId) -> usize {
        let key = self.shared.next_key();
        let place = Location { shard: self.id, slot: Location::ARRIVING };
        let access = self.connection(id).map_or_else(|| Arc::clone(&self.no_access), |c| Arc::clone(&c.access));
        let subscriber = Subscriber::new(key, client_id, place, access);
        self.insert_session(SessionSlot {
            session: Session::new(Arc::clone(&self.limits), 1),
            subscriber: Arc::new(subscriber),
            connection: None,
            claim,
            session_expiry_interval: 0,
            ends_at: None,
            will: None,
            will_at: None,
            last_ticket: session::Ticket::default(),
            dropping: false,
            has_shares: false,
            replays: std::collections::VecDeque::new(),
            replay_after: session::Ticket::default(),
        })
    }

    /// Gives a Session its place here, and lets messages come to it.
    pub(super) fn insert_session(&mut self, entry: SessionSlot) -> usize {
        let (messages, bytes) = entry.session.queued();
        self.counters.sessions += 1;
        self.counters.queued_messages += messages as u64;
        self.counters.queued_bytes += bytes as u64;
        let client_id = entry.subscriber.client_id.clone();
        let subscriber = Arc::clone(&entry.subscriber);
        let slot = self.sessions.insert(entry);
        self.by_client.insert(client_id, slot);
        let number = u32::try_from(slot).unwrap_or(Location::ENDED);
        subscriber.set_location(Location { shard: self.id, slot: number });
        slot
    }

    /// The Keep Alive that the client is held to, in seconds.
    fn keep_alive(&self, connect: &Connect) -> u16 {
        match self.settings.keep_alive_max.map(std::num::NonZeroU16::get) {
            // 3.1.1 has no Server Keep Alive: a client that can't be told is not held to it.
            Some(maximum)
                if connect.version.has_properties() && (connect.keep_alive == 0 || connect.keep_alive > maximum) =>
            {
                maximum
            }
            _ => connect.keep_alive,
        }
    }

    fn link(&self, connect: &Connect) -> Link {
        let properties = &connect.properties;
        let send_maximum = properties.receive_maximum.min(self.settings.inflight_messages_max);
        let outgoing = properties.topic_alias_maximum.min(self.settings.topic_alias_maximum_outgoing);
        let mut link =
            Link::new(connect.version, send_maximum).with_aliases(self.settings.topic_alias_maximum, outgoing);
        link.maximum_packet_size = properties.maximum_packet_size;
        link.request_problem_information = properties.request_problem_information;
        link
    }

    fn connack_properties(
        &self,
        id: ConnectionId,
        connect: &Connect,
        negotiated: Negotiated<'_>,
        authentication_data: Option<bytes::Bytes>,
    ) -> ConnackProperties {
        let settings = &self.settings;
        let asked = &connect.properties;
        let interval = negotiated.session_expiry_interval;
        let maximum_packet_size = self.connection(id).and_then(|c| NonZeroU32::new(c.peer.maximum_packet_size));
        let response = settings.response_information.as_ref().filter(|_| asked.request_response_information);
        let client_id = self.connection(id).and_then(|connection| connection.client_id.as_ref());
        ConnackProperties {
            session_expiry_interval: (interval != asked.session_expiry_interval).then_some(interval),
            receive_maximum: Some(settings.receive_maximum),
            maximum_qos: settings.maximum_qos.min(Qos::ExactlyOnce),
            retain_available: settings.retain_available,
            maximum_packet_size,
            assigned_client_identifier: negotiated.client_id.map(|id| id.as_str().into()),
            topic_alias_maximum: settings.topic_alias_maximum,
            user_properties: vec![("durability".into(), settings.durability.clone())],
            server_keep_alive: (negotiated.keep_alive != connect.keep_alive).then_some(negotiated.keep_alive),
            response_information: response
                .zip(client_id)
                .map(|(prefix, client_id)| format!("{prefix}{}", client_id.as_str()).into()),
            authentication_method: asked.authentication_method.clone(),
            authentication_data,
            ..ConnackProperties::default()
        }
    }

    fn report_connected(&mut self, id: ConnectionId, connect: &Connect, session_present: bool, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection(id) else { return };
        turn.actions.push(Action::Report(Box::new(Report::Connected {
            client: connection.label(),
            connection: id,
            version: connect.version.name(),
            clean_start: connect.clean_start,
            session_present,
            keep_alive: connect.keep_alive,
        })));
    }

    /// What the client of a connection may do has changed.
    pub(super) fn on_access_changed(&mut self, id: ConnectionId, access: &Arc<Access>) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.access = Arc::clone(access);
        let slot = connection.session();
        if let Some(entry) = slot.and_then(|slot| self.sessions.get(slot)) {
            entry.subscriber.set_access(Arc::clone(access));
            drop(self.shared.index_mut()); // what it may receive is part of the routes
        }
    }

    /// The bytes of a connection make no packet.
    pub(super) fn on_undecodable(
        &mut self,
        id: ConnectionId,
        error: DecodeError,
        connect_version: Option<ProtocolVersion>,
        turn: &mut Turn<'_>,
    ) {
        self.counters.protocol_errors += 1;
        let Some(connection) = self.connection_mut(id) else { return };
        let cause = ByteString::from(error.to_string());
        if let (Some(version), Phase::AwaitingConnect) = (connect_version, &connection.phase) {
            connection.version = version;
            return self.refuse(id, error.reason_code(), cause, turn);
        }
        self.end_connection(id, Ending::told(error.reason_code(), cause), turn);
    }
}

/// What CONNACK tells a client that it didn't ask for.
struct Negotiated<'a> {
    client_id: Option<&'a ClientId>,
    session_expiry_interval: u32,
    keep_alive: u16,
}

fn auth_packet(reason_code: ReasonCode, method: Option<ByteString>, data: Option<bytes::Bytes>) -> ServerPacket {
    ServerPacket::Auth(Box::new(Auth {
        reason_code,
        authentication_method: method,
        authentication_data: data,
        reason_string: None,
        user_properties: Vec::new(),
    }))
}

/// [MQTT-4.12.0-2]
fn continue_auth(method: Option<ByteString>, data: Option<bytes::Bytes>) -> ServerPacket {
    auth_packet(ReasonCode::ContinueAuthentication, method, data)
}

/// Leaves out what the client has no room for. [MQTT-3.2.2-19] [MQTT-3.2.2-20]
pub(super) fn fit(mut connack: Connack, connect: &Connect) -> Connack {
    if let Some(maximum) = connect.properties.maximum_packet_size {
        let packet = ServerPacket::Connack(Box::new(connack.clone()));
        if packet.encoded_len(connect.version) > maximum.get() as usize {
            connack.properties.user_properties.clear();
            connack.properties.reason_string = None;
        }
    }
    connack
}

/// The Will out of the read buffer it was decoded from.
fn detached(will: &Will) -> Will {
    let message = crate::codec::Message {
        topic: will.topic.clone(),
        payload: will.payload.clone(),
        properties: will.properties.clone(),
    }
    .detached();
    Will { topic: message.topic, payload: message.payload, properties: message.properties, ..*will }
}

/// One and a half times a second. [MQTT-3.1.2-22]
const KEEP_ALIVE_MS: u64 = 1_500;
