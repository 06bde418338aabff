use std::io;
use std::sync::Arc;

use crate::store::Refused;

/// Why the streams can't be as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The files of a stream can't be opened.
    #[error("stream {name}: {source}")]
    Files {
        /// Its name.
        name: Arc<str>,
        /// The cause.
        source: io::Error,
    },
    /// Only a stream that is not configured can be removed.
    #[error("stream {name}: it is in the configuration; remove it there, and reload")]
    InUse {
        /// Its name.
        name: Arc<str>,
    },
    /// The directories of streams can't be read.
    #[error("the directories of the streams: {source}")]
    Directory {
        /// The cause.
        source: io::Error,
    },
    /// The store does not take a definition.
    #[error("stream {name}: {source}")]
    Refused {
        /// Its name.
        name: Arc<str>,
        /// The cause.
        source: Refused,
    },
}
