use crate::broker::journey::query::HoldersPart;
use crate::broker::query::QueryId;
use crate::codec::MessageId;

/// A search for a message in queues, which waits for the store. The caller of [`Event::Query`](crate::broker::Event::Query) bounds their number.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) query: QueryId,
    pub(super) message: MessageId,
    /// The slot of the Session whose messages are read.
    pub(super) slot: usize,
    pub(super) part: HoldersPart,
}
