//! What operators see of streams.

use std::sync::Arc;

use crate::broker::{GroupView, Shared, Stream};
use crate::store::Store;

/// A stream and its messages.
#[derive(Debug, Clone)]
pub(super) struct StreamFigures {
    pub(super) stream: Arc<Stream>,
    /// The sequence of the oldest message that is kept.
    pub(super) oldest: u64,
    /// The sequence of the next message.
    pub(super) next: u64,
    /// The size of its files.
    pub(super) bytes: u64,
    /// Its groups of subscribers.
    pub(super) groups: Vec<GroupView>,
}

impl StreamFigures {
    /// The messages that are kept, as far as none is damaged.
    pub(super) const fn messages(&self) -> u64 {
        self.next.saturating_sub(self.oldest)
    }
}

/// All streams, in the order of their names.
pub(super) fn figures(shared: &Shared, store: Option<&Store>) -> Vec<StreamFigures> {
    let figures = |stream: &Arc<Stream>| {
        let reader = store?.stream_reader(stream.number.0)?;
        let (stream, oldest, next) = (Arc::clone(stream), reader.oldest(), reader.end());
        let groups = shared.groups_of(stream.number);
        Some(StreamFigures { stream, oldest, next, bytes: reader.bytes(), groups })
    };
    shared.streams().iter().filter_map(figures).collect()
}
