use std::sync::Arc;

use crate::broker::ids::Origin;
use crate::broker::persistence::record::Addressed;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::routing::Subscriber;
use crate::session::Ticket;

/// Messages whose record is not stable yet.
#[derive(Debug)]
pub(in crate::broker) struct Outstanding {
    pub(in crate::broker) ticket: Ticket,
    pub(in crate::broker) origin: Option<Origin>,
    pub(in crate::broker) deliveries: Arc<Vec<Addressed>>,
    /// Copies that have no part in the record, and wait for it all the same.
    pub(in crate::broker) held: Vec<(Arc<Subscriber>, SequencedDelivery)>,
}
