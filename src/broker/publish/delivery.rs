use crate::session::Delivery;

/// A copy of a message for one receiver.
#[derive(Debug)]
pub(in crate::broker) struct SequencedDelivery {
    /// Its sequence in the receiver's queue, at QoS 1 and 2.
    pub(in crate::broker) sequence: Option<u64>,
    pub(in crate::broker) delivery: Delivery,
}
