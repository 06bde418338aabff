use std::iter;
use std::sync::Arc;

use super::Recovery;
use crate::broker::persistence::delayed_message::RecoveredDelayed;
use crate::broker::persistence::encode::{StoredMessage, read_queued};
use crate::broker::persistence::head::accepted_at;
use crate::broker::persistence::record::Deduplicated;
use crate::broker::persistence::record_key::RecordKey;
use crate::broker::persistence::redelivery::read_redelivery;
use crate::broker::persistence::retained_message::{read_retained, sequences};
use crate::broker::persistence::version_1::upgrade_record;

impl Recovery {
    /// Applies the record of an accepted message. `None`: it can't be read.
    pub(super) fn put_accepted(&mut self, body: &[u8], puts: &[RecordKey], parts: &[&[u8]]) -> Option<()> {
        self.latest = self.latest.max(accepted_at(body).unwrap_or_default());
        let parts = parts.iter().copied().chain(iter::repeat(&[][..]));
        let queued = || puts.iter().copied().zip(parts.clone()).filter(|(key, _)| key.kind == RecordKey::QUEUED);
        if queued().any(|(_, part)| part.is_empty()) {
            let (body, parts) = upgrade_record(body, puts)?;
            return self.put_accepted(&body, puts, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        read_queued(body, queued(), |key, message| {
            self.stored(key.group).queue.insert(key.id, message);
        })?;
        for (key, part) in puts.iter().zip(parts.clone()).filter(|(key, _)| key.kind == RecordKey::DELAYED) {
            let delayed = RecoveredDelayed::read(key.id, body, part, &mut self.originators)?;
            self.latest = self.latest.max(delayed.at);
            self.delayed.insert(key.id, delayed);
        }
        let is_other = |key: &RecordKey| !matches!(key.kind, RecordKey::QUEUED | RecordKey::DELAYED);
        for (key, part) in puts.iter().zip(parts).filter(|(key, _)| is_other(key)) {
            match key.kind {
                RecordKey::RECEIVED => _ = self.stored(key.group).received.insert(key.id),
                RecordKey::DEDUPLICATED => {
                    let entry = Deduplicated { number: key.id, ..StoredMessage::read(body)?.deduplicated? };
                    self.latest = self.latest.max(entry.at);
                    self.deduplicated.insert(key.id, entry);
                }
                RecordKey::REDELIVERY => {
                    let state = read_redelivery(part)?;
                    self.stored(key.group).redeliveries.insert(key.id, state);
                }
                RecordKey::RETAINED => {
                    let retained = read_retained(key.id, body, part, sequences(puts), &mut self.retained_users)?;
                    self.retained.insert(key.id, Arc::new(retained));
                }
                // The store has what a stream keeps.
                RecordKey::STREAM_MESSAGE => {}
                _ => return None,
            }
        }
        Some(())
    }
}
