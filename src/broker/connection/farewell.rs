//! Ends all connections because the broker stops, or those of a listener because it was removed.

use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::state::Phase;
use crate::broker::event::Farewell;
use crate::broker::ids::ConnectionId;
use crate::broker::settings::Settings;
use crate::broker::shard::{Shard, Turn};
use crate::broker::timers::Timers;
use crate::codec::ReasonCode;

impl Shard {
    /// Ends all connections with 0x8B Server shutting down, and refuses those whose CONNECT is not answered yet.
    pub(in crate::broker) fn on_shutting_down(&mut self, turn: &mut Turn<'_>) {
        self.lifecycle.shut_down();
        for id in self.connection_ids() {
            self.end_or_refuse(id, (ReasonCode::ServerShuttingDown, "broker is shutting down"), turn);
        }
    }

    /// Ends all connections with 0x9C Use another server.
    pub(in crate::broker) fn on_farewell(&mut self, farewell: Farewell, turn: &mut Turn<'_>) {
        self.lifecycle.shut_down();
        match farewell {
            Farewell::Moved(reference) => {
                self.set_server_reference(reference);
                for id in self.connection_ids() {
                    self.end_or_refuse(id, (ReasonCode::UseAnotherServer, MOVED), turn);
                }
            }
            Farewell::Fenced(reference) => {
                self.set_server_reference(reference);
                for id in self.connection_ids() {
                    self.leave(id, turn);
                }
                // Their clients have sent DISCONNECT 0x00, and may rely on their Wills being discarded if they see an ordinary end. [MQTT-3.14.4-3]
                while let Some(connection) = self.pipeline.next_waiting_close() {
                    turn.actions.push(Action::Reset { connection });
                }
                // No Will is published and no Session ends because its time has come.
                self.timers = Timers::default();
            }
        }
    }

    /// Ends a connection whose listener was removed.
    pub(in crate::broker) fn on_listener_removed(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        self.end_or_refuse(id, (ReasonCode::AdministrativeAction, "its listener was removed"), turn);
    }

    /// Ends a connection with DISCONNECT, or refuses its CONNECT that is not answered yet.
    fn end_or_refuse(
        &mut self,
        id: ConnectionId,
        (reason_code, cause): (ReasonCode, &'static str),
        turn: &mut Turn<'_>,
    ) {
        let Some(connection) = self.connection(id) else { return };
        match (&connection.phase, reason_code) {
            (Phase::Authenticating(_) | Phase::AwaitingAuth(_) | Phase::Claiming, ReasonCode::UseAnotherServer) => {
                self.refuse(id, reason_code, cause.into(), turn);
            }
            (Phase::Authenticating(_) | Phase::AwaitingAuth(_) | Phase::Claiming, _) => {
                self.refuse(id, ReasonCode::ServerUnavailable, cause.into(), turn);
            }
            (Phase::AwaitingConnect | Phase::Connected(_) | Phase::Control, _) => {
                self.end_connection(id, Ending::with_disconnect(reason_code, cause), turn);
            }
        }
    }

    /// Ends a connection whose Session another server has.
    fn leave(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(connection) = self.connection(id) else { return };
        match connection.phase {
            Phase::Connected(_) | Phase::Control => self.end_connection(id, Ending::fenced(FENCED), turn),
            Phase::Authenticating(_) | Phase::AwaitingAuth(_) | Phase::Claiming | Phase::AwaitingConnect => {
                self.end_or_refuse(id, (ReasonCode::UseAnotherServer, FENCED), turn);
            }
        }
    }

    fn set_server_reference(&mut self, server_reference: Option<ByteString>) {
        self.settings = Arc::new(Settings { server_reference, ..Settings::clone(&self.settings) });
    }

    fn connection_ids(&self) -> Vec<ConnectionId> {
        self.connections.iter().map(|connection| connection.id).collect()
    }
}

/// What clients and the log read.
const MOVED: &str = "another server serves the clients from now on";
const FENCED: &str = "another server has taken over";
