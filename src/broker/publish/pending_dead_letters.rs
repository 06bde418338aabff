//! Dropped messages that must be read from the store before they become dead letters.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::broker::counters::DropReason;
use crate::routing::{SessionKey, Subscriber};

/// Dropped messages that are only in the store, by Session, in the order in which they were dropped.
///
/// Bounds: [`DROPPED_MAX`] messages of each Session; a further one is counted as lost and becomes no dead letter. For each Session, one batch
/// of [`FETCHED_MAX`] messages is read at a time.
#[derive(Debug, Default)]
pub(in crate::broker) struct PendingDeadLetters {
    sessions: HashMap<SessionKey, Dropped, RandomState>,
}

/// The dropped messages of one Session.
#[derive(Debug)]
struct Dropped {
    to: Arc<Subscriber>,
    /// By sequence in the queue of the Session, the oldest first.
    messages: VecDeque<(u64, DropReason)>,
    /// Whether a batch is being read.
    is_fetching: bool,
    /// Whether the Session has ended, and has only these records left.
    has_ended: bool,
}

/// [`DROPPED_MAX`] messages of the Session are pending already.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) struct TooManyDropped;

impl PendingDeadLetters {
    /// Adds a message that the Session of `to` dropped.
    pub(in crate::broker) fn add(
        &mut self,
        to: Arc<Subscriber>,
        sequence: u64,
        reason: DropReason,
    ) -> Result<(), TooManyDropped> {
        let dropped = self.sessions.entry(to.key).or_insert_with(|| Dropped {
            to,
            messages: VecDeque::new(),
            is_fetching: false,
            has_ended: false,
        });
        if dropped.messages.len() >= DROPPED_MAX {
            return Err(TooManyDropped);
        }
        dropped.messages.push_back((sequence, reason));
        Ok(())
    }

    /// The sequences of the next batch to read, unless a batch is being read or none is left.
    pub(in crate::broker) fn begin_fetch(&mut self, key: SessionKey) -> Option<Vec<u64>> {
        let dropped = self.sessions.get_mut(&key).filter(|dropped| !dropped.is_fetching)?;
        dropped.is_fetching = true;
        Some(dropped.messages.iter().take(FETCHED_MAX).map(|(sequence, _)| *sequence).collect())
    }

    /// Takes a message of the batch that was read, and returns its receiver and the reason of the drop.
    pub(in crate::broker) fn take(&mut self, key: SessionKey, sequence: u64) -> Option<(Arc<Subscriber>, DropReason)> {
        let dropped = self.sessions.get_mut(&key)?;
        dropped.messages.front().filter(|(first, _)| *first == sequence)?;
        let (_, reason) = dropped.messages.pop_front()?;
        Some((Arc::clone(&dropped.to), reason))
    }

    /// Notes that a Session has ended, and that its other records are deleted after its last message is taken.
    pub(in crate::broker) fn end_session(&mut self, key: SessionKey) {
        if let Some(dropped) = self.sessions.get_mut(&key) {
            dropped.has_ended = true;
        }
    }

    /// Ends a batch after all its messages are taken, so that the next can be read. Returns whether all records of the Session can be deleted
    /// now: it has ended, and none is left.
    pub(in crate::broker) fn end_fetch(&mut self, key: SessionKey) -> bool {
        let Some(dropped) = self.sessions.get_mut(&key) else { return false };
        dropped.is_fetching = false;
        let is_done = dropped.messages.is_empty();
        let has_ended = dropped.has_ended;
        if is_done {
            self.sessions.remove(&key);
        }
        is_done && has_ended
    }
}

/// Pending messages of one Session.
const DROPPED_MAX: usize = 10_000;
/// Messages in one batch. Each may be as large as Maximum Packet Size.
const FETCHED_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ClientId;
    use crate::routing::{Access, Location, ShardId};

    const KEY: SessionKey = SessionKey(1);

    fn subscriber() -> Arc<Subscriber> {
        let location = Location { shard: ShardId(0), slot: 0 };
        Arc::new(Subscriber::new(KEY, ClientId::from("c"), location, Arc::new(Access::everything())))
    }

    fn add(pending: &mut PendingDeadLetters, sequence: u64) -> Result<(), TooManyDropped> {
        pending.add(subscriber(), sequence, DropReason::Expired)
    }

    #[test]
    fn dropped_messages_are_read_in_batches_in_order_and_then_removed() {
        let mut pending = PendingDeadLetters::default();
        assert_eq!(pending.begin_fetch(KEY), None);
        for sequence in 1..=20 {
            add(&mut pending, sequence).unwrap();
        }
        for batch in [1..=16_u64, 17..=20] {
            assert_eq!(pending.begin_fetch(KEY), Some(batch.clone().collect()));
            for sequence in batch {
                assert_eq!(pending.take(KEY, sequence).map(|(_, reason)| reason), Some(DropReason::Expired));
            }
            pending.end_fetch(KEY);
        }
        assert!(pending.sessions.is_empty());
    }

    #[test]
    fn message_dropped_before_the_batch_ends_is_read_once() {
        let mut pending = PendingDeadLetters::default();
        add(&mut pending, 1).unwrap();
        assert_eq!(pending.begin_fetch(KEY), Some(vec![1]));
        assert!(pending.take(KEY, 1).is_some());
        add(&mut pending, 2).unwrap();
        assert_eq!(pending.begin_fetch(KEY), None, "the first batch has not ended");
        pending.end_fetch(KEY);
        assert_eq!(pending.begin_fetch(KEY), Some(vec![2]));
        assert!(pending.take(KEY, 1).is_none() && pending.take(KEY, 2).is_some());
    }

    #[test]
    fn pending_messages_of_a_session_are_bounded() {
        let mut pending = PendingDeadLetters::default();
        for sequence in 0..DROPPED_MAX as u64 {
            add(&mut pending, sequence).unwrap();
        }
        assert_eq!(add(&mut pending, u64::MAX), Err(TooManyDropped));
    }
}
