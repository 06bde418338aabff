use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;

use crate::timestamp::WallTime;

/// The sequences of a message in the streams that keep it. They are known when its record is appended to the log, which is right after the
/// message was accepted.
#[derive(Debug, Default)]
pub struct StreamSequences {
    given: OnceLock<Given>,
    are_final: AtomicBool,
}

#[derive(Debug)]
struct Given {
    sequences: SmallVec<[(u32, u64); 1]>,
    accepted: Option<WallTime>,
}

impl PartialEq for StreamSequences {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for StreamSequences {}

impl StreamSequences {
    /// Sets the number of each stream with the sequence in it, and when the message was accepted, if that is known. Later calls have no effect.
    pub fn give(&self, sequences: impl IntoIterator<Item = (u32, u64)>, accepted: Option<WallTime>) {
        // A message is appended once.
        let _ = self.given.set(Given { sequences: sequences.into_iter().collect(), accepted });
    }

    /// The number of each stream, with the sequence in it; `None`: they are not known yet.
    pub fn get(&self) -> Option<&[(u32, u64)]> {
        self.given.get().map(|given| &*given.sequences)
    }

    /// When the message was accepted, as its streams tell it; `None`: it is not known.
    pub fn accepted(&self) -> Option<WallTime> {
        self.given.get()?.accepted
    }

    /// Whether the messages are known to be stable: no crash gives their sequences to others.
    pub fn are_final(&self) -> bool {
        self.are_final.load(Ordering::Relaxed)
    }

    /// The messages are stable.
    pub fn set_final(&self) {
        self.are_final.store(true, Ordering::Relaxed);
    }
}
