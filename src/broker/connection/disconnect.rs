//! Ends Network Connections.

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::client_events::Object;
use crate::broker::connection::backlog::PauseBudgets;
use crate::broker::connection::cause::Cause;
use crate::broker::connection::last_end::{DisconnectKind, LastEnd, ReasonText};
use crate::broker::connection::state::{Connection, Phase};
use crate::broker::history::EventKind;
use crate::broker::ids::ConnectionId;
use crate::broker::operator::outcomes::OutcomeKind;
use crate::broker::operator::query::RefusedAction;
use crate::broker::operator::refusals::Refused;
use crate::broker::persistence::record::WillState;
use crate::broker::report::{LostConnection, Report, SessionChange, WillOutcome};
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Connack, Disconnect, PacketType, ProtocolVersion, ReasonCode, ServerPacket};
use crate::session::{self, Ended};

/// How and why a connection ends.
#[derive(Debug)]
pub(in crate::broker) struct Ending {
    /// The Reason Code of the DISCONNECT, if one is sent.
    disconnect: Option<ReasonCode>,
    /// The Reason Code in the log.
    reason_code: ReasonCode,
    kind: DisconnectKind,
    cause: Cause,
    will: WillAction,
    /// Whether another connection of this shard is about to resume the Session, in the same turn.
    resumed: bool,
    /// Whether the transport has ended already.
    lost: bool,
    /// Whether the end says nothing about the stability of the connection: the client meant it, or a limit of the broker or its stop did.
    is_meant: bool,
}

/// What happens to the Will when its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WillAction {
    /// Published, now or after its Will Delay Interval.
    Publish,
    /// Published if its Will Delay Interval is 0 or its Session ends; otherwise discarded, because the Session resumes in time. [MQTT-3.1.3-9]
    PublishUndelayed,
    /// Not published. [MQTT-3.14.4-3]
    Discard,
    /// Left to another server, as the Session is.
    Leave,
}

impl Ending {
    /// The broker ends the connection with DISCONNECT.
    pub(in crate::broker) fn with_disconnect(reason_code: ReasonCode, cause: impl Into<Cause>) -> Self {
        Self {
            disconnect: Some(reason_code),
            reason_code,
            kind: DisconnectKind::of(reason_code),
            cause: cause.into(),
            will: WillAction::Publish,
            resumed: false,
            lost: false,
            is_meant: matches!(
                reason_code,
                ReasonCode::ServerShuttingDown
                    | ReasonCode::UseAnotherServer
                    | ReasonCode::ServerBusy
                    | ReasonCode::QuotaExceeded
                    | ReasonCode::NotAuthorized
                    | ReasonCode::AdministrativeAction
            ),
        }
    }

    /// A limit of the broker refuses a message that the version can't refuse, and that the client will therefore send again. The fault is
    /// neither the network's nor the client's: such an end says nothing about the stability of the connection.
    pub(in crate::broker) fn by_limit(reason_code: ReasonCode, limit: &str) -> Self {
        let log = format!("{limit}: not acknowledged, so the client will send the message again");
        let kind = DisconnectKind::Limit;
        Self { is_meant: true, kind, ..Self::with_disconnect(reason_code, Cause::private(log, "")) }
    }

    /// An operator ends the connection.
    pub(in crate::broker) fn kicked(reason_code: ReasonCode) -> Self {
        let kind = DisconnectKind::Kicked;
        Self { is_meant: true, kind, ..Self::with_disconnect(reason_code, "disconnected by an operator") }
    }

    /// Another server has the Session, and does what follows from the end of the connection.
    pub(in crate::broker) fn fenced(cause: &'static str) -> Self {
        Self { will: WillAction::Leave, ..Self::with_disconnect(ReasonCode::UseAnotherServer, cause) }
    }

    /// Another connection has claimed the Session.
    pub(in crate::broker) fn taken_over(clean_start: bool) -> Self {
        let will = if clean_start { WillAction::Publish } else { WillAction::PublishUndelayed };
        Self { will, ..Self::with_disconnect(ReasonCode::SessionTakenOver, "session taken over by another connection") }
    }

    /// Another connection of this shard has claimed the Session, and is about to resume it. If the store has the Session as connected, that
    /// stays as it is; the caller records the end if the Session is not resumed after all.
    pub(in crate::broker) fn resumed() -> Self {
        Self { resumed: true, ..Self::taken_over(false) }
    }

    /// The transport has ended.
    fn lost(cause: ByteString) -> Self {
        let reason_code = ReasonCode::UnspecifiedError;
        let cause = Cause::private(cause, "");
        Self {
            disconnect: None,
            reason_code,
            kind: DisconnectKind::Closed,
            cause,
            will: WillAction::Publish,
            resumed: false,
            lost: true,
            is_meant: false,
        }
    }

    /// The peer has closed while the connection was paused.
    pub(in crate::broker) fn peer_gone(cause: String) -> Self {
        Self { lost: false, ..Self::lost(cause.into()) }
    }

    /// The client sent DISCONNECT.
    fn by_client(reason_code: ReasonCode) -> Self {
        let normal = reason_code == ReasonCode::NormalDisconnection;
        let will = if normal { WillAction::Discard } else { WillAction::Publish };
        Self {
            disconnect: None,
            reason_code,
            kind: DisconnectKind::Disconnect,
            cause: "DISCONNECT".into(),
            will,
            resumed: false,
            lost: false,
            is_meant: true,
        }
    }
}

impl Shard {
    pub(in crate::broker) fn on_closed(&mut self, id: ConnectionId, cause: ByteString, turn: &mut Turn<'_>) {
        self.pipeline.forget_close(id);
        self.end_connection(id, Ending::lost(cause), turn);
    }

    /// A connection without any data: nothing is refused, and no error is reported.
    pub(in crate::broker) fn on_closed_silently(&mut self, id: ConnectionId, cause: ByteString, turn: &mut Turn<'_>) {
        let awaits_connect = |connection: &Connection| matches!(connection.phase, Phase::AwaitingConnect);
        if !self.connection(id).is_some_and(awaits_connect) {
            return self.on_closed(id, cause, turn);
        }
        let Some(connection) = self.connections.remove(id) else { return };
        self.timers.cancel_connection(id.slot);
        self.counters.connections -= 1;
        turn.actions.push(Action::Report(Box::new(Report::Silent { client: connection.label(), cause })));
    }

    /// The Session ends its connection, after DISCONNECT or a protocol error.
    pub(in crate::broker) fn on_ended(&mut self, slot: usize, ended: Ended, turn: &mut Turn<'_>) {
        let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) else { return };
        let ending = match ended {
            Ended::ByClient(disconnect) => match self.on_disconnect(slot, &disconnect) {
                Ok(()) => Ending::by_client(disconnect.reason_code),
                Err(error) => Ending::with_disconnect(error.reason_code(), error),
            },
            Ended::ByError(error) => {
                self.counters.protocol_errors += 1;
                Ending::with_disconnect(error.reason_code(), error)
            }
        };
        self.end_connection(id, ending, turn);
    }

    /// Applies the Session Expiry Interval of a DISCONNECT, which may not change it from 0. [3.14.2.2.2]
    fn on_disconnect(&mut self, slot: usize, disconnect: &Disconnect) -> Result<(), session::ProtocolError> {
        let Some(entry) = self.sessions.get_mut(slot) else { return Ok(()) };
        let Some(interval) = disconnect.session_expiry_interval else { return Ok(()) };
        if entry.session_expiry_interval == 0 && interval > 0 {
            return Err(session::ProtocolError::SessionExpiryInDisconnect);
        }
        entry.session_expiry_interval = interval.min(self.settings.session_expiry_max);
        Ok(())
    }

    /// Refuses a CONNECT and closes the connection.
    pub(in crate::broker) fn refuse(
        &mut self,
        id: ConnectionId,
        reason_code: ReasonCode,
        cause: Cause,
        turn: &mut Turn<'_>,
    ) {
        let Some(connection) = self.connection(id) else { return };
        if connection.identity.peer.link.is_some() {
            return self.break_off_with(id, reason_code, cause, turn);
        }
        // 3.1.1 forbids a CONNACK to a malformed CONNECT. [MQTT-3.1.4-1] Any other refusal has a Return Code. [MQTT-3.2.2-6]
        let malformed = matches!(reason_code, ReasonCode::MalformedPacket | ReasonCode::ProtocolError);
        if connection.version == ProtocolVersion::V5 || !malformed {
            let mut packet = ServerPacket::Connack(Box::new(Connack::refused(reason_code)));
            if reason_code == ReasonCode::UseAnotherServer {
                connection.terms().refer(&mut packet, self.settings.server_reference.as_ref());
            }
            connection.terms().explain(&mut packet, cause.for_client());
            if connection.fits(&packet) {
                self.counters.sent(packet.packet_type());
                turn.actions.push(Action::Send { connection: id, packet });
            }
        }
        self.break_off_with(id, reason_code, cause, turn);
    }

    /// Closes a connection that has no Session, without sending a packet.
    pub(in crate::broker) fn break_off(&mut self, id: ConnectionId, cause: &'static str, turn: &mut Turn<'_>) {
        self.break_off_with(id, ReasonCode::ProtocolError, cause.into(), turn);
    }

    fn break_off_with(&mut self, id: ConnectionId, reason_code: ReasonCode, cause: Cause, turn: &mut Turn<'_>) {
        let (will, kind) = (WillAction::Discard, DisconnectKind::of(reason_code));
        let ending =
            Ending { disconnect: None, reason_code, kind, cause, will, resumed: false, lost: false, is_meant: false };
        self.end_connection(id, ending, turn);
    }

    /// Ends a connection in any phase.
    pub(in crate::broker) fn end_connection(&mut self, id: ConnectionId, ending: Ending, turn: &mut Turn<'_>) {
        let Some(mut connection) = self.connections.remove(id) else { return };
        self.timers.cancel_connection(id.slot);
        self.rates.forget(id);
        self.release_user(&connection);
        self.counters.connections -= 1;
        self.link_changed(connection.identity.peer.link, false);
        let time =
            PauseBudgets { now: turn.now, grace: self.settings.slow_receiver_grace, of_shard: &mut self.pause_budget };
        let publishers = connection.backlog.end(time);
        self.release_publishers(publishers, turn);
        self.drop_blocked(&mut connection, turn);
        let session = connection.session().filter(|slot| self.sessions.contains(*slot));
        // Another cell expects no DISCONNECT.
        let is_client = connection.identity.peer.link.is_none();
        let open =
            session.filter(|_| is_client).and_then(|slot| self.sessions.get(slot)).map(|entry| entry.session.is_open());
        if let (Some(reason_code), Some(is_open)) = (ending.disconnect, open)
            && let Some(packet) = self.last_packet(&connection, is_open, (reason_code, ending.cause.for_client()))
        {
            self.counters.sent(packet.packet_type());
            turn.actions.push(Action::Send { connection: id, packet });
        }
        let (will, resumed, lost) = (ending.will, ending.resumed, ending.lost);
        let discards_will = will == WillAction::Discard
            && session
                .and_then(|slot| self.sessions.get(slot))
                .is_some_and(|entry| entry.stored && entry.will.is_some());
        if !lost && !discards_will {
            turn.actions.push(Action::Close { connection: id });
        }
        if is_client || ending.kind == DisconnectKind::ProtocolError {
            self.report_end(&connection, ending, turn);
        }
        self.control_ended(id);
        self.forget_waiting(id);
        if let Some(slot) = session {
            self.detach(slot, will, resumed, turn);
        }
        // A client that sees the end of the connection may rely on its Will being discarded, even if the broker crashes then. The wait
        // ends when the record is stable or the client closes; if it takes too long, the connection is reset.
        if !lost && discards_will && !self.pipeline.await_close(id, turn.now) {
            turn.actions.push(Action::Close { connection: id });
        }
    }

    /// Reports the end of a connection, and keeps it for operators: in the Session, and in the history of the client.
    fn report_end(&mut self, connection: &Connection, ending: Ending, turn: &mut Turn<'_>) {
        let client = connection.label();
        let Ending { reason_code, kind, cause, is_meant, .. } = ending;
        let cause = cause.into_log();
        let text = ReasonText::of(&cause);
        let event = if matches!(connection.phase, Phase::Connected(_)) { "disconnected" } else { "refused" };
        let fields = |object: &mut Object| {
            object.number("reason_code", reason_code.number().into());
            object.text("reason", Some(&*cause));
        };
        self.announce(&client, event, fields, turn.now);
        let report = match connection.phase {
            Phase::Connected(slot) => {
                let sent = (kind != DisconnectKind::Closed).then_some(reason_code);
                self.operator.outcomes.count(client.listener.as_ref(), OutcomeKind::Ended(kind), sent);
                if let Some(entry) = self.sessions.get_mut(slot) {
                    let (last_end, own) = LastEnd::new(kind, sent, text.clone());
                    entry.last_end = Some(last_end);
                    entry.incidents.set_end_reason(own);
                }
                self.note(&client, EventKind::Disconnected(kind), (sent, Some(text)), turn.now);
                let lost = (!is_meant).then(|| LostConnection {
                    lasted: turn.now.since(connection.identity.connected_at),
                    verified_user: connection.verified_user().cloned(),
                });
                Report::Disconnected { client, reason_code, cause, lost }
            }
            Phase::Control => Report::Disconnected { client, reason_code, cause, lost: None },
            Phase::AwaitingConnect | Phase::Authenticating(_) | Phase::AwaitingAuth(_) | Phase::Claiming => {
                self.counters.connects_refused += 1;
                self.note(&client, EventKind::Refused, (Some(reason_code), Some(text)), turn.now);
                let (action, reason) = (RefusedAction::Connect, Some(&*cause));
                let refused = Refused { action, reason_code, rule: None, reason, topic: None };
                self.operator.refused(turn.now, &client, refused);
                Report::Refused { client, reason_code, cause }
            }
        };
        turn.actions.push(Action::Report(Box::new(report)));
    }

    /// Detaches the Session in `slot` from its connection. A durable Session is kept, a transient one ends. If it is about to be `resumed`,
    /// and the store has it as connected, that is not recorded.
    fn detach(&mut self, slot: usize, action: WillAction, resumed: bool, turn: &mut Turn<'_>) {
        let is_link = self.sessions.get(slot).is_some_and(|entry| entry.owner.is_link());
        self.drive(slot, session::Event::Disconnected, turn);
        if action != WillAction::Leave {
            self.leave_groups(slot, turn);
        }
        self.counters.sessions_connected -= u64::from(!is_link);
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        entry.connection = None;
        entry.detached_at = turn.now;
        entry.subscriber.set_connected(false);
        if action == WillAction::Leave {
            return;
        }
        let had_will = entry.will.is_some();
        if entry.has_shares && entry.is_durable() {
            self.shared.directory.presence_changed(entry.subscriber.key);
            self.interest_changed(turn);
        }
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let delay = entry.will.as_ref().map_or(0, |will| will.will_delay_interval);
        let discarded = match action {
            WillAction::Publish => None,
            WillAction::PublishUndelayed if delay == 0 || !entry.is_durable() => None,
            WillAction::PublishUndelayed => entry.will.take().zip(Some("its client connected again in time")),
            WillAction::Leave => None,
            WillAction::Discard => entry.will.take().zip(Some("normal disconnection")), // [MQTT-3.1.2-10]
        };
        if let Some((will, cause)) = discarded {
            self.report_will(slot, &will, WillOutcome::Discarded { cause }, turn);
        }
        let Some(entry) = self.sessions.get(slot) else { return };
        if !entry.is_durable() {
            self.report_session(slot, SessionChange::Ended { cause: "its connection ended" }, turn);
            return self.end_session(slot, turn);
        }
        let will_at = entry.will_at();
        self.pause_streams(slot, turn);
        let will = match will_at {
            _ if !had_will => WillState::Absent,
            will_at => WillState::of(will_at.filter(|at| *at > turn.now)),
        };
        if will == WillState::Gone {
            self.publish_will(slot, turn);
        }
        if !(resumed && self.sessions.get(slot).is_some_and(|entry| entry.recorded_as_connected)) {
            self.persist_detached(slot, will, turn);
        }
        self.schedule_session(slot);
    }
}

impl Shard {
    /// The packet that tells a client why its connection ends: DISCONNECT, which 3.1.1 does not have, or before CONNACK (`is_open` is false) a
    /// CONNACK that refuses the connection.
    fn last_packet(
        &self,
        connection: &Connection,
        is_open: bool,
        (reason_code, sentence): (ReasonCode, &str),
    ) -> Option<ServerPacket> {
        let mut packet = if is_open {
            let is_v5 = connection.version == ProtocolVersion::V5;
            is_v5.then(|| ServerPacket::Disconnect(Box::new(Disconnect::new(reason_code))))?
        } else {
            let is_valid = reason_code.is_valid_in(PacketType::Connack);
            let reason_code = if is_valid { reason_code } else { ReasonCode::ServerUnavailable };
            ServerPacket::Connack(Box::new(Connack::refused(reason_code)))
        };
        if reason_code == ReasonCode::UseAnotherServer {
            connection.terms().refer(&mut packet, self.settings.server_reference.as_ref());
        }
        connection.terms().explain(&mut packet, sentence);
        Some(packet).filter(|packet| is_open || connection.fits(packet))
    }
}
