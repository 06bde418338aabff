use std::sync::MutexGuard;

use super::super::timing::now;
use super::{PendingEntries, State, URGENT_BYTES, Urgency};

impl PendingEntries {
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
