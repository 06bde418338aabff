//! Appends several entries that are recovered together or not at all.

use super::super::entry::{Encoded, Entry, Refused, Room, TOGETHER_BYTES_MAX, encode};
use super::{PendingEntries, Urgency};

impl PendingEntries {
    /// Appends entries that share a ticket and are part of one batch: recovery reads a batch as a whole or not at all.
    pub(in crate::store) fn append_together(
        &self,
        source: usize,
        ticket: u64,
        urgency: Urgency,
        entries: &[Entry<'_>],
    ) -> Result<(), Refused> {
        let encoded: Vec<(Encoded, &Entry<'_>)> = if self.keeps {
            entries.iter().map(|entry| Ok((encode(entry)?, entry))).collect::<Result<_, Refused>>()?
        } else {
            Vec::new()
        };
        let length = encoded.iter().map(|(encoded, entry)| encoded.length(entry.body)).sum();
        if length > TOGETHER_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let mut state = self.accepting()?;
        let needs_room = |entry: &Entry<'_>| entry.room == Room::Ordinary && !entry.puts.is_empty();
        if self.is_full() && encoded.iter().any(|(_, entry)| needs_room(entry)) {
            return Err(Refused::Full);
        }
        if !encoded.is_empty() {
            let batch = state.batch_for(length);
            encoded.iter().for_each(|(encoded, entry)| batch.add(encoded, entry.body));
        }
        for (encoded, entry) in &encoded {
            self.added(&mut state, encoded.length(entry.body), entry.level);
        }
        self.note_ticket(state, source, ticket, urgency);
        Ok(())
    }
}
