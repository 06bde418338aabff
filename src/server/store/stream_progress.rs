//! Tells the shards which messages of the streams can be read.

use std::sync::{Arc, OnceLock};

use crate::broker::{Shared, StreamNumber};
use crate::server::shard::mailbox::{Mail, Mailbox};
use crate::store::Store;

/// Passes the progress of the streams to the shards that wait for it.
#[derive(Debug, Default)]
pub(in crate::server) struct StreamProgress {
    /// The state of the shards, once there are any. What is written before is known by [`publish`].
    shared: OnceLock<Arc<Shared>>,
}

impl StreamProgress {
    /// Passes the progress to these shards from now on, and what there is already.
    pub(in crate::server) fn begin(&self, shared: &Arc<Shared>, store: Option<&Store>, mailboxes: &[Mailbox]) {
        // It begins once.
        let _ = self.shared.set(Arc::clone(shared));
        publish(shared, store, mailboxes);
    }

    /// The messages below `end` of the stream with the keys of this group can be read.
    pub(super) fn advance(&self, group: u64, end: u64, mailboxes: &[Mailbox]) {
        if let (Some(shared), Some(stream)) = (self.shared.get(), StreamNumber::of_group(group)) {
            shared.stream_advanced(stream, 0..end, |shard| wake(mailboxes, shard.0, stream));
        }
    }
}

/// A stream was removed: those who wait for its messages read it, and see that it is gone.
pub(in crate::server) fn end(shared: &Shared, stream: StreamNumber, mailboxes: &[Mailbox]) {
    shared.stream_advanced(stream, 1..u64::MAX, |shard| wake(mailboxes, shard.0, stream));
}

/// Publishes the oldest and the last message of each stream: at the start, and from time to time, because streams are trimmed.
pub(in crate::server) fn publish(shared: &Shared, store: Option<&Store>, mailboxes: &[Mailbox]) {
    let Some(store) = store else { return };
    for stream in shared.streams().iter() {
        let number = stream.number;
        let Some(reader) = store.stream_reader(number.0) else { continue };
        let range = reader.oldest()..reader.end();
        shared.stream_advanced(number, range, |shard| wake(mailboxes, shard.0, number));
    }
}

fn wake(mailboxes: &[Mailbox], shard: u16, stream: StreamNumber) {
    if let Some(mailbox) = mailboxes.get(usize::from(shard)) {
        mailbox.put(Mail::StreamAdvanced(stream));
    }
}
