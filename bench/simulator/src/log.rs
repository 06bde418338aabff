//! The log of a cell, as far as it is replicated: what a successor begins with.

use std::collections::{BTreeMap, VecDeque};

use oncemq::broker::{Fetch, Fetched, RecordBytes, RecordKey, Recovered, Recovery, StoredRecord, Ticket};
use slab::Slab;
use smallvec::SmallVec;

/// Records under their keys, and those that are not replicated yet.
#[derive(Debug, Default)]
pub(crate) struct Log {
    bodies: Slab<Body>,
    keys: BTreeMap<RecordKey, Put>,
    /// In the order in which they were made.
    pending: VecDeque<Pending>,
    /// The last one is of the present turn, so that another one can be joined to it.
    is_open: bool,
    /// The number of records that were made.
    pub(crate) records: u64,
}

/// The body of a record, for the keys that have it.
#[derive(Debug)]
struct Body {
    bytes: Box<[u8]>,
    keys: u32,
}

#[derive(Debug)]
struct Put {
    body: u32,
    part: SmallVec<[u8; 16]>,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    records: SmallVec<[RecordBytes; 1]>,
    is_urgent: bool,
}

/// What a commit has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// The last ticket in it.
    pub(crate) ticket: Ticket,
    pub(crate) bytes: u64,
    /// Something waits for it.
    pub(crate) is_urgent: bool,
}

impl Log {
    /// Adds a record, or joins it to the one before, as `server/store/handle.rs` does.
    pub(crate) fn append(&mut self, ticket: Ticket, record: RecordBytes, is_urgent: bool) {
        if let Some(last) = self.pending.back_mut().filter(|_| self.is_open)
            && let [before] = &mut last.records[..]
            && before.join(&record)
        {
            last.ticket = ticket;
            last.is_urgent |= is_urgent;
            return;
        }
        self.append_together(ticket, std::iter::once(record), is_urgent);
        self.is_open = true;
    }

    /// Adds records that are stable together.
    pub(crate) fn append_together(
        &mut self,
        ticket: Ticket,
        records: impl Iterator<Item = RecordBytes>,
        is_urgent: bool,
    ) {
        let records: SmallVec<_> = records.collect();
        self.records += records.len() as u64;
        self.pending.push_back(Pending { ticket, records, is_urgent });
        self.is_open = false;
    }

    /// No later record is joined to the last one.
    pub(crate) const fn end_turn(&mut self) {
        self.is_open = false;
    }

    /// The records behind a ticket, up to a number of bytes; `None`: there are none.
    pub(crate) fn batch_after(&self, ticket: Ticket, bytes_max: u64) -> Option<Batch> {
        let first = self.pending.partition_point(|pending| pending.ticket <= ticket);
        let mut batch: Option<Batch> = None;
        for pending in self.pending.iter().skip(first) {
            let (bytes, is_urgent) = batch.map_or((0, false), |batch| (batch.bytes, batch.is_urgent));
            if bytes >= bytes_max {
                break;
            }
            let bytes = bytes + pending.records.iter().map(stored_len).sum::<u64>();
            batch = Some(Batch { ticket: pending.ticket, bytes, is_urgent: is_urgent || pending.is_urgent });
        }
        batch
    }

    /// What was made up to a ticket is replicated.
    pub(crate) fn replicated(&mut self, ticket: Ticket) {
        while self.pending.front().is_some_and(|pending| pending.ticket <= ticket)
            && let Some(pending) = self.pending.pop_front()
        {
            pending.records.into_iter().for_each(|record| self.apply(record));
        }
    }

    /// The owner is gone, with what is not replicated.
    pub(crate) fn cut(&mut self) {
        self.pending.clear();
    }

    /// The number of keys.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Reads messages, which must be replicated.
    pub(crate) fn read(&self, fetch: Fetch) -> Fetched {
        let keys: Vec<RecordKey> = fetch.keys().collect();
        let mut fetched = fetch.answer();
        for key in keys {
            let found = self.keys.get(&key).and_then(|put| Some((put, self.bodies.get(put.body as usize)?)));
            let record =
                found.map(|(put, body)| StoredRecord { body: &body.bytes, part: &put.part, bytes: None, place: None });
            fetched.add(record.ok_or_else(|| "not in the log".into()));
        }
        fetched
    }

    /// The last ticket.
    pub(crate) fn last(&self) -> Option<Ticket> {
        self.pending.back().map(|pending| pending.ticket)
    }

    /// What a successor begins with.
    pub(crate) fn recover(&self) -> Recovered {
        // The keys of a body come together, as they were put.
        let mut of_bodies: Vec<(u32, RecordKey)> = self.keys.iter().map(|(key, put)| (put.body, *key)).collect();
        of_bodies.sort_unstable();
        let mut recovery = Recovery::default();
        for keys in of_bodies.chunk_by(|(one, _), (other, _)| one == other) {
            let Some(body) = keys.first().and_then(|(body, _)| self.bodies.get(*body as usize)) else { continue };
            let puts: SmallVec<[RecordKey; 4]> = keys.iter().map(|(_, key)| *key).collect();
            let parts: SmallVec<[&[u8]; 4]> =
                puts.iter().map(|key| self.keys.get(key).map_or(&[][..], |put| &put.part)).collect();
            recovery.apply(&body.bytes, (&puts, &parts), &[], None);
        }
        recovery.finish()
    }

    fn apply(&mut self, record: RecordBytes) {
        if let Some(group) = record.ends {
            let first = RecordKey { group, kind: 0, id: 0 };
            let last = RecordKey { group, kind: u8::MAX, id: u64::MAX };
            let keys: Vec<RecordKey> = self.keys.range(first..=last).map(|(key, _)| *key).collect();
            keys.iter().for_each(|key| self.delete(key));
        }
        record.deletes.iter().for_each(|key| self.delete(key));
        if record.puts.is_empty() {
            return;
        }
        let keys = u32::try_from(record.puts.len()).unwrap_or(u32::MAX);
        let body = self.bodies.insert(Body { bytes: record.body.into_boxed_slice(), keys });
        let mut parts = record.parts.iter();
        for key in record.puts {
            self.delete(&key);
            let part = parts.next().unwrap_or_default().into();
            self.keys.insert(key, Put { body: u32::try_from(body).unwrap_or(u32::MAX), part });
        }
    }

    fn delete(&mut self, key: &RecordKey) {
        let Some(Put { body, .. }) = self.keys.remove(key) else { return };
        let body = body as usize;
        if let Some(stored) = self.bodies.get_mut(body) {
            stored.keys -= 1;
            if stored.keys == 0 {
                self.bodies.remove(body);
            }
        }
    }
}

/// The bytes that the store writes for a record: its front, its keys, and its parts with a checksum each.
fn stored_len(record: &RecordBytes) -> u64 {
    let keys = record.puts.len() + record.deletes.len();
    let parts: usize = record.parts.iter().filter(|part| !part.is_empty()).map(|part| part.len() + PART_BYTES).sum();
    (FRONT_BYTES + record.body.len() + keys * KEY_BYTES + parts) as u64
}

/// The checksum, the lengths, and the numbers of keys and parts.
const FRONT_BYTES: usize = 18;
/// A key with its number within the run, most often.
const KEY_BYTES: usize = 6;
/// The checksum, the place and the length of a part.
const PART_BYTES: usize = 7;
