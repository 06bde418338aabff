//! Who gets a message: the subscription index, Shared Subscriptions, retained messages and access rules.
//!
//! Plain data structures without a lock: the one who shares them between shards puts each behind one.

mod access;
mod shared;
mod subscriber;

pub use access::{Access, AccessAction, AccessRule, Coverage, Effect};
pub use shared::ShareStrategy;
pub use subscriber::{Location, SessionKey, ShardId, Subscriber};
