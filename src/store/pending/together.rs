//! Appends several entries that are recovered together or not at all.

use super::super::entry::{Encoded, Entry, Numbered, Refused, Room, TOGETHER_BYTES_MAX, encode_numbered};
use super::super::numbers::Numbers;
use super::{PendingEntries, Urgency};

impl PendingEntries {
    /// Appends entries that share a ticket and are part of one batch: recovery reads a batch as a whole or not at all. `numbered`: the numbered puts
    /// of each entry. Returns their ids.
    pub(in crate::store) fn append_together(
        &self,
        (source, ticket, urgency): (usize, u64, Urgency),
        entries: &[Entry<'_>],
        numbered: &[&[Numbered<'_>]],
    ) -> Result<Vec<Numbers>, Refused> {
        let of_entry = |place: usize| numbered.get(place).copied().unwrap_or_default();
        let encode = |(place, entry)| encode_numbered(entry, of_entry(place));
        let mut encoded: Vec<Encoded> = if self.keeps {
            entries.iter().enumerate().map(encode).collect::<Result<_, Refused>>()?
        } else {
            Vec::new()
        };
        let length = encoded.iter().zip(entries).map(|(encoded, entry)| encoded.length(entry.body)).sum();
        if length > TOGETHER_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let mut state = self.accepting()?;
        let needs_room = |(place, entry): (usize, &Entry<'_>)| {
            entry.room == Room::Ordinary && !(entry.puts.is_empty() && of_entry(place).is_empty())
        };
        if self.keeps && self.is_full() && entries.iter().enumerate().any(needs_room) {
            return Err(Refused::Full);
        }
        let mut numbers = Vec::new();
        if self.keeps && numbered.iter().any(|puts| !puts.is_empty()) {
            numbers = state.next_numbers.take_all(numbered)?;
            state.has_numbered = true;
            encoded.iter_mut().zip(&numbers).for_each(|(encoded, numbers)| encoded.set_numbers(numbers));
        }
        if !encoded.is_empty() {
            let batch = state.batch_for(length);
            encoded.iter().zip(entries).for_each(|(encoded, entry)| batch.add(encoded, entry.body));
        }
        for (encoded, entry) in encoded.iter().zip(entries) {
            self.added(&mut state, encoded.length(entry.body), entry.level);
        }
        self.note_ticket(state, source, ticket, urgency);
        Ok(numbers)
    }
}
