//! Messages that the store alone has, on their way back into memory: those that are about to be sent, and those that are
//! to become dead letters.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use bytestring::ByteString;

use crate::broker::persistence::encode::{RecordKey, read_delivery};
use crate::broker::publish::dead_letter::{concerns, reason};
use crate::broker::shard::Turn;
use crate::broker::{Action, DropReason, Record, Shard};
use crate::routing::{SessionKey, Subscriber};
use crate::session::{self, DropCause, FetchedMessage};

/// Queued messages of one Session to be read from the store.
#[derive(Debug)]
pub struct Fetch {
    session: SessionKey,
    sequences: Vec<u64>,
    purpose: Purpose,
}

/// What was read for a [`Fetch`].
#[derive(Debug)]
pub struct Fetched {
    fetch: Fetch,
    messages: Vec<FetchedMessage>,
    /// The contents of messages that follow each other, which are sent together.
    buffer: BytesMut,
}

/// What messages are fetched for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// The Session in this slot sends them: it asked with this number.
    Send { slot: usize, number: u32 },
    /// They were dropped, and become dead letters.
    DeadLetters,
}

/// Messages of one Session that were dropped and become dead letters, the oldest first.
#[derive(Debug)]
pub(in crate::broker) struct Dead {
    to: Arc<Subscriber>,
    messages: VecDeque<(u64, DropReason)>,
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

impl Shard {
    /// The Session in `slot` is about to send what is not in memory.
    pub(in crate::broker) fn fetch(&mut self, slot: usize, number: u32, sequences: Vec<u64>, turn: &mut Turn<'_>) {
        let Some(session) = self.sessions.get(slot).map(|entry| entry.subscriber.key) else { return };
        let purpose = Purpose::Send { slot, number };
        turn.actions.push(Action::Fetch(Box::new(Fetch { session, sequences, purpose })));
    }

    /// Messages were read. The Session that asked may be gone, or have come back: then it asked again.
    pub(in crate::broker) fn on_fetched(&mut self, fetched: Fetched, turn: &mut Turn<'_>) {
        let Fetched { fetch: Fetch { session, purpose, .. }, messages, .. } = fetched;
        match purpose {
            Purpose::Send { slot, number } if self.session(slot, session).is_some() => {
                self.drive(slot, session::Event::Fetched(number, messages), turn);
                self.replay(slot, turn);
            }
            Purpose::Send { .. } => {}
            Purpose::DeadLetters => self.on_dead_fetched(session, messages, turn),
        }
    }

    /// A message that the store alone has was dropped by the Session in `slot`: its record goes when what is made of it is there.
    pub(in crate::broker) fn on_dropped_stored(
        &mut self,
        slot: usize,
        cause: &DropCause,
        sequence: u64,
        turn: &mut Turn<'_>,
    ) {
        let Some(to) = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber)) else { return };
        let (key, reason) = (to.key, reason(cause));
        self.count_dropped(slot, key, reason, turn);
        if !concerns(reason) || self.settings.dead_letter_topic.is_none() || !to.is_durable() {
            return self.persist_done(slot, sequence, turn);
        }
        let dead = self.dead.entry(key).or_insert_with(|| Dead { to, messages: VecDeque::new() });
        if dead.messages.len() >= DEAD_MAX {
            self.counters.dead_letters_lost += 1;
            return self.persist_done(slot, sequence, turn);
        }
        dead.messages.push_back((sequence, reason));
        if dead.messages.len() == 1 {
            self.fetch_dead(key, turn);
        }
    }

    fn fetch_dead(&self, session: SessionKey, turn: &mut Turn<'_>) {
        let Some(dead) = self.dead.get(&session) else { return };
        let sequences = dead.messages.iter().take(DEAD_FETCHED_MAX).map(|(sequence, _)| *sequence).collect();
        turn.actions.push(Action::Fetch(Box::new(Fetch { session, sequences, purpose: Purpose::DeadLetters })));
    }

    fn on_dead_fetched(&mut self, key: SessionKey, messages: Vec<FetchedMessage>, turn: &mut Turn<'_>) {
        for (sequence, message) in messages {
            let Some(dead) = self.dead.get_mut(&key) else { return };
            let Some((_, reason)) = dead.messages.pop_front() else { break };
            let to = Arc::clone(&dead.to);
            match message {
                Ok(delivery) => self.publish_dead_letter(&to, reason, &delivery, turn),
                Err(_) => self.counters.dead_letters_lost += 1,
            }
            self.persist(Record::Done { key, sequence }, turn);
        }
        if self.dead.get(&key).is_some_and(|dead| !dead.messages.is_empty()) {
            self.fetch_dead(key, turn);
        } else {
            self.dead.remove(&key);
        }
    }
}

/// Small messages share so many bytes, which are in memory as long as one of them is.
const BUFFER_BYTES: usize = 32 << 10;
/// Dropped messages of one Session that wait to be fetched; more are dropped without a dead letter, and counted.
const DEAD_MAX: usize = 10_000;
/// Those that are fetched at once. Each may be as large as a packet can be.
const DEAD_FETCHED_MAX: usize = 16;
