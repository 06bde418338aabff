use std::io;
use std::path::PathBuf;

use super::format::VERSION;
use super::report::Damage;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the store open.
    #[error("{} is in use by process {process}", directory.display())]
    Locked {
        /// The store's directory.
        directory: PathBuf,
        /// The id of the other process, from the lock file.
        process: String,
    },
    /// A later version of the broker wrote the store.
    #[error(
        "{name} has format version {version}, and this version reads up to {VERSION}: use the version that wrote it, or a later one; a store can't be changed back to an older format, but a backup of that time can be restored"
    )]
    Newer {
        /// Name of the segment file.
        name: String,
        /// Its format version.
        version: u32,
    },
    /// A later version of the broker wrote the mark of a replicated log.
    #[error("the mark of the log has format version {version}, which this version can't read")]
    NewerMark {
        /// Its format version.
        version: u32,
    },
    /// A replicated log does not end where its mark says.
    #[error("the log ends at sequence {log}, and its mark says {mark}")]
    OffMark {
        /// The sequence behind its last entry.
        log: u64,
        /// What the mark says.
        mark: u64,
    },
    /// The log is being replaced by a copy of that of another node, which a start as a part of the cluster finishes.
    #[error(
        "the store is being replaced by a copy of that of another node: start it as a part of the cluster, or remove it"
    )]
    IncompleteCopy,
    /// Parts are damaged, and `strict` forbids to continue, or the log is replicated and other copies have them.
    #[error("{} damaged regions, the first: {first}", .count)]
    Damaged {
        /// How many regions.
        count: usize,
        /// The first damaged region.
        first: Damage,
    },
    /// The destination of a copy is not empty.
    #[error("{} is not empty", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
    },
    /// An older segment could not be rewritten in the current format. It is unchanged.
    #[error("{name} could not be rewritten, and is unchanged: {cause}")]
    NotUpgraded {
        /// Name of the segment file.
        name: String,
        /// Why.
        cause: String,
    },
    /// There is no store in the directory.
    #[error("{} contains no store", directory.display())]
    NoStore {
        /// The directory.
        directory: PathBuf,
    },
    /// The operating system returned an error.
    #[error(transparent)]
    Io(#[from] io::Error),
}
