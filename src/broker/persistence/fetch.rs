//! Messages that the store alone has, on their way back into memory: those that are about to be sent, and those that are
//! to become dead letters.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use bytestring::ByteString;

use crate::broker::counters::DropReason;
use crate::broker::persistence::encode::{RecordKey, read_delivery};
use crate::routing::{SessionKey, Subscriber};
use crate::session::FetchedMessage;

/// Queued messages of one Session to be read from the store.
#[derive(Debug)]
pub struct Fetch {
    pub(in crate::broker) session: SessionKey,
    pub(in crate::broker) sequences: Vec<u64>,
    pub(in crate::broker) purpose: Purpose,
}

/// What was read for a [`Fetch`].
#[derive(Debug)]
pub struct Fetched {
    pub(in crate::broker) fetch: Fetch,
    pub(in crate::broker) messages: Vec<FetchedMessage>,
    /// The contents of messages that follow each other, which are sent together.
    buffer: BytesMut,
}

/// What messages are fetched for.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) enum Purpose {
    /// The Session in this slot sends them: it asked with this number.
    Send { slot: usize, number: u32 },
    /// They were dropped, and become dead letters.
    DeadLetters,
}

/// Messages of one Session that were dropped and become dead letters, the oldest first.
#[derive(Debug)]
pub(in crate::broker) struct PendingDeadLetters {
    pub(in crate::broker) to: Arc<Subscriber>,
    pub(in crate::broker) messages: VecDeque<(u64, DropReason)>,
}

impl Fetch {
    /// The keys whose bodies are wanted.
    pub fn keys(&self) -> impl Iterator<Item = RecordKey> + '_ {
        self.sequences.iter().map(|sequence| RecordKey::queued(self.session, *sequence))
    }

    /// The answer, of which nothing is there yet.
    pub fn answer(self) -> Fetched {
        let messages = Vec::with_capacity(self.sequences.len());
        Fetched { fetch: self, messages, buffer: BytesMut::new() }
    }
}

impl Fetched {
    /// The body of the next key, or why it can't be read.
    pub fn add(&mut self, body: Result<&[u8], ByteString>) {
        let Some(&sequence) = self.fetch.sequences.get(self.messages.len()) else { return };
        let place = (self.fetch.session, sequence);
        let message = body.and_then(|body| {
            if self.buffer.capacity() < body.len() && body.len() < BUFFER_BYTES / 4 {
                self.buffer = BytesMut::with_capacity(BUFFER_BYTES);
            }
            read_delivery(body, place, &mut self.buffer)
                .map(Box::new)
                .ok_or_else(|| "its record makes no sense to this version".into())
        });
        self.messages.push((sequence, message));
    }
}

/// Small messages share so many bytes, which are in memory as long as one of them is.
const BUFFER_BYTES: usize = 32 << 10;
