//! An empty queue, of which the Session keeps less.

use std::sync::Arc;

use super::Outbound;
use crate::session::Limits;
use crate::session::head::{EmptyHead, Head};

/// What an empty queue is made of again.
#[derive(Debug)]
pub(in crate::session) struct EmptyQueue {
    /// The sequence of the next message.
    pub(in crate::session) next: u64,
    pub(in crate::session) limits: Arc<Limits>,
    pub(in crate::session) head: EmptyHead,
}

impl Outbound {
    /// The queue that `empty` was.
    pub(in crate::session) fn of_empty(empty: &EmptyQueue) -> Self {
        let head = Head::of_empty(empty.head);
        Self { head, ..Self::new(empty.next, Arc::clone(&empty.limits)) }
    }

    /// What is left of it, if it is empty.
    pub(in crate::session) fn as_empty(&self) -> Option<EmptyQueue> {
        let Self { queue, end, cursor, sent_until, early, recheck, redelivery, limits, .. } = self;
        let is_empty = queue.is_empty() && early.is_none() && recheck.is_none() && redelivery.is_none();
        let head = self.head.as_empty().filter(|_| is_empty && cursor == end && sent_until == end)?;
        Some(EmptyQueue { next: *end, limits: Arc::clone(limits), head })
    }
}
