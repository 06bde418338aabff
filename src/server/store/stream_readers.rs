//! The readers of streams, which remember where they are in the files.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::broker::StreamNumber;
use crate::store::{Store, StreamReader};

/// The readers of the streams of one shard, by stream and by the sequence where the next read begins: a reader remembers where that is in the
/// files. At most [`READERS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<HashMap<(StreamNumber, u64), StreamReader>>);

impl Readers {
    /// A reader that goes on at `from`; `None`: there is no such stream.
    pub(super) fn take(&self, store: &Store, stream: StreamNumber, from: u64) -> Option<StreamReader> {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = readers.remove(&(stream, from));
        drop(readers);
        known.or_else(|| store.stream_reader(stream.0))
    }

    /// Keeps a reader whose read has ended before `next`.
    pub(super) fn put(&self, stream: StreamNumber, next: u64, reader: StreamReader) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() >= READERS_MAX {
            readers.clear();
        }
        readers.insert((stream, next), reader);
    }
}

/// A reader needs about 100 bytes. If there are more, those that are needed are made again.
const READERS_MAX: usize = 1_024;
