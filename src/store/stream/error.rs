use std::io;

/// Why messages of a stream can't be read.
#[derive(Debug, thiserror::Error)]
pub enum StreamReadError {
    /// The message was trimmed.
    #[error("the oldest message kept has the sequence {oldest}")]
    Trimmed {
        /// Sequence of the oldest message kept; of the next message, if none is kept.
        oldest: u64,
    },
    /// Messages are lost, because their bytes are damaged. The stream goes on at `to`, which may be its end.
    #[error("the messages from {from} up to and not including {to} are damaged")]
    Lost {
        /// Sequence of the first lost message.
        from: u64,
        /// Sequence after the last lost message.
        to: u64,
    },
    /// The operating system returned an error. A later attempt may succeed;
    /// [`StreamReader::skip_unreadable`](super::StreamReader::skip_unreadable) gives up the part that can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}
