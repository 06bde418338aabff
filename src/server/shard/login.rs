use crate::auth;
use crate::broker::AuthenticationOutcome;

/// What the authentication of a connection waits for. The broker keeps the connection paused meanwhile, unless its client is to answer. At most one for each connection, and it
/// ends with it.
#[derive(Debug)]
pub(in crate::server) enum Login {
    /// A thread of the pool.
    Checking { _cancelled_when_dropped: auth::Waiting },
    /// The time at which the providers are asked.
    Delayed(Box<auth::Request>),
    /// The time at which the client is told of its refusal.
    Refused(Box<AuthenticationOutcome>),
    /// The AUTH of the client that continues this exchange. The connection is not paused: during a re-authentication, other packets go on.
    Challenged(auth::Exchange),
}
