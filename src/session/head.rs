//! What of a queue is in memory.
//!
//! Of messages that the store has as well, only those that are about to be sent are in memory: the head. A new one stays as long as the head has
//! room for it and nothing in front of it is in the store alone; one that was sent goes, since it is wanted once more only if the
//! connection breaks. What is missing is fetched before its turn comes.

use super::entry::Entry;
use super::limits::QueueHead;

/// The account of what is in memory of a queue, and what is not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head {
    /// Whether the client is there.
    is_connected: bool,
    /// Whether the store has the messages that come now.
    pub(super) recorded: bool,
    /// Whether the answer to the last fetch is awaited.
    fetching: bool,
    /// Which fetch was the last.
    fetch: u32,
    /// Messages that the store has as well, and their bytes.
    loaded: usize,
    loaded_bytes: usize,
    /// Messages that the store alone has: those that this connection has still to send, and the others.
    pub(super) stored: usize,
    stored_sent: usize,
}

impl Head {
    /// Whether a part of the queue is in the store alone.
    pub(super) const fn has_stored(&self) -> bool {
        self.stored + self.stored_sent > 0
    }

    /// A connection begins or ends: the next thing to send is the front of the queue.
    pub(super) const fn restart(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.stored += self.stored_sent;
        self.stored_sent = 0;
    }

    /// The same, with nothing in memory.
    pub(super) const fn emptied(self) -> Self {
        Self { loaded: 0, loaded_bytes: 0, ..self }
    }

    /// Whether nothing is in memory that the store has as well.
    pub(super) const fn is_empty(&self) -> bool {
        self.loaded == 0
    }

    /// Whether both count the same number of messages in memory.
    pub(super) const fn has_as_many(&self, other: &Self) -> bool {
        self.loaded == other.loaded
    }

    /// Whether the answer to a fetch is awaited.
    pub(super) const fn is_fetching(&self) -> bool {
        self.fetching
    }

    /// The number of a new fetch, whose answer is awaited from now on.
    pub(super) const fn start_fetch(&mut self) -> u32 {
        self.fetch = self.fetch.wrapping_add(1);
        self.fetching = true;
        self.fetch
    }

    /// An answer came: whether it is the one that is awaited, and the client is there to get what it brings.
    pub(super) const fn end_fetch(&mut self, fetch: u32) -> bool {
        if !self.fetching || self.fetch != fetch {
            return false;
        }
        self.fetching = false;
        self.is_connected
    }

    /// The answer to the last fetch will not come.
    pub(super) const fn forget_fetch(&mut self) {
        self.fetching = false;
    }

    /// A message came into the queue.
    pub(super) const fn joined(&mut self, entry: &Entry) {
        if entry.recorded {
            self.loaded += 1;
            self.loaded_bytes += entry.bytes as usize;
        }
    }

    /// A message was sent.
    pub(super) fn sent(&mut self, entry: &mut Entry) {
        if entry.recorded && entry.unload().is_some() {
            self.loaded -= 1;
            self.loaded_bytes -= entry.bytes as usize;
            self.stored_sent += 1;
        }
    }

    /// Leaves a message that was not sent to the store, if it is there.
    pub(super) fn unload(&mut self, entry: &mut Entry) {
        if entry.recorded && entry.unload().is_some() {
            self.loaded -= 1;
            self.loaded_bytes -= entry.bytes as usize;
            self.stored += 1;
        }
    }

    /// A message is not to be sent any more. This connection has sent it, or not.
    pub(super) const fn left(&mut self, entry: &Entry, sent: bool) {
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
        self.loaded > limits.messages_max || self.loaded_bytes > limits.bytes_max
    }

    /// Whether so little is left that more should be on its way.
    pub(super) const fn is_low(&self, limits: QueueHead) -> bool {
        self.loaded < limits.messages_max.div_ceil(2) && self.loaded_bytes < limits.bytes_max.div_ceil(2)
    }

    /// How many messages and bytes to fetch.
    pub(super) const fn room(&self, limits: QueueHead) -> (usize, usize) {
        let QueueHead { messages_max, bytes_max, .. } = limits;
        let (messages, bytes) = (messages_max.saturating_sub(self.loaded), bytes_max.saturating_sub(self.loaded_bytes));
        let (messages_min, bytes_min) = (messages_max.div_ceil(2), bytes_max.div_ceil(2));
        (
            if messages > messages_min { messages } else { messages_min },
            if bytes > bytes_min { bytes } else { bytes_min },
        )
    }
}

#[cfg(test)]
impl super::Session {
    /// Messages that are in memory.
    pub(super) fn loaded(&self) -> usize {
        self.outbound.queue.iter().filter(|entry| entry.is_loaded()).count()
    }

    /// The account agrees with the queue.
    pub(super) fn check_head(&self) {
        let super::outbound::Outbound { queue, head, cursor, limits, .. } = &self.outbound;
        let loaded: Vec<_> = queue.iter().filter(|entry| entry.recorded && entry.is_loaded()).collect();
        assert_eq!(head.loaded, loaded.len());
        assert_eq!(head.loaded_bytes, loaded.iter().map(|entry| entry.bytes as usize).sum::<usize>());
        assert!(head.loaded <= limits.queue_head.messages_max + limits.queue_head.messages_max.div_ceil(2));
        let (sent, ahead): (Vec<_>, Vec<_>) =
            queue.iter().filter(|entry| entry.is_stored()).partition(|entry| entry.sequence < *cursor);
        assert_eq!((head.stored, head.stored_sent), (ahead.len(), sent.len()));
    }
}
