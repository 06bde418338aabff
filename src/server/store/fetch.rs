//! Reads messages from the store, on a thread that may wait for the disk.

use std::time::Duration;
use std::{io, thread};

use smallvec::SmallVec;

use crate::broker::{CopyPlace, Fetch, Fetched, MessageCache, RecordKey, StoredRecord};
use crate::store::{Found, Key, Located, Shortage, Store};

/// Reads the messages of a fetch, except for those in memory.
pub(super) fn read(store: &Store, cache: &MessageCache, fetch: Fetch) -> Fetched {
    let mut located = store.locate(fetch.keys().map(key));
    let (fetched, is_known) = fetch.answer_from(cache, located.iter().map(|one| Some(one.position()?.into())));
    let mut is_known = is_known.into_iter();
    located.retain(|_| !is_known.next().unwrap_or(false));
    let mut reader = Reader { store, cache, fetched, attempts: 0 };
    store.read_each(&mut located, |located, found| {
        let read = match found {
            Ok(Some(found)) => reader.add(&located, &found),
            Ok(None) => Err(missing()),
            Err(error) => Err(error),
        };
        if let Err(error) = read.or_else(|error| reader.read_again(&located, error)) {
            reader.fetched.add(Err(error.to_string().into()));
        }
    });
    reader.fetched.share(cache);
    reader.fetched
}

struct Reader<'a> {
    store: &'a Store,
    cache: &'a MessageCache,
    fetched: Fetched,
    attempts: u32,
}

impl Reader<'_> {
    /// Adds the message of a key.
    fn add(&mut self, located: &Located, found: &Found<'_>) -> io::Result<()> {
        let place = located.position().map(|copy| CopyPlace { copy: copy.into(), message: found.entry.into() });
        if place.is_some_and(|place| self.fetched.add_cached(self.cache, place, found.part)) {
            return Ok(());
        }
        let body = found.body()?;
        let (bytes, place) = (body.bytes(), place.filter(|_| body.is_shared));
        self.fetched.add(Ok(StoredRecord { body: &body, part: found.part, bytes, place }));
        Ok(())
    }

    /// Repeats a read whose error may be temporary, at most [`READ_ATTEMPTS_MAX`] times per fetch; without a bound if a resource ran out, such as
    /// file descriptors.
    fn read_again(&mut self, located: &Located, mut error: io::Error) -> io::Result<()> {
        while error.kind() != io::ErrorKind::InvalidData && self.attempts < READ_ATTEMPTS_MAX {
            // A resource that ran out says nothing about the message: the read waits for it until the broker stops.
            if Shortage::of(&error).is_none() || self.store.is_closing() {
                self.attempts += 1;
            }
            // An interrupted read says that the message was copied to reclaim space.
            if error.kind() != io::ErrorKind::Interrupted {
                thread::sleep(READ_PAUSE);
            }
            let store = self.store;
            match store.read_key(located.key, |found| self.add(located, &found)) {
                Ok(read) => return read.ok_or_else(missing),
                Err(again) => error = again,
            }
        }
        Err(error)
    }
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the store does not contain it")
}

pub(super) fn key(key: RecordKey) -> Key {
    Key { group: key.group, kind: key.kind, id: key.id }
}

pub(in crate::server) fn keys(keys: &[RecordKey]) -> SmallVec<[Key; 8]> {
    keys.iter().copied().map(key).collect()
}

/// With [`READ_PAUSE`], two seconds.
const READ_ATTEMPTS_MAX: u32 = 20;
const READ_PAUSE: Duration = Duration::from_millis(100);
