//! The cells of a cluster at one of its nodes: which are served here, and which by other nodes.
//!
//! A process that spreads clients over cells has a server for each cell that it owns, without listeners (`terms.rs`), and one more, the front, which has the
//! listeners, the signals and the admin listener, and no store. All share [`Cells`].

mod directory;
mod gate;
mod joining;
mod past;
mod reach;
mod role;
mod servers;
mod split;
mod terms;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::watch;

pub use directory::{CellsError, claim_cells};
pub(in crate::server) use gate::{Gate, NotAdmitted};
pub(in crate::server) use joining::Joining;
pub use past::Past;
pub use reach::CellPlace;
pub use servers::CellServer;
pub use split::{SplitFailure, SplitReport, SplitRequest, split_store};
pub use terms::CellTerms;

use super::bans::Bans;
use super::clock::Clock;
use super::memory::{self, MemoryBudget};
use crate::config;
use crate::routing::CellId;
use servers::Servers;

/// Where each cell is served. All threads of the process share it.
#[derive(Debug)]
pub struct Cells {
    places: watch::Sender<Arc<[Place]>>,
    /// The other nodes that are alive.
    nodes: watch::Sender<Arc<[Arc<str>]>>,
    memory: Arc<MemoryBudget>,
    /// The servers of the cells that are served here.
    servers: Mutex<Servers>,
    /// The bans and the clock of the front, when it has started.
    bans: OnceLock<(Arc<Bans>, Clock)>,
    ends: watch::Sender<bool>,
    /// How often the front was reloaded.
    reloads: AtomicU64,
    /// The number of [`Working`].
    working: watch::Sender<usize>,
}

/// Where a cell is served.
#[derive(Debug, Clone)]
pub(in crate::server) enum Place {
    /// Nowhere, as far as this node knows.
    Unknown,
    /// By the node with this name.
    Node(Arc<str>),
    /// By this process, for other cells alone until it knows what these want.
    Joining(Gate),
    /// By this process.
    Here(Gate),
}

/// While there is one, the process has something to do for a cell before it may end.
#[derive(Debug)]
pub struct Working(Arc<Cells>);

impl Place {
    /// What lets other cells in.
    pub(in crate::server) const fn for_cells(&self) -> Option<&Gate> {
        match self {
            Self::Joining(gate) | Self::Here(gate) => Some(gate),
            Self::Unknown | Self::Node(_) => None,
        }
    }
}

impl Cells {
    /// This number of cells, of 1 to 256, of which nothing is known.
    pub fn new(cells: u16) -> Arc<Self> {
        let places = (0..cells).map(|_| Place::Unknown).collect();
        Arc::new(Self {
            places: watch::Sender::new(places),
            nodes: watch::Sender::new(Arc::default()),
            memory: Arc::new(MemoryBudget::shared(memory::default_max(), cells.into())),
            servers: Mutex::default(),
            bans: OnceLock::new(),
            ends: watch::Sender::new(false),
            reloads: AtomicU64::new(0),
            working: watch::Sender::new(0),
        })
    }

    /// The number of cells.
    pub fn count(&self) -> u16 {
        u16::try_from(self.places.borrow().len()).unwrap_or(u16::MAX)
    }

    /// Another node serves a cell. `None`: it is not known which one does.
    pub fn served_by(&self, cell: CellId, node: Option<&str>) {
        let is_known = match (self.place(cell), node) {
            (Place::Unknown, None) => true,
            (Place::Node(before), Some(node)) => *before == *node,
            (Place::Unknown | Place::Node(_) | Place::Joining(_) | Place::Here(_), _) => false,
        };
        if !is_known {
            self.set(cell, node.map_or(Place::Unknown, |node| Place::Node(node.into())));
        }
    }

    /// Where a cell is served now.
    pub(in crate::server) fn place(&self, CellId(cell): CellId) -> Place {
        self.places.borrow().get(usize::from(cell)).cloned().unwrap_or(Place::Unknown)
    }

    /// Changes where a cell is served.
    pub(in crate::server) fn set(&self, CellId(cell): CellId, place: Place) {
        self.places.send_modify(|places| {
            let mut changed = places.to_vec();
            if let Some(before) = changed.get_mut(usize::from(cell)) {
                *before = place;
            }
            *places = changed.into();
        });
    }

    /// Notices changes.
    pub(in crate::server) fn watch(&self) -> watch::Receiver<Arc<[Place]>> {
        self.places.subscribe()
    }

    /// These other nodes are alive, whether they serve cells or not.
    pub fn set_nodes(&self, nodes: &[&str]) {
        self.nodes.send_if_modified(|known| {
            let is_new = !known.iter().map(|node| &**node).eq(nodes.iter().copied());
            if is_new {
                *known = nodes.iter().map(|node| Arc::from(*node)).collect();
            }
            is_new
        });
    }

    /// The other nodes that are alive, in the order of their names.
    pub fn nodes(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.nodes.borrow())
    }

    /// Notices when other nodes come and go.
    pub(crate) fn watch_nodes(&self) -> watch::Receiver<Arc<[Arc<str>]>> {
        self.nodes.subscribe()
    }

    /// Ends the connections of listeners of this process, recognized by the allocations of their names, at the servers of the cells.
    pub(in crate::server) fn listeners_removed(&self, names: &[Arc<str>]) {
        for place in &*Arc::clone(&self.places.borrow()) {
            if let Place::Here(gate) = place {
                gate.listeners_removed(names);
            }
        }
    }

    /// Ends all servers of the process.
    pub fn end(&self) {
        self.ends.send_replace(true);
    }

    /// Whether they are to end.
    pub fn has_to_end(&self) -> bool {
        *self.ends.borrow()
    }

    /// Waits until they are to end. Cancel safe.
    pub async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ends.subscribe().wait_for(|ends| *ends).await;
    }

    /// How often the front was reloaded, for [`CellTerms::reloads`].
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::SeqCst)
    }

    /// The front was reloaded. Servers of cells that are not known yet notice it when they are.
    pub(in crate::server) fn reloaded(&self) {
        self.reloads.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on, the process has something to do before it may end.
    pub fn work(self: &Arc<Self>) -> Working {
        self.working.send_modify(|working| *working += 1);
        Working(Arc::clone(self))
    }

    /// Waits until nothing is to be done any more. Cancel safe.
    pub(in crate::server) async fn idle(&self) {
        // The sender lives as long as `self`.
        let _ = self.working.subscribe().wait_for(|working| *working == 0).await;
    }

    /// The servers of the cells get the bans of the front, whose clock this is.
    pub(in crate::server) fn share_bans(&self, bans: &Arc<Bans>, clock: Clock) {
        self.bans.get_or_init(|| (Arc::clone(bans), clock));
    }

    /// The bans of the front, for the server of a cell with this clock; `None`: there is no front.
    pub(in crate::server) fn bans(&self, settings: &config::Bans, clock: Clock) -> Option<Bans> {
        self.bans.get().map(|(bans, of_front)| bans.share(settings, [clock, *of_front]))
    }

    /// The memory of the process.
    pub(in crate::server) fn memory(&self) -> Arc<MemoryBudget> {
        Arc::clone(&self.memory)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.send_modify(|working| *working -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_said_again_is_no_change() {
        let cells = Cells::new(2);
        let mut places = cells.watch();
        places.mark_unchanged();
        let changes = |places: &mut watch::Receiver<Arc<[Place]>>| {
            let has_changed = places.has_changed().unwrap();
            places.mark_unchanged();
            has_changed
        };
        cells.served_by(CellId(1), None);
        assert!(!changes(&mut places), "nothing was known");
        cells.served_by(CellId(1), Some("b"));
        assert!(changes(&mut places) && matches!(cells.place(CellId(1)), Place::Node(node) if &*node == "b"));
        cells.served_by(CellId(1), Some("b"));
        assert!(!changes(&mut places));
        cells.served_by(CellId(1), Some("c"));
        assert!(changes(&mut places));
        cells.served_by(CellId(1), None);
        assert!(changes(&mut places) && matches!(cells.place(CellId(1)), Place::Unknown));
        assert!(matches!(cells.place(CellId(0)), Place::Unknown) && matches!(cells.place(CellId(2)), Place::Unknown));
    }

    #[tokio::test]
    async fn the_end_waits_for_what_is_to_be_done() {
        let cells = Cells::new(2);
        let (one, other) = (cells.work(), cells.work());
        drop(one);
        tokio::select! {
            biased;
            () = cells.idle() => panic!("the other one works"),
            () = cells.ended() => panic!("nobody said so"),
            () = std::future::ready(()) => {}
        }
        drop(other);
        cells.idle().await;
        cells.end();
        cells.ended().await;
        assert!(cells.has_to_end());
    }
}
