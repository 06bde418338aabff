use std::sync::OnceLock;

use smallvec::SmallVec;

/// The sequences of a message in the streams that keep it. They are known when its record is appended to the log, which is right after the
/// message was accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StreamSequences(OnceLock<SmallVec<[(u32, u64); 1]>>);

impl StreamSequences {
    /// Sets the number of each stream with the sequence in it. Later calls have no effect.
    pub fn give(&self, sequences: impl IntoIterator<Item = (u32, u64)>) {
        // A message is appended once.
        let _ = self.0.set(sequences.into_iter().collect());
    }

    /// The number of each stream, with the sequence in it; `None`: they are not known yet.
    pub fn get(&self) -> Option<&[(u32, u64)]> {
        self.0.get().map(|sequences| &**sequences)
    }
}
