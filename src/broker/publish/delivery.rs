use crate::session::Delivery;

/// A copy of a message for one receiver.
#[derive(Debug)]
pub(in crate::broker) struct SequencedDelivery {
    /// Its sequence in the receiver's queue, at QoS 1 and 2.
    pub(in crate::broker) sequence: Option<u64>,
    pub(in crate::broker) delivery: Delivery,
    /// When its receiver was chosen, as the number of [published changes](crate::routing::RouteGenerations::published) of routes. Rights
    /// that changed later are checked when it arrives.
    pub(in crate::broker) routed: u64,
}
