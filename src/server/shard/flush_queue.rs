use std::collections::VecDeque;
use std::task::Waker;

use crate::broker::ConnectionId;

/// The connections that got output in a turn with many receivers, in order. They write it in slices, between which other tasks run.
///
/// A publisher that sends to many receivers, and more than one read takes, continues between the slices. So a receiver that waits has
/// several packets to write when its turn comes, instead of one system call for each. A slice is a fraction of the packets that were
/// queued since the last one ([`PACKETS_PER_WRITE`]), so that output is written about as fast as it is queued.
///
/// A connection is in the queue at most once.
#[derive(Debug, Default)]
pub(in crate::server) struct FlushQueue {
    waiting: VecDeque<ConnectionId>,
    /// The number of packets that had been queued for any connection at the last slice.
    packets: u64,
    /// The task that takes the slices, while it waits.
    waker: Option<Waker>,
}

impl FlushQueue {
    /// Adds a connection that is not in the queue.
    pub(super) fn push(&mut self, id: ConnectionId) {
        self.waiting.push_back(id);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether no connection waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Removes the oldest connection.
    pub(super) fn pop(&mut self) -> Option<ConnectionId> {
        self.waiting.pop_front()
    }

    /// The number of connections that write next, after `packets` packets were queued for any connection since the start. `None` if no
    /// connection waits: then `waker` is called when there is one.
    pub(super) fn next_slice(&mut self, packets: u64, waker: &Waker) -> Option<u64> {
        let queued = packets - std::mem::replace(&mut self.packets, packets);
        if self.waiting.is_empty() {
            if self.waiting.capacity() > KEPT {
                self.waiting = VecDeque::new();
            }
            self.waker = Some(waker.clone());
            return None;
        }
        Some(if queued == 0 { IDLE_SLICE } else { (queued / PACKETS_PER_WRITE).max(SLICE_MIN) })
    }
}

/// A system call costs as much as ten packets do otherwise. Twice as many divided a fan-out of 20 messages to 1,000 receivers, which cost 8 % at QoS 1.
const PACKETS_PER_WRITE: u64 = 16;
/// The size of a slice at least, so that the first receivers of a slow publisher don't wait long.
const SLICE_MIN: u64 = 16;
/// The size of a slice if nothing was queued since the last one: its writes take a fraction of a millisecond.
const IDLE_SLICE: u64 = 64;
/// The capacity that an empty queue keeps.
const KEPT: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_the_packets_that_were_queued() {
        let mut queue = FlushQueue::default();
        assert_eq!(queue.next_slice(10, Waker::noop()), None);
        queue.push(ConnectionId { slot: 1, generation: 0 });
        assert!(queue.waker.is_none(), "the task was woken");
        assert_eq!(queue.next_slice(17, Waker::noop()), Some(SLICE_MIN));
        assert_eq!(queue.next_slice(17 + 100 * PACKETS_PER_WRITE, Waker::noop()), Some(100));
        assert_eq!(queue.next_slice(17 + 100 * PACKETS_PER_WRITE, Waker::noop()), Some(IDLE_SLICE));
        assert_eq!(queue.pop(), Some(ConnectionId { slot: 1, generation: 0 }));
        assert_eq!(queue.next_slice(10_000, Waker::noop()), None);
    }
}
