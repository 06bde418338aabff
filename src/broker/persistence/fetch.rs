//! Reads messages that are only in the store, to send them or to publish them as dead letters.

use std::vec;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::broker::persistence::cache::{CopyPlace, MessageCache};
use crate::broker::persistence::dead_letter::DeadLetter;
use crate::broker::persistence::encode::read_delivery;
use crate::broker::persistence::grant::StoredGrant;
use crate::broker::persistence::record_key::RecordKey;
use crate::broker::persistence::version_1::upgrade_record;
use crate::broker::query::QueryId;
use crate::routing::SessionKey;
use crate::session::{Delivery, FetchedMessage};

/// A request to read queued messages of one Session from the store.
#[derive(Debug)]
pub struct Fetch {
    pub(in crate::broker) session: SessionKey,
    pub(in crate::broker) sequences: Vec<u64>,
    pub(in crate::broker) purpose: Purpose,
}

/// The answer to a [`Fetch`].
#[derive(Debug)]
pub struct Fetched {
    pub(in crate::broker) fetch: Fetch,
    pub(in crate::broker) messages: Vec<FetchedMessage>,
    /// The messages that are in memory, in the order of the keys; `None`: to be read. Further ones are to be read.
    known: vec::IntoIter<Option<Delivery>>,
    /// Messages that other Sessions may read too.
    shared: Vec<(CopyPlace, Delivery)>,
    /// The contents of consecutive messages.
    buffer: BytesMut,
}

/// What the store has for a key.
#[derive(Debug)]
pub struct StoredRecord<'a> {
    /// The body of the record.
    pub body: &'a [u8],
    /// The part of the key.
    pub part: &'a [u8],
    /// The bytes of the body, if keeping them keeps no other ones in memory.
    pub bytes: Option<&'a Bytes>,
    /// Where it is, if other keys have the same body.
    pub place: Option<CopyPlace>,
}

/// Why messages are fetched.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) enum Purpose {
    /// The Session in this slot sends them. `number` is the number of its request.
    Send { slot: usize, number: u32 },
    /// They were dropped and become dead letters.
    DeadLetters,
    /// The client of the Session in this slot has refused them.
    Refused { slot: usize },
    /// They are queued again for the Session in this slot.
    Redeliver { slot: usize },
    /// They are kept dead letters with these numbers, for a query.
    Letter { query: QueryId, letter_use: LetterUse },
    /// A query shows them, with so many bytes of each payload.
    Show { query: QueryId, preview: usize },
    /// A query looks for a message among them.
    Search { query: QueryId },
}

/// What a dead letter is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum LetterUse {
    /// To show it.
    Show,
    /// To put it into its queue.
    Redrive,
}

impl Fetch {
    /// The keys of the bodies to read.
    pub fn keys(&self) -> impl Iterator<Item = RecordKey> + '_ {
        let is_letter = matches!(self.purpose, Purpose::Letter { .. });
        let key = move |sequence| {
            if is_letter { RecordKey::dead_letter(sequence) } else { RecordKey::queued(self.session, sequence) }
        };
        self.sequences.iter().copied().map(key)
    }

    /// The answer, without messages.
    pub fn answer(self) -> Fetched {
        let (messages, known) = (Vec::with_capacity(self.sequences.len()), Vec::new().into_iter());
        Fetched { fetch: self, messages, known, shared: Vec::new(), buffer: BytesMut::new() }
    }

    /// The answer with the messages that are in memory, given the position of each key in the store. Also returns whether each key
    /// needs not be read; further keys need.
    pub fn answer_from(
        self,
        cache: &MessageCache,
        positions: impl Iterator<Item = Option<u64>>,
    ) -> (Fetched, Vec<bool>) {
        let known = cache.copies(positions);
        let is_known: Vec<bool> = known.iter().map(Option::is_some).collect();
        let mut fetched = self.answer();
        fetched.known = known.into_iter();
        fetched.add_known();
        (fetched, is_known)
    }
}

impl Fetched {
    /// Adds the message of the next key that is to be read, or the reason why it cannot be read.
    pub fn add(&mut self, record: Result<StoredRecord<'_>, ByteString>) {
        let message = record.and_then(|record| {
            let delivery = self.read(&record).ok_or("record cannot be decoded")?;
            self.shared.extend(record.place.map(|place| (place, delivery.clone())));
            Ok(delivery)
        });
        self.push(message);
    }

    /// Adds the message of the next key that is to be read, if the message is in memory for another Session.
    pub fn add_cached(&mut self, cache: &MessageCache, place: CopyPlace, part: &[u8]) -> bool {
        let cached = StoredGrant::read(part).and_then(|grant| cache.message(place.message, &grant));
        let Some(delivery) = cached else { return false };
        self.shared.push((place, delivery.clone()));
        self.push(Ok(delivery));
        true
    }

    /// Makes the messages that were read available to other Sessions.
    pub fn share(&mut self, cache: &MessageCache) {
        cache.add(self.shared.drain(..));
    }

    fn push(&mut self, message: Result<Delivery, ByteString>) {
        let Some(&sequence) = self.fetch.sequences.get(self.messages.len()) else { return };
        self.messages.push((sequence, message));
        self.add_known();
    }

    /// Adds the messages in memory, up to the next one that is to be read.
    fn add_known(&mut self) {
        while let Some(Some(message)) = self.known.next() {
            let Some(&sequence) = self.fetch.sequences.get(self.messages.len()) else { return };
            self.messages.push((sequence, Ok(message)));
        }
    }

    fn read(&mut self, &StoredRecord { body, part, bytes, .. }: &StoredRecord<'_>) -> Option<Delivery> {
        let bytes = bytes.filter(|bytes| bytes.len() >= BUFFER_BYTES / 4);
        if let Purpose::Letter { .. } = self.fetch.purpose {
            let number = self.fetch.sequences.get(self.messages.len())?;
            return DeadLetter::read(*number, body, part, bytes).map(|letter| letter.delivery);
        }
        if self.buffer.capacity() < body.len() && body.len() < BUFFER_BYTES / 4 {
            self.buffer = BytesMut::with_capacity(BUFFER_BYTES);
        }
        if !part.is_empty() {
            return read_delivery(body, StoredGrant::read(part)?, bytes, &mut self.buffer);
        }
        let sequence = self.fetch.sequences.get(self.messages.len())?;
        let (body, parts) = upgrade_record(body, &[RecordKey::queued(self.fetch.session, *sequence)])?;
        read_delivery(&body, StoredGrant::read(parts.first()?)?, None, &mut self.buffer)
    }
}

/// The size of a buffer that small messages share. It is freed with the last of these messages.
const BUFFER_BYTES: usize = 32 << 10;
