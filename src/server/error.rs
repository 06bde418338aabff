use std::io;
use std::path::PathBuf;

use super::listener::TlsError;
use crate::auth::AuthError;
use crate::config::ListenAddress;
use crate::store::OpenError;

/// Why the broker doesn't run, or doesn't any more.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address can't be listened at.
    #[error("listener {listener}: cannot listen at {address}: {source}")]
    Listen {
        /// The listener's name.
        listener: String,
        /// Where it should listen.
        address: ListenAddress,
        /// What the operating system says.
        source: io::Error,
    },
    /// The certificates of a listener can't be used.
    #[error("listener {listener}: {source}")]
    Tls {
        /// The listener's name.
        listener: String,
        /// Which file, and why.
        source: TlsError,
    },
    /// The password or ACL file can't be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The store can't be opened.
    #[error("store {}: {source}", directory.display())]
    Store {
        /// Its directory.
        directory: PathBuf,
        /// Why not.
        source: OpenError,
    },
    /// A write or a sync of the store failed: what was acknowledged is on disk, nothing else is.
    #[error("the store failed: {0}")]
    StoreFailed(String),
    /// The operating system gives no thread, timer, signal or random number.
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    /// A shard ended although nobody asked it to.
    #[error("shard {0} has ended")]
    ShardEnded(u16),
    /// A second signal came during the drain.
    #[error("stopped by a second signal before every client had heard of the stop")]
    Interrupted,
}

impl ServerError {
    /// The exit code of the process. 0 is a drain after a signal, 1 also a wrong configuration, 2 a wrong command line, and a
    /// [panic](super::EXIT_PANIC) has its own.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Start(_) => 1,
            Self::Listen { .. } => 3,
            Self::Tls { .. } | Self::Auth(_) => 4,
            Self::Store { .. } | Self::StoreFailed(_) => 5,
            Self::ShardEnded(_) => super::EXIT_PANIC,
            Self::Interrupted => 130,
        }
    }
}
