//! Clients of the broker's own, inside its process: bridges and sinks.
//!
//! Such a client is an ordinary client of the broker with a durable Session, which is its durable queue. Only its connection is special:
//!
//! | what | how |
//! | --- | --- |
//! | transport | a pair of Unix sockets; [`OwnClients::connect`] gives one of them to a shard, as an accepted connection of an endpoint that no listener has |
//! | Client Identifier | `$bridge/NAME` or `$sink/NAME`: a CONNECT from outside with such a name is refused |
//! | user | verified by the provider `$bridge` or `$sink`, which no configuration can name, so no client from outside gets its Session |
//! | rights | those of its user in the ACL file; without one, everything |
//! | limits | those of Sessions, queues and messages; not those of connections and listeners, no bans and no delays |
//!
//! The client's side of the connection is a [`PacketLink`](super::packet_link::PacketLink).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytestring::ByteString;
use tokio::net::UnixStream;

use super::Server;
use super::clock::Clock;
use super::listener::{Accepted, AcceptedSocket, Admission, Endpoint};
use super::shard::mailbox::{Mail, Mailbox};
use crate::auth;
use crate::broker::{AuthenticationOutcome, AuthenticationRequest, VerifiedUser};
use crate::codec::{ClientId, Connect, ProtocolVersion};
use crate::config::Limits;

/// What a client of the broker's own does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Bridge,
    Sink,
}

/// Opens connections of the broker's own clients. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::server) struct OwnClients {
    clock: Clock,
    admission: Arc<Admission>,
    mailboxes: Arc<[Mailbox]>,
    /// Those in force.
    limits: Arc<ArcSwap<Limits>>,
}

impl Kind {
    /// The name of the provider that stands for its user.
    pub(in crate::server) const fn provider(self) -> &'static str {
        match self {
            Self::Bridge => "$bridge",
            Self::Sink => "$sink",
        }
    }

    /// What the log calls it.
    const fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Sink => "sink",
        }
    }

    /// The Client Identifier of the one with this name.
    pub(crate) fn client_id(self, name: &str) -> ClientId {
        ClientId::from(format!("{}/{name}", self.provider()))
    }

    /// The CONNECT of the one with this name: MQTT 5.0, its Session is resumed and never expires. There is no Keep Alive, because both ends
    /// are in this process.
    pub(in crate::server) fn connect_packet(self, name: &str) -> Connect {
        let mut connect = Connect::new(ProtocolVersion::V5, self.client_id(name).as_str(), false);
        connect.properties.session_expiry_interval = u32::MAX;
        connect
    }
}

impl OwnClients {
    fn new(server: &Server) -> Self {
        Self {
            clock: server.clock,
            admission: Arc::clone(&server.admission),
            mailboxes: Arc::clone(&server.mailboxes),
            limits: Arc::new(ArcSwap::from_pointee(server.config.limits.clone())),
        }
    }

    /// Opens a connection of the client with this name, who is `user`, to a shard, always the same one. The next packet is its
    /// [`connect_packet`](Kind::connect_packet). While the broker stops, nobody reads it.
    ///
    /// # Errors
    /// There is no file descriptor left, or no runtime of tokio on this thread.
    pub(in crate::server) fn connect(&self, kind: Kind, name: &str, user: &str) -> io::Result<UnixStream> {
        let (own, other) = std::os::unix::net::UnixStream::pair()?;
        own.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        let own = UnixStream::from_std(own)?;
        let user = VerifiedUser { provider: ByteString::from_static(kind.provider()), name: user.into() };
        let endpoint = Arc::new(Endpoint::own(format!("{} {name}", kind.word()), user, &self.limits.load()));
        let permit = self.admission.admit_own(&endpoint);
        let accepted_at = self.clock.read().elapsed;
        let accepted = Accepted { socket: AcceptedSocket::Unix(other), endpoint, permit, accepted_at };
        let mut hasher = DefaultHasher::new();
        (kind, name).hash(&mut hasher);
        let shards = self.mailboxes.len().max(1) as u64;
        let number = usize::try_from(hasher.finish() % shards).unwrap_or_default();
        let mailbox = self.mailboxes.get(number).ok_or(io::ErrorKind::NotConnected)?;
        mailbox.put(Mail::Accepted(Box::new(accepted)));
        Ok(own)
    }

    /// The limits in force, which a reload changes.
    pub(in crate::server) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }
}

impl Server {
    /// Opens connections of the broker's own clients, with the limits in force.
    pub(in crate::server) fn own_clients(&mut self) -> OwnClients {
        let clients = match self.attendants.own_clients.take() {
            Some(clients) => clients,
            None => OwnClients::new(self),
        };
        clients.limits.store(Arc::new(self.config.limits.clone()));
        self.attendants.own_clients.insert(clients).clone()
    }
}

/// Whether only a client of the broker's own may have this Client Identifier.
pub(in crate::server) fn is_reserved(client_id: &ClientId) -> bool {
    let begins =
        |kind: Kind| client_id.as_str().strip_prefix(kind.provider()).is_some_and(|rest| rest.starts_with('/'));
    [Kind::Bridge, Kind::Sink].into_iter().any(begins)
}

/// What a client of the broker's own, who is `user`, gets for its CONNECT.
pub(in crate::server) fn granted(
    user: &VerifiedUser,
    request: &AuthenticationRequest,
    authentication: &auth::Pool,
) -> AuthenticationOutcome {
    AuthenticationOutcome::Granted {
        access: authentication.access_of_own(&request.client_id, &user.name),
        user: Some(Arc::clone(&user.name)),
        verified_user: Some(user.clone()),
        expires_at: None,
        authentication_data: None,
    }
}

#[cfg(test)]
mod tests;
