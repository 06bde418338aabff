use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::Message;
use tokio::sync::{mpsc, oneshot};

/// The requests that wait for replies, by the number in the subject of their replies. A request that is given up leaves nothing behind.
#[derive(Debug, Default)]
pub(super) struct Replies(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    waiting: HashMap<u64, Waiting>,
}

#[derive(Debug)]
enum Waiting {
    One(oneshot::Sender<Message>),
    Many(mpsc::Sender<Message>),
}

/// A request that waits. When it is dropped, its replies are.
#[derive(Debug)]
pub(super) struct Slot<T> {
    replies: Arc<Replies>,
    /// The last part of the subject of its replies.
    pub(super) number: u64,
    pub(super) receiver: T,
}

impl Replies {
    /// A request with one reply.
    pub(super) fn one(self: &Arc<Self>) -> Slot<oneshot::Receiver<Message>> {
        let (sender, receiver) = oneshot::channel();
        Slot { replies: Arc::clone(self), number: self.add(Waiting::One(sender)), receiver }
    }

    /// A request with at most this number of replies.
    pub(super) fn many(self: &Arc<Self>, most: usize) -> Slot<mpsc::Receiver<Message>> {
        let (sender, receiver) = mpsc::channel(most);
        Slot { replies: Arc::clone(self), number: self.add(Waiting::Many(sender)), receiver }
    }

    fn add(&self, waiting: Waiting) -> u64 {
        let mut table = self.table();
        table.last += 1;
        let number = table.last;
        table.waiting.insert(number, waiting);
        number
    }

    /// Hands a reply over to its request, if it still waits. A reply that a request has no room for is dropped, and the request notices that one is missing.
    pub(super) fn hand_over(&self, message: Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let Some(number) = number else { return };
        let mut table = self.table();
        match table.waiting.remove(&number) {
            Some(Waiting::One(sender)) => drop(sender.send(message)),
            Some(Waiting::Many(sender)) => {
                let has_more = sender.try_send(message).is_ok();
                if has_more {
                    table.waiting.insert(number, Waiting::Many(sender));
                }
            }
            None => {}
        }
    }

    /// Gives up all requests: the connection has ended, and with it their replies.
    pub(super) fn give_up(&self) {
        self.table().waiting.clear();
    }

    /// The number of requests that wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table().waiting.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        self.replies.table().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(number: u64) -> Message {
        Message {
            subject: format!("_INBOX.x.{number}").into(),
            reply: None,
            payload: Bytes::from_static(b"x"),
            headers: None,
            status: None,
            description: None,
            length: 1,
        }
    }

    #[test]
    fn a_reply_finds_its_request_and_a_request_that_is_given_up_leaves_nothing() {
        let replies = Arc::new(Replies::default());
        let (mut one, mut many, dropped) = (replies.one(), replies.many(2), replies.one());
        let gone = dropped.number;
        drop(dropped);
        for number in [one.number, many.number, many.number, many.number, gone, 77] {
            replies.hand_over(message(number));
        }
        assert!(one.receiver.try_recv().is_ok());
        assert!(many.receiver.try_recv().is_ok() && many.receiver.try_recv().is_ok());
        assert_eq!(many.receiver.try_recv().unwrap_err(), mpsc::error::TryRecvError::Disconnected, "it had no room");
        assert_eq!(replies.len(), 0);
        let mut waiting = replies.one();
        replies.give_up();
        assert_eq!(waiting.receiver.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
        drop((one, many, waiting));
        assert_eq!(replies.len(), 0);
    }
}
