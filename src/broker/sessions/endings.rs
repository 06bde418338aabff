//! The Sessions of one shard that have ended and whose records are not deleted yet. [`ending`](super::ending) says why.

use std::sync::Arc;

use crate::broker::persistence::recovery::Orphan;
use crate::routing::{SessionKey, Subscriber};

/// Sessions that have ended, and messages of Sessions that had ended in the previous run.
///
/// Invariant: no message for an ended Session is on its way when [`take_unused`](Self::take_unused) returns its key.
#[derive(Debug, Default)]
pub(in crate::broker) struct Endings {
    /// Bounded: a Session leaves it some seconds after the last message for it has arrived, if no more than [`TAKEN_MAX`] end in each second.
    ending: Vec<Ending>,
    orphans: Vec<Orphan>,
}

#[derive(Debug)]
struct Ending {
    subscriber: Arc<Subscriber>,
    /// For how many ticks there was no other reference to it.
    unused: u32,
}

impl Endings {
    /// Adds a Session that has ended.
    pub(in crate::broker) fn add(&mut self, subscriber: Arc<Subscriber>) {
        self.ending.push(Ending { subscriber, unused: 0 });
    }

    /// Takes Sessions to which no message is on its way, at most [`TAKEN_MAX`]: each message holds a reference to its receiver. Called once a
    /// second.
    pub(in crate::broker) fn take_unused(&mut self) -> Vec<SessionKey> {
        for ending in &mut self.ending {
            let is_unused = Arc::strong_count(&ending.subscriber) == 1;
            ending.unused = if is_unused { ending.unused + 1 } else { 0 };
        }
        let unused = self.ending.extract_if(.., |ending| ending.unused >= UNUSED_TICKS);
        unused.take(TAKEN_MAX).map(|ending| ending.subscriber.key).collect()
    }

    /// Keeps messages of a Session of the previous run until all Sessions of all shards are restored.
    pub(in crate::broker) fn keep_orphan(&mut self, orphan: Orphan) {
        self.orphans.push(orphan);
    }

    pub(in crate::broker) fn take_orphans(&mut self) -> Vec<Orphan> {
        std::mem::take(&mut self.orphans)
    }
}

/// The record of a message that another shard moved may still be on its way to the store when its last reference is gone, so there is one more
/// second.
const UNUSED_TICKS: u32 = 2;
/// Sessions whose records are deleted in one turn: some milliseconds.
const TAKEN_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ClientId;
    use crate::routing::{Access, Location, ShardId};

    fn ended(key: u64) -> Arc<Subscriber> {
        let location = Location { shard: ShardId(0), slot: Location::ENDED };
        let access = Arc::new(Access::everything());
        Arc::new(Subscriber::new(SessionKey(key), ClientId("a".into()), location, access))
    }

    #[test]
    fn many_sessions_are_taken_in_portions() {
        let mut endings = Endings::default();
        (0..10_000).for_each(|key| endings.add(ended(key)));
        let taken: Vec<_> = (0..5).map(|_| endings.take_unused().len()).collect();
        assert_eq!(taken, [0, 4_096, 4_096, 1_808, 0]);
    }

    #[test]
    fn a_session_is_taken_when_nothing_refers_to_it() {
        let subscriber = ended(7);
        let mut endings = Endings::default();
        endings.add(Arc::clone(&subscriber));
        for _ in 0..5 {
            assert_eq!(endings.take_unused(), []);
        }
        drop(subscriber);
        let taken: Vec<_> = (0..4).map(|_| endings.take_unused()).collect();
        assert_eq!(taken, [vec![], vec![SessionKey(7)], vec![], vec![]]);
    }
}
