//! The interface of authentication providers.

use std::borrow::Cow;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::BoxFuture;

use super::exchange::Exchange;
use super::fingerprint::Fingerprint;
use crate::codec::{ClientId, ReasonCode};
use crate::config::ClientIdRule;
use crate::routing::Access;
use crate::timestamp::{Timestamp, WallTime};

/// Authenticates clients by one kind of proof: a certificate, a password, an address.
///
/// Providers are the elements of a `Chain` and have no state per client: what one has to know of an earlier step of an enhanced authentication, it
/// gets back with the request. A reload of the files creates new providers.
pub trait Provider: Debug + Send + Sync {
    /// Authenticates one client. `None`: the provider abstains, and the next provider of the chain is asked.
    ///
    /// May block if [`cost`](Self::cost) is [`Cost::Blocking`]. Not called if it is [`Cost::Remote`].
    fn authenticate(&self, request: &Request) -> Option<Verdict>;

    /// The cost of [`authenticate`](Self::authenticate) for this client. Must not block.
    fn cost(&self, _request: &Request) -> Cost {
        Cost::Immediate
    }

    /// Authenticates one client by asking a service. Only called if [`cost`](Self::cost) is [`Cost::Remote`]; ends within a time that the
    /// provider bounds.
    fn consult<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Consultation> {
        Box::pin(async { Consultation { verdict: self.authenticate(request), fault: None } })
    }

    /// What bounds the requests to its service.
    fn bounds(&self) -> RemoteBounds {
        RemoteBounds { provider: ByteString::new(), requests_max: 1, wait_max: Duration::ZERO }
    }
}

/// The answer of a provider that has asked its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consultation {
    /// The verdict; `None`: the provider abstains.
    pub verdict: Option<Verdict>,
    /// What was wrong with the service. Its client is refused then.
    pub fault: Option<ByteString>,
}

/// The bounds of the requests to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteBounds {
    /// The name of the provider.
    pub provider: ByteString,
    /// How many requests are under way at most. The others wait.
    pub requests_max: usize,
    /// How long a request waits at most before it is under way.
    pub wait_max: Duration,
}

/// How long a provider takes to authenticate a client, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// Microseconds: it may be asked on the thread of a shard.
    Immediate,
    /// Milliseconds or more, or megabytes of memory: only the threads of the [`Pool`](super::Pool) ask it.
    Blocking,
    /// As long as a service on the network takes: only the [`Pool`](super::Pool)'s thread for services asks it.
    Remote,
}

/// The credentials of a client from CONNECT or AUTH, and its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its Client Identifier, also if the broker assigned it.
    pub client_id: ClientId,
    /// User Name of CONNECT. At a re-authentication, the verified user.
    pub user_name: Option<ByteString>,
    /// Password of CONNECT.
    pub password: Option<Bytes>,
    /// Authentication Method; `None` without enhanced authentication.
    pub method: Option<ByteString>,
    /// Authentication Data.
    pub data: Option<Bytes>,
    /// What the provider has to know of the earlier steps of an enhanced authentication; `None`: this is the first step.
    pub exchange: Option<Exchange>,
    /// Its address, from the PROXY protocol if that is enabled; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether it is certainly on this machine: a loopback address or a Unix socket, no proxy, and no website's page.
    pub is_local: bool,
    /// The identity in its verified certificate, if the listener uses that as the user name.
    pub certificate_identity: Option<Arc<str>>,
    /// The name of its listener.
    pub listener: Arc<str>,
    /// How the Client Identifiers of its listener depend on user names.
    pub client_ids: ClientIdRule,
    /// When it asked.
    pub at: Timestamp,
    /// What the wall clock showed then.
    pub wall: WallTime,
}

impl Request {
    /// The request with the Client Identifier that a client gets if `user` is its verified name. A provider that grants topics by the Client
    /// Identifier, or compares it, uses this one: where Client Identifiers are user names, the one that the client has sent says nothing.
    pub fn named<'a>(&'a self, user: &str) -> Cow<'a, Self> {
        if self.client_id_of(user) != self.client_id.as_str() {
            return Cow::Owned(Self { client_id: ClientId::from(user), ..self.clone() });
        }
        Cow::Borrowed(self)
    }

    /// The Client Identifier that a client gets if `user` is its verified name.
    pub fn client_id_of<'a>(&'a self, user: &'a str) -> &'a str {
        if self.client_ids == ClientIdRule::UserName { user } else { self.client_id.as_str() }
    }
}

/// The decision of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The client may connect, or stay connected after a re-authentication.
    Accept(Decision),
    /// The client has to answer an AUTH packet first. Only for a request with an Authentication Method.
    Continue {
        /// Authentication Data of the AUTH packet.
        authentication_data: Option<Bytes>,
        /// What the provider has to know when that comes.
        exchange: Exchange,
    },
    /// The client may not connect.
    Refuse(Refusal),
}

/// The identity and the access rights of an accepted client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The user name; `None`: the client sent no name.
    pub user: Option<Arc<str>>,
    /// Whether `user` was verified. Only a verified user owns a Session and has user-specific access rules.
    pub is_verified: bool,
    /// The name of the provider that decided. A user is the same only if the same provider verified it.
    pub provider: ByteString,
    /// What verified it, if a reload may void that: the line of a password file, or the key of its token.
    pub proof: Option<Fingerprint>,
    /// The topics that the client may publish to and receive from.
    pub access: Arc<Access>,
    /// When its credentials expire, and its connection ends.
    pub expires_at: Option<Timestamp>,
    /// The last Authentication Data of an enhanced authentication, for CONNACK or AUTH.
    pub authentication_data: Option<Bytes>,
}

/// Why a client is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The Reason Code of the CONNACK or DISCONNECT that refuses the client: 0x80 or above.
    pub reason_code: ReasonCode,
    /// The cause for the log. The client gets the Reason Code, and a sentence that depends on nothing else.
    pub cause: ByteString,
}

impl Refusal {
    /// A refusal with a fixed cause.
    pub const fn new(reason_code: ReasonCode, cause: &'static str) -> Self {
        Self { reason_code, cause: ByteString::from_static(cause) }
    }
}

/// The name of the provider of anonymous clients.
const ANONYMOUS: ByteString = ByteString::from_static("anonymous");

impl Decision {
    /// A client that `provider` verified as `user`.
    pub(super) fn verified(provider: ByteString, user: Arc<str>, access: Arc<Access>) -> Self {
        Self {
            user: Some(user),
            is_verified: true,
            provider,
            proof: None,
            access,
            expires_at: None,
            authentication_data: None,
        }
    }

    /// An anonymous client, which may have sent a name that was not verified.
    pub(super) fn anonymous(user: Option<Arc<str>>, access: Arc<Access>) -> Self {
        Self {
            user,
            is_verified: false,
            provider: ANONYMOUS,
            proof: None,
            access,
            expires_at: None,
            authentication_data: None,
        }
    }
}
