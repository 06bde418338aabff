//! Unloads messages of a queue from memory, and fetches them from the store.

use super::action::{Action, Actions};
use super::entry::{Content, Entry};
use super::event::FetchedMessage;
use super::outbound::Outbound;

impl Outbound {
    /// Handles the start or the end of a connection: unloads messages behind the first one that is not in memory, and
    /// those beyond the smaller head of a disconnected client.
    pub(super) fn restart_head(&mut self, is_connected: bool) {
        self.head.restart(is_connected);
        let (mut stored, mut kept) = (false, self.head.cleared());
        for entry in &mut self.queue {
            if kept.has_as_many(&self.head) {
                break;
            }
            stored |= entry.is_stored();
            if entry.recorded && entry.is_loaded() {
                kept.added(entry);
                stored |= kept.is_over(self.limits.queue_head);
                if stored {
                    kept.removed(entry, false);
                    self.head.unload(entry);
                }
            }
        }
    }

    /// Unloads messages with this sequence or a higher one that exceed the head. They are new.
    pub(super) fn unload_from(&mut self, first: u64) {
        if self.head.is_empty() {
            return; // no message in memory is also in the store
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

    /// Unloads messages that this connection has not sent and that exceed the head, after a change of its size.
    pub(super) fn shrink_head(&mut self) {
        let (mut stored, mut kept) = (false, self.head.cleared());
        let place = self.place_from(self.cursor);
        for entry in self.queue.range_mut(place..) {
            stored |= entry.is_stored();
            if entry.recorded && entry.is_loaded() {
                kept.added(entry);
                stored |= kept.is_over(self.limits.queue_head);
                if stored {
                    kept.removed(entry, false);
                    self.head.unload(entry);
                }
            }
        }
    }

    /// Requests the messages that are sent next, if they are not in memory.
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

    /// Handles the result of a fetch. The result of a cancelled fetch is ignored.
    pub(super) fn on_fetched(&mut self, fetch: u32, messages: Vec<FetchedMessage>, actions: &mut impl Actions) {
        if !self.head.end_fetch(fetch) {
            return;
        }
        for (sequence, message) in messages {
            let Some(place) = self.place(sequence) else { continue };
            // The message may be complete by now.
            let Some(entry) = self.queue.get_mut(place).filter(|entry| entry.is_stored()) else { continue };
            match message {
                Ok(mut delivery) => {
                    // A start may have shortened its deadline, which the record does not show.
                    if let Content::Away { expires_at } = entry.content {
                        delivery.expires_at = expires_at;
                    }
                    self.head.removed(entry, sequence < self.cursor);
                    entry.content = Content::Loaded(delivery);
                    self.head.added(entry);
                }
                Err(cause) => {
                    self.give_up(place, actions);
                    actions.push(Action::Unreadable(sequence, cause));
                }
            }
        }
        self.remove_done();
    }
}
