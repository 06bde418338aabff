use crate::broker::{Record, Ticket};

/// The store of a shard's records, in memory only: every record counts as stable as soon as it is given.
#[derive(Debug, Default)]
pub(super) struct StoreThread {
    stable: Option<Ticket>,
}

impl StoreThread {
    /// Takes a record.
    pub(super) fn persist(&mut self, ticket: Ticket, record: Box<Record>) {
        drop(record);
        self.stable = self.stable.max(Some(ticket));
    }

    /// How far it got since it was asked last.
    pub(super) fn take_stable(&mut self) -> Option<Ticket> {
        self.stable.take()
    }
}
