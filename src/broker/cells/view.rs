use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::broker::cells::peer::{LinkPeer, LinkRole};
use crate::broker::cells::state::CellState;
use crate::broker::directory::state::Shared;
use crate::routing::CellId;

/// The connections between a cell and another one, and what the other one has not taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellLink {
    /// The other cell.
    pub cell: CellId,
    /// Which of the connections are open, in the order of [`LinkRole::ALL`].
    pub open: [bool; LinkRole::ALL.len()],
    /// The messages for the other cell that it has not confirmed, and their bytes.
    pub waiting: (usize, usize),
}

impl CellState {
    /// A connection to the owner of another cell is opened, or ends.
    pub(in crate::broker) fn link_changed(&self, LinkPeer { cell: CellId(cell), role }: LinkPeer, is_open: bool) {
        let Some(open) = self.open.get(usize::from(cell)).and_then(|open| open.get(role as usize)) else { return };
        if is_open {
            open.fetch_add(1, Ordering::Relaxed);
        } else {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn view_of(&self, cell: CellId) -> CellLink {
        let open = self.open.get(usize::from(cell.0));
        let is_open = |role: LinkRole| {
            open.and_then(|open| open.get(role as usize)).is_some_and(|open| open.load(Ordering::Relaxed) > 0)
        };
        let waiting = self.link_to(cell).map(|link| link.subscriber.charged()).unwrap_or_default();
        CellLink { cell, open: LinkRole::ALL.map(is_open), waiting }
    }

    /// The other cells of which it does not know what they want, or for which it can't keep messages yet. While there are any, it accepts no clients.
    pub(in crate::broker) fn lacking(&self) -> impl Iterator<Item = CellId> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        self.others().filter(move |cell| table.epoch(*cell) == 0 || self.link_to(*cell).is_none())
    }
}

impl Shared {
    /// The other cells of the cluster, and the connections to them.
    pub fn cell_links(&self) -> Vec<CellLink> {
        self.cell.iter().flat_map(|cell| cell.others().map(|other| cell.view_of(other))).collect()
    }

    /// The other cells for which it waits before it [can accept clients](Self::knows_cells).
    pub fn lacking_cells(&self) -> Vec<CellId> {
        self.cell.iter().flat_map(|cell| cell.lacking()).collect()
    }
}
