//! The other copies of a replicated log. The test decides what a majority has, and which node is the owner after a crash.

use std::sync::{Arc, Mutex};

use oncemq::store::sim::SimDisk;
use oncemq::store::{Follower, Mark, Options, Replica, Replication};

/// What a majority has of the log, and what is on its way there.
pub(crate) struct Replicas {
    shipped: Arc<Mutex<Vec<Batch>>>,
    /// The number of batches that a majority has.
    stored: usize,
    survivor: Survivor,
}

/// Whose log goes on after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survivor {
    /// That of the former owner: what only it has is cut.
    Owner,
    /// That of another node: what only the former owner has is lost.
    Copy,
}

#[derive(Clone)]
struct Batch {
    first: u64,
    entries: u32,
    bytes: Vec<u8>,
}

struct Ships(Arc<Mutex<Vec<Batch>>>);

impl Replica for Ships {
    fn ship(&mut self, first: u64, entries: u32, batch: &[u8]) {
        self.0.lock().unwrap().push(Batch { first, entries, bytes: batch.to_vec() });
    }
}

impl Replicas {
    pub(crate) fn new(survivor: Survivor) -> Self {
        Self { shipped: Arc::default(), stored: 0, survivor }
    }

    /// For an owner whose log ends at this mark.
    pub(crate) fn replication(&self, mark: Mark) -> Replication {
        Replication { replica: Box::new(Ships(Arc::clone(&self.shipped))), mark }
    }

    /// A majority has at most so many batches more. Returns the sequence behind the last one.
    pub(crate) fn store(&mut self, batches: usize) -> u64 {
        let shipped = self.shipped.lock().unwrap();
        self.stored = shipped.len().min(self.stored.saturating_add(batches));
        shipped[..self.stored].last().map_or(1, |batch| batch.first + u64::from(batch.entries))
    }

    /// The owner has crashed, and left its disk. Returns the disk of the next owner, and its mark: it has what a majority had.
    pub(crate) fn survive(&mut self, left: SimDisk, options: &Options) -> (SimDisk, Mark) {
        let mut shipped = self.shipped.lock().unwrap();
        shipped.truncate(self.stored);
        let disk = if self.survivor == Survivor::Owner { left } else { SimDisk::new(2) };
        let mut follower = Follower::open_on(Arc::new(disk.clone()), options, &|_, _| ()).unwrap();
        if follower.mark().is_none() {
            follower.sync(Vec::new()).unwrap();
        }
        let sequence = follower.sequence();
        for Batch { first, entries, bytes } in shipped.iter().filter(|batch| batch.first >= sequence) {
            follower.append(*first, *entries, bytes).unwrap();
        }
        follower.sync(Vec::new()).unwrap();
        let mark = follower.mark().unwrap().clone();
        follower.close();
        (disk, mark)
    }
}
