use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::shard::mailbox::{Mail, Mailbox};
use super::shard::queries::{QueryRequest, Responder};
use crate::broker::{Answer, Query};
use crate::routing::ShardId;

/// Sends queries to the shards of a running broker, from any thread.
///
/// At most `QUERIES_MAX` are pending at a time, and each times out after `ANSWER_TIMEOUT`. A query that timed out counts as pending
/// until its shard has handled it, so the mailbox of a stuck shard contains at most that many.
#[derive(Debug, Clone)]
pub struct Queries {
    mailboxes: Arc<[Mailbox]>,
    permits: Arc<Semaphore>,
    answer_timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The shard didn't answer within two seconds: it is overloaded or stuck.
    #[error("shard {} does not answer", .0.0)]
    TimedOut(ShardId),
    /// The shard has ended, or no shard has this number.
    #[error("shard {} has ended", .0.0)]
    Ended(ShardId),
}

impl Queries {
    pub(super) fn new(mailboxes: Arc<[Mailbox]>) -> Self {
        Self { mailboxes, permits: Arc::new(Semaphore::new(QUERIES_MAX)), answer_timeout: ANSWER_TIMEOUT }
    }

    /// Queries to shards that never answer.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn unanswered(shards: usize) -> Self {
        let mailboxes = (0..shards).map(|_| Mailbox::new(1)).collect();
        Self { answer_timeout: Duration::from_millis(20), ..Self::new(mailboxes) }
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// Sends a query to a shard and waits for its answer, including the wait for other queries at most `ANSWER_TIMEOUT`.
    pub async fn ask(&self, shard: ShardId, query: Query) -> Result<Answer, QueryError> {
        let mailbox = self.mailboxes.get(usize::from(shard.0)).ok_or(QueryError::Ended(shard))?;
        let answer = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| QueryError::Ended(shard))?;
            let (reply, answer) = oneshot::channel();
            let responder = Responder { reply, _permit: permit };
            mailbox.put(Mail::Query(Box::new(QueryRequest { query, responder })));
            answer.await.map_err(|_| QueryError::Ended(shard))
        };
        timeout(self.answer_timeout, answer).await.unwrap_or(Err(QueryError::TimedOut(shard)))
    }
}

/// A healthy shard answers within milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of pending queries; each holds at most one page of a shard.
const QUERIES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::PageRequest;

    #[tokio::test]
    async fn a_stuck_shard_has_a_bounded_number_of_queries() {
        let queries = Queries::unanswered(1);
        let query = || Query::Clients(PageRequest { from: 0, limit: 1 }, Box::default());
        for _ in 0..2 * QUERIES_MAX {
            assert_eq!(queries.ask(ShardId(0), query()).await, Err(QueryError::TimedOut(ShardId(0))));
        }
        let mut mail = Vec::new();
        queries.mailboxes[0].take(usize::MAX, &mut mail);
        assert_eq!(mail.len(), QUERIES_MAX);
        drop(mail);
        assert_eq!(queries.permits.available_permits(), QUERIES_MAX);
        assert_eq!(queries.ask(ShardId(1), query()).await, Err(QueryError::Ended(ShardId(1))));
    }
}
