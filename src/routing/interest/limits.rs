/// Bounds of an [`Announcer`](crate::routing::Announcer).
#[derive(Debug, Clone, Copy)]
pub struct AnnouncerLimits {
    /// The interest of one announcement takes at most so many bytes, unless it is one filter alone.
    pub announcement_bytes_max: usize,
    /// Changes that are kept for nodes that do not have them. A node that is further behind gets all interest.
    pub changes_max: usize,
    /// The bytes of the filters of these changes, but for the last one.
    pub changes_bytes_max: usize,
    /// What the interest of the cell may take in the table of each node, in bytes: [`EXACT_BYTES`](Self::EXACT_BYTES) for each filter without wildcards,
    /// [`WILDCARD_BYTES`](Self::WILDCARD_BYTES) and the text for each other one. A cell that would take more wants everything, until it would take half as much.
    pub table_bytes_max: usize,
}

impl AnnouncerLimits {
    /// Of an exact filter.
    pub const EXACT_BYTES: usize = 12;
    /// Of a filter with wildcards, besides its text.
    pub const WILDCARD_BYTES: usize = 256;
}

impl Default for AnnouncerLimits {
    fn default() -> Self {
        Self {
            // With lengths and the rest of an announcement, in a frame of 64 KiB.
            announcement_bytes_max: 32 * 1024,
            changes_max: 65_536,
            changes_bytes_max: 16 << 20,
            // 5.6 million exact filters; 2 million Sessions in a cell have a third of it with one each.
            table_bytes_max: 64 << 20,
        }
    }
}
