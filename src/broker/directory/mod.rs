//! What the shards share, and the messages they exchange.

pub(super) mod claim;
pub(super) mod in_memory;
pub(super) mod index_change;
pub(super) mod message;
pub(super) mod room_waiters;
pub(super) mod state;
