//! The shards' access to the store, and its recovery at the start.

pub(super) mod anchors;
pub(super) mod handle;
