//! Passes records to the store that are recovered together or not at all.

use super::{StoreHandle, keys, level};
use crate::broker::{Durability, Record, Ticket};
use crate::server::store::append::append_together;
use crate::store::{Entry, Refused, Room, Urgency};

impl StoreHandle {
    /// Messages of streams are to be stable soon: a subscriber waits for the next one.
    pub(in crate::server) const fn hurry(&mut self) {
        self.hurries = true;
    }

    /// Queues records that share a ticket, and that an answer waits for. When they are stable, the shard gets
    /// [`Mail::Persisted`](crate::server::shard::mailbox::Mail::Persisted).
    pub(in crate::server) fn persist_together(&mut self, ticket: Ticket, durability: Durability, records: &[Record]) {
        if self.store.is_none() {
            self.stable = self.stable.max(Some(ticket));
            return;
        }
        self.gather_pending();
        self.unannounced = Some(Urgency::Awaited);
        let Some(store) = &self.store else { return };
        let encoded: Vec<_> = records.iter().map(Record::to_bytes).collect();
        let lists: Vec<_> =
            encoded.iter().map(|bytes| (keys(&bytes.puts), keys(&bytes.deletes), bytes.parts.list())).collect();
        // The shard checked for room before it accepted the messages.
        let (level, room) = (level(durability), Room::Reserve);
        let entries: Vec<_> = encoded
            .iter()
            .zip(&lists)
            .map(|(bytes, (puts, deletes, parts))| Entry {
                body: &bytes.body,
                puts,
                parts,
                deletes,
                ends: bytes.ends,
                level,
                room,
            })
            .collect();
        let streams = encoded.iter().map(|bytes| &*bytes.streams);
        match append_together(store, (self.source, ticket.0, Urgency::Awaited), &entries, streams, &self.accepted) {
            Ok(given) => {
                records.iter().zip(&given).for_each(|(record, given)| record.appended(given, self.accepted.get()))
            }
            Err(Refused::Failed | Refused::Closed) => {}
            Err(refused @ (Refused::Full | Refused::TooLarge | Refused::NoStream)) => {
                let _ = self.failures.try_send(refused.to_string());
            }
        }
    }
}
