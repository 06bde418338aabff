use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::auth;
use crate::broker::{
    ConnectionId, DelayedBatch, Detail, Farewell, Fetched, Settings, ShardBatch, ShardMessage, StreamChunk,
    StreamNumber, Ticket,
};
use crate::routing::ShardId;
use crate::server::clock::Clock;
use crate::server::listener::{Accepted, Admission, Early, ListeningSocket};
use crate::server::shard::queries::QueryRequest;
use crate::server::shard::trace::TraceChange;

/// A message from another thread to a shard.
#[derive(Debug)]
pub(in crate::server) enum Mail {
    /// A message from another shard.
    Forwarded(ShardMessage),
    /// A connection that a listener accepted for this shard.
    Accepted(Box<Accepted>),
    /// Sockets, at which the only shard accepts connections itself.
    Listen(Box<Listen>),
    /// A provider that may block has answered.
    Authenticated { connection: ConnectionId, answer: Box<auth::Answer> },
    /// The delay of a CONNECT or of its refusal is over.
    DelayOver(ConnectionId),
    /// All records up to this ticket are stable.
    Persisted(Ticket),
    /// Messages were read from the store.
    Fetched(Box<Fetched>),
    /// Messages of a stream were read.
    StreamRead(Box<StreamChunk>),
    /// Further messages of a stream can be read.
    StreamAdvanced(StreamNumber),
    /// Delayed messages that are due were read from the store.
    DelayedRead(Box<DelayedBatch>),
    /// Certificates, passwords or access rules were reloaded: every client is judged again.
    AccessReloaded,
    /// The settings of the log were reloaded.
    LogReloaded(Box<Detail>),
    /// A trace begins or ends.
    TracesChanged(Box<TraceChange>),
    /// The settings of the broker were reloaded.
    SettingsReloaded(Box<ShardSettings>),
    /// Listeners were removed: the connections with these names of listeners, which are recognized by their allocation, end.
    ListenersRemoved(Box<[Arc<str>]>),
    /// A query for the admin interface.
    Query(Box<QueryRequest>),
    /// The broker stops, perhaps because another server serves the clients.
    ShuttingDown(Option<Farewell>, Option<Detached>),
    /// The thread of the shard ends at once, with all connections that are left.
    End,
}

/// Gets a message when no client is connected, and all that the shard stores of that was passed to the store.
pub(in crate::server) type Detached = mpsc::Sender<()>;

/// What a reload changes in a shard.
#[derive(Debug, Clone)]
pub(in crate::server) struct ShardSettings {
    pub(in crate::server) settings: Arc<Settings>,
    /// `limits.write_timeout`.
    pub(in crate::server) write_timeout: Duration,
}

/// A request to accept connections at further sockets until their listeners are closed or the broker stops.
#[derive(Debug)]
pub(in crate::server) struct Listen {
    pub(in crate::server) clock: Clock,
    pub(in crate::server) admission: Arc<Admission>,
    pub(in crate::server) sockets: Vec<ListeningSocket>,
    pub(in crate::server) early: Early,
    /// Gets whether the sockets are registered with the runtime of the shard.
    pub(in crate::server) started: SyncSender<io::Result<()>>,
}

impl Mail {
    /// The share of the mailbox's capacity that it uses, in messages.
    fn weight(&self) -> usize {
        if let Self::Forwarded(message) = self { message.weight() } else { 1 }
    }
}

/// The queue of messages from other threads to a shard.
///
/// It never refuses a message. A shard that makes it exceed `messages_max` gets [`Fullness::Full`] and pauses its publishers that send to
/// this shard, until the mailbox has drained to half of `messages_max`. So it exceeds `messages_max` at most by the messages
/// that the other shards send before their publishers are paused.
#[derive(Debug)]
pub(in crate::server) struct Mailbox {
    messages_max: usize,
    /// A copy of the weight of the contents, which is read without the lock.
    weight: AtomicUsize,
    contents: Mutex<Contents>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Contents {
    mail: VecDeque<Mail>,
    /// The sum of the weights in `mail`.
    weight: usize,
    /// Shards to notify when there is room.
    waiting: Vec<ShardId>,
}

/// Whether a mailbox has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Fullness {
    Room,
    /// The sender pauses its publishers; its own mailbox is notified when there is room.
    Full,
}

impl Mailbox {
    pub(in crate::server) fn new(messages_max: usize) -> Self {
        Self { messages_max, weight: AtomicUsize::new(0), contents: Mutex::default(), wake: Notify::new() }
    }

    /// Appends a message.
    pub(in crate::server) fn put(&self, mail: Mail) {
        let mut contents = self.lock();
        contents.weight += mail.weight();
        contents.mail.push_back(mail);
        self.weight.store(contents.weight, Ordering::Release);
        drop(contents);
        self.wake.notify_one();
    }

    /// Appends all messages of a batch of the shard `from`, and empties it.
    pub(in crate::server) fn put_all(&self, from: ShardId, batch: &mut ShardBatch) -> Fullness {
        let weight = batch.weight();
        let mut contents = self.lock();
        contents.weight += weight;
        contents.mail.extend(batch.take().map(Mail::Forwarded));
        let weight = contents.weight;
        self.weight.store(weight, Ordering::Release);
        let fullness = if weight > self.messages_max { Fullness::Full } else { Fullness::Room };
        if fullness == Fullness::Full && !contents.waiting.contains(&from) {
            contents.waiting.push(from);
        }
        drop(contents);
        self.wake.notify_one();
        fullness
    }

    /// Moves the oldest messages to `mail`, until their weight is at least `weight` or none is left. Returns the shards to notify because
    /// there is room again.
    pub(in crate::server) fn take(&self, weight: usize, mail: &mut Vec<Mail>) -> Vec<ShardId> {
        let mut contents = self.lock();
        let mut taken = 0;
        while taken < weight
            && let Some(next) = contents.mail.pop_front()
        {
            taken += next.weight();
            mail.push(next);
        }
        contents.weight -= taken;
        self.weight.store(contents.weight, Ordering::Release);
        if self.has_room() { std::mem::take(&mut contents.waiting) } else { Vec::new() }
    }

    /// Whether a shard that got [`Fullness::Full`] may resume its publishers.
    pub(in crate::server) fn has_room(&self) -> bool {
        self.weight.load(Ordering::Acquire) <= self.messages_max / 2
    }

    /// The weight of the mail that waits: the number of messages, approximately.
    pub(in crate::server) fn weight(&self) -> usize {
        self.weight.load(Ordering::Relaxed)
    }

    /// Waits for mail, or for [`notify`](Self::notify).
    pub(in crate::server) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Wakes the owner without mail, to check the congestion of other shards and the store, or the end of the drain.
    pub(in crate::server) fn notify(&self) {
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Distributes connections to the shards round robin.
pub(in crate::server) fn round_robin(mailboxes: Arc<[Mailbox]>) -> impl Fn(Accepted) {
    let next = Cell::new(0);
    move |accepted| {
        let number = next.get();
        next.set((number + 1) % mailboxes.len().max(1));
        if let Some(mailbox) = mailboxes.get(number) {
            mailbox.put(Mail::Accepted(Box::new(accepted)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(receivers: u32) -> ShardBatch {
        let mut batch = ShardBatch::default();
        batch.push(ShardMessage::for_receivers(receivers));
        batch
    }

    #[test]
    fn a_full_mailbox_accepts_everything_and_notifies_the_sender_when_half_is_left() {
        let mailbox = Mailbox::new(4);
        for _ in 0..4 {
            mailbox.put(Mail::AccessReloaded);
        }
        assert_eq!(mailbox.put_all(ShardId(1), &mut ShardBatch::default()), Fullness::Room);
        mailbox.put(Mail::AccessReloaded);
        assert_eq!(mailbox.put_all(ShardId(1), &mut ShardBatch::default()), Fullness::Full);
        assert_eq!(mailbox.put_all(ShardId(1), &mut ShardBatch::default()), Fullness::Full);
        assert!(!mailbox.has_room());

        let mut mail = Vec::new();
        assert_eq!(mailbox.take(2, &mut mail), []);
        assert_eq!(mailbox.take(1, &mut mail), [ShardId(1)]);
        assert_eq!(mailbox.take(9, &mut mail), []);
        assert_eq!(mail.len(), 5);
    }

    #[test]
    fn a_message_for_several_receivers_counts_once_per_receiver() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.put_all(ShardId(1), &mut group(6)), Fullness::Room);
        mailbox.put(Mail::Forwarded(ShardMessage::for_receivers(5)));
        assert!(!mailbox.has_room());
        assert_eq!(mailbox.put_all(ShardId(1), &mut group(1)), Fullness::Full);

        let mut mail = Vec::new();
        assert_eq!(mailbox.take(4, &mut mail), []);
        assert_eq!(mail.len(), 1, "it is not divided");
        assert_eq!(mailbox.take(1, &mut mail), [ShardId(1)]);
        assert_eq!(mailbox.take(9, &mut mail), []);
        assert_eq!(mail.len(), 3);
        assert!(mailbox.has_room());
    }
}
