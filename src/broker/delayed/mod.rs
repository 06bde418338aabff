//! Delayed messages: a PUBLISH to `$delayed/SECONDS/TOPIC` is accepted now and published to `TOPIC` later.
//!
//! ```text
//! PUBLISH $delayed/5/t ──► judged for `t` ──► record: content, time, originator ──► stable ──► PUBACK, PUBREC
//!                                                                                     │
//!                                             schedule: 24 bytes in memory ◄──────────┘
//!                                                       │ due
//!            driver reads the content and looks up the originator's rights ──► judged again ──► one record publishes
//!                                                                                    the message and deletes the delayed one
//! ```
//!
//! - The record that accepts the message is that of any accepted message, with one more key: so the publisher's Packet Identifier (QoS 2) and
//!   its entry in the deduplication window are stored with it or not at all.
//! - The record that publishes it names it in [`InsteadOf`](crate::broker::InsteadOf), as that of a Will does: after a crash, the message is
//!   either still delayed or published, never both and never neither. All copies wait for this record.
//! - Messages are published in batches, of which a shard has one at a time, and none while the store is congested. So a million messages that
//!   are due at once delay no other event for longer than a batch.

pub(super) mod accept;
pub(super) mod batch;
pub(super) mod prefix;
pub(super) mod publish;
pub(super) mod quota;
pub(super) mod schedule;
