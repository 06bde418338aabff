//! The files of one stream: its messages in the order of their sequences, in segments that are only appended to.
//!
//! One thread owns the [`StreamLog`] and appends, syncs and trims. Any number of threads read with [`StreamReader`]s
//! meanwhile. `docs/STORAGE.md` describes the format.

mod error;
mod format;
mod index;
mod log;
mod options;
mod reader;
mod recovery;
mod retention;
mod segments;
mod walk;

pub use self::error::StreamReadError;
pub use self::format::StreamMessage;
pub use self::log::StreamLog;
pub use self::options::{Retention, StreamOpened, StreamOptions};
pub use self::reader::StreamReader;

#[cfg(test)]
mod tests;
