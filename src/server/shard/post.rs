use std::sync::Arc;

use crate::broker::ShardMessage;
use crate::routing::ShardId;
use crate::server::shard::mailbox::{Fullness, Mailbox};

/// A shard's way to the others: what it tells them in one turn leaves as one batch for each.
#[derive(Debug)]
pub(in crate::server) struct Post {
    from: ShardId,
    mailboxes: Arc<[Mailbox]>,
    outboxes: Box<[Vec<ShardMessage>]>,
    waiting: bool,
    full: Vec<ShardId>,
}

impl Post {
    /// Nothing on its way.
    pub(in crate::server) fn new(from: ShardId, mailboxes: Arc<[Mailbox]>) -> Self {
        let outboxes = mailboxes.iter().map(|_| Vec::new()).collect();
        Self { from, mailboxes, outboxes, waiting: false, full: Vec::new() }
    }

    /// Adds a message to the batch of a shard.
    pub(in crate::server) fn add(&mut self, to: ShardId, message: ShardMessage) {
        if let Some(outbox) = self.outboxes.get_mut(usize::from(to.0)) {
            outbox.push(message);
            self.waiting = true;
        }
    }

    /// Delivers the batches. Returns the shards that can't keep up since now.
    pub(in crate::server) fn deliver(&mut self) -> Vec<ShardId> {
        let mut since_now = Vec::new();
        if !std::mem::take(&mut self.waiting) {
            return since_now;
        }
        for (number, (outbox, mailbox)) in (0..).zip(self.outboxes.iter_mut().zip(self.mailboxes.iter())) {
            let shard = ShardId(number);
            if !outbox.is_empty() && mailbox.put_all(self.from, outbox) == Fullness::Full && !self.full.contains(&shard)
            {
                self.full.push(shard);
                since_now.push(shard);
            }
        }
        since_now
    }

    /// Takes the shards that couldn't keep up and can again.
    pub(in crate::server) fn take_relieved(&mut self) -> Vec<ShardId> {
        let has_room = |shard: &ShardId| self.mailboxes.get(usize::from(shard.0)).is_none_or(Mailbox::has_room);
        self.full.extract_if(.., |shard| has_room(shard)).collect()
    }
}
