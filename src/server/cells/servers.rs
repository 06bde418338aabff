use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::{Queries, Reloader, Status};
use super::{Cells, Place};
use crate::broker::Shared;
use crate::routing::CellId;

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
}

impl Cells {
    /// The server of a cell serves.
    pub(crate) fn add_server(&self, server: CellServer) {
        self.lock_servers().insert(server.cell, server);
    }

    /// The server of a cell ends.
    pub(in crate::server) fn remove_server(&self, cell: CellId) {
        self.lock_servers().remove(&cell);
    }

    /// The servers of the cells that are served here, in the order of their numbers.
    pub fn servers(&self) -> Vec<CellServer> {
        self.lock_servers().values().cloned().collect()
    }

    /// That of one cell.
    pub fn server(&self, cell: CellId) -> Option<CellServer> {
        self.lock_servers().get(&cell).cloned()
    }

    /// Whether the server of a cell here accepts clients.
    pub fn accepts_clients(&self, cell: CellId) -> bool {
        matches!(self.place(cell), Place::Here(_))
    }

    /// The longest time for which a shard of a cell has not answered.
    pub(in crate::server) fn longest_silence(&self) -> Duration {
        self.lock_servers().values().map(|server| server.status.longest_silence()).max().unwrap_or_default()
    }

    fn lock_servers(&self) -> MutexGuard<'_, BTreeMap<CellId, CellServer>> {
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
        Self { cell, status, shared, queries: Queries::unanswered(1), reloader }
    }
}
