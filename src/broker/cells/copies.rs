use std::sync::Arc;

use crate::broker::cells::source::source_of;
use crate::broker::persistence::record::Addressed;
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::Shard;
use crate::broker::streams::number::StreamNumber;
use crate::codec::{Matched, Qos};
use crate::routing::Subscriber;
use crate::session::Delivery;

impl Shard {
    /// Who has published a message, which other cells are told of one that is retained.
    #[inline]
    pub(in crate::broker) fn source_for_cells(
        &self,
        publisher: &Publisher,
        accepted: &AcceptedMessage,
    ) -> Option<Arc<Matched>> {
        let is_told = accepted.retain && self.shared.cell.is_some() && !publisher.is_link;
        is_told.then(|| Arc::new(Matched { source: source_of(publisher), ..Matched::default() }))
    }

    /// Makes a copy one for another cell, if its receiver is one, which gets it once, whatever its subscribers there get; one for a share says so. At QoS 0 it takes its place in the queue of the link if it is
    /// retained there, and behind such a message.
    #[inline]
    pub(in crate::broker) fn make_for_cell(
        &self,
        to: &Subscriber,
        delivery: &mut Delivery,
        source: Option<&Arc<Matched>>,
    ) {
        if !to.is_link() {
            return;
        }
        if delivery.qos > Qos::AtMostOnce || delivery.retain || self.links.owed.has_topic(&delivery.message.topic) {
            delivery.qos = Qos::ExactlyOnce;
            if delivery.matched.is_none() {
                delivery.matched = source.cloned();
            }
        }
    }

    /// Whether someone waits for the record of a message at QoS 0: a subscriber that has all messages of one of these streams, or another cell that gets one of
    /// these copies.
    pub(in crate::broker) fn is_record_awaited(&self, streams: &[StreamNumber], copies: &[Addressed]) -> bool {
        streams.iter().any(|stream| self.shared.stream_board.is_awaited(*stream))
            || copies.iter().any(|copy| copy.to.is_link())
    }
}
