//! Which limits apply to a Session and to a connection: those of all clients, or those of its user.
//!
//! They are found at CONNECT, when a Session is recovered, moves or gets another owner, and at a reload; the path of a message only reads what was
//! found then.

use std::sync::Arc;

use crate::broker::connection::cause::Cause;
use crate::broker::connection::state::Connection;
use crate::broker::ids::ConnectionId;
use crate::broker::owner::{Owner, User};
use crate::broker::shard::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::routing::LimitsClass;
use crate::session::Limits;

impl Shard {
    /// The limits of the Session in `slot` by its owner. Publishers of other shards find its class in the subscriber.
    pub(in crate::broker) fn limits_of(&self, slot: usize) -> Option<Arc<Limits>> {
        let entry = self.sessions.get(slot)?;
        let class = self.settings.user_limits.class_of(&entry.owner);
        entry.subscriber.set_limits_class(class);
        Some(Arc::clone(self.limits.of(class)))
    }

    /// Applies the limits of its owner to the Session in `slot`.
    pub(in crate::broker) fn limit_session(&mut self, slot: usize) {
        if let Some(limits) = self.limits_of(slot)
            && let Some(entry) = self.sessions.get_mut(slot)
        {
            entry.session.set_limits(limits);
        }
    }

    /// The class of the client of a connection, whose CONNECT was accepted.
    pub(in crate::broker) fn class_of(&self, id: ConnectionId) -> LimitsClass {
        let slot = self.connection(id).and_then(Connection::session);
        slot.and_then(|slot| self.sessions.get(slot))
            .map_or(LimitsClass::GENERAL, |entry| entry.subscriber.limits_class())
    }

    /// Notes the rate limits of a client, whose CONNECT is accepted.
    pub(in crate::broker) fn limit_rates(&mut self, id: ConnectionId) {
        let limits = self.settings.rate_limits(self.class_of(id));
        if let Some(connection) = self.connection_mut(id) {
            connection.set_rates(limits.messages.is_some(), limits.bytes.is_some());
        }
    }

    /// Counts the connection of a user with a limit of them, before it claims its Session. Refuses the CONNECT at the limit, and returns `false`
    /// then; nobody else is disturbed.
    pub(in crate::broker) fn admit_user(&mut self, id: ConnectionId, turn: &mut Turn<'_>) -> bool {
        let Some((user, client_id)) = self.connection(id).and_then(user_and_client) else { return true };
        let class = self.settings.user_limits.class_of(&Owner::User(Arc::clone(&user)));
        let limit = self.settings.user_limits.of(class).and_then(|limit| limit.connections_max);
        let Some(connections_max) = limit else { return true };
        if self.shared.user_connections.admit(&user, &client_id, connections_max) {
            self.connection_mut(id).into_iter().for_each(|connection| connection.set_counted(true));
            return true;
        }
        let index = class.index().unwrap_or_default();
        let log = format!("user_limits[{index}].connections_max ({connections_max}) is reached by {:?}", &*user.name);
        let cause = Cause::private(log, "the user has as many connections as are allowed");
        self.refuse(id, ReasonCode::QuotaExceeded, cause, turn);
        false
    }

    /// Counts the end of a connection, if it was counted.
    pub(in crate::broker) fn release_user(&self, connection: &Connection) {
        if connection.is_counted()
            && let Some((user, client_id)) = user_and_client(connection)
        {
            self.shared.user_connections.release(&user, &client_id);
        }
    }

    /// Applies changed settings to the connections that are open. Those beyond a limit of connections stay, and count.
    pub(in crate::broker) fn limit_connections(&mut self) {
        let ids: Vec<ConnectionId> = self.connections.iter().map(|connection| connection.id).collect();
        for id in ids {
            self.limit_rates(id);
            self.recount(id);
        }
    }

    /// Counts a connection that was not, because its user had no limit of connections before, or the other way round.
    fn recount(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_accepted()) else {
            return;
        };
        let class = self.settings.user_limits.class_of(&connection.identity.owner);
        let is_limited = self.settings.user_limits.of(class).is_some_and(|limit| limit.connections_max.is_some());
        if connection.is_counted() == is_limited {
            return;
        }
        connection.set_counted(is_limited);
        let Some((user, client_id)) = user_and_client(connection) else { return };
        if is_limited {
            self.shared.user_connections.admit(&user, &client_id, usize::MAX);
        } else {
            self.shared.user_connections.release(&user, &client_id);
        }
    }
}

/// The verified user of a connection and its Client Identifier, by which it is counted.
fn user_and_client(connection: &Connection) -> Option<(Arc<User>, crate::codec::ClientId)> {
    let Owner::User(user) = &connection.identity.owner else { return None };
    // Below several mount points, it is one user.
    let user = match &user.mount_point {
        None => Arc::clone(user),
        Some(_) => Arc::new(User { mount_point: None, ..User::clone(user) }),
    };
    Some((user, connection.client_id.clone()?))
}
