//! The files of one stream: its messages in the order of their sequences, in segments that are only appended to.
//!
//! One thread owns the [`StreamLog`] and appends, syncs and trims. Any number of threads read with [`StreamReader`]s
//! meanwhile. `docs/STORAGE.md` describes the format.

mod compaction;
mod error;
mod format;
mod index;
mod log;
mod name;
mod options;
mod reader;
mod recovery;
mod retention;
mod segments;
mod verify;
mod walk;

pub use self::compaction::StreamKey;
pub use self::error::StreamReadError;
pub use self::format::StreamMessage;
pub use self::log::StreamLog;
pub use self::options::{Retention, StreamOpened, StreamOptions};
pub use self::reader::StreamReader;

pub(super) use self::compaction::{Compaction, Step};
pub(super) use self::name::{NAME, decode_name, read_name, write_name};
pub(super) use self::recovery::MARK;
pub(super) use self::verify::verify;

#[cfg(test)]
mod tests;
