use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::keys::Key;
use super::level::Level;
use super::replica::Replication;
use super::stream_directories::{StreamDirectories, StreamDisk, StreamNumbers};

/// Configuration of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// When entries count as stable; an entry may have a weaker level.
    pub level: Level,
    /// Size of a segment in bytes, and of the reserve for a full disk.
    pub segment_bytes: u64,
    /// The share of garbage in the log above which live entries are copied to reclaim space.
    pub garbage_share: f64,
    /// The number of pending bytes above which the store is congested; at most half a segment, because they must fit
    /// the reserve for a full disk.
    pub pending_bytes_max: usize,
    /// Whether to refuse a damaged log, instead of recovering the rest.
    pub strict: bool,
    /// How long to wait for the end of a process that has the store open.
    pub lock_patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Level::PowerLoss,
            segment_bytes: 64 << 20,
            // The log is at most twice as large as its live entries, and copying costs at most one more write per byte.
            garbage_share: 0.5,
            // What a slow disk writes in a second.
            pending_bytes_max: 32 << 20,
            strict: false,
            lock_patience: Duration::ZERO,
        }
    }
}

/// See [`Hooks::upgrade`].
pub type Upgrade = dyn Fn(&[u8], &[Key]) -> Option<Upgraded> + Send;

/// The body of an entry, divided into what its puts share and what single ones have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    /// The body of all puts.
    pub body: Vec<u8>,
    /// The part of each put, in the order of the puts; empty if it has none.
    pub parts: Vec<Vec<u8>>,
}

/// Callbacks of the store. By default they do nothing.
pub struct Hooks {
    /// Progress of recovery: the number of segments read, and the number of all segments.
    pub on_read: Box<dyn Fn(usize, usize) + Send>,
    /// All entries of this source up to and including this ticket are stable. If nothing waits for the entries, some commits
    /// may pass before it is called.
    pub on_stable: Box<dyn Fn(usize, u64) + Send>,
    /// The store has become congested or full, or is no longer: every caller that appends should check.
    pub on_pressure: Arc<dyn Fn() + Send + Sync>,
    /// Divides the body of an entry of format version 1, with these live puts, into a body and parts, when space is reclaimed. `None`: the
    /// body stays as it is.
    pub upgrade: Box<Upgrade>,
    /// A write or a sync failed: no entry becomes stable from now on.
    pub on_failure: Arc<dyn Fn(&str) + Send + Sync>,
    /// The stream of this group has messages below this sequence that can be read.
    pub on_advance: Arc<dyn Fn(u64, u64) + Send + Sync>,
    /// Makes the store the owner of a replicated log. Its level must be [`Level::PowerLoss`]; it refuses a damaged log.
    pub replication: Option<Replication>,
    /// Opens the directory of a stream. [`Store::open`](super::Store::open) has its own.
    pub stream_disk: Box<StreamDisk>,
    /// The streams that have a directory. [`Store::open`](super::Store::open) has its own.
    pub stream_numbers: Box<StreamNumbers>,
}

/// The callbacks that two threads use.
#[derive(Clone)]
pub(super) struct Signals {
    pub(super) on_pressure: Arc<dyn Fn() + Send + Sync>,
    pub(super) on_failure: Arc<dyn Fn(&str) + Send + Sync>,
    pub(super) on_advance: Arc<dyn Fn(u64, u64) + Send + Sync>,
}

impl Hooks {
    /// Separates what the streams need.
    pub(super) fn divided(mut self) -> (Signals, Self, StreamDirectories) {
        let Self { on_pressure, on_failure, on_advance, .. } = &self;
        let signals = Signals {
            on_pressure: Arc::clone(on_pressure),
            on_failure: Arc::clone(on_failure),
            on_advance: Arc::clone(on_advance),
        };
        let Self { stream_disk, stream_numbers, .. } = Self::default();
        let disk = mem::replace(&mut self.stream_disk, stream_disk);
        let numbers = mem::replace(&mut self.stream_numbers, stream_numbers);
        (signals, self, StreamDirectories { disk, numbers })
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            on_read: Box::new(|_, _| ()),
            on_stable: Box::new(|_, _| ()),
            on_pressure: Arc::new(|| ()),
            upgrade: Box::new(|_, _| None),
            on_failure: Arc::new(|_| ()),
            on_advance: Arc::new(|_, _| ()),
            replication: None,
            stream_disk: Box::new(|_| Err(io::ErrorKind::Unsupported.into())),
            stream_numbers: Box::new(|| Ok(Vec::new())),
        }
    }
}
