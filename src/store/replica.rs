//! What the committing thread needs of replication.

use std::fmt;

use super::mark::Mark;

/// The replication of a log: makes a store the owner of a replicated log.
///
/// Entries are then reported stable when this disk *and* a majority of the others have them, in order: as
/// [`Store::replicated`](super::Store::replicated) says.
pub struct Replication {
    /// What takes the batches of the log.
    pub replica: Box<dyn Replica>,
    /// Where the log stands at the start: all of it is replicated. The store refuses to open if its log ends at another sequence.
    pub mark: Mark,
}

impl fmt::Debug for Replication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Replication").field("mark", &self.mark).finish_non_exhaustive()
    }
}

/// Takes the batches of a log to other disks.
pub trait Replica: Send {
    /// A batch of the log: `entries` entries from sequence `first` on. Batches come in order, without gaps, and each once. It is not stable here yet,
    /// and the store may fail before it is.
    ///
    /// The committing thread calls it, so it must not block: the store itself bounds the bytes that are not replicated.
    fn ship(&mut self, first: u64, entries: u32, batch: &[u8]);
}
