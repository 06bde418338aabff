use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::super::{Queries, Reloader, Status, Traces};
use super::past::Past;
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
    /// Shows its packets and decisions live.
    pub traces: Traces,
    /// Reloads it.
    pub reloader: Reloader,
    /// Its store. This reference does not keep the store open; hold an upgraded one only for the time of a call.
    pub store: Weak<Store>,
}

/// The servers that run, and what others have left that ran before.
#[derive(Debug, Default)]
pub(super) struct Servers {
    running: BTreeMap<CellId, CellServer>,
    /// The last one of each cell that has begun to end: its shards may count still.
    ended: BTreeMap<CellId, Arc<Status>>,
    past: Past,
}

impl Servers {
    pub(super) fn add(&mut self, server: CellServer) {
        // That of the one before stays as it is now.
        if let Some(status) = self.ended.remove(&server.cell) {
            self.past.add_status(&status);
        }
        self.running.insert(server.cell, server);
    }

    pub(super) fn remove(&mut self, cell: CellId) {
        let Some(CellServer { status, store, .. }) = self.running.remove(&cell) else { return };
        if let Some(store) = store.upgrade() {
            self.past.add_store(store.stats(), store.timing());
        }
        self.ended.insert(cell, status);
    }

    /// What those have counted that do not run any more.
    pub(super) fn past(&self) -> Past {
        let mut past = self.past.clone();
        self.ended.values().for_each(|status| past.add_status(status));
        past
    }

    /// Those that run, in the order of their cells.
    pub(super) fn running(&self) -> impl Iterator<Item = &CellServer> {
        self.running.values()
    }

    pub(super) fn of(&self, cell: CellId) -> Option<&CellServer> {
        self.running.get(&cell)
    }
}

#[cfg(test)]
impl CellServer {
    /// For tests: the server of `cell` in a cluster of `cells` cells. Its shards do not answer.
    pub(crate) fn unanswered(cell: CellId, cells: u16, status: Arc<Status>) -> Self {
        let limits = crate::routing::RetainedLimits { retained_messages_max: 0, retained_bytes_max: 0 };
        let (interest_key, interest_bytes_max) = ([7; 16], 64 << 20);
        let terms = crate::broker::CellTerms { cell, cells, epoch: 1, interest_key, interest_bytes_max };
        let shared = Arc::new(Shared::new(1, limits).of_cell(terms));
        let reloader = Reloader::stopped(crate::config::Config::default());
        let (queries, traces) = (Queries::unanswered(1), Traces::silent());
        Self { cell, status, shared, queries, traces, reloader, store: Weak::new() }
    }
}
