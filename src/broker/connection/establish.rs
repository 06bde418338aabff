//! Attaches an authenticated client to its Session and sends CONNACK.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::client_events::Object;
use crate::broker::connection::cause::Cause;
use crate::broker::connection::explain::asks_for_details;
use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::{Connecting, Phase};
use crate::broker::directory::claim::{Claim, ClaimRequest, Claimant, Claimed, Prior, Takes};
use crate::broker::history::EventKind;
use crate::broker::ids::ConnectionId;
use crate::broker::owner::Owner;
use crate::broker::persistence::record::Record;
use crate::broker::publish::sys::{check_sys, is_sys};
use crate::broker::report::{OwnerChange, Report, SessionChange};
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::codec::limits::PACKET_SIZE_MAX;
use crate::codec::{ClientId, Connack, ConnackProperties, Connect, Message, ReasonCode, ServerPacket, Will};
use crate::routing::{LimitsClass, Location, Subscriber};
use crate::session::{self, Link, Session, Ticket};

impl Shard {
    /// Makes this shard the holder of the Client Identifier, and requests the Session from the previous holder.
    pub(in crate::broker) fn claim_session(
        &mut self,
        id: ConnectionId,
        mut connecting: Box<Connecting>,
        turn: &mut Turn<'_>,
    ) {
        if !self.accepts_will(id, &mut connecting, turn) {
            return;
        }
        if !self.admit_user(id, turn) {
            return;
        }
        let Some(Claimed { claim, owner, prior }) = self.claim(id, &connecting, turn) else { return };
        connecting.owner = owner;
        let clean_start = connecting.connect.clean_start;
        if let Some(connection) = self.connection_mut(id) {
            connection.phase = Phase::Claiming;
        }
        self.pause(id, PauseReason::Claiming, turn);
        self.resume(id, PauseReason::Authenticating, turn);
        self.sessions.begin_claim(claim, id, connecting);
        match prior {
            None => self.on_surrendered(claim, None, Ticket::default(), turn),
            Some(Prior { holder, succession, .. }) => {
                let takes = Takes::of(clean_start, succession);
                self.ask_holder(holder, Claimant { claim, shard: self.id, takes }, turn);
            }
        }
    }

    /// Claims the Client Identifier for a client, or refuses its CONNECT because the Session belongs to someone else. The holder is not
    /// disturbed then.
    fn claim(&mut self, id: ConnectionId, connecting: &Connecting, turn: &mut Turn<'_>) -> Option<Claimed> {
        let connection = self.connection(id)?;
        let owner = &connection.identity.owner;
        let request = ClaimRequest { shard: self.id, owner, anonymous_sessions: self.settings.anonymous_sessions };
        match self.shared.directory.claim(&connecting.client_id, request) {
            Ok(claimed) => {
                if let Some(Prior { owner: previous, succession, .. }) = &claimed.prior
                    && let Some(change) = OwnerChange::of(*succession)
                {
                    let (client, owner) = (connection.label(), claimed.owner.clone());
                    let report = Report::OwnerChanged { client, owner, previous: previous.clone(), change };
                    turn.actions.push(Action::Report(Box::new(report)));
                }
                Some(claimed)
            }
            Err(holder) => {
                let log = format!("its session belongs to {holder}, not to {owner}");
                let cause = Cause::private(log, "the session with this Client Identifier belongs to another user");
                self.counters.connects_of_others += 1;
                self.refuse(id, ReasonCode::ClientIdentifierNotValid, cause, turn);
                None
            }
        }
    }

    /// Accepts CONNECT with the existing Session in `resumed`, or with a new one.
    pub(in crate::broker) fn finish_connect(
        &mut self,
        id: ConnectionId,
        granted: GrantedClaim,
        resumed: Option<usize>,
        turn: &mut Turn<'_>,
    ) {
        let GrantedClaim { claim, mut connecting, after } = granted;
        let session_present = resumed.is_some();
        let link = self.link_of(id);
        let slot = match resumed {
            Some(slot) => slot,
            None if self.shared.admit_session(if link.is_some() { usize::MAX } else { self.settings.sessions_max }) => {
                self.new_session(claim, connecting.client_id.clone(), id)
            }
            None => {
                self.shared.directory.unclaim(&connecting.client_id, claim);
                let cause = "sessions_max reached".into();
                return self.refuse(id, ReasonCode::QuotaExceeded, cause, turn);
            }
        };
        let keep_alive = if link.is_some() { 0 } else { self.keep_alive(id, &connecting.connect) };
        let Some(connection) = self.connection_mut(id) else { return };
        connection.phase = Phase::Connected(slot);
        connection.keep_alive = keep_alive;
        connection.identity.connected_at = turn.now;
        connection.identity.clean_start = connecting.connect.clean_start;
        connection.set_details(asks_for_details(&connecting.connect));
        self.limit_rates(id);
        self.arm(id, turn);
        // Another cell is no client.
        self.counters.sessions_connected += u64::from(link.is_none());
        self.counters.connects_accepted += u64::from(link.is_none());
        self.note_link(slot);
        let opened = self.attach(slot, id, &mut connecting.connect, turn);
        let wait = opened.or_else(|| self.fence(slot, turn)).or_else(|| self.wait_until(slot, after));
        let connack = Connack {
            session_present,
            reason_code: ReasonCode::Success,
            properties: self.connack_properties(id, slot, &connecting, keep_alive),
        };
        if link.is_none() {
            self.report_connected(id, &connecting.connect, session_present, turn);
        }
        let queued = self.sessions.get(slot).map_or(0, |entry| entry.session.queued().0);
        let change = if session_present { SessionChange::Resumed { queued } } else { SessionChange::Created };
        self.report_session(slot, change, turn);
        let link = Box::new(self.link(id, &connecting.connect));
        let connack = Box::new(fit(connack, &connecting.connect));
        self.drive(slot, session::Event::Connected { link, connack, wait }, turn);
        let room = self.outgoing_bytes_max / 2;
        self.drive(slot, session::Event::Room(room), turn);
        self.join_groups(slot, turn);
        self.auto_subscribe(slot, id, turn);
        self.replay(slot, turn);
    }

    /// Attaches the Session in `slot` to its connection. Returns the ticket that CONNACK waits for, if any.
    fn attach(&mut self, slot: usize, id: ConnectionId, connect: &mut Connect, turn: &mut Turn<'_>) -> Option<Ticket> {
        let session_expiry_interval = match self.link_of(id) {
            Some(_) => u32::MAX,
            None => self.session_expiry_interval(connect),
        };
        let connection = self.connection(id)?;
        let access = Arc::clone(&connection.access);
        let sys_will = connect.will.as_ref().filter(|will| is_sys(&will.topic));
        let will_refusal =
            sys_will.and_then(|will| check_sys(connection.sys_publisher(), &will.topic, will.payload.len()).err());
        let entry = self.sessions.get_mut(slot)?;
        let was_stored = entry.stored;
        let is_unchanged = entry.recorded_as_connected
            && entry.session_expiry_interval == session_expiry_interval
            && connect.will.is_none();
        entry.connection = Some(id);
        entry.session_expiry_interval = session_expiry_interval;
        entry.will = connect.will.take().map(|will| Box::new(detached(&will)));
        entry.will_refusal = will_refusal.map(Box::new);
        entry.subscriber.set_connected(true);
        entry.subscriber.set_durable(session_expiry_interval > 0);
        let key = entry.subscriber.key;
        let has_shares = entry.has_shares;
        if has_shares {
            self.shared.directory.presence_changed(key);
        }
        let client_id = entry.subscriber.client_id.clone();
        let will = entry.will.clone().filter(|_| entry.will_refusal.is_none());
        // Deleting the records of the Session would also delete queued messages that are only in the store.
        let needs_store = entry.session.needs_store();
        entry.stored = session_expiry_interval > 0 || will.is_some() || needs_store;
        entry.session.set_recorded(session_expiry_interval > 0 && self.settings.queue_head.is_some());
        let (stored, owner, last_ticket) = (entry.stored, entry.owner.clone(), entry.last_ticket);
        entry.recorded_as_connected = session_expiry_interval > 0 && entry.will.is_none();
        self.change_access(slot, &access, turn);
        if has_shares {
            self.interest_changed(turn);
        }
        if is_unchanged {
            // Still waits for the record of the previous CONNECT, and for all others of the Session.
            return self.fence(slot, turn).or_else(|| self.wait_until(slot, last_ticket));
        }
        let has_ended = was_stored && !stored;
        let record = match (was_stored, stored) {
            (_, true) => Record::SessionOpened { key, client_id, owner, session_expiry_interval, will },
            (true, false) => Record::SessionEnded { key },
            (false, false) => return None,
        };
        let ticket = self.persist(record, turn);
        if has_ended {
            self.session_left_receipts(key, None, ticket, turn.now);
        }
        self.wait_for(slot, ticket);
        Some(ticket)
    }

    /// Lets the CONNACK of the Session in `slot` wait for a record of this shard. Returns its ticket unless it is stable already.
    fn wait_until(&mut self, slot: usize, ticket: Ticket) -> Option<Ticket> {
        if self.pipeline.is_stable(ticket) {
            return None;
        }
        self.wait_for(slot, ticket);
        Some(ticket)
    }

    fn new_session(&mut self, claim: Claim, client_id: ClientId, id: ConnectionId) -> usize {
        let key = self.shared.next_key();
        let place = Location { shard: self.id, slot: Location::ARRIVING };
        let connection = self.connection(id);
        let access = connection.map_or_else(|| Arc::clone(&self.no_access), |c| Arc::clone(&c.access));
        // A new Session belongs to the client, even if the owner of the previous one was unknown.
        let owner = connection.map_or(Owner::Anonymous, |connection| connection.identity.owner.clone());
        self.shared.directory.set_owner(&client_id, claim, &owner);
        let subscriber = Subscriber::new(key, client_id, place, access);
        let session = Session::new(Arc::clone(self.limits.of(LimitsClass::GENERAL)), 1); // those of its owner follow
        self.insert_session(SessionSlot { owner, ..SessionSlot::new(claim, session, Arc::new(subscriber)) })
    }

    /// The granted Session Expiry Interval, in seconds.
    fn session_expiry_interval(&self, connect: &Connect) -> u32 {
        connect.properties.session_expiry_interval.min(self.settings.session_expiry_max)
    }

    /// The Keep Alive that is enforced, in seconds.
    fn keep_alive(&self, id: ConnectionId, connect: &Connect) -> u16 {
        match self.offer(id).keep_alive_max.map(NonZeroU16::get) {
            // 3.1.1 has no Server Keep Alive, so the Keep Alive that the client requested applies.
            Some(maximum)
                if connect.version.has_properties() && (connect.keep_alive == 0 || connect.keep_alive > maximum) =>
            {
                maximum
            }
            _ => connect.keep_alive,
        }
    }

    fn link(&self, id: ConnectionId, connect: &Connect) -> Link {
        let properties = &connect.properties;
        let send_maximum = properties.receive_maximum.min(self.settings.send_window(self.class_of(id)));
        let offer = self.offer(id);
        let outgoing = properties.topic_alias_maximum.min(offer.topic_alias_maximum_outgoing);
        let mut link = Link::new(connect.version, send_maximum).with_aliases(offer.topic_alias_maximum, outgoing);
        (link.maximum_qos, link.retain_available) = (offer.maximum_qos, offer.retain_available);
        link.maximum_packet_size = properties.maximum_packet_size;
        link.request_problem_information = properties.request_problem_information;
        link.mount_point = self.connection(id).and_then(|connection| connection.access.mount_point().cloned());
        match self.link_of(id) {
            Some(_) => link.to_cell(),
            None => {
                link.tells_repeats = self.shared.cell.is_some();
                link
            }
        }
    }

    /// What the client must know, as far as it differs from the standard's defaults: some clients have small fixed buffers.
    fn connack_properties(
        &self,
        id: ConnectionId,
        slot: usize,
        connecting: &Connecting,
        keep_alive: u16,
    ) -> ConnackProperties {
        if !connecting.connect.version.has_properties() {
            return ConnackProperties::default();
        }
        let (settings, offer) = (&self.settings, self.offer(id));
        let Connecting { connect, client_id, assigned, authentication_data, .. } = connecting;
        let asked = &connect.properties;
        let interval = self.session_expiry_interval(connect);
        let response = settings.response_information.as_ref().filter(|_| asked.request_response_information);
        let receive_maximum = NonZeroU16::new(settings.session_limits(self.class_of(id)).receive_maximum);
        // An Assigned Client Identifier is for clients that have sent none: others take it for a Protocol Error.
        let is_replaced = !assigned && *connect.client_id != *client_id.as_str();
        let packet_size = self.connection(id).and_then(|c| NonZeroU32::new(c.identity.peer.maximum_packet_size));
        ConnackProperties {
            session_expiry_interval: (interval != asked.session_expiry_interval).then_some(interval),
            receive_maximum: receive_maximum.filter(|maximum| *maximum < NonZeroU16::MAX),
            maximum_qos: offer.maximum_qos,
            retain_available: offer.retain_available,
            maximum_packet_size: packet_size.filter(|maximum| (maximum.get() as usize) < PACKET_SIZE_MAX),
            assigned_client_identifier: assigned.then(|| client_id.as_str().into()),
            topic_alias_maximum: offer.topic_alias_maximum,
            reason_string: is_replaced.then(|| REPLACED.into()),
            user_properties: self.explanation(id, slot, connect),
            server_keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
            response_information: response.map(|prefix| format!("{prefix}{client_id}").into()),
            authentication_method: asked.authentication_method.clone(),
            authentication_data: authentication_data.clone(),
            ..ConnackProperties::default()
        }
    }

    fn report_connected(&mut self, id: ConnectionId, connect: &Connect, session_present: bool, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection(id) else { return };
        let client = connection.label();
        self.note(&client, EventKind::Connected, (None, None), turn.now);
        let fields = |object: &mut Object| {
            object.flag("clean_start", connect.clean_start);
            object.flag("session_present", session_present);
            object.number("keep_alive", connect.keep_alive.into());
        };
        self.announce(&client, "connected", fields, turn.now);
        turn.actions.push(Action::Report(Box::new(Report::Connected {
            client,
            connection: id,
            version: connect.version.name(),
            clean_start: connect.clean_start,
            session_present,
            keep_alive: connect.keep_alive,
        })));
    }
}

/// What a client is told whose Client Identifier was replaced.
const REPLACED: &str = "the Client Identifier is the user name at this listener";

/// A CONNECT whose claim of the Client Identifier was granted.
pub(in crate::broker) struct GrantedClaim {
    pub(in crate::broker) claim: Claim,
    pub(in crate::broker) connecting: Box<Connecting>,
    /// The record of the end of the previous Session, which CONNACK confirms.
    pub(in crate::broker) after: Ticket,
}

/// Omits User Properties and Reason String if they would exceed the Maximum Packet Size of the client. [MQTT-3.2.2-19] [MQTT-3.2.2-20]
fn fit(mut connack: Connack, connect: &Connect) -> Connack {
    if let Some(maximum) = connect.properties.maximum_packet_size {
        let packet = ServerPacket::Connack(Box::new(connack.clone()));
        if packet.encoded_len(connect.version) > maximum.get() as usize {
            connack.properties.user_properties.clear();
            connack.properties.reason_string = None;
        }
    }
    connack
}

/// Copies the Will, so that it does not keep the read buffer alive.
fn detached(will: &Will) -> Will {
    let mut message = Message { topic: will.topic.detached(), ..will.message() };
    message.detach();
    Will { topic: message.topic, payload: message.payload, properties: message.properties, ..*will }
}
