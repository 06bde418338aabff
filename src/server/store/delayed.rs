//! Reads delayed messages that are due from the store, on a thread that may wait for the disk.

use std::io;

use crate::broker::{DelayedBatch, ReadFailure, StoredRecord};
use crate::server::store::fetch::key;
use crate::store::{Found, Located, Store};

/// Reads the messages that are not in memory, if there is a store. One that cannot be read now is asked for again later.
pub(super) fn read(store: Option<&Store>, mut batch: Box<DelayedBatch>) -> Box<DelayedBatch> {
    let Some(store) = store else { return batch };
    let missing = batch.missing();
    let mut located = store.locate(missing.iter().map(|(_, wanted)| key(*wanted)));
    let mut places = missing.into_iter().map(|(place, _)| place);
    store.read_each(&mut located, |located, found| {
        let Some(place) = places.next() else { return };
        let batch = &mut *batch;
        let read = found.and_then(|found| found.map_or(Ok(false), |found| set(batch, place, &found).map(|()| true)));
        let read = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => read_again(store, batch, place, &located),
            read => read,
        };
        match read {
            Ok(true) => {}
            Ok(false) => {
                batch.set(place, Err(ReadFailure::Permanent("the store does not contain it".into())));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                batch.set(place, Err(ReadFailure::Permanent(error.to_string().into())));
            }
            Err(_) => batch.set(place, Err(ReadFailure::Temporary)),
        }
    });
    batch
}

/// Reads a message that was moved meanwhile to reclaim space.
fn read_again(store: &Store, batch: &mut DelayedBatch, place: usize, located: &Located) -> io::Result<bool> {
    let read = store.read_key(located.key, |found| set(batch, place, &found))?;
    Ok(read.is_some())
}

fn set(batch: &mut DelayedBatch, place: usize, found: &Found<'_>) -> io::Result<()> {
    let body = found.body()?;
    let bytes = body.bytes();
    batch.set(place, Ok(StoredRecord { body: &body, part: found.part, bytes, place: None }));
    Ok(())
}
