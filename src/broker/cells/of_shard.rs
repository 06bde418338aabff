use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::cells::owed_messages::OwedMessages;
use crate::broker::cells::permit_message::PermitMessage;
use crate::broker::filter_request::FilterRequest;
use crate::broker::ids::ConnectionId;
use crate::routing::{CellId, CellShare, Receiver};
use crate::session::Ticket;
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// What a shard has for the other cells.
#[derive(Debug, Default)]
pub(in crate::broker) struct Links {
    pub(in crate::broker) controls: ControlLinks,
    pub(in crate::broker) waiting: WaitingAnswers,
    pub(in crate::broker) owed: OwedMessages,
    /// What is to be said about permits when records are stable, in their order: at most one for each of these records.
    pub(in crate::broker) awaited: VecDeque<AwaitedRecord>,
    pub(super) cache: LinkCache,
    pub(super) shares: ShareCache,
    /// Until it knows what the others want, nothing that is due is done before.
    pub(in crate::broker) held_until: Timestamp,
}

/// The other cells as receivers of a message.
pub(in crate::broker) type CellReceivers = SmallVec<[Arc<Receiver>; 2]>;

/// The cells that want the topic that was used last: a publisher sends many messages to a topic in a row.
#[derive(Debug, Default)]
pub(super) struct LinkCache {
    pub(super) topic: Option<TopicName>,
    /// How many changes there were when it was looked up.
    pub(super) generation: u64,
    pub(super) receivers: CellReceivers,
}

/// The indices of the shares of a route for which no member is to be chosen any more.
pub(in crate::broker) type ChosenShares = SmallVec<[usize; 2]>;

/// The shares with members in other cells that get messages to the topic that was used last.
#[derive(Debug, Default)]
pub(super) struct ShareCache {
    pub(super) topic: Option<TopicName>,
    pub(super) generation: u64,
    pub(super) shares: Vec<Arc<CellShare>>,
}

/// What is sent on a control connection when a record is stable.
#[derive(Debug)]
pub(in crate::broker) struct AwaitedRecord {
    pub(super) ticket: Ticket,
    pub(super) connection: ConnectionId,
    pub(super) message: PermitMessage,
}

/// The control connections of a shard.
#[derive(Debug, Default)]
pub(in crate::broker) struct ControlLinks(pub(super) Vec<ControlLink>);

#[derive(Debug, Clone, Copy)]
pub(super) struct ControlLink {
    pub(super) connection: ConnectionId,
    pub(super) cell: CellId,
    /// That of the other cell's owner, since its first message.
    pub(super) epoch: Option<u64>,
}

/// The SUBACKs of a shard that wait until all other cells have noted what this cell wants: at most one of each connection, which is not read meanwhile.
#[derive(Debug, Default)]
pub(in crate::broker) struct WaitingAnswers(pub(super) VecDeque<Waiting>);

#[derive(Debug)]
pub(super) struct Waiting {
    /// The change of what the cell wants.
    pub(super) number: u64,
    pub(super) request: FilterRequest,
}

#[cfg(test)]
impl WaitingAnswers {
    /// Whether a SUBACK for a connection waits.
    pub(in crate::broker) fn has(&self, id: ConnectionId) -> bool {
        self.0.iter().any(|waiting| waiting.request.connection == id)
    }
}
