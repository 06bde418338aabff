use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::routing::interest::announcement::{Announced, Announcement, InterestAnswer, Whole, fitting};
use crate::routing::interest::cell_set::CellId;
use crate::topic::TopicFilter;

/// The filters of a cell at its owner, and which node knows how many of their changes.
///
/// Each node gets one announcement at a time; its answer, or [`repeat`](Self::repeat), lets the next one go. At most [`CHANGES_MAX`](Self::CHANGES_MAX)
/// changes and [`CHANGES_BYTES_MAX`](Self::CHANGES_BYTES_MAX) bytes of them are kept: a node that is further behind gets all filters.
#[derive(Debug)]
pub struct Announcer {
    cell: CellId,
    epoch: u64,
    /// The last change.
    number: u64,
    filters: HashMap<TopicFilter, OfFilter, RandomState>,
    /// The last changes.
    changes: VecDeque<(TopicFilter, bool)>,
    changes_bytes: usize,
    nodes: BTreeMap<Arc<str>, Node>,
    /// For the nodes that need all filters.
    whole: Option<Whole>,
}

/// A filter with subscriptions.
#[derive(Debug)]
struct OfFilter {
    subscriptions: usize,
    /// The change with which it came.
    number: u64,
}

/// What a node has.
#[derive(Debug, Default)]
struct Node {
    life: u64,
    /// The last change that it has answered; `None`: it has not got all filters yet.
    known: Option<u64>,
    incoming: Option<(u64, usize)>,
    is_joined: bool,
    /// Whether an announcement is on its way.
    is_awaited: bool,
}

impl Announcer {
    /// Changes that are kept for nodes that do not have them.
    pub const CHANGES_MAX: usize = 65_536;
    /// The bytes of the filters of these changes, but for the last one.
    pub const CHANGES_BYTES_MAX: usize = 16 << 20;

    /// For the owner with this epoch, before it knows subscriptions and nodes.
    pub fn new(cell: CellId, epoch: u64) -> Self {
        let (filters, changes, nodes) = (HashMap::default(), VecDeque::new(), BTreeMap::new());
        Self { cell, epoch, number: 0, filters, changes, changes_bytes: 0, nodes, whole: None }
    }

    /// A Session has a further subscription to this filter. Returns the change that all nodes must know before SUBACK is sent.
    pub fn subscribe(&mut self, filter: &TopicFilter) -> u64 {
        if let Some(of_filter) = self.filters.get_mut(filter) {
            of_filter.subscriptions += 1;
            return of_filter.number;
        }
        self.change(filter, true);
        self.filters.insert(filter.clone(), OfFilter { subscriptions: 1, number: self.number });
        self.number
    }

    /// A Session does not have a subscription any more. Nothing waits for this.
    pub fn unsubscribe(&mut self, filter: &TopicFilter) {
        let Some(of_filter) = self.filters.get_mut(filter) else { return };
        of_filter.subscriptions -= 1;
        if of_filter.subscriptions == 0 {
            self.filters.remove(filter);
            self.change(filter, false);
        }
    }

    fn change(&mut self, filter: &TopicFilter, is_wanted: bool) {
        self.number += 1;
        self.changes.push_back((filter.clone(), is_wanted));
        self.changes_bytes += filter.as_str().len();
        while self.changes.len() > Self::CHANGES_MAX
            || self.changes_bytes > Self::CHANGES_BYTES_MAX && self.changes.len() > 1
        {
            self.forget_change();
        }
    }

    fn forget_change(&mut self) {
        if let Some((filter, _)) = self.changes.pop_front() {
            self.changes_bytes -= filter.as_str().len();
        }
    }

    /// The change before the oldest one that is kept.
    fn forgotten(&self) -> u64 {
        self.number - self.changes.len() as u64
    }

    /// A node is there, with a number that rises with each of its starts. From now on, [`known`](Self::known) waits for it. It must be called before the
    /// node accepts its first message, and for each node that may accept messages when the owner begins.
    pub fn join(&mut self, name: &str, life: u64) {
        match self.nodes.get_mut(name) {
            None => {
                self.nodes.insert(name.into(), Node { life, ..Node::default() });
            }
            Some(node) if node.life < life => *node = Node { life, ..Node::default() },
            Some(_) => {}
        }
    }

    /// A node accepts no messages any more: it is dead, and its cells have other owners, or it has ended.
    pub fn leave(&mut self, name: &str, life: u64) {
        if self.nodes.get(name).is_some_and(|node| node.life == life) {
            self.nodes.remove(name);
        }
    }

    /// Takes the answer of a node. One of an earlier life or epoch has no effect.
    pub fn answer(&mut self, name: &str, life: u64, answer: InterestAnswer) {
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.life == life) else { return };
        if answer.cell != self.cell || answer.epoch != self.epoch {
            return;
        }
        node.is_awaited = false;
        // Answers may come out of order, and within a life no node forgets.
        node.known = node.known.max(answer.number.map(|number| number.min(self.number)));
        node.incoming = answer.incoming;
        node.is_joined |= answer.is_joined;
        self.trim();
    }

    /// An announcement to this node, or its answer, may be lost.
    pub fn repeat(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.is_awaited = false;
        }
    }

    /// The next announcement for this node, and the life of it that may take it: a later one has lost what those before it were about. `None`: it knows all,
    /// or one is on its way.
    pub fn next_announcement(&mut self, name: &str) -> Option<(u64, Announcement)> {
        let forgotten = self.forgotten();
        let node = self.nodes.get_mut(name).filter(|node| !node.is_awaited)?;
        let what = match node.known {
            Some(known) if known >= self.number && node.is_joined => return None,
            Some(known) if known >= forgotten => {
                let from = usize::try_from(known - forgotten).unwrap_or(usize::MAX);
                let count = fitting(self.changes.iter().skip(from).map(|(filter, _)| filter));
                let changes = self.changes.iter().skip(from).take(count).cloned().collect();
                Announced::Changes { first: known + 1, changes }
            }
            Some(_) | None => {
                let whole = self.whole.take().filter(|whole| whole.number >= forgotten);
                let filters = || self.filters.keys().cloned().collect();
                let whole = whole.unwrap_or_else(|| Whole { number: self.number, filters: filters() });
                let whole = self.whole.insert(whole);
                let place = node.incoming.filter(|(number, _)| *number == whole.number).map_or(0, |(_, place)| place);
                whole.part(place)
            }
        };
        node.is_awaited = true;
        Some((node.life, Announcement { cell: self.cell, epoch: self.epoch, last: self.number, what }))
    }

    /// The last change that all nodes know; [`u64::MAX`] without other nodes.
    pub fn known(&self) -> u64 {
        self.nodes.values().map(|node| node.known.unwrap_or(0)).min().unwrap_or(u64::MAX)
    }

    /// Removes the changes that all nodes have, and the whole if no node needs it.
    fn trim(&mut self) {
        let known = self.known().min(self.number);
        while self.forgotten() < known {
            self.forget_change();
        }
        let forgotten = self.forgotten();
        if self.nodes.values().all(|node| node.known.is_some_and(|known| known >= forgotten)) {
            self.whole = None;
        }
    }
}
