//! Reads messages that are only in the store, to send them or to publish them as dead letters.

use bytes::BytesMut;
use bytestring::ByteString;

use crate::broker::persistence::encode::read_delivery;
use crate::broker::persistence::record_key::RecordKey;
use crate::routing::SessionKey;
use crate::session::FetchedMessage;

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
    /// The contents of consecutive messages.
    buffer: BytesMut,
}

/// Why messages are fetched.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) enum Purpose {
    /// The Session in this slot sends them. `number` is the number of its request.
    Send { slot: usize, number: u32 },
    /// They were dropped and become dead letters.
    DeadLetters,
}

impl Fetch {
    /// The keys of the bodies to read.
    pub fn keys(&self) -> impl Iterator<Item = RecordKey> + '_ {
        self.sequences.iter().map(|sequence| RecordKey::queued(self.session, *sequence))
    }

    /// The answer, without messages.
    pub fn answer(self) -> Fetched {
        let messages = Vec::with_capacity(self.sequences.len());
        Fetched { fetch: self, messages, buffer: BytesMut::new() }
    }
}

impl Fetched {
    /// Adds the body of the next key, or the reason why it cannot be read.
    pub fn add(&mut self, body: Result<&[u8], ByteString>) {
        let Some(&sequence) = self.fetch.sequences.get(self.messages.len()) else { return };
        let place = (self.fetch.session, sequence);
        let message = body.and_then(|body| {
            if self.buffer.capacity() < body.len() && body.len() < BUFFER_BYTES / 4 {
                self.buffer = BytesMut::with_capacity(BUFFER_BYTES);
            }
            read_delivery(body, place, &mut self.buffer).map(Box::new).ok_or_else(|| "record cannot be decoded".into())
        });
        self.messages.push((sequence, message));
    }
}

/// The size of a buffer that small messages share. It is freed with the last of these messages.
const BUFFER_BYTES: usize = 32 << 10;
