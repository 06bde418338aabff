use std::io;
use std::path::PathBuf;

use super::format::VERSION;
use super::report::Damage;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by process {process}", directory.display())]
    Locked {
        /// The store's directory.
        directory: PathBuf,
        /// The other process's id, as its lock file says.
        process: String,
    },
    /// A later version wrote it.
    #[error(
        "{name} has format version {version}, and this version reads up to {VERSION}: use the version that wrote it, or a later one"
    )]
    Newer {
        /// The segment's file.
        name: String,
        /// Its format version.
        version: u32,
    },
    /// Something is damaged, and it was asked not to go on then.
    #[error("{} damaged regions, the first: {first}", .count)]
    Damaged {
        /// How many regions.
        count: usize,
        /// The oldest of them.
        first: Damage,
    },
    /// A copy is to be made where something is already.
    #[error("{} is not empty", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
    },
    /// There is no store to copy or check.
    #[error("{} holds no store", directory.display())]
    NoStore {
        /// The directory.
        directory: PathBuf,
    },
    /// The disk or the system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}
