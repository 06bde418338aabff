use std::sync::Arc;

use crate::broker::cells::source::source_of;
use crate::broker::cells::state::CellState;
use crate::broker::persistence::record::Addressed;
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::Shard;
use crate::broker::streams::number::StreamNumber;
use crate::codec::{Matched, Qos};
use crate::routing::{Receiver, Subscriber};
use crate::session::{Application, Delivery};
use crate::topic::TopicName;

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

    /// Whether a message takes its place in the queues for those of these receivers that are other cells.
    pub(in crate::broker) fn enters_links(&self, receivers: &[Arc<Receiver>], application: &Application) -> bool {
        self.enters_link((application.qos, application.retain), &application.message.topic)
            && receivers.iter().any(|receiver| receiver.subscriber.is_link())
    }

    /// At QoS 0 a message takes its place in the queues of links if it is retained at other cells, and behind such a message: after a start that is any of
    /// those in the queues.
    fn enters_link(&self, (qos, retain): (Qos, bool), topic: &TopicName) -> bool {
        let is_behind = |cell: &Arc<CellState>| cell.has_left() || self.links.owed.has_topic(topic);
        qos > Qos::AtMostOnce || retain || self.shared.cell.as_ref().is_some_and(is_behind)
    }

    /// Makes a copy one for another cell, if its receiver is one, which gets it once, whatever its subscribers there get; one for a share says so.
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
        if self.enters_link((delivery.qos, delivery.retain), &delivery.message.topic) {
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
