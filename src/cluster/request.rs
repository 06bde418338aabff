use bytes::Bytes;

/// What a state machine asks of the engine. A machine has a name for each request, and the reply comes back with it. Replies may come in any
/// order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Append an entry, if the stream ends at this position. It may be appended later, even after [`Reply::Unknown`], as long as
    /// the stream still ends there.
    Append {
        /// The position of the last entry, of any kind.
        expected: u64,
        /// The entry.
        entry: Bytes,
    },
    /// Append an epoch entry, if the latest epoch entry has this position (0: there is none).
    AppendEpoch {
        /// The position of the latest epoch entry.
        expected: u64,
        /// The entry.
        entry: Bytes,
    },
    /// Read entries of all kinds, in order, from the first one behind this position. An answer may be older than the latest acknowledgement.
    Read {
        /// The position behind which to begin.
        after: u64,
    },
    /// Read the latest epoch entry.
    ReadEpoch,
}

/// What the engine answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The entry is at this position, on the disks of a majority.
    Appended(u64),
    /// The stream did not end at the expected position. The entry is not in the stream because of this request.
    Refused,
    /// Nobody knows: there was no answer in time, or the connection ended.
    Unknown,
    /// Entries in order; all that there were, or the first of them.
    Entries {
        /// What was found.
        entries: Vec<Found>,
        /// Whether these were all.
        is_end: bool,
    },
    /// The latest epoch entry, if there is one.
    Epoch(Option<Found>),
}

/// An entry in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its position. Positions rise; those of entries that were trimmed are missing.
    pub position: u64,
    /// The entry.
    pub bytes: Bytes,
}
