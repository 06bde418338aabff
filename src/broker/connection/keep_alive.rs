//! Enforces Keep Alive, `connect_timeout`, and the time at which credentials expire.

use std::time::Duration;

use crate::broker::connection::cause::Cause;
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::flow_control::PAUSE_MAX;
use crate::broker::connection::state::Phase;
use crate::broker::ids::ConnectionId;
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::timestamp::Timestamp;

impl Shard {
    /// Sets the timer of a connection, which serves `connect_timeout` until CONNACK, and after it Keep Alive and the time at which the
    /// credentials of the client expire.
    pub(in crate::broker) fn set_due(&mut self, id: ConnectionId, at: Timestamp) {
        let Some(connection) = self.connection(id) else { return };
        let is_connected = connection.session().is_some();
        let at = if is_connected { at.min(connection.identity.expiry.time()) } else { at };
        if at < Timestamp::NEVER {
            self.timers.set_connection(id.slot, at);
        }
    }

    /// Sets the timer of a connection whose CONNECT was accepted.
    pub(in crate::broker) fn arm(&mut self, id: ConnectionId, turn: &Turn<'_>) {
        let Some(connection) = self.connection(id) else { return };
        let silence_max = (connection.keep_alive > 0).then(|| turn.now + connection.silence_max());
        self.set_due(id, silence_max.unwrap_or(Timestamp::NEVER));
    }

    /// The timer of the connection in `slot` is due: `connect_timeout`, Keep Alive, or the end of the client's credentials.
    pub(in crate::broker) fn on_connection_due(&mut self, slot: u32, turn: &mut Turn<'_>) {
        let Some(connection) = self.connections.in_slot(slot) else { return };
        let id = connection.id;
        match connection.phase {
            Phase::AwaitingConnect => self.break_off(id, "no CONNECT within connect_timeout", turn),
            Phase::Authenticating(_) => {
                // The client has done its part in time. It waits for us, and is not told to come again before its turn has come.
                let until = connection.since() + AUTHENTICATION_MAX;
                if until > turn.now {
                    return self.set_due(id, until);
                }
                self.refuse(id, ReasonCode::ServerBusy, "not authenticated within 15 minutes".into(), turn);
            }
            Phase::AwaitingAuth(_) | Phase::Claiming => {
                let cause = "CONNECT not completed within connect_timeout".into();
                self.refuse(id, ReasonCode::ServerBusy, cause, turn);
            }
            Phase::Connected(_) if connection.identity.expiry.time() <= turn.now => {
                let ending =
                    Ending::with_disconnect(ReasonCode::NotAuthorized, "the credentials of the client have expired");
                self.end_connection(id, ending, turn);
            }
            Phase::Control => self.set_due(id, Timestamp::NEVER),
            Phase::Connected(_) if connection.keep_alive == 0 => self.set_due(id, Timestamp::NEVER),
            Phase::Connected(_) => {
                let silence_max = connection.silence_max();
                let reasons = connection.pause_reasons();
                if !reasons.is_empty() {
                    // Keep Alive is suspended while reading is paused by us, for a bounded time.
                    let until = connection.since() + silence_max.max(PAUSE_MAX);
                    if until > turn.now {
                        return self.set_due(id, until.min(turn.now + silence_max));
                    }
                    let log = format!("paused for too long: {}", reasons.describe());
                    let cause = Cause::private(log, "the broker had no room for packets of this client for too long");
                    return self.end_connection(id, Ending::with_disconnect(ReasonCode::ServerBusy, cause), turn);
                }
                let due = connection.since() + silence_max;
                if due > turn.now {
                    return self.set_due(id, due);
                }
                // [MQTT-3.1.2-22]
                let ending = Ending::with_disconnect(ReasonCode::KeepAliveTimeout, "Keep Alive timeout");
                self.end_connection(id, ending, turn);
            }
        }
    }
}

/// How long a CONNECT may wait for its authentication. After a restart, clients with passwords queue for the threads that hash them: at 20
/// hashes a second, 18,000 are verified in this time. The number of those that wait is bounded by the number of connections.
pub(in crate::broker) const AUTHENTICATION_MAX: Duration = Duration::from_secs(15 * 60);
