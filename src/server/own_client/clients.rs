use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytestring::ByteString;
use tokio::net::UnixStream;

use crate::auth;
use crate::broker::{AuthenticationOutcome, AuthenticationRequest, Owner, VerifiedUser};
use crate::codec::{ClientId, Connect, ProtocolVersion};
use crate::config::Limits;
use crate::routing::CellId;
use crate::server::clock::Clock;
use crate::server::listener::{Accepted, AcceptedSocket, Admission, Endpoint};
use crate::server::shard::mailbox::{Mail, Mailbox};

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

    /// The one of `cells` cells that has its Session.
    pub(crate) fn cell(self, name: &str, cells: u16) -> CellId {
        CellId::of_client(self.client_id(name).as_str(), cells)
    }

    /// The owner of the Session of one who is `user`.
    pub(in crate::server) fn owner(self, user: &str) -> Owner {
        Owner::of(Some(self.user(user)))
    }

    fn user(self, name: &str) -> VerifiedUser {
        VerifiedUser { provider: ByteString::from_static(self.provider()), name: name.into() }
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
    /// For the shards of these mailboxes.
    pub(super) fn new((clock, admission): (Clock, Arc<Admission>), mailboxes: Arc<[Mailbox]>, limits: &Limits) -> Self {
        Self { clock, admission, mailboxes, limits: Arc::new(ArcSwap::from_pointee(limits.clone())) }
    }

    /// Changes the limits for later connections.
    pub(super) fn set_limits(&self, limits: &Limits) {
        self.limits.store(Arc::new(limits.clone()));
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
        let user = kind.user(user);
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

/// Whether only a client of the broker's own, or a link to another cell, may have this Client Identifier.
pub(in crate::server) fn is_reserved(client_id: &ClientId) -> bool {
    let begins = |provider: &str| client_id.as_str().strip_prefix(provider).is_some_and(|rest| rest.starts_with('/'));
    [Kind::Bridge.provider(), Kind::Sink.provider(), Owner::LINK].into_iter().any(begins)
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
