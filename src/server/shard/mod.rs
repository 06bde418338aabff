//! The thread of a shard: it performs the actions of the broker, and exchanges messages with other threads.

pub(super) mod connections;
mod decisions;
pub(super) mod driver;
mod flush_queue;
pub(super) mod login;
pub(super) mod mailbox;
pub(super) mod outbox;
pub(super) mod queries;
pub(super) mod samples;
pub(super) mod task;
pub(super) mod trace;
mod traced;
mod tracer;
