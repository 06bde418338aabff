//! What of a queue is in memory.
//!
//! Of messages that the store has as well, only those that are about to be sent are in memory: the head. A new one stays as long as the head has
//! room for it and nothing in front of it is in the store alone; one that was sent goes, since it is wanted once more only if the
//! connection breaks. What is missing is fetched before its turn comes.

use bytestring::ByteString;

use super::entry::{Content, Entry};
use super::outbound::Outbound;
use super::{Action, Actions, Delivery, QueueHead};

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
    const fn restart(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.stored += self.stored_sent;
        self.stored_sent = 0;
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

    const fn is_over(&self, limits: QueueHead) -> bool {
        let limits = if self.is_connected { limits } else { limits.away() };
        self.loaded > limits.messages_max || self.loaded_bytes > limits.bytes_max
    }

    /// Whether so little is left that more should be on its way.
    const fn is_low(&self, limits: QueueHead) -> bool {
        self.loaded < limits.messages_max.div_ceil(2) && self.loaded_bytes < limits.bytes_max.div_ceil(2)
    }

    /// How many messages and bytes to fetch.
    const fn room(&self, limits: QueueHead) -> (usize, usize) {
        let QueueHead { messages_max, bytes_max, .. } = limits;
        let (messages, bytes) = (messages_max.saturating_sub(self.loaded), bytes_max.saturating_sub(self.loaded_bytes));
        let (messages_min, bytes_min) = (messages_max.div_ceil(2), bytes_max.div_ceil(2));
        (
            if messages > messages_min { messages } else { messages_min },
            if bytes > bytes_min { bytes } else { bytes_min },
        )
    }
}

impl Outbound {
    /// A connection begins or ends. What is in memory behind something that is not, or behind what is kept for a client that is away, is
    /// left to the store.
    pub(super) fn restart_head(&mut self, is_connected: bool) {
        self.head.restart(is_connected);
        let (mut stored, mut kept) = (false, Head { loaded: 0, loaded_bytes: 0, ..self.head });
        for entry in &mut self.queue {
            if kept.loaded == self.head.loaded {
                break;
            }
            stored |= entry.is_stored();
            if entry.recorded && entry.is_loaded() {
                kept.loaded += 1;
                kept.loaded_bytes += entry.bytes as usize;
                stored |= kept.is_over(self.limits.queue_head);
                if stored {
                    entry.unload();
                    kept.loaded -= 1;
                    kept.loaded_bytes -= entry.bytes as usize;
                    self.head.loaded -= 1;
                    self.head.loaded_bytes -= entry.bytes as usize;
                    self.head.stored += 1;
                }
            }
        }
    }

    /// Leaves to the store what the head has no room for of the messages from this sequence on, which are new.
    pub(super) fn unload_from(&mut self, first: u64) {
        if self.head.loaded == 0 {
            return; // nothing is in memory that the store has as well
        }
        let is_behind = self.head.stored > 0;
        let place = self.place_from(first.max(self.cursor));
        for entry in self.queue.range_mut(place..).rev() {
            if !is_behind && !self.head.is_over(self.limits.queue_head) {
                break;
            }
            if entry.recorded && entry.unload().is_some() {
                self.head.loaded -= 1;
                self.head.loaded_bytes -= entry.bytes as usize;
                self.head.stored += 1;
            }
        }
    }

    /// Asks for what is to be sent next, if that is in the store alone, or will soon be.
    pub(super) fn fetch(&mut self, actions: &mut impl Actions) {
        if self.head.fetching {
            return;
        }
        let place = self.place_from(self.cursor);
        if !self.head.is_low(self.limits.queue_head) && !self.queue.get(place).is_some_and(Entry::is_stored) {
            return;
        }
        let (messages, mut bytes) = self.head.room(self.limits.queue_head);
        let mut sequences = Vec::new();
        for entry in self.queue.range(place..).filter(|entry| entry.is_stored()) {
            let length = entry.bytes as usize;
            if !sequences.is_empty() && (sequences.len() >= messages || length > bytes) {
                break;
            }
            bytes = bytes.saturating_sub(length);
            sequences.push(entry.sequence);
        }
        self.head.fetch = self.head.fetch.wrapping_add(1);
        self.head.fetching = true;
        actions.push(Action::Fetch(self.head.fetch, sequences));
    }

    /// What was asked for, or why it can't be had. An answer to a fetch that was forgotten is too late.
    pub(super) fn on_fetched(&mut self, fetch: u32, messages: Vec<FetchedMessage>, actions: &mut impl Actions) {
        if !self.head.fetching || self.head.fetch != fetch {
            return;
        }
        self.head.fetching = false;
        if !self.head.is_connected {
            return;
        }
        for (sequence, message) in messages {
            let Some(place) = self.place(sequence) else { continue };
            // It may be done by now, whatever became of it.
            let Some(entry) = self.queue.get_mut(place).filter(|entry| entry.is_stored()) else { continue };
            match message {
                Ok(delivery) => {
                    self.head.left(entry, sequence < self.cursor);
                    entry.content = Content::Loaded(*delivery);
                    self.head.joined(entry);
                }
                Err(cause) => {
                    self.give_up(place);
                    actions.push(Action::Unreadable(sequence, cause));
                }
            }
        }
        self.remove_done();
    }
}

/// A message by its sequence, or why it can't be read.
pub type FetchedMessage = (u64, Result<Box<Delivery>, ByteString>);

#[cfg(test)]
impl super::Session {
    /// Messages that are in memory.
    pub(super) fn loaded(&self) -> usize {
        self.outbound.queue.iter().filter(|entry| entry.is_loaded()).count()
    }

    /// The account agrees with the queue.
    pub(super) fn check_head(&self) {
        let Outbound { queue, head, cursor, limits, .. } = &self.outbound;
        let loaded: Vec<_> = queue.iter().filter(|entry| entry.recorded && entry.is_loaded()).collect();
        assert_eq!(head.loaded, loaded.len());
        assert_eq!(head.loaded_bytes, loaded.iter().map(|entry| entry.bytes as usize).sum::<usize>());
        assert!(head.loaded <= limits.queue_head.messages_max + limits.queue_head.messages_max.div_ceil(2));
        let (sent, ahead): (Vec<_>, Vec<_>) =
            queue.iter().filter(|entry| entry.is_stored()).partition(|entry| entry.sequence < *cursor);
        assert_eq!((head.stored, head.stored_sent), (ahead.len(), sent.len()));
    }
}
