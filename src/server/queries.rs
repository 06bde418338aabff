use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::shard::mailbox::{Mail, Mailbox};
use super::shard::queries::{Asking, Question};
use crate::broker::{Answer, Query};
use crate::routing::ShardId;

/// Asks the shards of a running broker, from any thread.
///
/// At most `QUERIES_MAX` are under way at a time, and each is given up after `ANSWER_TIMEOUT`. One that was given up still counts until
/// its shard has seen it: a shard that hangs has no more than that many in its mailbox.
#[derive(Debug, Clone)]
pub struct Queries {
    mailboxes: Arc<[Mailbox]>,
    permits: Arc<Semaphore>,
    answer_timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The shard didn't answer in time: it is overloaded, or hangs.
    #[error("shard {} does not answer", .0.0)]
    TimedOut(ShardId),
    /// The shard has ended, or there is none of this number.
    #[error("shard {} has ended", .0.0)]
    Ended(ShardId),
}

impl Queries {
    pub(super) fn new(mailboxes: Arc<[Mailbox]>) -> Self {
        Self { mailboxes, permits: Arc::new(Semaphore::new(QUERIES_MAX)), answer_timeout: ANSWER_TIMEOUT }
    }

    /// For shards that never answer.
    #[cfg(test)]
    pub(crate) fn unanswered(shards: usize) -> Self {
        let mailboxes = (0..shards).map(|_| Mailbox::new(1)).collect();
        Self { answer_timeout: Duration::from_millis(20), ..Self::new(mailboxes) }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// Asks a shard, and waits for its answer.
    pub async fn ask(&self, shard: ShardId, query: Query) -> Result<Answer, QueryError> {
        let mailbox = self.mailboxes.get(usize::from(shard.0)).ok_or(QueryError::Ended(shard))?;
        let answer = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| QueryError::Ended(shard))?;
            let (reply, answer) = oneshot::channel();
            let asking = Asking { reply, _permit: permit };
            mailbox.put(Mail::Query(Box::new(Question { query, asking })));
            answer.await.map_err(|_| QueryError::Ended(shard))
        };
        timeout(self.answer_timeout, answer).await.unwrap_or(Err(QueryError::TimedOut(shard)))
    }
}

/// A shard that works answers within milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Each is one page of a shard at most.
const QUERIES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::PageRequest;

    #[tokio::test]
    async fn a_shard_that_does_not_answer_has_a_bounded_number_of_queries() {
        let queries = Queries::unanswered(1);
        let query = || Query::Clients(PageRequest { from: 0, limit: 1 });
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
