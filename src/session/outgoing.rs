//! The place of a Session's queue, which most Sessions don't need.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::RestoredMessage;
use super::head::EmptyHead;
use super::limits::Limits;
use super::outbound::{EmptyQueue, Outbound};

/// The QoS 1 and 2 messages for the client.
///
/// A Session that is connected and gets no such messages, or that is away and has none, keeps only some numbers.
#[derive(Debug)]
pub(super) enum Outgoing {
    Empty(EmptyQueue),
    Queue(Box<Outbound>),
}

const _: () = assert!(size_of::<Outgoing>() == 24);

impl Outgoing {
    /// An empty queue. Its first message will have the sequence `first`.
    pub(super) const fn new(first: u64, limits: Arc<Limits>) -> Self {
        let head = EmptyHead { fetch: 0, is_connected: false, recorded: false };
        Self::Empty(EmptyQueue { next: first, limits, head })
    }

    /// A recovered queue: see [`Outbound::restored`].
    pub(super) fn restored(queue: BTreeMap<u64, RestoredMessage>, sent_until: u64, limits: Arc<Limits>) -> Self {
        let mut outgoing = Self::Queue(Box::new(Outbound::restored(queue, sent_until, limits)));
        outgoing.rest();
        outgoing
    }

    /// The queue, if the Session needs one.
    pub(super) fn queue(&self) -> Option<&Outbound> {
        match self {
            Self::Empty(_) => None,
            Self::Queue(queue) => Some(queue),
        }
    }

    /// The queue, if the Session needs one.
    #[inline]
    pub(super) fn queue_mut(&mut self) -> Option<&mut Outbound> {
        match self {
            Self::Empty(_) => None,
            Self::Queue(queue) => Some(queue),
        }
    }

    /// The queue, which is allocated if the Session has none.
    #[inline]
    pub(super) fn need_queue(&mut self) -> &mut Outbound {
        if let Self::Empty(empty) = self {
            *self = Self::Queue(Box::new(Outbound::of_empty(empty)));
        }
        self.queue_mut().unwrap_or_else(|| unreachable!("it was allocated above"))
    }

    /// Gives the queue's memory back if it is empty.
    pub(super) fn rest(&mut self) {
        if let Self::Queue(queue) = self
            && let Some(empty) = queue.as_empty()
        {
            *self = Self::Empty(empty);
        }
    }

    pub(super) fn limits(&self) -> &Arc<Limits> {
        match self {
            Self::Empty(empty) => &empty.limits,
            Self::Queue(queue) => &queue.limits,
        }
    }

    pub(super) fn set_limits(&mut self, limits: Arc<Limits>) {
        match self {
            Self::Empty(empty) => empty.limits = limits,
            Self::Queue(queue) => queue.limits = limits,
        }
    }

    pub(super) fn set_recorded(&mut self, recorded: bool) {
        match self {
            Self::Empty(empty) => empty.head.recorded = recorded,
            Self::Queue(queue) => queue.head.recorded = recorded,
        }
    }

    /// Handles the start or the end of a connection: see [`Outbound::restart`].
    pub(super) fn restart(&mut self, is_connected: bool) {
        match self {
            Self::Empty(empty) => empty.head.is_connected = is_connected,
            Self::Queue(queue) => queue.restart(is_connected),
        }
    }

    /// The sequence before which messages may have been sent.
    pub(super) const fn sent_until(&self) -> u64 {
        match self {
            Self::Empty(empty) => empty.next,
            Self::Queue(queue) => queue.sent_until(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Qos;
    use crate::session::tests::{delivery, limits};

    #[test]
    fn an_empty_queue_gives_its_memory_back_and_continues_with_its_number_and_its_fetch() {
        let mut outgoing = Outgoing::new(7, limits());
        outgoing.set_recorded(true);
        outgoing.restart(true);
        let mut actions = Vec::new();
        let queue = outgoing.need_queue();
        queue.enqueue(7, delivery(Qos::AtLeastOnce), &mut actions);
        assert_eq!(queue.head.start_fetch(), 1);
        outgoing.rest();
        assert!(outgoing.queue().is_some(), "it has a message");
        let queue = outgoing.need_queue();
        queue.drop_message(0, crate::session::DropCause::QueueFull, &mut actions);
        queue.remove_done();
        outgoing.rest();
        assert!(outgoing.queue().is_some(), "a fetch is in progress");
        outgoing.need_queue().head.forget_fetch();
        outgoing.rest();
        assert!(outgoing.queue().is_none());
        assert_eq!(outgoing.sent_until(), 8);
        let queue = outgoing.need_queue();
        assert_eq!((queue.end(), queue.queued(), queue.head.recorded), (8, (0, 0), true));
        assert_eq!(queue.head.start_fetch(), 2, "the answer of the first one may still come");
    }
}
