//! Which cells have members of which Shared Subscriptions.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::FixedState;
use smallvec::SmallVec;

use crate::routing::filter_tree::FilterTree;
use crate::routing::interest::cell_set::CellId;
use crate::routing::interest::share_counts::ShareCounts;
use crate::routing::of_filter::OfFilter;
use crate::routing::shared::ShareStrategy;
use crate::topic::{Filter, TopicName};

/// How a message gets to a cell now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellReach {
    /// At once.
    Ready,
    /// Later: its members count as not connected.
    Away,
}

/// A share, and the cells with members of it.
#[derive(Debug)]
pub struct CellShare {
    filter: Arc<Filter>,
    /// Ascending.
    cells: Vec<(CellId, ShareCounts)>,
    /// Counts choices.
    turn: AtomicU64,
}

impl CellShare {
    /// The ShareName and the Topic Filter.
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// Whether a cell besides this one has members.
    pub fn is_elsewhere(&self, than: CellId) -> bool {
        self.cells.iter().any(|(cell, _)| *cell != than)
    }

    /// Chooses the cell that gets a message to `topic`, of which `publisher` is a hash of its publisher. `reach`: `None` excludes a cell.
    ///
    /// A cell with connected members is preferred. With a strategy that takes turns, each cell gets as many messages as it has members; otherwise all cells
    /// choose the same one while they know of the same members.
    pub fn choose(
        &self,
        strategy: ShareStrategy,
        (publisher, topic): (u32, &TopicName),
        reach: impl Fn(CellId) -> Option<CellReach>,
    ) -> Option<CellId> {
        let reached = self.cells.iter().filter_map(|(cell, counts)| {
            let connected = if reach(*cell)? == CellReach::Ready { counts.connected } else { 0 };
            Some((*cell, ShareCounts { connected, ..*counts }))
        });
        let cells: SmallVec<[(CellId, ShareCounts); 8]> = reached.collect();
        let has_connected = cells.iter().any(|(_, counts)| counts.connected > 0);
        let weight = |counts: &ShareCounts| if has_connected { counts.connected } else { counts.members };
        let hash = |value: &str| FixedState::default().hash_one(value);
        let start = match strategy {
            ShareStrategy::RoundRobin | ShareStrategy::LeastInFlight => {
                place_of(self.turn.fetch_add(1, Ordering::Relaxed), cells.iter().map(|(_, counts)| weight(counts)))
            }
            ShareStrategy::Sticky => place_of(hash(self.filter.topic_filter.as_str()), members(&cells)),
            ShareStrategy::HashPublisher => place_of(publisher.into(), members(&cells)),
            ShareStrategy::HashTopic => place_of(hash(topic.as_str()), members(&cells)),
        };
        let (before, from) = cells.split_at_checked(start)?;
        from.iter().chain(before).find(|(_, counts)| weight(counts) > 0).map(|(cell, _)| *cell)
    }

    /// The members in a cell; `None`: it has none.
    #[cfg(test)]
    pub(super) fn counts(&self, cell: CellId) -> Option<ShareCounts> {
        self.cells.iter().find(|(it, _)| *it == cell).map(|(_, counts)| *counts)
    }

    /// The same share with this number of members in a cell.
    fn with(&self, cell: CellId, counts: Option<ShareCounts>) -> Self {
        let mut cells = self.cells.clone();
        match (cells.binary_search_by_key(&cell, |(cell, _)| *cell), counts) {
            (Ok(place), Some(counts)) => cells.splice(place..=place, [(cell, counts)]).for_each(drop),
            (Ok(place), None) => _ = cells.remove(place),
            (Err(place), Some(counts)) => cells.insert(place, (cell, counts)),
            (Err(_), None) => {}
        }
        Self { filter: Arc::clone(&self.filter), cells, turn: AtomicU64::new(self.turn.load(Ordering::Relaxed)) }
    }
}

fn members(cells: &[(CellId, ShareCounts)]) -> impl Iterator<Item = u32> + Clone {
    cells.iter().map(|(_, counts)| counts.members)
}

/// The place at which the sum of the weights passes `value`, modulo their sum.
fn place_of(value: u64, weights: impl Iterator<Item = u32> + Clone) -> usize {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut rest = value % total.max(1);
    let mut passes = |weight: u32| {
        let is_there = rest < weight.into();
        rest = rest.saturating_sub(weight.into());
        is_there
    };
    weights.into_iter().position(&mut passes).unwrap_or_default()
}

/// The shares of which cells have members.
#[derive(Debug)]
pub(super) struct ShareTable {
    filters: FilterTree<SharesOfFilter>,
}

/// By their names, ascending.
#[derive(Debug, Default)]
struct SharesOfFilter(Vec<Arc<CellShare>>);

impl OfFilter for SharesOfFilter {
    fn is_unused(&self) -> bool {
        self.0.is_empty()
    }
}

impl ShareTable {
    pub(super) fn new() -> Self {
        Self { filters: FilterTree::new() }
    }

    /// Sets how many members a cell has; `None`: none.
    pub(super) fn set(&mut self, cell: CellId, filter: &Filter, counts: Option<ShareCounts>) {
        let id = match counts {
            Some(_) => self.filters.find_or_insert(&filter.topic_filter),
            None => match self.filters.find(&filter.topic_filter) {
                Some(id) => id,
                None => return,
            },
        };
        let SharesOfFilter(shares) = self.filters.subscriptions_mut(id);
        let place = shares.binary_search_by(|share| share.filter.share.cmp(&filter.share));
        if let Some(share) = place.ok().and_then(|place| shares.get_mut(place)) {
            *share = Arc::new(share.with(cell, counts));
        } else if let (Err(place), Some(counts)) = (place, counts) {
            let (filter, turn) = (Arc::new(filter.detached()), AtomicU64::new(0));
            shares.insert(place, Arc::new(CellShare { filter, cells: vec![(cell, counts)], turn }));
        }
        shares.retain(|share| !share.cells.is_empty());
        self.filters.prune(id);
    }

    /// The shares that get a message to `topic`.
    pub(super) fn matching(&self, topic: &TopicName) -> Vec<Arc<CellShare>> {
        let found = self.filters.matching(topic);
        found.iter().flat_map(|SharesOfFilter(shares)| shares).cloned().collect()
    }

    /// The share that `filter` names.
    pub(super) fn get(&self, filter: &Filter) -> Option<&Arc<CellShare>> {
        let SharesOfFilter(shares) = self.filters.subscriptions(self.filters.find(&filter.topic_filter)?);
        shares.iter().find(|share| share.filter.share == filter.share)
    }
}
