use super::super::report::Damage;

/// Configuration of the files of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// The number of the stream. Segments of another one are refused as damaged.
    pub number: u32,
    /// Size of a segment in bytes, from 4 KiB to 1 GiB. A longer message has a segment of its own.
    pub segment_bytes: u64,
}

impl StreamOptions {
    /// Segments of 64 MiB.
    pub const fn new(number: u32) -> Self {
        Self { number, segment_bytes: 64 << 20 }
    }

    /// Segments of at most `segment_bytes`, and of at most an eighth of `max_bytes`, because space is freed by segments.
    #[must_use]
    pub fn fitting(self, segment_bytes: u64, max_bytes: Option<u64>) -> Self {
        let share = max_bytes.map_or(u64::MAX, |bytes| (bytes / SHARE).max(FITTING_MIN));
        Self { segment_bytes: segment_bytes.min(share), ..self }
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
    }
}

/// Which messages of a stream are kept. A limit that is absent trims nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Age in milliseconds. Exact to the message; but a message whose timestamp is in the future keeps the messages of its
    /// segment behind it until the next segment has expired.
    pub max_age: Option<u64>,
    /// Bytes of the batches. Exact to 64 KiB or one message, whichever is longer; the last 64 KiB are always kept. The files
    /// have up to a segment more.
    pub max_bytes: Option<u64>,
    /// Number of messages. Exact.
    pub max_messages: Option<u64>,
}

/// What was found when the files of a stream were opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamOpened {
    /// Number of segments.
    pub segments: usize,
    /// Number of segments that were read completely: the last one, and those without a valid index.
    pub scanned: usize,
    /// Bytes of unsynced writes that a crash left behind the end. They are not part of the stream.
    pub cut_bytes: u64,
    /// Unreadable regions of the scanned segments, and files that are missing or unreadable. A region of a segment with a valid
    /// index is found when it is read.
    pub damages: Vec<Damage>,
}

/// Smaller segments would consist mostly of headers.
const SEGMENT_BYTES_MIN: u64 = 4096;
/// Every offset of a batch fits 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The part of `max_bytes` that one segment takes.
const SHARE: u64 = 8;
/// Smaller segments cost more files and syncs than they save space.
const FITTING_MIN: u64 = 1 << 20;
