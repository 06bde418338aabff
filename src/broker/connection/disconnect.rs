//! How connections and Sessions end, and what becomes of their Wills.

use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::connection::state::{Connection, Phase};
use crate::broker::event::ConnectionId;
use crate::broker::persistence::record::{InsteadOf, WillState};
use crate::broker::publish::accept::Verdict;
use crate::broker::publish::ingress::{Parcel, Publisher};
use crate::broker::shard::Turn;
use crate::broker::{Action, DropReason, Record, Report, Shard};
use crate::codec::{Connack, Disconnect, ProtocolVersion, ReasonCode, ServerPacket, Will};
use crate::routing::Location;
use crate::session::{self, Application, Ended};
use crate::timestamp::Timestamp;

/// How a connection ends.
#[derive(Debug)]
pub(in crate::broker) struct Ending {
    /// What the client is told, if its version allows.
    tell: Option<ReasonCode>,
    /// What the log says.
    reason_code: ReasonCode,
    cause: ByteString,
    will: WillFate,
    /// Whether the transport is gone already.
    lost: bool,
}

/// What becomes of the Will when its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WillFate {
    /// Published, now or after its Will Delay Interval.
    Publish,
    /// Published if it has no Will Delay Interval or its Session ends: else that goes on with another connection. [MQTT-3.1.3-9]
    PublishUndelayed,
    /// Not published. [MQTT-3.14.4-3]
    Discard,
}

impl Ending {
    /// The broker ends it, and says why.
    pub(in crate::broker) fn told(reason_code: ReasonCode, cause: impl Into<ByteString>) -> Self {
        Self { tell: Some(reason_code), reason_code, cause: cause.into(), will: WillFate::Publish, lost: false }
    }

    /// Another connection has claimed the Session.
    pub(in crate::broker) fn taken_over(clean_start: bool) -> Self {
        let will = if clean_start { WillFate::Publish } else { WillFate::PublishUndelayed };
        Self { will, ..Self::told(ReasonCode::SessionTakenOver, "session taken over by another connection") }
    }

    /// The transport is gone.
    fn lost(cause: ByteString) -> Self {
        let reason_code = ReasonCode::UnspecifiedError;
        Self { tell: None, reason_code, cause, will: WillFate::Publish, lost: true }
    }

    /// The client said DISCONNECT.
    fn by_client(reason_code: ReasonCode) -> Self {
        let normal = reason_code == ReasonCode::NormalDisconnection;
        let will = if normal { WillFate::Discard } else { WillFate::Publish };
        Self { tell: None, reason_code, cause: ByteString::from_static("DISCONNECT"), will, lost: false }
    }
}

impl Shard {
    pub(in crate::broker) fn on_closed(&mut self, id: ConnectionId, cause: ByteString, turn: &mut Turn<'_>) {
        self.end_connection(id, Ending::lost(cause), turn);
    }

    /// What the Session says of its connection's end.
    pub(in crate::broker) fn on_ended(&mut self, slot: usize, ended: Ended, turn: &mut Turn<'_>) {
        let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) else { return };
        let ending = match ended {
            Ended::ByClient(disconnect) => match self.on_disconnect(slot, &disconnect) {
                Ok(()) => Ending::by_client(disconnect.reason_code),
                Err(error) => Ending::told(error.reason_code(), error.to_string()),
            },
            Ended::ByError(error) => {
                self.counters.protocol_errors += 1;
                Ending::told(error.reason_code(), error.to_string())
            }
        };
        self.end_connection(id, ending, turn);
    }

    /// DISCONNECT may change the Session Expiry Interval, but not from 0.
    fn on_disconnect(&mut self, slot: usize, disconnect: &Disconnect) -> Result<(), session::ProtocolError> {
        let Some(entry) = self.sessions.get_mut(slot) else { return Ok(()) };
        let Some(interval) = disconnect.session_expiry_interval else { return Ok(()) };
        if entry.session_expiry_interval == 0 && interval > 0 {
            return Err(session::ProtocolError::SessionExpiryInDisconnect);
        }
        entry.session_expiry_interval = interval.min(self.settings.session_expiry_max);
        Ok(())
    }

    /// Answers a CONNECT with a failure and closes.
    pub(in crate::broker) fn refuse(
        &mut self,
        id: ConnectionId,
        reason_code: ReasonCode,
        cause: ByteString,
        turn: &mut Turn<'_>,
    ) {
        let Some(connection) = self.connection(id) else { return };
        // 3.1.1 has no Return Code for a CONNECT that is malformed: there the connection is closed. [MQTT-3.1.4-1]
        let malformed = matches!(reason_code, ReasonCode::MalformedPacket | ReasonCode::ProtocolError);
        if connection.version == ProtocolVersion::V5 || !malformed {
            let mut connack = Connack::refused(reason_code);
            if reason_code == ReasonCode::UseAnotherServer {
                connack.properties.server_reference.clone_from(&self.settings.server_reference);
            }
            let packet = ServerPacket::Connack(Box::new(connack));
            if connection.takes(&packet) {
                self.counters.sent(packet.packet_type());
                turn.actions.push(Action::Send { connection: id, packet });
            }
        }
        self.break_off_with(id, reason_code, cause, turn);
    }

    /// Closes a connection that has no Session, without a word to the client.
    pub(in crate::broker) fn break_off(&mut self, id: ConnectionId, cause: &'static str, turn: &mut Turn<'_>) {
        self.break_off_with(id, ReasonCode::ProtocolError, ByteString::from_static(cause), turn);
    }

    fn break_off_with(&mut self, id: ConnectionId, reason_code: ReasonCode, cause: ByteString, turn: &mut Turn<'_>) {
        let ending = Ending { tell: None, reason_code, cause, will: WillFate::Discard, lost: false };
        self.end_connection(id, ending, turn);
    }

    /// Ends a connection, whatever it has come to.
    pub(in crate::broker) fn end_connection(&mut self, id: ConnectionId, ending: Ending, turn: &mut Turn<'_>) {
        if self.connection(id).is_none() {
            return;
        }
        let Some(mut connection) = self.connections.get_mut(id.slot as usize).and_then(Option::take) else { return };
        self.timers.cancel_connection(id.slot);
        self.counters.connections -= 1;
        self.release_publishers(std::mem::take(&mut connection.congestion), turn);
        self.forget_blocked(&mut connection, turn);
        let session = connection.session().filter(|slot| self.sessions.contains(*slot));
        if let Some(reason_code) = ending.tell {
            let open = session.and_then(|slot| self.sessions.get(slot)).is_some_and(|entry| entry.session.is_open());
            if open && connection.version == ProtocolVersion::V5 {
                let packet = ServerPacket::Disconnect(Box::new(Disconnect::new(reason_code)));
                self.counters.sent(packet.packet_type());
                turn.actions.push(Action::Send { connection: id, packet });
            }
        }
        if !ending.lost {
            turn.actions.push(Action::Close { connection: id });
        }
        let will = ending.will;
        self.report_end(&connection, ending, turn);
        if let Some(slot) = session {
            self.detach(slot, will, turn);
        }
    }

    fn report_end(&mut self, connection: &Connection, ending: Ending, turn: &mut Turn<'_>) {
        let client = connection.label();
        let Ending { reason_code, cause, .. } = ending;
        let report = match connection.phase {
            Phase::Connected(_) => Report::Disconnected { client, reason_code, cause },
            Phase::AwaitingConnect | Phase::Authenticating(_) | Phase::AwaitingAuth(_) | Phase::Claiming => {
                self.counters.connects_refused += 1;
                Report::Refused { client, reason_code, cause }
            }
        };
        turn.actions.push(Action::Report(Box::new(report)));
    }

    /// The Session in `slot` has lost its connection: it waits for another one, or ends.
    fn detach(&mut self, slot: usize, fate: WillFate, turn: &mut Turn<'_>) {
        self.drive(slot, session::Event::Disconnected, turn);
        self.counters.sessions_connected -= 1;
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        entry.connection = None;
        entry.detached_at = turn.now;
        entry.subscriber.set_connected(false);
        let delay = entry.will.as_ref().map_or(0, |will| will.will_delay_interval);
        match fate {
            WillFate::Publish => {}
            WillFate::PublishUndelayed if delay == 0 || !entry.is_durable() => {}
            WillFate::PublishUndelayed | WillFate::Discard => entry.will = None, // [MQTT-3.1.2-10]
        }
        if !entry.is_durable() {
            return self.end_session(slot, turn);
        }
        let will = WillState::of(entry.will_at().filter(|at| *at > turn.now));
        if will == WillState::Gone {
            self.publish_will(slot, turn);
        }
        self.persist_detached(slot, will, turn);
        self.schedule_session(slot);
    }

    /// The connection of the Session in `slot` has ended: since when, and what is left of its Will.
    pub(in crate::broker) fn persist_detached(&mut self, slot: usize, will: WillState, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let (session_expiry_interval, at) = (entry.session_expiry_interval, entry.detached_at);
        let sent_until = entry.session.sent_until();
        let record = |key| Record::SessionDetached { key, session_expiry_interval, at, will, sent_until };
        self.persist_unawaited(slot, record, turn);
    }

    /// Sets the time at which the Will or the end of a Session without connection is due.
    pub(in crate::broker) fn schedule_session(&mut self, slot: usize) {
        let Some(entry) = self.sessions.get(slot) else { return };
        if let Some(at) = entry.will_at().into_iter().chain(entry.ends_at()).min()
            && let Ok(slot) = u32::try_from(slot)
        {
            self.timers.set_session(slot, at);
        }
    }

    /// The Session in `slot` goes: to its next connection, or for good.
    pub(in crate::broker) fn cancel_session_due(&mut self, slot: usize) {
        if let Ok(slot) = u32::try_from(slot) {
            self.timers.cancel_session(slot);
        }
    }

    /// The Will or the end of a Session without connection may be due.
    pub(in crate::broker) fn on_session_due(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot).filter(|entry| entry.connection.is_none()) else { return };
        if entry.ends_at().is_some_and(|at| at <= turn.now) {
            self.counters.sessions_expired += 1;
            return self.end_session(slot, turn);
        }
        if entry.will_at().is_some_and(|at| at <= turn.now) {
            self.publish_will(slot, turn);
            self.persist_detached(slot, WillState::Gone, turn);
        }
        self.schedule_session(slot);
    }

    /// Publishes the Will of the Session in `slot`, which it then has no more. [MQTT-3.1.2-8] [MQTT-3.1.2-10]
    fn publish_will(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let Some(will) = entry.will.take() else { return };
        let publisher = Publisher {
            key: Some(entry.subscriber.key),
            client_id: Some(entry.subscriber.client_id.clone()),
            origin: None,
            received: None,
            once: None,
            instead_of: entry.stored.then_some(InsteadOf::Will(entry.subscriber.key)),
        };
        match self.accept(&publisher, application(*will), turn) {
            Verdict::Answer { reason_code, .. } if !reason_code.is_error() => {}
            Verdict::Answer { .. } | Verdict::Full(_) | Verdict::Later(_) => {
                self.counters.dropped(DropReason::WillRefused, 1)
            }
        }
    }

    /// Ends the Session in `slot`, which has no connection: its Will is published, its subscriptions go, and what it was owed
    /// goes to other members of its shares or nowhere.
    pub(in crate::broker) fn end_session(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(subscriber) = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber)) else { return };
        let key = subscriber.key;
        if self.shared.index().subscription_count_of(key) > 0 {
            self.shared.index_mut().remove(key);
        }
        self.publish_will(slot, turn);
        let Some(entry) = self.sessions.try_remove(slot) else { return };
        self.cancel_session_due(slot);
        subscriber.set_location(Location { shard: self.id, slot: Location::ENDED });
        self.by_claim.remove(&entry.claim);
        self.shared.unclaim(&subscriber.client_id, entry.claim);
        self.shared.session_ended();
        let (messages, bytes) = entry.session.queued();
        self.counters.sessions -= 1;
        self.counters.queued_messages -= messages as u64;
        self.counters.queued_bytes -= bytes as u64;
        let mut lost = messages as u64;
        let stored = entry.stored;
        for (sequence, delivery) in entry.session.into_leftovers() {
            if self.hand_on(&subscriber, Parcel { sequence: Some(sequence), delivery }, turn) {
                lost = lost.saturating_sub(1);
            }
        }
        self.counters.dropped(DropReason::SessionEnded, lost);
        // Behind those that went to others, one by one: a crash in between neither loses nor repeats one.
        if stored {
            self.persist(Record::SessionEnded { key }, turn);
        }
    }

    /// Sets the one timer of a connection: for its CONNECT, and then for its Keep Alive.
    pub(in crate::broker) fn set_due(&mut self, id: ConnectionId, at: Timestamp) {
        if self.connection(id).is_some() {
            self.timers.set_connection(id.slot, at);
        }
    }

    /// CONNECT or the Keep Alive of a connection is due.
    pub(in crate::broker) fn on_connection_due(&mut self, slot: u32, turn: &mut Turn<'_>) {
        let Some(connection) = self.connections.get(slot as usize).and_then(Option::as_ref) else { return };
        let id = connection.id;
        match connection.phase {
            Phase::AwaitingConnect => self.break_off(id, "no CONNECT within connect_timeout", turn),
            Phase::Authenticating(_) | Phase::AwaitingAuth(_) | Phase::Claiming => {
                let cause = "not connected within connect_timeout".into();
                self.refuse(id, ReasonCode::ServerBusy, cause, turn);
            }
            Phase::Connected(_) if connection.keep_alive == 0 => {}
            Phase::Connected(_) => {
                let silence_max = connection.silence_max();
                // Who is not read from can't be heard.
                let heard = if connection.holds > 0 { turn.now } else { connection.last_packet };
                if heard + silence_max > turn.now {
                    return self.set_due(id, heard + silence_max);
                }
                // [MQTT-3.1.2-22]
                let ending = Ending::told(ReasonCode::KeepAliveTimeout, "Keep Alive timeout");
                self.end_connection(id, ending, turn);
            }
        }
    }

    /// The broker stops: every client is told, and nothing new is accepted.
    pub(in crate::broker) fn on_shutting_down(&mut self, turn: &mut Turn<'_>) {
        self.shutting_down = true;
        let connected: Vec<ConnectionId> = self.connections.iter().flatten().map(|connection| connection.id).collect();
        for id in connected {
            let ending = Ending::told(ReasonCode::ServerShuttingDown, "broker is shutting down");
            self.end_connection(id, ending, turn);
        }
    }
}

/// A Will as the message that it is.
fn application(will: Will) -> Application {
    Application {
        message: Arc::new(will.message()),
        has_own_topic: true,
        qos: will.qos,
        retain: will.retain,
        packet_id: None,
        message_expiry_interval: will.message_expiry_interval,
    }
}
