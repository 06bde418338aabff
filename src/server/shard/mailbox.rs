use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::auth;
use crate::broker::{ConnectionId, Fetched, ShardMessage, Ticket};
use crate::routing::ShardId;
use crate::server::listener::Accepted;
use crate::server::shard::queries::Question;

/// What other threads tell a shard.
#[derive(Debug)]
pub(in crate::server) enum Mail {
    /// Another shard's message.
    Forwarded(ShardMessage),
    /// A listener accepted a connection for this shard.
    Accepted(Box<Accepted>),
    /// A provider that may block has answered.
    Authenticated { connection: ConnectionId, answer: Box<auth::Answer> },
    /// Records up to this ticket are stable.
    Persisted(Ticket),
    /// Messages were read from the store.
    Fetched(Box<Fetched>),
    /// The access rules were reloaded.
    AccessReloaded,
    /// Somebody wants to know something.
    Query(Box<Question>),
    /// The broker stops.
    ShuttingDown,
}

impl Mail {
    /// How many messages it counts for.
    fn weight(&self) -> usize {
        if let Self::Forwarded(message) = self { message.weight() } else { 1 }
    }
}

/// Where a shard finds what other threads tell it, in order.
///
/// It is never refused: a shard that has put more than `messages_max` into it learns so, and pauses those of its publishers whose
/// messages go there until less than half of that is left.
#[derive(Debug)]
pub(in crate::server) struct Mailbox {
    messages_max: usize,
    /// Of the contents, to be looked at without the lock.
    weight: AtomicUsize,
    contents: Mutex<Contents>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Contents {
    mail: VecDeque<Mail>,
    /// Of all of it.
    weight: usize,
    waiting: Vec<ShardId>,
}

/// Whether a mailbox takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Fullness {
    /// It does.
    Room,
    /// The sender should pause its publishers; its own mailbox is notified when there is room.
    Full,
}

impl Mailbox {
    pub(in crate::server) fn new(messages_max: usize) -> Self {
        Self { messages_max, weight: AtomicUsize::new(0), contents: Mutex::default(), filled: Notify::new() }
    }

    /// Puts one thing in.
    pub(in crate::server) fn put(&self, mail: Mail) {
        let mut contents = self.lock();
        contents.weight += mail.weight();
        contents.mail.push_back(mail);
        self.weight.store(contents.weight, Ordering::Release);
        drop(contents);
        self.filled.notify_one();
    }

    /// Moves all `messages` of the shard `from` in, as one batch.
    pub(in crate::server) fn put_all(&self, from: ShardId, messages: &mut Vec<ShardMessage>) -> Fullness {
        let mut contents = self.lock();
        contents.weight += messages.iter().map(ShardMessage::weight).sum::<usize>();
        contents.mail.extend(messages.drain(..).map(Mail::Forwarded));
        let weight = contents.weight;
        self.weight.store(weight, Ordering::Release);
        let fullness = if weight > self.messages_max { Fullness::Full } else { Fullness::Room };
        if fullness == Fullness::Full && !contents.waiting.contains(&from) {
            contents.waiting.push(from);
        }
        drop(contents);
        self.filled.notify_one();
        fullness
    }

    /// Moves what comes first out of it into `mail` until that weighs `weight`, and says which shards may go on because of it.
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

    /// Whether a shard that was told [`Fullness::Full`] may go on.
    pub(in crate::server) fn has_room(&self) -> bool {
        self.weight.load(Ordering::Acquire) <= self.messages_max / 2
    }

    /// Waits for mail, or for [`notify`](Self::notify).
    pub(in crate::server) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Makes the owner look at its own mailbox, and at those that had no room for it.
    pub(in crate::server) fn notify(&self) {
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_takes_everything_and_tells_the_sender_when_half_of_it_is_gone() {
        let mailbox = Mailbox::new(4);
        for _ in 0..4 {
            mailbox.put(Mail::AccessReloaded);
        }
        assert_eq!(mailbox.put_all(ShardId(1), &mut Vec::new()), Fullness::Room);
        mailbox.put(Mail::AccessReloaded);
        assert_eq!(mailbox.put_all(ShardId(1), &mut Vec::new()), Fullness::Full);
        assert_eq!(mailbox.put_all(ShardId(1), &mut Vec::new()), Fullness::Full);
        assert!(!mailbox.has_room());

        let mut mail = Vec::new();
        assert_eq!(mailbox.take(2, &mut mail), []);
        assert_eq!(mailbox.take(1, &mut mail), [ShardId(1)]);
        assert_eq!(mailbox.take(9, &mut mail), []);
        assert_eq!(mail.len(), 5);
    }

    #[test]
    fn message_for_many_receivers_counts_for_all_of_them() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.put_all(ShardId(1), &mut vec![ShardMessage::for_receivers(6)]), Fullness::Room);
        mailbox.put(Mail::Forwarded(ShardMessage::for_receivers(5)));
        assert!(!mailbox.has_room());
        assert_eq!(mailbox.put_all(ShardId(1), &mut vec![ShardMessage::for_receivers(1)]), Fullness::Full);

        let mut mail = Vec::new();
        assert_eq!(mailbox.take(4, &mut mail), []);
        assert_eq!(mail.len(), 1, "it is not divided");
        assert_eq!(mailbox.take(1, &mut mail), [ShardId(1)]);
        assert_eq!(mailbox.take(9, &mut mail), []);
        assert_eq!(mail.len(), 3);
        assert!(mailbox.has_room());
    }
}
