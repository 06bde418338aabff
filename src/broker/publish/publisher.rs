use crate::broker::ids::Origin;
use crate::broker::persistence::record::{Deduplicated, InsteadOf};
use crate::codec::{ClientId, PacketId};
use crate::routing::SessionKey;

/// Who a message comes from.
#[derive(Debug)]
pub(in crate::broker) struct Publisher {
    /// Its Session, for No Local.
    pub(in crate::broker) key: Option<SessionKey>,
    pub(in crate::broker) client_id: Option<ClientId>,
    /// Its connection, to be held up when a receiver doesn't keep up.
    pub(in crate::broker) origin: Option<Origin>,
    /// The slot of its Session and the Packet Identifier, at QoS 1 and 2.
    pub(in crate::broker) received: Option<(usize, PacketId)>,
    /// Its place in the deduplication window.
    pub(in crate::broker) once: Option<Deduplicated>,
    /// What its record ends.
    pub(in crate::broker) instead_of: Option<InsteadOf>,
}

impl Publisher {
    /// The broker itself.
    pub(in crate::broker) const fn broker() -> Self {
        Self { key: None, client_id: None, origin: None, received: None, once: None, instead_of: None }
    }
}
