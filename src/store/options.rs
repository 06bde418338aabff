use super::level::Level;

/// How a store works.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// When an entry counts as stable, if it asks for no less itself.
    pub level: Level,
    /// What a file of the log holds; also the space that is kept for a full disk.
    pub segment_bytes: u64,
    /// The share of the log that may be garbage before what is live is moved together.
    pub garbage_share: f64,
    /// From how many bytes on that wait to be stable the store is congested; half a segment at most, as they all must fit in
    /// the space that is kept for a full disk.
    pub gathered_bytes_max: usize,
    /// Whether to refuse a log of which a part can't be read, instead of going on with the rest.
    pub strict: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Level::PowerLoss,
            segment_bytes: 64 << 20,
            // The log is at most twice what is live, and moving costs one more write for each byte at worst.
            garbage_share: 0.5,
            // What a slow disk writes in a second.
            gathered_bytes_max: 32 << 20,
            strict: false,
        }
    }
}

/// Whom the store tells what. By default nobody hears of anything.
pub struct Hooks {
    /// So many of so many segments have been read, while the store is opened.
    pub on_read: Box<dyn Fn(usize, usize) + Send>,
    /// All that this source appended up to and including this ticket is stable.
    pub on_stable: Box<dyn Fn(usize, u64) + Send>,
    /// Whether the store is congested, or its disk is full, has changed: all who append should look.
    pub on_pressure: Box<dyn Fn() + Send>,
    /// A write or a sync failed: nothing is stable from now on.
    pub on_failure: Box<dyn Fn(&str) + Send>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            on_read: Box::new(|_, _| ()),
            on_stable: Box::new(|_, _| ()),
            on_pressure: Box::new(|| ()),
            on_failure: Box::new(|_| ()),
        }
    }
}
