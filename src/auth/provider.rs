//! The interface of everything that authenticates clients.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::codec::{ClientId, ReasonCode};
use crate::routing::Access;

/// Authenticates clients by one kind of proof: a certificate, a password, an address.
///
/// Providers stand in a [`Chain`](super::chain::Chain) and hold no state of a single client. A reload of the files makes new providers.
pub trait Provider: Debug + Send + Sync {
    /// Judges one client. `None`: the client brings nothing that this provider judges, so that the next provider of the chain is asked.
    ///
    /// May block for as long as [`cost`](Self::cost) says.
    fn authenticate(&self, request: &Request) -> Option<Verdict>;

    /// What [`authenticate`](Self::authenticate) will cost for this client. Must not block.
    fn cost(&self, _request: &Request) -> Cost {
        Cost::Immediate
    }
}

/// How long a provider takes to judge a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Microseconds: it may be asked on the thread of a shard.
    Immediate,
    /// Milliseconds or more, or megabytes of memory: only the threads of the [`Pool`](super::Pool) ask it.
    Blocking,
}

/// What a client sent at CONNECT or with AUTH, and what is known about its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its Client Identifier, also if the broker assigned it.
    pub client_id: ClientId,
    /// User Name of CONNECT.
    pub user_name: Option<ByteString>,
    /// Password of CONNECT.
    pub password: Option<Bytes>,
    /// Authentication Method; `None` without enhanced authentication.
    pub method: Option<ByteString>,
    /// Authentication Data.
    pub data: Option<Bytes>,
    /// Its address, from the PROXY protocol if that is enabled; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The identity in its verified certificate, if the listener uses that as the user name.
    pub certificate_identity: Option<Arc<str>>,
    /// The name of its listener.
    pub listener: Arc<str>,
}

/// What a provider answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The client may connect, or stay connected after a re-authentication.
    Accept(Decision),
    /// The client has to answer an AUTH packet first. Only for a request with an Authentication Method.
    Continue {
        /// Authentication Data of the AUTH packet.
        authentication_data: Option<Bytes>,
    },
    /// The client may not connect.
    Refuse(Refusal),
}

/// Who an accepted client is, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The name that the client is known by; `None`: it sent no name.
    pub user: Option<Arc<str>>,
    /// Whether `user` was proved. Only a verified user owns a Session and has access rules of its own.
    pub is_verified: bool,
    /// What the client may publish and receive.
    pub access: Arc<Access>,
    /// The last Authentication Data of an enhanced authentication, for CONNACK or AUTH.
    pub authentication_data: Option<Bytes>,
}

/// Why a client is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The Reason Code of the CONNACK or DISCONNECT that refuses the client: 0x80 or above.
    pub reason_code: ReasonCode,
    /// The cause for the log: the client gets only the Reason Code.
    pub cause: ByteString,
}

impl Refusal {
    /// A refusal with a fixed cause.
    pub const fn new(reason_code: ReasonCode, cause: &'static str) -> Self {
        Self { reason_code, cause: ByteString::from_static(cause) }
    }
}

impl Decision {
    /// A client that proved to be `user`.
    pub(super) fn verified(user: Arc<str>, access: Arc<Access>) -> Self {
        Self { user: Some(user), is_verified: true, access, authentication_data: None }
    }

    /// An anonymous client, which may have sent a name that nobody verified.
    pub(super) fn anonymous(user: Option<Arc<str>>, access: Arc<Access>) -> Self {
        Self { user, is_verified: false, access, authentication_data: None }
    }
}
