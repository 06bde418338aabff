use std::sync::Arc;

use crate::admin::audit::Audit;
use crate::admin::snapshot::BrokerHandles;
use crate::broker::Shared;
use crate::server::{Bans, Queries, Status};
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
    /// The banned addresses and users.
    pub(in crate::admin) bans: Arc<Bans>,
    /// The store, if there is one.
    pub(in crate::admin) store: Option<Arc<Store>>,
    /// Who changed what.
    pub(in crate::admin) audit: Arc<Audit>,
}

impl ApiState {
    pub(in crate::admin) fn new(handles: &BrokerHandles) -> Self {
        Self {
            queries: handles.queries.clone(),
            shared: Arc::clone(&handles.shared),
            status: Arc::clone(&handles.status),
            bans: Arc::clone(&handles.bans),
            store: handles.store.clone(),
            audit: Arc::new(Audit::new(&handles.data, Arc::clone(&handles.status))),
        }
    }
}
