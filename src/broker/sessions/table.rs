use crate::broker::connection::state::Connecting;
use crate::broker::directory::claim::Claimant;
use crate::broker::ids::ConnectionId;

/// A CONNECT that waits for its Session.
#[derive(Debug)]
pub(in crate::broker) struct PendingClaim {
    /// Gone if it closed meanwhile.
    pub(in crate::broker) connection: Option<ConnectionId>,
    pub(in crate::broker) connecting: Box<Connecting>,
    /// Who wants the Session next.
    pub(in crate::broker) successor: Option<Claimant>,
}
