//! Why the state of another broker can't be taken over.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::{OpenError, Refused};

/// Why nothing was imported. What was written before is removed again.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {fault}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// The data directory has contents, perhaps of a broker.
    #[error("{} exists and is not an empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// The data directory can't be written.
    #[error("cannot write {}: {source}", directory.display())]
    Write {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store can't be created.
    #[error("cannot create a store in {}: {source}", directory.display())]
    Create {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The store took not everything.
    #[error("the store in {} does not take a record: {source}", directory.display())]
    Refused {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: Refused,
    },
    /// A write or a sync of the store failed.
    #[error("the store in {} failed: {cause}", directory.display())]
    Failed {
        /// The directory.
        directory: PathBuf,
        /// Why.
        cause: String,
    },
}

impl ImportError {
    /// The exit code of a command: 5 if the store can't be written, 2 if the file or the directory is wrong.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::File { .. } | Self::NotEmpty(_) => 2,
            Self::Write { .. } | Self::Create { .. } | Self::Refused { .. } | Self::Failed { .. } => 5,
        }
    }
}

/// Why the contents of a file can't be taken over. Offsets are in bytes from its start.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It has no bytes.
    #[error("the file is empty: mosquitto has never saved its state in it")]
    Empty,
    /// It is something else.
    #[error("this is not a mosquitto.db: it begins with {0:?}")]
    Foreign(String),
    /// It is the store of the plugin persist-sqlite.
    #[error(
        "this is an SQLite database, as the plugin persist-sqlite of mosquitto 2.1 writes it; a program that is built with the feature \
         mosquitto-sqlite reads it"
    )]
    Sqlite,
    /// It was not closed: a part of it is in another file.
    #[error("{} exists, so mosquitto is running or was killed; stop it, or start and stop it once", .0.display())]
    NotClosed(PathBuf),
    /// The SQLite database can't be read.
    #[error("the SQLite database can't be read: {0}")]
    Database(String),
    /// A version that this program does not know.
    #[error("version {0} of mosquitto.db is not known; versions 2 to 6 are (mosquitto 1.0 to 2.1)")]
    Version(u32),
    /// A kind of chunk that this program does not know.
    #[error("the chunk at offset {offset} has the unknown kind {kind}")]
    UnknownChunk {
        /// Its kind.
        kind: u32,
        /// Where it begins.
        offset: u64,
    },
    /// The file ends in the middle of a chunk.
    #[error("the file ends within the chunk at offset {offset}, which has {length} bytes: it is not complete")]
    Cut {
        /// Where the chunk begins.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// A chunk whose contents contradict each other.
    #[error("the chunk at offset {offset} is damaged: {what}")]
    Damaged {
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// More of something than can be numbered.
    #[error("the file has more messages or sessions than this program can number")]
    TooMany,
    /// The file can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Fault {
    /// With the name of the file.
    pub(super) fn of(self, file: &Path) -> ImportError {
        let file = file.to_owned();
        if let Self::Io(source) = self {
            ImportError::Read { file, source }
        } else {
            ImportError::File { file, fault: self }
        }
    }
}
