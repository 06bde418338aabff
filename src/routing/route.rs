use std::sync::Arc;

use smallvec::SmallVec;

use crate::routing::receiver::Receiver;
use crate::routing::shared::Share;

/// The receivers of a message at the moment of the look-up. Later changes of the index don't change it, except for the members of shares.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// The Sessions with a matching Non-shared Subscription.
    pub receivers: Receivers,
    /// The matching Shared Subscriptions; one member of each receives the message. [MQTT-4.8.2-3]
    pub shares: Vec<Share>,
}

/// The Sessions that receive a message, each once.
///
/// The receivers of a Topic Filter with many subscribers are one list, which all routes through it share: a route takes memory only for
/// what it has of its own.
#[derive(Debug, Clone, Default)]
pub struct Receivers {
    /// Those in no list, and those with several matching subscriptions; by Session, ascending.
    pub(super) own: SmallVec<[Receiver; 1]>,
    pub(super) lists: Vec<ReceiverList>,
}

/// The receivers of a Topic Filter, except some.
#[derive(Debug, Clone)]
pub(super) struct ReceiverList {
    /// By Session, ascending.
    pub(super) receivers: Arc<[Receiver]>,
    /// The indices of those that don't receive the message, or that are in [`Receivers::own`]; ascending.
    pub(super) skipped: Vec<u32>,
}

impl Route {
    /// Removes all receivers. Allocated memory is kept.
    pub(super) fn clear(&mut self) {
        self.receivers.own.clear();
        self.receivers.lists.clear();
        self.shares.clear();
    }

    /// The bytes of its memory, without those of [shared lists](Receivers::shared_lists).
    pub fn bytes(&self) -> usize {
        let Receivers { own, lists } = &self.receivers;
        let own = if own.spilled() { own.capacity() * size_of::<Receiver>() } else { 0 };
        let skipped: usize = lists.iter().map(|list| list.skipped.capacity() * size_of::<u32>()).sum();
        let shares = self.shares.capacity() * size_of::<Share>();
        size_of::<Self>() + own + lists.capacity() * size_of::<ReceiverList>() + skipped + shares
    }
}

impl Receivers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.lists.iter().all(|list| list.len() == 0)
    }

    /// The number of receivers.
    pub fn len(&self) -> usize {
        self.own.len() + self.lists.iter().map(ReceiverList::len).sum::<usize>()
    }

    /// The only receiver, if there is exactly one.
    pub fn only(&self) -> Option<&Receiver> {
        match &*self.own {
            [receiver] if self.lists.is_empty() => Some(receiver),
            _ if self.len() == 1 => self.iter().next(),
            _ => None,
        }
    }

    /// All receivers, in an unspecified but deterministic order.
    pub fn iter(&self) -> impl Iterator<Item = &Receiver> {
        self.places().map(|(_, receiver)| receiver)
    }

    /// All receivers, in the same order, each with its place: by that, [`get`](Self::get) finds it.
    pub fn places(&self) -> impl Iterator<Item = (u32, &Receiver)> {
        let mut first = u32::try_from(self.own.len()).unwrap_or(u32::MAX);
        let of_lists = self.lists.iter().flat_map(move |list| {
            let start = first;
            first = first.saturating_add(list.places());
            list.iter().map(move |(index, receiver)| (start.saturating_add(index), receiver))
        });
        (0..).zip(&self.own).chain(of_lists)
    }

    /// The receiver at this place.
    pub fn get(&self, place: u32) -> Option<&Receiver> {
        let mut index = place as usize;
        if index < self.own.len() {
            return self.own.get(index);
        }
        index -= self.own.len();
        for list in &self.lists {
            if let Some(receiver) = list.receivers.get(index) {
                return Some(receiver);
            }
            index -= list.receivers.len();
        }
        None
    }

    /// The lists that other routes may share, each with a number that no other list has while this one exists, and its bytes.
    pub fn shared_lists(&self) -> impl Iterator<Item = (usize, usize)> {
        self.lists.iter().map(|list| (list.receivers.as_ptr().addr(), size_of_val(&*list.receivers)))
    }
}

impl ReceiverList {
    pub(super) fn len(&self) -> usize {
        self.receivers.len() - self.skipped.len()
    }

    fn places(&self) -> u32 {
        u32::try_from(self.receivers.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Receiver)> {
        let mut skipped = self.skipped.iter().peekable();
        (0..).zip(&*self.receivers).filter(move |(index, _)| skipped.next_if(|skipped| **skipped == *index).is_none())
    }
}
