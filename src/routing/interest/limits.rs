/// Bounds of an [`Announcer`](crate::routing::Announcer).
#[derive(Debug, Clone, Copy)]
pub struct AnnouncerLimits {
    /// The greatest number of bytes of the interest in one announcement. One filter alone may have more.
    pub announcement_bytes_max: usize,
    /// Changes that are kept for nodes that do not have them. A node that is further behind gets all interest.
    pub changes_max: usize,
    /// The bytes of the filters of these changes, but for the last one.
    pub changes_bytes_max: usize,
    /// What the interest of the cell may take in the table of each node, in bytes: [`EXACT_BYTES`](Self::EXACT_BYTES) for a filter without wildcards; for another
    /// one its text, and [`LEVEL_BYTES`](Self::LEVEL_BYTES) for each level and once more. A cell that would take more wants everything, until it would take half
    /// as much: it costs messages that its Sessions do not want, and none are lost. Shares, which are always told, may take as much besides.
    pub table_bytes_max: usize,
}

impl AnnouncerLimits {
    /// A fingerprint in the hash tables of a table, with about what an allocator adds.
    pub const EXACT_BYTES: usize = 12;
    /// A node of the tree of filters in the same way.
    pub const LEVEL_BYTES: usize = 128;
}

impl Default for AnnouncerLimits {
    fn default() -> Self {
        Self {
            // With lengths and the rest of an announcement, in a frame of 64 KiB.
            announcement_bytes_max: 32 * 1024,
            changes_max: 65_536,
            changes_bytes_max: 16 << 20,
            // 5.6 million filters without wildcards.
            table_bytes_max: 64 << 20,
        }
    }
}
