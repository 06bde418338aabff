use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::past::Past;
use super::servers::{CellServer, Servers};
use super::{Cells, Place};
use crate::routing::CellId;

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

impl Cells {
    /// The server of a cell serves.
    pub(crate) fn add_server(&self, server: CellServer) {
        self.lock_servers().add(server);
    }

    /// The server of a cell ends.
    pub(crate) fn remove_server(&self, cell: CellId) {
        self.lock_servers().remove(cell);
    }

    /// What the servers of cells have counted that do not run any more.
    pub fn past(&self) -> Past {
        self.lock_servers().past()
    }

    /// The servers of the cells that are served here, in the order of their numbers.
    pub fn servers(&self) -> Vec<CellServer> {
        self.lock_servers().running().cloned().collect()
    }

    /// That of one cell.
    pub fn server(&self, cell: CellId) -> Option<CellServer> {
        self.lock_servers().of(cell).cloned()
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
        self.lock_servers().running().map(|server| server.status.longest_silence()).max().unwrap_or_default()
    }

    fn lock_servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
