//! The way of the shards to the store, and what the last run left in it.

pub(super) mod thread;
