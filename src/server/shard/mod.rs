//! The thread of a shard: it carries out the actions of the rules, and exchanges messages with other threads.

pub(super) mod connections;
pub(super) mod driver;
pub(super) mod mailbox;
pub(super) mod post;
pub(super) mod queries;
pub(super) mod task;
