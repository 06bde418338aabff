use std::collections::{BTreeMap, HashSet};
use std::mem;

use foldhash::fast::RandomState;

use crate::routing::filter_tree::{FilterId, FilterTree};
use crate::routing::interest::announcement::{Announced, Announcement, InterestAnswer};
use crate::routing::interest::cell_set::{CellId, CellSet};
use crate::topic::{TopicFilter, TopicName};

/// What a node knows of the filters of all cells. It may have more than there are, and never fewer than it has answered for.
#[derive(Debug)]
pub struct InterestTable {
    filters: FilterTree<CellSet>,
    cells: BTreeMap<CellId, OfCell>,
}

/// What it knows of a cell.
///
/// What an earlier owner announced is in `filters` until that of its successor is whole, so no filter is missing meanwhile.
#[derive(Debug, Default)]
struct OfCell {
    epoch: u64,
    /// The last change in this epoch that is in `filters`; `None`: they are not whole yet.
    number: Option<u64>,
    /// Whether it has had all changes at a time since this life of the node began: the owner waits for the node with each further one.
    is_joined: bool,
    filters: HashSet<FilterId, RandomState>,
    incoming: Option<Incoming>,
}

impl OfCell {
    /// Its filters stay until the next whole: another one may have them, too.
    fn drop_incoming(&mut self) {
        self.filters.extend(self.incoming.take().into_iter().flat_map(|incoming| incoming.filters));
    }
}

/// The parts of a whole that have come.
#[derive(Debug)]
struct Incoming {
    number: u64,
    place: usize,
    filters: HashSet<FilterId, RandomState>,
}

impl InterestTable {
    /// A table that knows nothing.
    pub fn new() -> Self {
        Self { filters: FilterTree::new(), cells: BTreeMap::new() }
    }

    /// The cells with a filter that matches `topic`.
    pub fn matching(&self, topic: &TopicName) -> CellSet {
        let mut cells = CellSet::default();
        self.filters.matching(topic).into_iter().for_each(|of_filter| cells.add(of_filter));
        cells
    }

    /// The epoch of which it has all filters of a cell, and whose owner waits for this node; 0: it lacks something.
    pub fn epoch(&self, cell: CellId) -> u64 {
        self.cells.get(&cell).filter(|of_cell| of_cell.is_joined).map_or(0, |of_cell| of_cell.epoch)
    }

    /// A new life of the node begins: owners may not have waited for its answers for some time. The table keeps all filters, and [`epoch`](Self::epoch) is 0
    /// for each cell until the owner of the cell has sent the changes that the table lacks.
    pub fn join_again(&mut self) {
        self.cells.values_mut().for_each(|of_cell| of_cell.is_joined = false);
    }

    /// Takes an announcement. The answer goes to the owner of the cell. One of an earlier epoch than it knows has no effect.
    pub fn take(&mut self, announcement: Announcement) -> InterestAnswer {
        let Announcement { cell, epoch, last, what } = announcement;
        let mut of_cell = mem::take(self.cells.entry(cell).or_default());
        if epoch > of_cell.epoch {
            of_cell.drop_incoming();
            (of_cell.epoch, of_cell.number, of_cell.is_joined) = (epoch, None, false);
        }
        if epoch == of_cell.epoch {
            match what {
                Announced::Changes { first, changes } => self.change(cell, &mut of_cell, first, changes),
                Announced::Whole { number, place, filters, is_last } => {
                    if self.add_part(cell, &mut of_cell, (number, place), &filters) && is_last {
                        self.replace(cell, &mut of_cell);
                    }
                }
            }
            of_cell.is_joined |= of_cell.number.is_some_and(|known| known >= last);
        }
        let incoming = of_cell.incoming.as_ref().map(|incoming| (incoming.number, incoming.place));
        let OfCell { epoch, number, is_joined, .. } = of_cell;
        let answer = InterestAnswer { cell, epoch, number, incoming, is_joined };
        self.cells.insert(cell, of_cell);
        answer
    }

    /// Takes the changes that follow what it has.
    fn change(&mut self, cell: CellId, of_cell: &mut OfCell, first: u64, changes: Vec<(TopicFilter, bool)>) {
        let Some(mut known) = of_cell.number else { return };
        // Those before are here already; behind a gap, none follows.
        let Some(here) = known.saturating_add(1).checked_sub(first) else { return };
        for (filter, is_wanted) in changes.into_iter().skip(usize::try_from(here).unwrap_or(usize::MAX)) {
            known = known.saturating_add(1);
            if is_wanted {
                of_cell.filters.insert(self.add(cell, &filter));
            } else if let Some(id) = self.filters.find(&filter)
                && of_cell.filters.remove(&id)
                && !of_cell.incoming.as_ref().is_some_and(|incoming| incoming.filters.contains(&id))
            {
                self.remove(cell, id);
            }
        }
        of_cell.number = Some(known);
        if of_cell.incoming.as_ref().is_some_and(|incoming| incoming.number <= known) {
            of_cell.drop_incoming();
        }
    }

    /// Returns whether the part is the next one.
    fn add_part(
        &mut self,
        cell: CellId,
        of_cell: &mut OfCell,
        (number, place): (u64, usize),
        filters: &[TopicFilter],
    ) -> bool {
        if of_cell.number.is_some_and(|known| known >= number) {
            return false;
        }
        if place == 0 && of_cell.incoming.as_ref().is_none_or(|incoming| incoming.number < number) {
            of_cell.drop_incoming();
            of_cell.incoming = Some(Incoming { number, place: 0, filters: HashSet::default() });
        }
        let Some(incoming) = of_cell.incoming.as_mut().filter(|it| (it.number, it.place) == (number, place)) else {
            return false;
        };
        incoming.place += filters.len();
        incoming.filters.extend(filters.iter().map(|filter| self.add(cell, filter)));
        true
    }

    /// All filters of a cell are here.
    fn replace(&mut self, cell: CellId, of_cell: &mut OfCell) {
        let Some(incoming) = of_cell.incoming.take() else { return };
        of_cell.number = Some(incoming.number);
        let before = mem::replace(&mut of_cell.filters, incoming.filters);
        before.difference(&of_cell.filters).for_each(|id| self.remove(cell, *id));
    }

    fn add(&mut self, cell: CellId, filter: &TopicFilter) -> FilterId {
        let id = self.filters.find_or_insert(filter);
        self.filters.subscriptions_mut(id).insert(cell);
        id
    }

    fn remove(&mut self, cell: CellId, id: FilterId) {
        self.filters.subscriptions_mut(id).remove(cell);
        self.filters.prune(id);
    }
}

impl Default for InterestTable {
    fn default() -> Self {
        Self::new()
    }
}
