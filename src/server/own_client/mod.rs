//! Clients of the broker's own, inside its process: bridges and sinks.
//!
//! Such a client is an ordinary client of the broker with a durable Session, which is its durable queue. Only its connection is special:
//!
//! | what | how |
//! | --- | --- |
//! | transport | a pair of Unix sockets; [`OwnClients::connect`] gives one of them to a shard, as an accepted connection of an endpoint that no listener has |
//! | Client Identifier | `$bridge/NAME` or `$sink/NAME`: a CONNECT from outside with such a name is refused, and one with that of a link to another cell |
//! | user | verified by the provider `$bridge` or `$sink`, which no configuration can name, so no client from outside gets its Session |
//! | rights | those of its user in the ACL file; without one, everything |
//! | limits | those of Sessions, queues and messages; not those of connections and listeners, no bans and no delays |
//!
//! The client's side of the connection is a [`PacketLink`](super::packet_link::PacketLink).

mod clients;

use std::sync::Arc;

pub(crate) use clients::Kind;
pub(in crate::server) use clients::{OwnClients, granted, is_reserved};

use super::Server;

impl Server {
    /// Opens connections of the broker's own clients, with the limits in force.
    pub(in crate::server) fn own_clients(&mut self) -> OwnClients {
        let limits = &self.config.limits;
        let new = || OwnClients::new((self.clock, Arc::clone(&self.admission)), Arc::clone(&self.mailboxes), limits);
        let clients = self.attendants.own_clients.get_or_insert_with(new);
        clients.set_limits(limits);
        clients.clone()
    }
}

#[cfg(test)]
mod tests;
