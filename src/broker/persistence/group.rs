//! Records that become stable together: those of a batch.
//!
//! While a group is open, each record of the shard becomes a part of it, and each copy that waits for a record is kept with it. At its end,
//! the records are passed to the store as one change with one ticket, and the copies wait for that.

use std::sync::Arc;

use crate::broker::persistence::pipeline::{CommitPipeline, Outstanding};
use crate::broker::persistence::record::Record;
use crate::routing::Subscriber;
use crate::session::{Delivery, Ticket};

/// The records of a batch and the copies that wait for them. There is one within a turn only.
#[derive(Debug, Default)]
pub(in crate::broker) struct RecordGroup {
    /// The ticket of all records, issued for the first one. No other ticket is issued while the group is open.
    pub(super) ticket: Option<Ticket>,
    pub(super) records: Vec<Record>,
    /// In the order of the messages. Their tickets are those of the group, once it ends.
    pub(super) outstanding: Vec<Outstanding>,
    /// Copies that full queues have dropped: their dead letters are records of their own.
    pub(super) dropped: Vec<(Arc<Subscriber>, Delivery)>,
}

impl RecordGroup {
    pub(super) fn add(&mut self, record: Record, pipeline: &mut CommitPipeline) -> Ticket {
        self.records.push(record);
        *self.ticket.get_or_insert_with(|| pipeline.issue())
    }
}
