use std::collections::HashMap;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::broker::{Answer, Query, QueryId};

/// A query on its way to a shard, and who waits for the answer.
#[derive(Debug)]
pub(in crate::server) struct Question {
    pub(in crate::server) query: Query,
    pub(in crate::server) asking: Asking,
}

/// Who waits for an answer. It counts among the queries under way until it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Asking {
    pub(in crate::server) reply: oneshot::Sender<Answer>,
    pub(in crate::server) _permit: OwnedSemaphorePermit,
}

/// The queries that a shard has not answered yet. Their permits bound them.
#[derive(Debug, Default)]
pub(in crate::server) struct PendingQueries {
    next: u64,
    pending: HashMap<QueryId, Asking>,
}

impl PendingQueries {
    /// Remembers who waits, under a number that no other query has.
    pub(in crate::server) fn add(&mut self, asking: Asking) -> QueryId {
        self.next += 1;
        let id = QueryId(self.next);
        self.pending.insert(id, asking);
        id
    }

    /// Gives an answer to who waits for it, if anybody still does.
    pub(in crate::server) fn answer(&mut self, id: QueryId, answer: Answer) {
        if let Some(Asking { reply, .. }) = self.pending.remove(&id) {
            // Who stopped waiting needs no answer.
            let _ = reply.send(answer);
        }
    }
}
