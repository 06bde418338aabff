//! The head of a queue, which is in memory.
//!
//! Of messages that are in the store, only those that are sent next are in memory: the head. A new message stays in
//! memory if the head has space for it and all messages before it are in memory. A sent message is unloaded, because it
//! is needed again only if the connection breaks. Messages that are not in memory are fetched before they are due.

use super::entry::Entry;
use super::limits::QueueHead;

/// Counts which messages of a queue are in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head {
    /// Whether the client is connected.
    is_connected: bool,
    /// Whether new messages have a record in the store.
    pub(super) recorded: bool,
    /// Whether a fetch is in progress.
    fetching: bool,
    /// The number of the last fetch.
    fetch: u32,
    /// Messages in memory that are also in the store, and their bytes.
    loaded: u32,
    loaded_bytes: usize,
    /// Messages only in the store that this connection must still send, and other messages only in the store.
    pub(super) stored: u32,
    stored_sent: u32,
}

/// The state of a [`Head`] without messages and without a fetch in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct EmptyHead {
    /// The number of the last fetch, whose answer may still come.
    pub(super) fetch: u32,
    pub(super) is_connected: bool,
    pub(super) recorded: bool,
}

impl Head {
    /// Whether a part of the queue is only in the store.
    pub(super) const fn has_stored(&self) -> bool {
        self.stored + self.stored_sent > 0
    }

    /// Handles the start or the end of a connection: sending restarts at the front of the queue.
    pub(super) const fn restart(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.stored += self.stored_sent;
        self.stored_sent = 0;
    }

    /// A copy with nothing in memory.
    pub(super) const fn cleared(self) -> Self {
        Self { loaded: 0, loaded_bytes: 0, ..self }
    }

    /// The head of an empty queue.
    pub(super) fn of_empty(EmptyHead { fetch, is_connected, recorded }: EmptyHead) -> Self {
        Self { fetch, is_connected, recorded, ..Self::default() }
    }

    /// What is left of it, if the queue is empty and nothing is fetched.
    pub(super) fn as_empty(&self) -> Option<EmptyHead> {
        let Self { is_connected, recorded, fetching, fetch, .. } = *self;
        (!fetching && self.loaded == 0 && !self.has_stored()).then_some(EmptyHead { fetch, is_connected, recorded })
    }

    /// Whether no message in memory is also in the store.
    pub(super) const fn is_empty(&self) -> bool {
        self.loaded == 0
    }

    /// Whether both count the same number of messages in memory.
    pub(super) const fn has_as_many(&self, other: &Self) -> bool {
        self.loaded == other.loaded
    }

    /// Whether a fetch is in progress.
    pub(super) const fn is_fetching(&self) -> bool {
        self.fetching
    }

    /// Starts a fetch and returns its number.
    pub(super) const fn start_fetch(&mut self) -> u32 {
        self.fetch = self.fetch.wrapping_add(1);
        self.fetching = true;
        self.fetch
    }

    /// Handles the result of a fetch. Returns whether it is the current one and the client is connected.
    pub(super) const fn end_fetch(&mut self, fetch: u32) -> bool {
        if !self.fetching || self.fetch != fetch {
            return false;
        }
        self.fetching = false;
        self.is_connected
    }

    /// Cancels the current fetch.
    pub(super) const fn forget_fetch(&mut self) {
        self.fetching = false;
    }

    /// Counts a new message of the queue.
    pub(super) const fn added(&mut self, entry: &Entry) {
        if entry.recorded {
            self.loaded += 1;
            self.loaded_bytes += entry.bytes as usize;
        }
    }

    /// Counts a message that was sent.
    pub(super) fn sent(&mut self, entry: &mut Entry) {
        if entry.recorded && entry.unload().is_some() {
            self.loaded -= 1;
            self.loaded_bytes -= entry.bytes as usize;
            self.stored_sent += 1;
        }
    }

    /// Unloads a message that was not sent, if the store has it.
    pub(super) fn unload(&mut self, entry: &mut Entry) {
        if entry.recorded && entry.unload().is_some() {
            self.loaded -= 1;
            self.loaded_bytes -= entry.bytes as usize;
            self.stored += 1;
        }
    }

    /// Counts a message that leaves the queue. `sent` tells whether this connection has sent it.
    pub(super) const fn removed(&mut self, entry: &Entry, sent: bool) {
        if !entry.is_loaded() {
            let stored = if sent { &mut self.stored_sent } else { &mut self.stored };
            *stored -= 1;
        } else if entry.recorded {
            self.loaded -= 1;
            self.loaded_bytes -= entry.bytes as usize;
        }
    }

    pub(super) const fn is_over(&self, limits: QueueHead) -> bool {
        let limits = if self.is_connected { limits } else { limits.away() };
        self.loaded as usize > limits.messages_max || self.loaded_bytes > limits.bytes_max
    }

    /// Whether the head is so small that more messages should be fetched.
    pub(super) const fn is_low(&self, limits: QueueHead) -> bool {
        (self.loaded as usize) < limits.messages_max.div_ceil(2) && self.loaded_bytes < limits.bytes_max.div_ceil(2)
    }

    /// How many messages and bytes to fetch.
    pub(super) const fn room(&self, limits: QueueHead) -> (usize, usize) {
        let QueueHead { messages_max, bytes_max, .. } = limits;
        let (messages, bytes) =
            (messages_max.saturating_sub(self.loaded as usize), bytes_max.saturating_sub(self.loaded_bytes));
        let (messages_min, bytes_min) = (messages_max.div_ceil(2), bytes_max.div_ceil(2));
        (
            if messages > messages_min { messages } else { messages_min },
            if bytes > bytes_min { bytes } else { bytes_min },
        )
    }
}

#[cfg(test)]
impl super::Session {
    /// The number of messages in memory.
    pub(super) fn loaded(&self) -> usize {
        self.outgoing.queue().map_or(0, |outbound| outbound.queue.iter().filter(|entry| entry.is_loaded()).count())
    }

    /// Asserts that the counts match the queue.
    pub(super) fn check_head(&self) {
        let Some(outbound) = self.outgoing.queue() else { return };
        let super::outbound::Outbound { queue, head, cursor, limits, .. } = outbound;
        assert_eq!(outbound.in_flight_bytes(), outbound.awaited_bytes());
        let loaded: Vec<_> = queue.iter().filter(|entry| entry.recorded && entry.is_loaded()).collect();
        assert_eq!(head.loaded as usize, loaded.len());
        assert_eq!(head.loaded_bytes, loaded.iter().map(|entry| entry.bytes as usize).sum::<usize>());
        assert!(head.loaded as usize <= limits.queue_head.messages_max + limits.queue_head.messages_max.div_ceil(2));
        let (sent, ahead): (Vec<_>, Vec<_>) =
            queue.iter().filter(|entry| entry.is_stored()).partition(|entry| entry.sequence < *cursor);
        assert_eq!((head.stored as usize, head.stored_sent as usize), (ahead.len(), sent.len()));
    }
}
