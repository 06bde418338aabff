use std::io;
use std::path::PathBuf;

use super::listener::TlsError;
use super::stream_error::StreamError;
use crate::auth::AuthError;
use crate::config::ListenAddress;
use crate::store::OpenError;

/// Why the broker didn't start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A listener cannot bind its address.
    #[error("listener {listener}: cannot listen at {address}: {source}")]
    Listen {
        /// The listener's name.
        listener: String,
        /// The configured address.
        address: ListenAddress,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The certificates of a listener cannot be used.
    #[error("listener {listener}: {source}")]
    Tls {
        /// The listener's name.
        listener: String,
        /// The file and the cause.
        source: TlsError,
    },
    /// The password or ACL file cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The store cannot be opened.
    #[error("store {}: {source}", directory.display())]
    Store {
        /// Its directory.
        directory: PathBuf,
        /// The cause.
        source: OpenError,
    },
    /// A stream can't be opened.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The store has records that this version does not know, because a later version wrote them.
    #[error(
        "store {}: it has records of a later version (kinds: {kinds}), which this version would lose",
        directory.display()
    )]
    UnknownRecords {
        /// Its directory.
        directory: PathBuf,
        /// The kinds of the records, separated by commas.
        kinds: String,
    },
    /// A write or a sync of the store failed. Acknowledged messages are stored at their durability level; others may be lost.
    #[error("the store failed: {0}")]
    StoreFailed(String),
    /// The disk did not finish the last writes within `server.drain_timeout`. Acknowledged messages are stored at their durability level.
    #[error(
        "the disk did not finish the last writes within server.drain_timeout; what was not acknowledged may be lost"
    )]
    StoreStuck,
    /// A socket that systemd has passed can't be used.
    #[error("socket {name} of systemd: {source}")]
    Passed {
        /// Its name (`FileDescriptorName=`).
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// systemd has passed a socket that belongs to no listener of the configuration.
    #[error(
        "socket {name} of systemd is at {address}, and no listener of the configuration has that address, or the name {name}"
    )]
    SocketUnused {
        /// Its name (`FileDescriptorName=`).
        name: String,
        /// Where it listens.
        address: String,
    },
    /// The running broker does not hand over. It serves on.
    #[error("cannot take over from the running broker, which serves on ({}): {source}", socket.display())]
    TakeOver {
        /// The socket at which it was asked.
        socket: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The operating system refused a thread, a timer, a signal handler or a random number.
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    /// The thread of a shard ended without a request to stop.
    #[error("shard {0} has ended")]
    ShardEnded(u16),
    /// The thread of a shard did not end in time.
    #[error("a shard did not end")]
    ShardStuck,
    /// A second signal arrived during the drain.
    #[error("stopped by a second signal before all clients were disconnected")]
    Interrupted,
}

impl ServerError {
    /// The exit code of the process. 0 means stopped by a signal after the drain, 2 an invalid command line or configuration, and
    /// [`EXIT_PANIC`] a panic.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Start(_) => 1,
            Self::Listen { .. } | Self::Passed { .. } | Self::SocketUnused { .. } => 3,
            Self::Tls { .. } | Self::Auth(_) => 4,
            Self::Store { .. }
            | Self::Stream(_)
            | Self::UnknownRecords { .. }
            | Self::StoreFailed(_)
            | Self::StoreStuck => 5,
            Self::TakeOver { .. } => 8,
            Self::ShardEnded(_) | Self::ShardStuck => EXIT_PANIC,
            Self::Interrupted => 130,
        }
    }
}

/// The exit code after a panic of any thread, which is a bug of the broker.
pub const EXIT_PANIC: u8 = 70;
