use std::collections::{BTreeMap, HashSet};
use std::mem;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::routing::filter_tree::{FilterId, FilterTree};
use crate::routing::interest::announcement::{Announced, Announcement, Interest, InterestAnswer};
use crate::routing::interest::cell_set::{CellId, CellSet};
use crate::routing::interest::fingerprint::{Fingerprint, InterestKey};
use crate::routing::interest::fingerprints::Fingerprints;
use crate::routing::interest::share_counts::ShareCounts;
use crate::routing::interest::shares::{CellShare, ShareTable};
use crate::topic::{Filter, TopicFilter, TopicName};

/// What a node knows of the interest of all cells. It may have more than there is, and never less than it has answered for.
///
/// A filter without wildcards is a [`Fingerprint`], which takes about 10 bytes for each cell that wants it. The others are exact. Each cell takes at most
/// [`AnnouncerLimits::table_bytes_max`](crate::routing::AnnouncerLimits); its owner sees to that.
#[derive(Debug)]
pub struct InterestTable {
    key: InterestKey,
    /// With the cells that want them.
    exact: Fingerprints,
    wildcards: FilterTree<CellSet>,
    everything: CellSet,
    shares: ShareTable,
    cells: BTreeMap<CellId, OfCell>,
}

/// What it knows of a cell.
///
/// Until all interest of a later owner is here, there is that of its predecessor, but for a range of fingerprints that has come: what the new owner does not
/// have there has ended.
#[derive(Debug, Default)]
struct OfCell {
    epoch: u64,
    /// The last change in this epoch that is here; `None`: not all is here yet.
    number: Option<u64>,
    /// Whether it has had all changes at a time since this life of the node began: the owner waits for the node with each further one.
    is_joined: bool,
    /// How many fingerprints of it are in the table.
    exact: usize,
    wildcards: HashSet<FilterId, RandomState>,
    shares: HashSet<Filter, RandomState>,
    incoming: Option<Incoming>,
}

impl OfCell {
    /// What has come stays until the next whole.
    fn drop_incoming(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.wildcards.extend(incoming.wildcards);
            self.shares.extend(incoming.shares);
        }
    }
}

/// The parts of a whole that have come.
#[derive(Debug)]
struct Incoming {
    number: u64,
    place: usize,
    /// All fingerprints of the whole below this one are in the table, and no others of the cell.
    exact_end: Fingerprint,
    /// How many these are.
    exact: usize,
    wildcards: HashSet<FilterId, RandomState>,
    shares: HashSet<Filter, RandomState>,
    wants_everything: bool,
}

impl InterestTable {
    /// A table that knows nothing. All nodes have the same key.
    pub fn new(key: InterestKey) -> Self {
        let (exact, wildcards, shares) = (Fingerprints::new(), FilterTree::new(), ShareTable::new());
        Self { key, exact, wildcards, everything: CellSet::default(), shares, cells: BTreeMap::new() }
    }

    /// The shares that get a message to `topic`.
    pub fn shares(&self, topic: &TopicName) -> Vec<Arc<CellShare>> {
        self.shares.matching(topic)
    }

    /// The share that `filter` names, if a cell has members of it.
    pub fn share(&self, filter: &Filter) -> Option<Arc<CellShare>> {
        self.shares.get(filter).cloned()
    }

    /// Sets how many members of a share the cell of this node has, of which no announcement comes.
    pub fn set_own_share(&mut self, cell: CellId, filter: &Filter, counts: ShareCounts) {
        self.shares.set(cell, filter, Some(counts).filter(|counts| counts.members > 0));
    }

    /// The cells that want messages to `topic`, and seldom others.
    pub fn matching(&self, topic: &TopicName) -> CellSet {
        let mut cells = self.everything;
        self.exact.tags(self.key.fingerprint(topic.as_str())).for_each(|cell| _ = cells.insert(CellId(cell)));
        self.wildcards.find_matching(topic, |id| cells.add(self.wildcards.subscriptions(id)));
        cells
    }

    /// The cells with so much interest that they get all messages.
    pub fn everything(&self) -> CellSet {
        self.everything
    }

    /// The epoch of which it has all interest of a cell, and whose owner waits for this node; 0: it lacks something.
    pub fn epoch(&self, cell: CellId) -> u64 {
        self.cells.get(&cell).filter(|of_cell| of_cell.is_joined).map_or(0, |of_cell| of_cell.epoch)
    }

    /// A new life of the node begins: owners may not have waited for its answers for some time. The table keeps what it has, and [`epoch`](Self::epoch) is 0
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
                Announced::Whole { number, place, interest, is_last } => {
                    self.add_part(cell, &mut of_cell, (number, place), (interest, is_last));
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
    fn change(&mut self, cell: CellId, of_cell: &mut OfCell, first: u64, changes: Vec<(Interest, bool)>) {
        let Some(mut known) = of_cell.number else { return };
        // Those before are here already; behind a gap, none follows.
        let Some(here) = known.saturating_add(1).checked_sub(first) else { return };
        for (interest, is_wanted) in changes.into_iter().skip(usize::try_from(here).unwrap_or(usize::MAX)) {
            known = known.saturating_add(1);
            // A change may end what a whole has that is later. So what has come of that is not all of it any more.
            of_cell.drop_incoming();
            match interest {
                Interest::Exact(fingerprint) if is_wanted => {
                    of_cell.exact += usize::from(self.exact.insert(fingerprint, cell.0));
                }
                Interest::Exact(fingerprint) => of_cell.exact -= usize::from(self.exact.remove(fingerprint, cell.0)),
                Interest::Wildcard(filter) if is_wanted => _ = of_cell.wildcards.insert(self.add(cell, &filter)),
                Interest::Wildcard(filter) => {
                    if let Some(id) = self.wildcards.find(&filter).filter(|id| of_cell.wildcards.remove(id)) {
                        self.remove(cell, id);
                    }
                }
                Interest::Everything if is_wanted => _ = self.everything.insert(cell),
                Interest::Everything => _ = self.everything.remove(cell),
                Interest::Share(filter, counts) => {
                    self.shares.set(cell, &filter, Some(counts).filter(|_| is_wanted));
                    if is_wanted {
                        of_cell.shares.insert(filter)
                    } else {
                        of_cell.shares.remove(&filter)
                    };
                }
            }
        }
        of_cell.number = Some(known);
    }

    /// Takes the part if it is the next one.
    fn add_part(
        &mut self,
        cell: CellId,
        of_cell: &mut OfCell,
        (number, place): (u64, usize),
        (interest, is_last): (Vec<Interest>, bool),
    ) {
        if of_cell.number.is_some_and(|known| known >= number) {
            return;
        }
        if place == 0 && of_cell.incoming.as_ref().is_none_or(|incoming| incoming.number < number) {
            of_cell.drop_incoming();
            of_cell.incoming = Some(Incoming::new(number));
        }
        let Some(mut incoming) = of_cell.incoming.take_if(|it| (it.number, it.place) == (number, place)) else {
            return;
        };
        incoming.place += interest.len();
        let mut exact = Vec::new();
        for interest in interest {
            match interest {
                Interest::Exact(fingerprint) => exact.push(fingerprint),
                Interest::Wildcard(filter) => _ = incoming.wildcards.insert(self.add(cell, &filter)),
                Interest::Everything => {
                    self.everything.insert(cell);
                    incoming.wants_everything = true;
                }
                Interest::Share(filter, counts) => {
                    self.shares.set(cell, &filter, Some(counts));
                    incoming.shares.insert(filter);
                }
            }
        }
        self.add_exact(cell, &mut of_cell.exact, (&mut incoming, is_last), exact);
        if is_last {
            self.replace(cell, of_cell, incoming);
        } else {
            of_cell.incoming = Some(incoming);
        }
    }

    /// Takes the next fingerprints of a whole.
    fn add_exact(
        &mut self,
        cell: CellId,
        of_cell: &mut usize,
        (incoming, is_last): (&mut Incoming, bool),
        mut exact: Vec<Fingerprint>,
    ) {
        exact.sort_unstable();
        let last = exact.last().map_or(Fingerprint::FIRST, |last| last.next());
        let end = incoming.exact_end.max(if is_last { Fingerprint::END } else { last });
        // Most often the cell has no others, so they need not be looked for.
        if *of_cell > incoming.exact {
            *of_cell -= self.exact.remove_others(cell.0, incoming.exact_end..end, &exact);
        }
        incoming.exact_end = end;
        incoming.exact += exact.len();
        *of_cell += exact.into_iter().filter(|fingerprint| self.exact.insert(*fingerprint, cell.0)).count();
    }

    /// All interest of a cell is here.
    fn replace(&mut self, cell: CellId, of_cell: &mut OfCell, incoming: Incoming) {
        of_cell.number = Some(incoming.number);
        let before = mem::replace(&mut of_cell.wildcards, incoming.wildcards);
        before.difference(&of_cell.wildcards).for_each(|id| self.remove(cell, *id));
        let before = mem::replace(&mut of_cell.shares, incoming.shares);
        before.difference(&of_cell.shares).for_each(|filter| self.shares.set(cell, filter, None));
        if !incoming.wants_everything {
            self.everything.remove(cell);
        }
    }

    fn add(&mut self, cell: CellId, filter: &TopicFilter) -> FilterId {
        let id = self.wildcards.find_or_insert(filter);
        self.wildcards.subscriptions_mut(id).insert(cell);
        id
    }

    fn remove(&mut self, cell: CellId, id: FilterId) {
        self.wildcards.subscriptions_mut(id).remove(cell);
        self.wildcards.prune(id);
    }
}

impl Incoming {
    fn new(number: u64) -> Self {
        let (exact_end, wildcards, shares) = (Fingerprint::FIRST, HashSet::default(), HashSet::default());
        Self { number, place: 0, exact_end, exact: 0, wildcards, shares, wants_everything: false }
    }
}
