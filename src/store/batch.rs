use super::entry::Encoded;
use super::format::BATCH_HEADER_BYTES;

/// Entries that are written together.
pub(super) struct Batch {
    /// Space for the header, followed by the entries.
    pub(super) bytes: Vec<u8>,
    pub(super) entries: u32,
}

impl Batch {
    pub(super) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.resize(BATCH_HEADER_BYTES, 0);
        Self { bytes, entries: 0 }
    }

    pub(super) fn add(&mut self, Encoded { front, tail, .. }: &Encoded, body: &[u8]) {
        for bytes in [&front[..], body, tail] {
            self.bytes.extend_from_slice(bytes);
        }
        self.entries += 1;
    }
}
