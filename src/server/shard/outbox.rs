use std::sync::Arc;

use crate::broker::{ShardBatch, ShardMessage};
use crate::routing::ShardId;
use crate::server::shard::mailbox::{Fullness, Mailbox};

/// Collects the messages of one turn to other shards, and delivers them as one batch per shard.
#[derive(Debug)]
pub(in crate::server) struct Outbox {
    from: ShardId,
    mailboxes: Arc<[Mailbox]>,
    batches: Box<[ShardBatch]>,
    /// Whether any batch has messages.
    has_messages: bool,
    /// Shards whose mailbox was full at a delivery and has had no room since.
    full: Vec<ShardId>,
}

impl Outbox {
    pub(in crate::server) fn new(from: ShardId, mailboxes: Arc<[Mailbox]>) -> Self {
        let batches = mailboxes.iter().map(|_| ShardBatch::default()).collect();
        Self { from, mailboxes, batches, has_messages: false, full: Vec::new() }
    }

    /// Adds a message to the batch of a shard.
    pub(in crate::server) fn add(&mut self, to: ShardId, message: ShardMessage) {
        if let Some(batch) = self.batches.get_mut(usize::from(to.0)) {
            batch.push(message);
            self.has_messages = true;
        }
    }

    /// Delivers the batches. Returns the shards whose mailbox became full.
    pub(in crate::server) fn deliver(&mut self) -> Vec<ShardId> {
        let mut became_full = Vec::new();
        if !std::mem::take(&mut self.has_messages) {
            return became_full;
        }
        for (number, (batch, mailbox)) in (0..).zip(self.batches.iter_mut().zip(self.mailboxes.iter())) {
            let shard = ShardId(number);
            if !batch.is_empty() && mailbox.put_all(self.from, batch) == Fullness::Full && !self.full.contains(&shard) {
                self.full.push(shard);
                became_full.push(shard);
            }
        }
        became_full
    }

    /// Removes and returns the shards whose mailbox was full and has room again.
    pub(in crate::server) fn take_with_room(&mut self) -> Vec<ShardId> {
        let has_room = |shard: &ShardId| self.mailboxes.get(usize::from(shard.0)).is_none_or(Mailbox::has_room);
        self.full.extract_if(.., |shard| has_room(shard)).collect()
    }
}
