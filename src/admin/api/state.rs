use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::admin::audit::Audit;
use crate::admin::backups::Backups;
use crate::admin::handles::BrokerHandles;
use crate::admin::node::Node;
use crate::admin::queues::Queues;
use crate::admin::rates::Rates;
use crate::admin::token_file::TokenFile;
use crate::broker::Shared;
use crate::cluster::ClusterHandle;
use crate::config::Durability;
use crate::routing::CellId;
use crate::server::{Bans, CellServer, Cells, Queries, Reloader, Status, Traces};
use crate::store::Store;

/// What the handlers reach, cloned for each request.
#[derive(Debug, Clone)]
pub(in crate::admin) struct ApiState {
    /// Asks the shards what they have.
    pub(in crate::admin) queries: Queries,
    /// Who holds a Client Identifier, the subscriptions and the retained messages.
    pub(in crate::admin) shared: Arc<Shared>,
    /// Counters, the state of the broker, and its clock.
    pub(in crate::admin) status: Arc<Status>,
    /// The figures of all servers of the process.
    pub(in crate::admin) node: Node,
    /// Shows packets and decisions live.
    pub(in crate::admin) traces: Traces,
    /// The banned addresses and users.
    pub(in crate::admin) bans: Arc<Bans>,
    /// The store, if there is one.
    pub(in crate::admin) store: Option<Arc<Store>>,
    /// Reloads the broker and changes its files.
    pub(in crate::admin) reloader: Reloader,
    /// The node, if this broker is part of a cluster.
    pub(in crate::admin) cluster: Option<ClusterHandle>,
    /// Instead: the nodes of all cells, if there are several.
    pub(in crate::admin) cells: Vec<ClusterHandle>,
    /// The cells of which some are served in this process, if there are several.
    pub(in crate::admin) front_of: Option<Arc<Cells>>,
    /// The cell whose server this is about, if there are several.
    pub(in crate::admin) cell: Option<CellId>,
    /// What an acknowledged message survives by default.
    pub(in crate::admin) durability: Durability,
    /// Bounds the deletions of retained messages that are under way.
    pub(in crate::admin) deletions: Arc<Semaphore>,
    /// Bounds the reads of streams that are under way.
    pub(in crate::admin) stream_reads: Arc<Semaphore>,
    /// Makes backups, one at a time.
    pub(in crate::admin) backups: Arc<Backups>,
    /// The file of the tokens.
    pub(in crate::admin) tokens: TokenFile,
    /// How much happens per second.
    pub(in crate::admin) rates: Arc<Rates>,
    /// What waits in the Sessions of bridges and sinks.
    pub(in crate::admin) queues: Arc<Queues>,
    /// Who changed what.
    pub(in crate::admin) audit: Arc<Audit>,
}

impl ApiState {
    pub(in crate::admin) fn new(handles: &BrokerHandles) -> Self {
        Self {
            queries: handles.queries.clone(),
            shared: Arc::clone(&handles.shared),
            status: Arc::clone(&handles.status),
            node: Node::of(handles),
            traces: handles.traces.clone(),
            bans: Arc::clone(&handles.bans),
            store: handles.store.clone(),
            reloader: handles.reloader.clone(),
            cluster: handles.cluster.clone(),
            cells: handles.cells.clone(),
            front_of: handles.front_of.clone(),
            cell: None,
            durability: handles.durability,
            deletions: Arc::new(Semaphore::new(DELETIONS_MAX)),
            stream_reads: Arc::new(Semaphore::new(STREAM_READS_MAX)),
            backups: Arc::new(Backups::new(handles)),
            tokens: TokenFile::new(&handles.data),
            rates: Arc::new(Rates::new(Arc::clone(&handles.status), Node::of(handles))),
            queues: Arc::new(Queues::new(handles)),
            audit: Arc::new(Audit::new(&handles.data, Arc::clone(&handles.status))),
        }
    }
}

impl ApiState {
    /// That of a cell, for the routes that ask its server, where this is that of the front.
    pub(super) fn of_cell(&self, server: &CellServer) -> Self {
        Self {
            queries: server.queries.clone(),
            shared: Arc::clone(&server.shared),
            status: Arc::clone(&server.status),
            reloader: server.reloader.clone(),
            store: None,
            cells: Vec::new(),
            front_of: None,
            cell: Some(server.cell),
            ..self.clone()
        }
    }
}

/// Deletions of retained messages that are under way, at most.
pub(super) const DELETIONS_MAX: usize = 4;
/// Reads of streams that are under way, at most: each occupies a thread that waits for the disk.
pub(super) const STREAM_READS_MAX: usize = 4;
