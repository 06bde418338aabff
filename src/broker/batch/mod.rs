//! Batches: a PUBLISH to `$batch` at QoS 1 or 2, whose payload has several messages.
//!
//! ```text
//! PUBLISH $batch ──► messages read and judged ──► room for all ──► one group of records ──► stable ──► copies, then PUBACK or PUBREC
//!                          │                          │
//!                          └─ one is malformed,       └─ one has no room: everything that was reserved is freed,
//!                             denied: nothing            nothing is published
//!                             is published
//! ```
//!
//! - Whatever can refuse a message is decided for all messages before the first one has an effect. So there is nothing to undo but
//!   reservations.
//! - The publisher's Packet Identifier (QoS 2), its entry in the deduplication window, and the records of all messages are one
//!   [group](super::persistence::group): after a crash, all of them are there or none.
//! - All copies wait for this group, those for transient Sessions and those at QoS 0 too.
//! - A queue gets all copies of the batch for it or none: see [`queues`].

pub(super) mod accept;
pub(super) mod members;
pub(super) mod plan;
pub(super) mod publish;
pub(super) mod queues;
pub(super) mod topic;
