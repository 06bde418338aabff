//! Enforces Keep Alive and `connect_timeout`.

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
    /// Sets the timer of a connection, which serves `connect_timeout` until CONNACK and Keep Alive after it.
    pub(in crate::broker) fn set_due(&mut self, id: ConnectionId, at: Timestamp) {
        if self.connection(id).is_some() {
            self.timers.set_connection(id.slot, at);
        }
    }

    /// The timer of the connection in `slot` is due: `connect_timeout` or Keep Alive.
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
            Phase::Connected(_) if connection.keep_alive == 0 => {}
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
