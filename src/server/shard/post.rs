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

    /// Delivers the batches.
    pub(in crate::server) fn deliver(&mut self) {
        if !std::mem::take(&mut self.waiting) {
            return;
        }
        for (number, (outbox, mailbox)) in (0..).zip(self.outboxes.iter_mut().zip(self.mailboxes.iter())) {
            let shard = ShardId(number);
            if !outbox.is_empty() && mailbox.put_all(self.from, outbox) == Fullness::Full && !self.full.contains(&shard)
            {
                self.full.push(shard);
            }
        }
    }

    /// Whether another shard can't keep up, so that nothing should be read from publishers.
    pub(in crate::server) fn is_blocked(&self) -> bool {
        !self.full.is_empty()
    }

    /// Looks whether the shards that couldn't keep up can again.
    pub(in crate::server) fn look_again(&mut self) {
        let mailboxes = &self.mailboxes;
        self.full.retain(|shard| mailboxes.get(usize::from(shard.0)).is_some_and(|mailbox| !mailbox.has_room()));
    }
}
