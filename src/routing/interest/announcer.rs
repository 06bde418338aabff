use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::routing::interest::announcement::{
    Announced, Announcement, Interest, InterestAnswer, Whole, fitting, share_bytes,
};
use crate::routing::interest::cell_set::CellId;
use crate::routing::interest::counts::Counts;
use crate::routing::interest::fingerprint::InterestKey;
use crate::routing::interest::limits::AnnouncerLimits;
use crate::routing::interest::share_counts::ShareCounts;
use crate::topic::{Filter, TopicFilter};

/// The interest of a cell at its owner, and which node knows how many of its changes.
///
/// Each node gets one announcement at a time; its answer, or [`repeat`](Self::repeat), lets the next one go. Filters without wildcards are counted by their
/// fingerprints, so two with the same one are one for all others, which lasts until both have ended.
#[derive(Debug)]
pub struct Announcer {
    cell: CellId,
    epoch: u64,
    key: InterestKey,
    limits: AnnouncerLimits,
    /// The last change.
    number: u64,
    exact: Counts,
    /// With the number of their subscriptions.
    wildcards: HashMap<TopicFilter, u32, RandomState>,
    /// What the others are told of the shares with members.
    shares: HashMap<Filter, ShareCounts, RandomState>,
    /// What these take in a table.
    shares_bytes: usize,
    /// What all of it, but for the shares, takes in a table.
    table_bytes: usize,
    /// Whether that is too much.
    wants_everything: bool,
    /// The last changes.
    changes: VecDeque<(Interest, bool)>,
    changes_bytes: usize,
    /// The numbers of those among them with which something came.
    added: HashMap<Interest, u64, RandomState>,
    nodes: BTreeMap<Arc<str>, Node>,
    /// For the nodes that need all.
    whole: Option<Whole>,
}

/// What a node has.
#[derive(Debug, Default)]
struct Node {
    life: u64,
    /// The last change that it has answered; `None`: it has not got all yet.
    known: Option<u64>,
    incoming: Option<(u64, usize)>,
    is_joined: bool,
    /// Whether an announcement is on its way.
    is_awaited: bool,
}

impl Announcer {
    /// For the owner with this epoch, before it knows subscriptions and nodes.
    pub fn new(cell: CellId, epoch: u64, key: InterestKey, limits: AnnouncerLimits) -> Self {
        Self {
            cell,
            epoch,
            key,
            limits,
            number: 0,
            exact: Counts::new(),
            wildcards: HashMap::default(),
            shares: HashMap::default(),
            shares_bytes: 0,
            table_bytes: 0,
            wants_everything: false,
            changes: VecDeque::new(),
            changes_bytes: 0,
            added: HashMap::default(),
            nodes: BTreeMap::new(),
            whole: None,
        }
    }

    /// A Session has a further subscription to this filter. Returns the change that all nodes must know before SUBACK is sent.
    pub fn subscribe(&mut self, filter: &TopicFilter) -> u64 {
        let interest = Interest::new(filter, &self.key);
        let is_new = match &interest {
            Interest::Exact(fingerprint) => self.exact.add(*fingerprint),
            Interest::Wildcard(filter) => {
                let count = self.wildcards.entry(filter.clone()).or_default();
                *count += 1;
                *count == 1
            }
            Interest::Everything | Interest::Share(..) => false,
        };
        if is_new {
            self.change(interest.clone(), true);
        }
        // One that is not kept any more came before all that are.
        self.added.get(&interest).copied().unwrap_or_else(|| self.forgotten())
    }

    /// A Session does not have a subscription any more. Nothing waits for this.
    pub fn unsubscribe(&mut self, filter: &TopicFilter) {
        let interest = Interest::new(filter, &self.key);
        let is_last = match &interest {
            Interest::Exact(fingerprint) => self.exact.remove(*fingerprint),
            Interest::Wildcard(filter) => match self.wildcards.get_mut(filter) {
                None => false,
                Some(1) => self.wildcards.remove(filter).is_some(),
                Some(count) => {
                    *count -= 1;
                    false
                }
            },
            Interest::Everything | Interest::Share(..) => false,
        };
        if is_last {
            self.change(interest, false);
        }
    }

    /// A share has this number of members. Returns the change that all nodes must know before a SUBACK for it is sent, and whether that is a new one: others
    /// are not told every number.
    pub fn set_share(&mut self, filter: &Filter, counts: ShareCounts) -> (u64, bool) {
        let told = self.shares.get(filter).copied().unwrap_or_default();
        let is_new = told.differs(counts);
        if is_new {
            let bytes = share_table_bytes(filter);
            if counts.members == 0 {
                self.shares.remove(filter);
                self.shares_bytes -= bytes;
            } else if self.shares.insert(filter.detached(), counts).is_none() {
                self.shares_bytes += bytes;
            }
            self.change(Interest::Share(filter.detached(), counts), counts.members > 0);
        }
        let change = self.added.get(&Interest::Share(filter.clone(), ShareCounts::default())).copied();
        (change.unwrap_or_else(|| self.forgotten()), is_new)
    }

    /// Whether the tables have room for a share, which [`AnnouncerLimits::table_bytes_max`] bounds apart from the rest.
    pub fn has_room_for(&self, filter: &Filter) -> bool {
        let bytes = self.shares_bytes + share_table_bytes(filter);
        bytes <= self.limits.table_bytes_max || self.shares.contains_key(filter)
    }

    /// Whether the interest of the cell is more than [`AnnouncerLimits::table_bytes_max`]: it gets all messages, and drops those that none of its Sessions wants.
    pub fn wants_everything(&self) -> bool {
        self.wants_everything
    }

    fn change(&mut self, interest: Interest, is_wanted: bool) {
        let bytes = table_bytes(&interest);
        self.table_bytes = if is_wanted { self.table_bytes + bytes } else { self.table_bytes - bytes };
        let bytes_max =
            if self.wants_everything { self.limits.table_bytes_max / 2 } else { self.limits.table_bytes_max };
        let wants_everything = self.table_bytes > bytes_max;
        if wants_everything != self.wants_everything {
            // No node has a change that follows on, so all get the whole.
            self.wants_everything = wants_everything;
            self.number += 1;
            (self.changes, self.changes_bytes, self.added) = (VecDeque::new(), 0, HashMap::default());
        } else if !wants_everything || matches!(interest, Interest::Share(..)) {
            self.number += 1;
            self.changes_bytes += interest.announced_bytes();
            if is_wanted {
                self.added.insert(interest.key(), self.number);
            }
            self.changes.push_back((interest, is_wanted));
        }
        while self.changes.len() > self.limits.changes_max
            || self.changes_bytes > self.limits.changes_bytes_max && self.changes.len() > 1
        {
            self.forget_change();
        }
        assert!(self.added.len() <= self.changes.len());
    }

    fn forget_change(&mut self) {
        if let Some((interest, _)) = self.changes.pop_front() {
            self.changes_bytes -= interest.announced_bytes();
            let key = interest.key();
            if self.added.get(&key) == Some(&self.forgotten()) {
                self.added.remove(&key);
            }
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
                let sizes = self.changes.iter().skip(from).map(|(interest, _)| interest.announced_bytes());
                let count = fitting(sizes, self.limits.announcement_bytes_max);
                let changes = self.changes.iter().skip(from).take(count).cloned().collect();
                Announced::Changes { first: known + 1, changes }
            }
            Some(_) | None => {
                let whole = self.whole.take().filter(|whole| whole.number >= forgotten);
                let shares = self.shares.iter().map(|(filter, counts)| Interest::Share(filter.clone(), *counts));
                let whole = whole.unwrap_or_else(|| match self.wants_everything {
                    true => Whole::everything(self.number, shares),
                    false => {
                        let wildcards = self.wildcards.keys().cloned().map(Interest::Wildcard);
                        Whole::new(self.number, &self.exact, wildcards.chain(shares))
                    }
                });
                let whole = self.whole.insert(whole);
                let place = node.incoming.filter(|(number, _)| *number == whole.number).map_or(0, |(_, place)| place);
                whole.part(place, self.limits.announcement_bytes_max)
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

/// What interest takes in a table.
fn table_bytes(interest: &Interest) -> usize {
    match interest {
        Interest::Exact(_) => AnnouncerLimits::EXACT_BYTES,
        Interest::Wildcard(filter) => {
            filter.as_str().len() + AnnouncerLimits::LEVEL_BYTES * (filter.levels().count() + 1)
        }
        Interest::Everything | Interest::Share(..) => 0,
    }
}

/// What a share takes in a table.
fn share_table_bytes(filter: &Filter) -> usize {
    share_bytes(filter) + AnnouncerLimits::LEVEL_BYTES * (filter.topic_filter.levels().count() + 1)
}
