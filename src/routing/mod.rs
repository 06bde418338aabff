//! The receivers of messages: subscription index, Shared Subscriptions, retained messages and access rules.
//!
//! The data structures have no locks, except for the members of a share, which routes refer to; a caller that shares one between shards must put
//! it behind a lock.

mod access;
mod arena;
mod compact_map;
mod edges;
mod filter_subscriptions;
mod filter_tree;
mod interest;
mod listing;
mod matching;
mod of_filter;
mod overlap;
mod receiver;
mod retained;
mod route;
mod route_generations;
mod share_members;
mod share_views;
mod shared;
mod sorted_list;
mod subscriber;
mod subscription_trie;
mod user;

pub(crate) use compact_map::CompactMap;

pub use access::{Access, AccessAction, AccessRule, Coverage, Denied, Effect, Judgement, RuleSource};
pub use interest::{
    Announced, Announcement, Announcer, AnnouncerLimits, CellId, CellReach, CellSet, CellShare, Fingerprint, Interest,
    InterestAnswer, InterestKey, InterestTable, ShareCounts,
};
pub use listing::{ListedFilter, ListedSubscription, ListingScope, SubscriptionPlace};
pub(crate) use overlap::{covers, intersection};
pub use receiver::{Delivery, Receiver};
pub(crate) use retained::RetainedUsers;
pub use retained::{
    Cleared, Current, PublishRight, RetainedCursor, RetainedFull, RetainedLimits, RetainedMessage, RetainedStore,
    StreamSequences,
};
pub use route::{Receivers, Route};
pub use route_generations::{RouteBuckets, RouteGenerations};
pub use share_views::{ChosenMember, ShareViews};
pub use shared::{Share, ShareStrategy};
pub use subscriber::{LimitsClass, Location, QueueBounds, SessionKey, ShardId, Subscriber};
pub use subscription_trie::{SubscribeOutcome, SubscriptionIndex};
pub use user::User;
