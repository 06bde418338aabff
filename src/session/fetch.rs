//! Which messages of a queue go out of memory, and how they come back.

use super::action::{Action, Actions};
use super::entry::{Content, Entry};
use super::event::FetchedMessage;
use super::outbound::Outbound;

impl Outbound {
    /// A connection begins or ends. What is in memory behind something that is not, or behind what is kept for a client that is away, is
    /// left to the store.
    pub(super) fn restart_head(&mut self, is_connected: bool) {
        self.head.restart(is_connected);
        let (mut stored, mut kept) = (false, self.head.emptied());
        for entry in &mut self.queue {
            if kept.has_as_many(&self.head) {
                break;
            }
            stored |= entry.is_stored();
            if entry.recorded && entry.is_loaded() {
                kept.joined(entry);
                stored |= kept.is_over(self.limits.queue_head);
                if stored {
                    kept.left(entry, false);
                    self.head.unload(entry);
                }
            }
        }
    }

    /// Leaves to the store what the head has no room for of the messages from this sequence on, which are new.
    pub(super) fn unload_from(&mut self, first: u64) {
        if self.head.is_empty() {
            return; // nothing is in memory that the store has as well
        }
        let is_behind = self.head.stored > 0;
        let place = self.place_from(first.max(self.cursor));
        for entry in self.queue.range_mut(place..).rev() {
            if !is_behind && !self.head.is_over(self.limits.queue_head) {
                break;
            }
            self.head.unload(entry);
        }
    }

    /// Asks for what is to be sent next, if that is in the store alone, or will soon be.
    pub(super) fn fetch(&mut self, actions: &mut impl Actions) {
        if self.head.is_fetching() {
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
        actions.push(Action::Fetch(self.head.start_fetch(), sequences));
    }

    /// What was asked for, or why it can't be had. An answer to a fetch that was forgotten is too late.
    pub(super) fn on_fetched(&mut self, fetch: u32, messages: Vec<FetchedMessage>, actions: &mut impl Actions) {
        if !self.head.end_fetch(fetch) {
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
