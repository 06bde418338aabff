//! The shards' access to the store, and its recovery at the start.

pub(super) mod anchors;
mod append;
mod delayed;
pub(super) mod fetch;
pub(super) mod handle;
pub(super) mod marks;
pub(super) mod options;
mod progress;
pub(super) mod stream_progress;
pub(super) mod stream_read;
mod stream_readers;
pub(super) mod streams;
