//! What the record of a message in streams has in addition.

use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::record::Record;
use crate::timestamp::WallTime;

impl Record {
    /// The durability of the record in the store; `None`: any. That of a message in streams applies at QoS 0, too, although nothing waits for its record:
    /// readers get it when it is written, and if a loss of power took it then, its sequence would be given to another message.
    pub fn stored_durability(&self) -> Option<Durability> {
        if let Self::Accepted { streams, durability, .. } = self
            && !streams.is_empty()
        {
            return Some(*durability);
        }
        self.durability()
    }

    /// The store has appended it, and given it these sequences in its streams, with this time.
    pub fn appended(&self, given: &[u64], accepted: WallTime) {
        if let Self::Accepted { streams, sequences: Some(sequences), .. } = self {
            sequences.give(streams.iter().map(|stream| stream.0).zip(given.iter().copied()), Some(accepted));
        }
    }
}
