//! The shards' access to the store, and its recovery at the start.

pub(super) mod anchors;
mod append;
mod delayed;
mod fetch;
pub(super) mod handle;
pub(super) mod streams;
