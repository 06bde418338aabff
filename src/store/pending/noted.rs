use std::sync::MutexGuard;

use super::super::timing::now;
use super::{PendingEntries, State, URGENT_BYTES, Urgency};

impl PendingEntries {
    /// Wakes the committing thread if messages of streams are pending: a reader waits for them.
    pub(in crate::store) fn hurry_streams(&self) {
        let state = self.lock();
        if state.has_numbered && !state.is_urgent {
            self.notify(state, Urgency::Awaited);
        }
    }

    /// Whether the next commit waits for nothing more.
    #[cfg(test)]
    pub(in crate::store) fn is_urgent(&self) -> bool {
        self.lock().is_urgent
    }

    /// Notes the ticket of appended entries, and wakes the committing thread if many bytes are pending.
    pub(super) fn note_ticket(&self, mut state: MutexGuard<'_, State>, source: usize, ticket: u64, urgency: Urgency) {
        if urgency == Urgency::Awaited {
            state.awaited_since.get_or_insert_with(now);
        }
        if state.tickets.len() <= source {
            state.tickets.resize(source + 1, None);
        }
        if let Some(highest) = state.tickets.get_mut(source) {
            let before = highest.unwrap_or((ticket, urgency));
            *highest = Some((before.0.max(ticket), before.1.max(urgency)));
        }
        if state.bytes >= URGENT_BYTES.min(self.pending_bytes_max) {
            self.notify(state, Urgency::Awaited);
        }
    }
}
