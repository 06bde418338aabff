use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::delivery::Delivery;
use super::settings::{Order, Settings};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// The messages that are in no request, in lanes: a lane has those that wait for each other, in their order.
///
/// A lane of which a message is in a request or on its way to the dead letter topic is busy: nothing is taken from it.
/// Lanes take turns. A lane exists while it has messages or is busy.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<Key, Lane>,
    /// The lanes that have messages and are not busy, each once.
    ready: VecDeque<Key>,
    /// The messages in them, and their bytes.
    ready_messages: usize,
    ready_bytes: usize,
}

/// A message of a lane.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) message: Arc<Delivery>,
    /// When it came.
    pub(super) arrived: Timestamp,
    /// If it has a request of its own, because one with others was given up: the attempts that count as made.
    pub(super) alone_after: Option<u32>,
}

/// The topic, if messages of the same topic wait for each other; otherwise there is one lane.
type Key = Option<TopicName>;

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Entry>,
    bytes: usize,
    is_busy: bool,
}

/// At which end of its lane a message is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl Lanes {
    /// Adds a message behind all others of its lane.
    pub(super) fn push(&mut self, settings: &Settings, entry: Entry) {
        self.put(settings, entry, End::Back);
    }

    /// Gives back messages of a request, in their order, to be taken one by one, as if so many attempts were made with each.
    pub(super) fn give_back(&mut self, settings: &Settings, entries: Vec<Entry>, attempts: u32) {
        for entry in entries.into_iter().rev() {
            self.put(settings, Entry { alone_after: Some(attempts), ..entry }, End::Front);
        }
    }

    fn put(&mut self, settings: &Settings, entry: Entry, end: End) {
        let (key, bytes) = (key(settings.order, &entry.message), entry.message.bytes());
        let lane = self.lanes.entry(key.clone()).or_default();
        let was_empty = lane.queue.is_empty();
        match end {
            End::Front => lane.queue.push_front(entry),
            End::Back => lane.queue.push_back(entry),
        }
        lane.bytes += bytes;
        if !lane.is_busy {
            self.ready_messages += 1;
            self.ready_bytes += bytes;
            if was_empty {
                self.ready.push_back(key);
            }
        }
    }

    /// Takes the messages of the next request, if they are due.
    pub(super) fn take(&mut self, settings: &Settings, now: Timestamp) -> Option<Vec<Entry>> {
        if self.due(settings)? > now {
            return None;
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(key) = self.ready.pop_front() {
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            let (messages_before, bytes_before) = (lane.queue.len(), lane.bytes);
            while !taken.last().is_some_and(|last: &Entry| last.is_alone())
                && let Some(entry) = lane.next(settings, (taken.len(), bytes))
            {
                bytes += entry.message.bytes();
                taken.push(entry);
            }
            let count = messages_before - lane.queue.len();
            self.ready_messages -= count;
            self.ready_bytes -= bytes_before - lane.bytes;
            if count == 0 {
                self.ready.push_front(key);
                break;
            }
            if settings.order != Order::None {
                lane.is_busy = true;
                self.ready_messages -= lane.queue.len();
                self.ready_bytes -= lane.bytes;
            } else if lane.queue.is_empty() {
                self.lanes.remove(&key);
            } else {
                self.ready.push_front(key);
                break;
            }
        }
        Some(taken)
    }

    /// When the next request is due; `None`: no message is ready.
    pub(super) fn due(&self, settings: &Settings) -> Option<Timestamp> {
        let head = self.lanes.get(self.ready.front()?)?.queue.front()?;
        let is_full = self.ready_messages >= settings.batch_max || self.ready_bytes >= settings.batch_bytes_max;
        Some(if is_full || head.is_alone() { Timestamp::default() } else { head.arrived + settings.batch_wait })
    }

    /// The messages are in no request any more: what waits for them may go on.
    pub(super) fn release<'a>(&mut self, settings: &Settings, messages: impl Iterator<Item = &'a Arc<Delivery>>) {
        for message in messages {
            let key = key(settings.order, message);
            let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.is_busy) else { continue };
            lane.is_busy = false;
            if lane.queue.is_empty() {
                self.lanes.remove(&key);
            } else {
                self.ready_messages += lane.queue.len();
                self.ready_bytes += lane.bytes;
                self.ready.push_back(key);
            }
        }
    }

    /// Panics if the counts are not those of the lanes.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let ready = || self.lanes.values().filter(|lane| !lane.is_busy && !lane.queue.is_empty());
        assert_eq!(self.ready.len(), ready().count());
        assert!(self.ready.iter().all(|key| self.lanes.get(key).is_some_and(|lane| !lane.is_busy)));
        assert_eq!(self.ready_messages, ready().map(|lane| lane.queue.len()).sum::<usize>());
        assert_eq!(self.ready_bytes, ready().map(|lane| lane.bytes).sum::<usize>());
        for lane in self.lanes.values() {
            assert!(lane.is_busy || !lane.queue.is_empty(), "an idle lane stays");
            assert_eq!(lane.bytes, lane.queue.iter().map(|entry| entry.message.bytes()).sum::<usize>());
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }
}

impl Entry {
    const fn is_alone(&self) -> bool {
        self.alone_after.is_some()
    }
}

impl Lane {
    /// Takes its first message, if that fits a request with so many messages and bytes.
    fn next(&mut self, settings: &Settings, (messages, bytes): (usize, usize)) -> Option<Entry> {
        let head = self.queue.front()?;
        let fits = messages == 0
            || messages < settings.batch_max
                && !head.is_alone()
                && bytes.saturating_add(head.message.bytes()) <= settings.batch_bytes_max;
        let entry = fits.then(|| self.queue.pop_front())??;
        self.bytes -= entry.message.bytes();
        Some(entry)
    }
}

fn key(order: Order, message: &Delivery) -> Key {
    match order {
        Order::Topic => Some(message.topic().clone()),
        Order::None | Order::All => None,
    }
}
