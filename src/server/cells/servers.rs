use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::super::{Queries, Reloader, Status};
use super::past::Past;
use super::{Cells, Place};
use crate::broker::Shared;
use crate::routing::CellId;
use crate::store::Store;

/// What the admin interface of a process reaches of the server of a cell, while that runs.
#[derive(Debug, Clone)]
pub struct CellServer {
    /// The cell.
    pub cell: CellId,
    /// Its counters.
    pub status: Arc<Status>,
    /// Its subscriptions, and its connections to other cells.
    pub shared: Arc<Shared>,
    /// Asks its shards what they have.
    pub queries: Queries,
    /// Reloads it.
    pub reloader: Reloader,
    /// Its store, which whoever upgrades this does not keep.
    pub store: Weak<Store>,
}

/// Where a cell is served.
#[derive(Debug, Clone)]
pub enum CellPlace {
    /// By this process.
    Here(Box<CellServer>),
    /// By the node with this name.
    Node(Arc<str>),
    /// Nowhere, as far as this node knows.
    Unknown,
}

/// The servers that run, and what others have left that ran before.
#[derive(Debug, Default)]
pub(super) struct Servers {
    running: BTreeMap<CellId, CellServer>,
    /// The last one of each cell that has begun to end: its shards may count still.
    ended: BTreeMap<CellId, Arc<Status>>,
    past: Past,
}

impl Cells {
    /// The server of a cell serves.
    pub(crate) fn add_server(&self, server: CellServer) {
        let mut servers = self.lock_servers();
        // That of the one before stays as it is now.
        if let Some(status) = servers.ended.remove(&server.cell) {
            servers.past.add_status(&status);
        }
        servers.running.insert(server.cell, server);
    }

    /// The server of a cell ends.
    pub(crate) fn remove_server(&self, cell: CellId) {
        let mut servers = self.lock_servers();
        let Some(CellServer { status, store, .. }) = servers.running.remove(&cell) else { return };
        if let Some(store) = store.upgrade() {
            servers.past.add_store(store.stats(), store.timing());
        }
        servers.ended.insert(cell, status);
    }

    /// What the servers of cells have counted that do not run any more.
    pub fn past(&self) -> Past {
        let servers = self.lock_servers();
        let mut past = servers.past.clone();
        servers.ended.values().for_each(|status| past.add_status(status));
        past
    }

    /// The servers of the cells that are served here, in the order of their numbers.
    pub fn servers(&self) -> Vec<CellServer> {
        self.lock_servers().running.values().cloned().collect()
    }

    /// That of one cell.
    pub fn server(&self, cell: CellId) -> Option<CellServer> {
        self.lock_servers().running.get(&cell).cloned()
    }

    /// Where a cell is served.
    pub fn place_of(&self, cell: CellId) -> CellPlace {
        match (self.server(cell), self.place(cell)) {
            (Some(server), _) => CellPlace::Here(Box::new(server)),
            (None, Place::Node(node)) => CellPlace::Node(node),
            (None, Place::Unknown | Place::Joining(_) | Place::Here(_)) => CellPlace::Unknown,
        }
    }

    /// Whether the server of a cell here accepts clients.
    pub fn accepts_clients(&self, cell: CellId) -> bool {
        matches!(self.place(cell), Place::Here(_))
    }

    /// The longest time for which a shard of a cell has not answered.
    pub(crate) fn longest_silence(&self) -> Duration {
        self.lock_servers().running.values().map(|server| server.status.longest_silence()).max().unwrap_or_default()
    }

    fn lock_servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl CellServer {
    /// That of one of so many cells, whose shards do not answer.
    pub(crate) fn unanswered(cell: CellId, cells: u16, status: Arc<Status>) -> Self {
        let limits = crate::routing::RetainedLimits { retained_messages_max: 0, retained_bytes_max: 0 };
        let terms = crate::broker::CellTerms { cell, cells, epoch: 1, interest_key: [7; 16] };
        let shared = Arc::new(Shared::new(1, limits).of_cell(terms));
        let reloader = Reloader::stopped(crate::config::Config::default());
        Self { cell, status, shared, queries: Queries::unanswered(1), reloader, store: Weak::new() }
    }
}
